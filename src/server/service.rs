//! The service.

use std::{
    fmt, mem,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use super::{
    BoxError,
    admission::Admission,
    config::Config,
    flow::{self, Shared},
    future::{Keyed, ResponseFuture},
    node::Node,
    request_body::RequestBody,
    response_body::ResponseBody,
};
use crate::{event::Event, record_key::RecordKey, rejection::RejectionKind, store::Store};

/// A service whose keyed requests run once: what [`IdempotencyLayer`] makes.
///
/// Not to be confused with [`crate::Idempotency`], which a handler takes from its request.
///
/// [`IdempotencyLayer`]: crate::IdempotencyLayer
pub struct Idempotency<Svc, S> {
    inner: Svc,
    shared: Arc<Shared<S>>,
}

impl<Svc, S> Idempotency<Svc, S> {
    pub(super) fn new(inner: Svc, node: Arc<Node<S>>, config: Arc<Config>) -> Self {
        let shared = Arc::new(Shared { node, config });
        Self { inner, shared }
    }

    fn refuse(&self, kind: RejectionKind, key: Option<&RecordKey>) -> Response<Bytes> {
        self.shared.config.emit(&Event::Rejected { key, kind });
        self.shared.config.contract.reject(kind, None)
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
        match self.shared.config.admit(request) {
            Admission::Pass(request) => {
                ResponseFuture::passed(self.inner.call(request.map(RequestBody::passed)))
            }
            Admission::Refused(kind, key) => {
                ResponseFuture::refused(self.refuse(kind, key.as_ref()))
            }
            Admission::Keyed(parts, body, operation) => {
                // The instance that was polled ready is the one to call.
                let clone = self.inner.clone();
                let ready = mem::replace(&mut self.inner, clone);
                let shared = Arc::clone(&self.shared);
                let record_key = operation.record_key;
                let flow = flow::run(shared, ready, parts, body, operation);
                ResponseFuture::keyed(Keyed::new(record_key, &self.shared, Box::pin(flow)))
            }
        }
    }
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
