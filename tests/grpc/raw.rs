//! Calls as they look on the wire.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body as _;
use http_body_util::Full;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};

use crate::{outside::soon, support::Answer};

/// An answer as it came over HTTP/2.
#[derive(Debug, PartialEq)]
pub(crate) struct OnTheWire {
    pub(crate) answer: Answer,
    /// Whether the first block of header fields was all there was.
    pub(crate) trailers_only: bool,
}

impl OnTheWire {
    /// The answer without what marks a replay and what belongs to one moment.
    pub(crate) fn unmarked(mut self) -> Self {
        for name in ["idempotent-replayed", "date"] {
            self.answer.headers.remove(name);
        }
        self
    }
}

pub(crate) fn framed(message: &[u8]) -> Bytes {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&[0][..], &length, message].concat().into()
}

pub(crate) fn call(path: &str, key: &str, message: &[u8]) -> Request<Full<Bytes>> {
    Request::post(path)
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("idempotency-key", key)
        .body(Full::new(framed(message)))
        .unwrap()
}

pub(crate) async fn send(address: SocketAddr, mut request: Request<Full<Bytes>>) -> OnTheWire {
    let client = Client::builder(TokioExecutor::new())
        .http2_only(true)
        .build_http();
    *request.uri_mut() = format!("http://{address}{}", request.uri().path())
        .parse()
        .unwrap();
    let response: Response<hyper::body::Incoming> = soon(client.request(request)).await.unwrap();
    let trailers_only = response.body().is_end_stream();
    let answer = soon(Answer::read(response)).await;
    OnTheWire {
        answer,
        trailers_only,
    }
}
