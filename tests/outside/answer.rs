//! Requests to send and answers to look at.

use std::fmt::Debug;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::Body;
use http_body_util::BodyExt as _;
use tower::{Service, ServiceExt as _};

use super::soon;

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) trailers: Option<HeaderMap>,
}

impl Answer {
    pub(crate) fn is_replay(&self) -> bool {
        let marker = self.headers.get("idempotent-replayed");
        marker.is_some_and(|value| value == "true")
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// The code of a problem document.
    pub(crate) fn code(&self) -> String {
        let problem: serde_json::Value = serde_json::from_slice(&self.body).unwrap();
        problem["code"].as_str().unwrap().to_owned()
    }
}

/// A POST with a key.
pub(crate) fn post<B: From<String>>(uri: &str, key: &str, body: &str) -> Request<B> {
    Request::post(uri)
        .header("idempotency-key", key)
        .body(B::from(body.to_owned()))
        .unwrap()
}

/// Sends one request to a clone of `service`.
pub(crate) async fn send<S, B, R>(service: &S, request: Request<B>) -> Answer
where
    S: Service<Request<B>, Response = Response<R>> + Clone,
    S::Error: Debug,
    R: Body,
    R::Error: Debug,
{
    whole(soon(service.clone().oneshot(request)).await.unwrap()).await
}

/// Reads an answer to its end.
pub(crate) async fn whole<B>(response: Response<B>) -> Answer
where
    B: Body,
    B::Error: Debug,
{
    let (parts, body) = response.into_parts();
    let collected = soon(body.collect()).await.unwrap();
    let trailers = collected.trailers().cloned();
    Answer {
        status: parts.status,
        headers: parts.headers,
        body: collected.to_bytes(),
        trailers,
    }
}
