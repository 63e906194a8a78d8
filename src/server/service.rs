//! The service.

use std::{
    fmt, mem,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response, request::Parts};
use http_body::Body;
use tower_service::Service;

use super::{
    BoxError,
    admission::Admission,
    config::Config,
    flow,
    future::{Keyed, ResponseFuture},
    node::Node,
    request_body::{Incoming, RequestBody},
    response_body::ResponseBody,
    shared::Shared,
};
use crate::{event::Event, protocol::Protocol, store::Store};

/// A service whose keyed requests run once: what [`IdempotencyLayer`] makes.
///
/// Not to be confused with [`crate::Idempotency`], which a handler takes from its request.
///
/// The service inside takes a `Request` with a [`RequestBody`] around the body that arrives, is
/// `Clone`, and is `Send` as its futures are. Both bodies consist of `Bytes`, and their errors can
/// be boxed. Its own error is not touched.
///
/// [`IdempotencyLayer`]: crate::IdempotencyLayer
pub struct Idempotency<Svc, S> {
    inner: Svc,
    /// One handle, as a server clones the service for each request.
    shared: Arc<ByProtocol<S>>,
}

/// What the requests of one service share, by what they speak.
struct ByProtocol<S> {
    http: Arc<Shared<S>>,
    grpc: Arc<Shared<S>>,
}

impl<Svc, S> Idempotency<Svc, S> {
    pub(super) fn new(inner: Svc, node: Arc<Node<S>>, config: Arc<Config>) -> Self {
        let grpc = Arc::new(Shared {
            node: Arc::clone(&node),
            config: Arc::new(config.for_grpc()),
        });
        let http = Arc::new(Shared { node, config });
        let shared = Arc::new(ByProtocol { http, grpc });
        Self { inner, shared }
    }

    /// The service inside.
    #[must_use]
    pub fn get_ref(&self) -> &Svc {
        &self.inner
    }

    /// The service inside.
    pub fn get_mut(&mut self) -> &mut Svc {
        &mut self.inner
    }

    /// The service inside.
    #[must_use]
    pub fn into_inner(self) -> Svc {
        self.inner
    }
}

impl<Svc, S, ReqB, ResB> Service<Request<ReqB>> for Idempotency<Svc, S>
where
    Svc: Service<Request<RequestBody<ReqB>>, Response = Response<ResB>> + Clone + Send + 'static,
    Svc::Future: Send,
    Svc::Error: Send + 'static,
    S: Store,
    ReqB: Body<Data = Bytes> + Send + 'static,
    ReqB::Error: Into<BoxError>,
    ResB: Body<Data = Bytes> + Send + 'static,
    ResB::Error: Into<BoxError>,
{
    type Response = Response<ResponseBody<ResB>>;
    type Error = Svc::Error;
    type Future = ResponseFuture<Svc::Future, ResB, Svc::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqB>) -> Self::Future {
        let Some(sought) = self.shared.http.config.seek(&request) else {
            return ResponseFuture::passed(self.inner.call(request.map(RequestBody::passed)));
        };
        let shared = match Protocol::of(request.headers()) {
            Protocol::Http => &self.shared.http,
            Protocol::Grpc => &self.shared.grpc,
        };
        let (parts, body) = request.into_parts();
        let key = match shared.config.admit(&parts, &body, sought) {
            Ok(admission) => {
                let body = Incoming::Arriving(body);
                return go_on(shared, &mut self.inner, parts, body, admission);
            }
            Err(key) => key,
        };
        let (shared, mut ready) = (Arc::clone(shared), take_ready(&mut self.inner));
        #[expect(clippy::async_yields_async, reason = "it becomes what is yielded")]
        let reading = async move {
            let (received, admission) = shared.config.read_key(&parts, body, key).await;
            let body = Incoming::Arrived(Box::new(received));
            go_on(&shared, &mut ready, parts, body, admission)
        };
        ResponseFuture::reading(Box::pin(reading))
    }
}

/// Does with a request what was decided; `service` was polled ready.
///
/// Inlined, as each call moves the head of the request.
#[inline(always)]
fn go_on<Svc, S, ReqB, ResB>(
    shared: &Arc<Shared<S>>,
    service: &mut Svc,
    parts: Parts,
    body: Incoming<ReqB>,
    admission: Admission,
) -> ResponseFuture<Svc::Future, ResB, Svc::Error>
where
    Svc: Service<Request<RequestBody<ReqB>>, Response = Response<ResB>> + Clone + Send + 'static,
    Svc::Future: Send,
    Svc::Error: Send + 'static,
    S: Store,
    ReqB: Body<Data = Bytes> + Send + 'static,
    ReqB::Error: Into<BoxError>,
    ResB: Body<Data = Bytes> + Send + 'static,
    ResB::Error: Into<BoxError>,
{
    match admission {
        Admission::Passed => {
            let request = Request::from_parts(parts, RequestBody::incoming(body));
            ResponseFuture::passed(service.call(request))
        }
        Admission::Refused(kind, key) => {
            // What its readiness had taken goes back, though the service itself lives on.
            drop(take_ready(service));
            let key = key.as_ref();
            shared.config.emit(&Event::Rejected { key, kind });
            ResponseFuture::refused(shared.config.reject(kind, None))
        }
        Admission::Keyed(operation) => {
            let ready = take_ready(service);
            let flow = flow::run(Arc::clone(shared), ready, parts, body, operation);
            ResponseFuture::keyed(Keyed::new(flow))
        }
    }
}

/// The instance that was polled ready is the one to call.
fn take_ready<Svc: Clone>(service: &mut Svc) -> Svc {
    let clone = service.clone();
    mem::replace(service, clone)
}

impl<Svc: Clone, S> Clone for Idempotency<Svc, S> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<Svc: fmt::Debug, S> fmt::Debug for Idempotency<Svc, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Idempotency")
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}
