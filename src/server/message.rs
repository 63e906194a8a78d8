//! The head of the request, and then of its answer.

use std::sync::Arc;

use http::{Request, Response, Version, request, response};
use tower_service::Service;

use super::{
    context::Idempotency,
    flight::Flight,
    flow::once,
    request_body::{Received, RequestBody},
    response_body::ResponseBody,
};

/// The head of the request, and then of its answer; `None` once it was handed on.
pub(super) enum Message<Svc> {
    /// And the instance of the service that was polled ready.
    Request(Option<(Svc, request::Parts)>),
    Answer(Option<response::Parts>),
}

impl<Svc> Message<Svc> {
    /// Whether who asked can tell an answer that breaks off from a whole one. In HTTP/1.0
    /// either may end with the connection.
    pub(super) fn sees_the_end(&self) -> bool {
        match self {
            Self::Request(Some((_, parts))) => parts.version > Version::HTTP_10,
            Self::Request(None) | Self::Answer(_) => unreachable!("not asked any more"),
        }
    }

    /// Calls the service, with the operation among the extensions of the request.
    pub(super) fn call<B>(&mut self, received: Received, flight: Arc<Flight>) -> Svc::Future
    where
        Svc: Service<Request<RequestBody<B>>>,
    {
        let (mut service, mut parts) = match self {
            Self::Request(request) => once(request),
            Self::Answer(_) => unreachable!("called once"),
        };
        parts.extensions.insert(Idempotency::new(flight));
        service.call(Request::from_parts(parts, RequestBody::whole(received)))
    }

    /// The answer has come.
    pub(super) fn answer(&mut self, answer: response::Parts) -> &mut response::Parts {
        *self = Self::Answer(Some(answer));
        self.head()
    }

    /// The head of the answer.
    pub(super) fn head(&mut self) -> &mut response::Parts {
        match self {
            Self::Answer(Some(answer)) => answer,
            Self::Answer(None) | Self::Request(_) => unreachable!("it was answered"),
        }
    }

    /// Hands the head of the answer on.
    pub(super) fn take_answer(&mut self) -> response::Parts {
        match self {
            Self::Answer(answer) => once(answer),
            Self::Request(_) => unreachable!("it was answered"),
        }
    }

    /// The answer, with this body.
    pub(super) fn respond<B>(&mut self, body: ResponseBody<B>) -> Response<ResponseBody<B>> {
        Response::from_parts(self.take_answer(), body)
    }
}
