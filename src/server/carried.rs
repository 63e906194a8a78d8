//! What a request carries on its way.

use std::{mem, pin::Pin, sync::Arc};

use http::{HeaderValue, Request, Response, header::TRAILER, request, response};
use tower_service::Service;

use super::{
    context::Idempotency,
    flight::Flight,
    flow::Shared,
    future::{Flow, run_on},
    request_body::{Received, RequestBody},
    response_body::ResponseBody,
    stage::{Stage, Way},
};
use crate::{event::Event, record_key::RecordKey, store::Store, verdict::Verdict};

/// What a request carries from one stage of its way to the next.
pub(super) struct Carried<S, Svc> {
    pub(super) shared: Arc<Shared<S>>,
    pub(super) key: RecordKey,
    head: Head<Svc>,
}

/// The head of the request, and then of its answer.
enum Head<Svc> {
    /// And the instance that was polled ready.
    Request(Svc, request::Parts),
    Answer(response::Parts),
    /// It was handed on.
    Gone,
}

impl<S, Svc> Carried<S, Svc> {
    pub(super) fn new(
        shared: Arc<Shared<S>>,
        key: RecordKey,
        service: Svc,
        parts: request::Parts,
    ) -> Self {
        let head = Head::Request(service, parts);
        Self { shared, key, head }
    }

    /// Calls the service, with the operation among the extensions of the request.
    pub(super) fn call<B>(&mut self, received: Received, flight: Arc<Flight>) -> Svc::Future
    where
        Svc: Service<Request<RequestBody<B>>>,
    {
        let Head::Request(mut service, mut parts) = mem::replace(&mut self.head, Head::Gone) else {
            unreachable!("called once")
        };
        parts.extensions.insert(Idempotency::new(flight));
        service.call(Request::from_parts(parts, RequestBody::whole(received)))
    }

    pub(super) fn keep(&mut self, answer: response::Parts) {
        self.head = Head::Answer(answer);
    }

    /// What the head that was [kept](Self::keep) says of trailers to come.
    pub(super) fn announced(&self) -> Vec<HeaderValue> {
        match &self.head {
            Head::Answer(parts) => parts.headers.get_all(TRAILER).iter().cloned().collect(),
            Head::Request(..) | Head::Gone => Vec::new(),
        }
    }

    /// The answer whose head was [kept](Self::keep).
    pub(super) fn answer<B>(&mut self, body: ResponseBody<B>) -> Response<ResponseBody<B>> {
        let Head::Answer(parts) = mem::replace(&mut self.head, Head::Gone) else {
            unreachable!("kept before")
        };
        Response::from_parts(parts, body)
    }

    /// The answer of a verdict that executes nothing.
    pub(super) fn reply<B>(&self, verdict: Verdict) -> Response<ResponseBody<B>> {
        self.shared.reply(&self.key, verdict)
    }
}

impl<S, Svc, A> Flow for Way<Carried<S, Svc>, A>
where
    S: Store,
    Svc: Send + 'static,
    A: Stage<Carried<S, Svc>, Output: Send> + Send + 'static,
{
    fn detach(self: Pin<Box<Self>>) {
        let Carried { shared, key, .. } = self.as_ref().carried();
        shared.config.emit(&Event::Detached { key });
        let shared = Arc::clone(shared);
        shared.node.tasks.spawn(run_on(self));
    }
}
