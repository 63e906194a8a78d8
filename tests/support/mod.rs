//! What the tests of the server share: requests, answers, and stores that misbehave.
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, reason = "a test may fail")]
#![allow(unreachable_pub, reason = "a module of test files")]

pub mod events;
pub mod fault;

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::{Body, Frame};
use http_body_util::{BodyExt as _, Channel, Full, channel, combinators::UnsyncBoxBody};
use tower::{Layer as _, Service, ServiceExt as _};
use tower_idempotency::{IdempotencyLayer, MemoryStore, Store, server};

pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A layer over a memory store that the test can look into.
pub fn layer() -> (IdempotencyLayer<MemoryStore>, MemoryStore) {
    let store = MemoryStore::new();
    (IdempotencyLayer::new(store.clone()), store)
}

/// A keyed POST.
pub fn post(key: &str, body: &str) -> Request<Full<Bytes>> {
    post_to("/", key, body)
}

pub fn post_to(path: &str, key: &str, body: &str) -> Request<Full<Bytes>> {
    Request::post(path)
        .header("idempotency-key", key)
        .body(Full::from(body.to_owned()))
        .unwrap()
}

/// An answer, read to its end.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub frames: Vec<Bytes>,
    pub trailers: Option<HeaderMap>,
    /// How the body failed.
    pub error: Option<String>,
}

impl Answer {
    pub async fn read<B>(response: Response<B>) -> Self
    where
        B: Body<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        let (parts, body) = response.into_parts();
        let mut body = std::pin::pin!(body);
        let (mut frames, mut trailers, mut error) = (Vec::new(), None, None);
        while let Some(frame) = body.frame().await {
            match frame {
                Ok(frame) => match frame.into_data() {
                    Ok(data) => frames.push(data),
                    Err(frame) => trailers = frame.into_trailers().ok(),
                },
                Err(failed) => error = Some(failed.into().to_string()),
            }
        }
        let (status, headers) = (parts.status, parts.headers);
        Self {
            status,
            headers,
            frames,
            trailers,
            error,
        }
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.frames.concat()).unwrap()
    }

    pub fn is_replay(&self) -> bool {
        self.headers
            .get("idempotent-replayed")
            .is_some_and(|value| value == "true")
    }

    /// The `code` of a problem document.
    pub fn code(&self) -> String {
        let problem: serde_json::Value = serde_json::from_str(&self.text()).unwrap();
        problem["code"].as_str().unwrap().to_owned()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

/// Sends one request through a clone of `service` and reads the answer.
pub async fn send<Svc, ReqB, ResB>(service: &Svc, request: Request<ReqB>) -> Answer
where
    Svc: Service<Request<ReqB>, Response = Response<ResB>> + Clone,
    Svc::Error: std::fmt::Debug,
    ResB: Body<Data = Bytes>,
    ResB::Error: Into<BoxError>,
{
    let response = service.clone().oneshot(request).await.unwrap();
    Answer::read(response).await
}

/// Bodies of different kinds, for one service.
pub type AnyBody = UnsyncBoxBody<Bytes, BoxError>;

pub fn any<B>(body: B) -> AnyBody
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    body.map_err(Into::into).boxed_unsync()
}

/// A body that must not be read.
pub struct Unreadable;

impl Body for Unreadable {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        panic!("the body was read")
    }
}

/// A body whose frames the test sends when it likes.
pub fn live_body() -> (channel::Sender<Bytes, BoxError>, Channel<Bytes, BoxError>) {
    Channel::new(64)
}

pub async fn send_text(sender: &mut channel::Sender<Bytes, BoxError>, text: &'static str) {
    sender
        .send_data(Bytes::from_static(text.as_bytes()))
        .await
        .unwrap();
}

/// A body of these frames, of unknown size, that is never pending.
pub fn frames(frames: Vec<Frame<Bytes>>) -> impl Body<Data = Bytes, Error = Infallible> + Send {
    let frames = frames.into_iter().map(Ok);
    http_body_util::StreamBody::new(futures_util::stream::iter(frames))
}

pub fn data(text: &'static str) -> Frame<Bytes> {
    Frame::data(Bytes::from_static(text.as_bytes()))
}

/// Fails the test if something takes that long: nothing here should.
pub async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(3600), future)
        .await
        .expect("this would wait for ever")
}

/// Lets every task that can go on do so.
pub async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

pub fn serve<S: Store, Svc>(
    layer: &IdempotencyLayer<S>,
    service: Svc,
) -> server::Idempotency<Svc, S> {
    layer.layer(service)
}
