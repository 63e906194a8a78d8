//! What can be sent again, and that nothing is copied for it.

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, HeaderValue, Request};
use http_body::{Body, Frame};
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::UnsyncBoxBody};
use tower::{ServiceExt as _, retry::Retry};
use tower_idempotency::client::{BufferedBody, IdempotentRetry, TryCloneBody};

use crate::script::{Server, status};

/// A body that is no [`Clone`].
type Stream = UnsyncBoxBody<Bytes, &'static str>;

fn stream(frames: Vec<Result<Frame<Bytes>, &'static str>>) -> Stream {
    StreamBody::new(stream::iter(frames)).boxed_unsync()
}

static TEXTS: [Bytes; 3] = [
    Bytes::from_static(b"one"),
    Bytes::from_static(b"and"),
    Bytes::from_static(b"two"),
];

fn trailers() -> HeaderMap {
    [("x-end".parse().unwrap(), HeaderValue::from_static("1"))]
        .into_iter()
        .collect()
}

fn upload() -> Stream {
    let frames = TEXTS
        .clone()
        .map(Frame::data)
        .into_iter()
        .chain([Frame::trailers(trailers())]);
    stream(frames.map(Ok).collect())
}

async fn read(limit: u64) -> BufferedBody<Stream> {
    BufferedBody::read(upload(), limit).await.unwrap()
}

async fn without_trailers() -> BufferedBody<Stream> {
    let frames = TEXTS.clone().map(Frame::data).map(Ok);
    let read = BufferedBody::read(stream(frames.into()), 1024).await;
    read.unwrap()
}

fn size(body: &impl Body) -> (u64, Option<u64>) {
    let hint = body.size_hint();
    (hint.lower(), hint.upper())
}

/// The frames of a body: where each stands in memory, and the trailers.
async fn frames<B>(mut body: B) -> (Vec<(*const u8, usize)>, Option<HeaderMap>)
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Debug,
{
    let (mut places, mut trailers) = (Vec::new(), None);
    while let Some(frame) = body.frame().await {
        match frame.unwrap().into_data() {
            Ok(data) => places.push((data.as_ptr(), data.len())),
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
    }
    assert!(body.is_end_stream());
    (places, trailers)
}

/// Every body that was sent when the first attempts meet a 503.
async fn attempts<B: TryCloneBody + Send + 'static>(body: B) -> Vec<B> {
    let server = Server::new([status(503), status(503)]);
    let request = Request::post("/pay").header("idempotency-key", "order-42");
    let client = Retry::new(IdempotentRetry::new(), server.service());
    client.oneshot(request.body(body).unwrap()).await.unwrap();
    let attempts = server.attempts().into_iter();
    attempts.map(|attempt| attempt.body).collect()
}

#[tokio::test(start_paused = true)]
async fn a_whole_body_is_sent_again_from_the_same_memory() {
    let body = Bytes::from(vec![b'x'; 100_000]);
    let expected = vec![(body.as_ptr(), body.len())];
    let sent = attempts(Full::new(body)).await;
    assert_eq!(sent.len(), 3);
    for body in sent {
        assert_eq!(frames(body).await.0, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_short_stream_is_sent_again_from_the_same_memory() {
    let expected = (
        TEXTS
            .clone()
            .map(|text| (text.as_ptr(), text.len()))
            .to_vec(),
        Some(trailers()),
    );
    let sent = attempts(read(9).await).await;
    assert_eq!(sent.len(), 3);
    for body in sent {
        assert_eq!(frames(body).await, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_long_stream_is_sent_once_and_whole() {
    for limit in [0, 1, 8] {
        let mut sent = attempts(read(limit).await).await;
        assert_eq!(sent.len(), 1);
        let whole = sent.remove(0).collect().await.unwrap();
        assert_eq!(whole.trailers(), Some(&trailers()));
        assert_eq!(whole.to_bytes(), "oneandtwo");
    }
}

/// It is sent on, once the limit is passed, and not kept any longer.
#[tokio::test]
async fn no_more_is_held_than_must_be() {
    let frames = TEXTS.clone().map(Frame::data).map(Ok);
    let breaks = frames.into_iter().chain([Err("broken")]).collect();
    let mut body = BufferedBody::read(stream(breaks), 5).await.unwrap();
    for expected in TEXTS.clone() {
        let data = body.frame().await.unwrap().unwrap().into_data();
        assert_eq!(data.unwrap(), expected);
    }
    assert_eq!(body.frame().await.unwrap().unwrap_err(), "broken");
}

#[tokio::test]
async fn a_stream_that_breaks_while_it_is_read_is_not_sent() {
    let breaks = vec![Ok(Frame::data(TEXTS[0].clone())), Err("broken")];
    let read = BufferedBody::read(stream(breaks), 1024).await;
    assert_eq!(read.unwrap_err(), "broken");
}

#[tokio::test]
async fn a_clone_begins_where_the_original_is() {
    let mut body = read(1024).await;
    body.frame().await;
    let rest = body.try_clone().unwrap().collect().await.unwrap();
    assert_eq!(rest.to_bytes(), "andtwo");
    assert_eq!(body.collect().await.unwrap().to_bytes(), "andtwo");
}

#[tokio::test]
async fn trailers_are_the_end() {
    let frames = [
        Frame::data(TEXTS[0].clone()),
        Frame::trailers(trailers()),
        Frame::data(TEXTS[1].clone()),
    ];
    let read = BufferedBody::read(stream(frames.map(Ok).into()), 1024).await;
    let whole = read.unwrap().collect().await.unwrap();
    assert_eq!(whole.trailers(), Some(&trailers()));
    assert_eq!(whole.to_bytes(), "one");
}

#[tokio::test]
async fn trailers_are_still_to_come() {
    let mut body = read(1024).await;
    for _ in TEXTS.iter() {
        body.frame().await;
        assert!(!body.is_end_stream());
    }
    body.frame().await;
    assert!(body.is_end_stream());
}

#[tokio::test]
async fn the_size_is_known_when_all_is_held() {
    let mut body = without_trailers().await;
    assert_eq!(size(&body), (9, Some(9)));
    body.frame().await;
    assert_eq!(size(&body), (6, Some(6)));
    assert!(!body.is_end_stream());

    let long = BufferedBody::read(Full::new(TEXTS[0].clone()), 1);
    assert_eq!(size(&long.await.unwrap()), (3, Some(3)));
    assert_eq!(size(&read(1).await), (3, None));

    let nested = BufferedBody::read(without_trailers().await, 1);
    let nested = nested.await.unwrap();
    assert_eq!(size(&nested), (9, Some(9)), "3 held and 6 to come");

    let empty = BufferedBody::read(stream(vec![]), 0).await.unwrap();
    assert!(empty.is_end_stream());
    assert_eq!(size(&empty), (0, Some(0)));
}

/// Over HTTP/1.1 a body whose size is known is sent with a `Content-Length`, and then there is
/// no place for trailers.
#[tokio::test]
async fn with_trailers_no_size_is_announced() {
    let mut body = read(1024).await;
    for left in [9, 6, 3, 0] {
        assert_eq!(size(&body), (left, None));
        body.frame().await;
    }
    assert_eq!(size(&body), (0, Some(0)), "the trailers are sent");
}

#[tokio::test]
async fn a_body_is_not_shown() {
    let body = BufferedBody::read(Full::new(Bytes::from("secret")), 1024)
        .await
        .unwrap();
    let shown = format!("{body:?}");
    assert_eq!(shown, "BufferedBody { bytes: 6, can_be_cloned: true }");
}
