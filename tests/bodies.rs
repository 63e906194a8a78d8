//! Bodies of requests and responses: limits, trailers, frames, failures, live streams.
#![cfg(feature = "memory")]
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod support;

use std::{
    convert::Infallible,
    future::ready,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt as _, Empty, Full, StreamBody};
use support::{
    Answer, AnyBody, BoxError, Unreadable, any, data, events::Events, frames, layer, live_body,
    post, send, send_text, serve, soon,
};
use tokio::time::Instant;
use tower::{Service, ServiceExt as _, service_fn};
use tower_idempotency::{
    BodyKey, Directive, Frames, IdempotencyLayer, InvalidKey, Key, KeyPlace, KeySource,
    MemoryStore, Unkept, server::RequestBody,
};

fn keyed<B>(body: B) -> Request<B> {
    Request::post("/")
        .header("idempotency-key", "k")
        .body(body)
        .unwrap()
}

fn trailers() -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.append("x-sum", HeaderValue::from_static("1"));
    trailers.append("x-sum", HeaderValue::from_bytes(b"caf\xe9").unwrap());
    trailers
}

// Requests.

/// Notes the frames and trailers it is given.
#[derive(Clone, Default)]
struct Noted(Arc<Mutex<Vec<Answer>>>);

impl Noted {
    fn service(
        &self,
    ) -> impl Service<
        Request<RequestBody<AnyBody>>,
        Response = Response<Full<Bytes>>,
        Error = Infallible,
        Future: Send,
    > + Clone
    + Send
    + use<> {
        let noted = self.0.clone();
        service_fn(move |request: Request<RequestBody<AnyBody>>| {
            let noted = noted.clone();
            async move {
                let hint = request.body().size_hint().lower();
                let body = Answer::read(Response::new(request.into_body())).await;
                let size: usize = body.frames.iter().map(Bytes::len).sum();
                assert_eq!(hint, size as u64);
                noted.lock().unwrap().push(body);
                Ok(Response::new(Full::from("ok")))
            }
        })
    }

    fn bodies(&self) -> Vec<Answer> {
        self.0.lock().unwrap().clone()
    }
}

#[tokio::test]
async fn a_request_body_keeps_its_frames_and_trailers() {
    let (layer, _) = layer();
    let noted = Noted::default();
    let service = serve(&layer, noted.service());
    let sent: Vec<Bytes> = ["ab", "cde", "f"]
        .map(|text| Bytes::from(text.to_owned()))
        .to_vec();
    let mut all: Vec<_> = sent.iter().cloned().map(Frame::data).collect();
    all.push(Frame::trailers(trailers()));
    send(&service, keyed(any(frames(all)))).await;
    let got = noted.bodies().remove(0);
    assert_eq!(got.trailers, Some(trailers()));
    let pointers = |frames: &[Bytes]| {
        frames
            .iter()
            .map(|frame| frame.as_ptr())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        pointers(&got.frames),
        pointers(&sent),
        "not copied, not joined"
    );
}

#[tokio::test]
async fn an_empty_request_body_is_a_body() {
    let (layer, _) = layer();
    let noted = Noted::default();
    let service = serve(&layer, noted.service());
    send(&service, keyed(any(Empty::new()))).await;
    assert!(send(&service, keyed(any(frames(vec![])))).await.is_replay());
    assert_eq!(noted.bodies().len(), 1);
}

#[tokio::test]
async fn the_limit_of_a_request_body_is_exact() {
    let (layer, store) = layer();
    let noted = Noted::default();
    let service = serve(&layer.max_request_body(5), noted.service());
    let whole = send(&service, keyed(any(Full::from("123456")))).await;
    let pieces = send(&service, keyed(any(frames(vec![data("123"), data("456")])))).await;
    for refused in [whole, pieces] {
        assert_eq!(refused.status, 413);
        assert_eq!(refused.code(), "idempotency_payload_too_large");
    }
    assert_eq!((noted.bodies().len(), store.len()), (0, 0));
    assert_eq!(
        send(&service, keyed(any(Full::from("12345")))).await.status,
        200
    );
}

#[tokio::test]
async fn an_announced_length_over_the_limit_is_refused_before_reading() {
    let (layer, _) = layer();
    let noted = Noted::default();
    let service = serve(&layer.max_request_body(5), noted.service());
    let mut request = keyed(any(Unreadable));
    request
        .headers_mut()
        .insert("content-length", HeaderValue::from_static("6"));
    assert_eq!(send(&service, request).await.status, 413);
}

#[tokio::test(start_paused = true)]
async fn a_slow_request_body_is_refused_in_time() {
    let (layer, store) = layer();
    let noted = Noted::default();
    let service = serve(
        &layer.body_deadline(Duration::from_secs(5)),
        noted.service(),
    );
    let (mut sender, body) = live_body();
    send_text(&mut sender, "some").await;
    let began = Instant::now();
    let refused = send(&service, keyed(any(body))).await;
    assert_eq!(began.elapsed().as_secs(), 5);
    assert_eq!(refused.status, 408);
    assert_eq!(refused.code(), "idempotency_body_unreadable");
    assert_eq!((noted.bodies().len(), store.len()), (0, 0));
    drop(sender);
}

#[tokio::test]
async fn a_broken_request_body_is_refused() {
    let (layer, store) = layer();
    let noted = Noted::default();
    let service = serve(&layer, noted.service());
    let (mut sender, body) = live_body();
    send_text(&mut sender, "some").await;
    sender.abort("gone".into());
    let refused = send(&service, keyed(any(body))).await;
    assert_eq!(refused.status, 400);
    assert_eq!(refused.code(), "idempotency_body_unreadable");
    assert_eq!((noted.bodies().len(), store.len()), (0, 0));
}

/// Gives its frames, pending once where there is none, and then pends for ever: a body that is read
/// on behind its trailers.
struct GoesOn {
    frames: std::vec::IntoIter<Option<Frame<Bytes>>>,
    size: SizeHint,
}

impl GoesOn {
    /// Two bytes and trailers, then `behind`.
    fn behind_trailers(behind: Option<&'static str>) -> Self {
        let mut frames = vec![Some(data("ab")), Some(Frame::trailers(trailers()))];
        frames.extend(behind.map(data).map(Some));
        Self {
            frames: frames.into_iter(),
            size: SizeHint::default(),
        }
    }

    fn sized(mut self) -> Self {
        self.size = SizeHint::with_exact(2);
        self
    }

    fn live(mut self) -> Self {
        let frames: Vec<_> = [None].into_iter().chain(self.frames).collect();
        self.frames = frames.into_iter();
        self
    }
}

impl Body for GoesOn {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.frames.next() {
            Some(Some(frame)) => Poll::Ready(Some(Ok(frame))),
            Some(None) => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            None => Poll::Pending,
        }
    }

    fn size_hint(&self) -> SizeHint {
        self.size
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_body_ends_with_its_trailers() {
    for behind in [None, Some("more")] {
        for in_body in [false, true] {
            let (mut layer, _) = layer();
            if in_body {
                layer = layer.key_source(FirstBytes);
            }
            let noted = Noted::default();
            let service = serve(&layer, noted.service());
            let body = GoesOn::behind_trailers(behind);
            let answer = soon(send(&service, keyed(any(body)))).await;
            assert_eq!(answer.status, 200, "{behind:?} {in_body}");
            let got = noted.bodies().remove(0);
            assert_eq!(
                (got.frames, got.trailers),
                (vec!["ab".into()], Some(trailers()))
            );
        }
    }
}

/// The key is the body.
struct FirstBytes;

impl KeySource for FirstBytes {
    fn key(&self, _: &http::request::Parts) -> Result<KeyPlace, InvalidKey> {
        Ok(KeyPlace::Body(Box::new(Self)))
    }
}

impl BodyKey for FirstBytes {
    fn key(self: Box<Self>, body: &Frames) -> Result<Option<Key>, InvalidKey> {
        let text = String::from_utf8(body.as_slice().concat());
        text.map_err(|_| InvalidKey::BadChar)
            .and_then(Key::new)
            .map(Some)
    }
}

// Responses.

/// A service that gives the next of these answers, and counts.
fn giving<B: Send + 'static>(
    answers: impl IntoIterator<Item = Response<B>>,
) -> (
    Arc<AtomicUsize>,
    impl Service<
        Request<RequestBody<Full<Bytes>>>,
        Response = Response<B>,
        Error = Infallible,
        Future: Send,
    > + Clone
    + Send,
) {
    let count = Arc::new(AtomicUsize::new(0));
    let answers: Vec<_> = answers.into_iter().collect();
    let answers = Arc::new(Mutex::new(answers.into_iter()));
    let counter = count.clone();
    let service = service_fn(move |_: Request<RequestBody<Full<Bytes>>>| {
        counter.fetch_add(1, Ordering::SeqCst);
        let answer = answers.lock().unwrap().next().expect("one answer per run");
        async { Ok(answer) }
    });
    (count, service)
}

async fn first_and_replay<B>(answer: Response<B>) -> (Answer, Answer)
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let (layer, _) = layer();
    let (_, service) = giving([answer]);
    let service = serve(&layer, service);
    let first = send(&service, post("k", "")).await;
    let second = send(&service, post("k", "")).await;
    assert!(!first.is_replay() && second.is_replay());
    (first, second)
}

#[tokio::test]
async fn frames_and_trailers_of_an_answer_are_replayed() {
    let all = vec![data("ab"), data("cde"), Frame::trailers(trailers())];
    let (first, second) = first_and_replay(Response::new(any(frames(all)))).await;
    assert_eq!(first.frames, ["ab", "cde"]);
    assert_eq!(first.trailers, Some(trailers()));
    assert_eq!(
        (second.frames, second.trailers),
        (first.frames, first.trailers)
    );
    assert_eq!(
        second.headers.get_all("trailer").iter().collect::<Vec<_>>(),
        ["x-sum"]
    );
}

#[tokio::test(start_paused = true)]
async fn an_answer_ends_with_its_trailers() {
    for behind in [None, Some("more")] {
        let body = || GoesOn::behind_trailers(behind);
        for body in [body(), body().sized(), body().live()] {
            let (first, second) = soon(first_and_replay(Response::new(body))).await;
            assert_eq!(first.frames, ["ab"], "{behind:?}");
            assert_eq!(first.trailers, Some(trailers()));
            assert_eq!(second.text(), "ab");
        }
        let (layer, _) = layer();
        let (_, service) = giving([Response::new(body().live())]);
        let service = serve(&layer.max_response_body(1), service);
        let beyond = soon(send(&service, post("k", ""))).await;
        assert_eq!(beyond.frames, ["ab"], "{behind:?}");
        assert_eq!(beyond.trailers, Some(trailers()));
    }
}

/// What would not be kept in the head is not kept behind the body either.
#[tokio::test]
async fn trailers_of_one_moment_or_caller_are_not_replayed() {
    let mut all = trailers();
    for name in [
        "set-cookie",
        "server-timing",
        "date",
        "content-length",
        "connection",
    ] {
        all.insert(name, HeaderValue::from_static("x-hop"));
    }
    all.insert("x-hop", HeaderValue::from_static("1"));
    let answer = frames(vec![data("ab"), Frame::trailers(all.clone())]);
    let (first, second) = first_and_replay(Response::new(any(answer))).await;
    assert_eq!(first.trailers, Some(all.clone()));
    assert_eq!(second.trailers, Some(trailers()));
    all.remove("x-sum");
    let answer = frames(vec![data("ab"), Frame::trailers(all.clone())]);
    let (first, second) = first_and_replay(Response::new(any(answer))).await;
    assert_eq!((first.trailers, second.trailers), (Some(all), None));
    assert_eq!(second.headers.get("trailer"), None);
}

#[tokio::test]
async fn headers_are_replayed_in_order_with_duplicates_and_high_bytes() {
    let mut answer = Response::new(Full::<Bytes>::from("x"));
    for value in [&b"1"[..], b"caf\xe9", b"1"] {
        answer
            .headers_mut()
            .append("x-dup", HeaderValue::from_bytes(value).unwrap());
    }
    let (first, second) = first_and_replay(answer).await;
    let values = |answer: &Answer| {
        answer
            .headers
            .get_all("x-dup")
            .iter()
            .cloned()
            .collect::<Vec<_>>()
    };
    assert_eq!(values(&first).len(), 3);
    assert_eq!(values(&first), values(&second));
}

#[tokio::test]
async fn a_wrong_length_does_not_leave_with_a_whole_answer() {
    for (length, kept) in [("3", None), ("5", Some("5")), ("7", None), ("x", None)] {
        let answer = Response::builder().header("content-length", length);
        let (first, second) =
            first_and_replay(answer.body(Full::<Bytes>::from("12345")).unwrap()).await;
        assert_eq!(first.header("content-length"), kept, "{length}");
        assert_eq!(second.header("content-length"), None);
    }
    let twice = Response::builder()
        .header("content-length", "5")
        .header("content-length", "6");
    let (first, _) = first_and_replay(twice.body(Full::<Bytes>::from("12345")).unwrap()).await;
    assert_eq!(first.header("content-length"), None);
    let not_modified = Response::builder()
        .status(304)
        .header("content-length", "9");
    let (first, _) = first_and_replay(not_modified.body(Empty::<Bytes>::new()).unwrap()).await;
    assert_eq!(first.header("content-length"), Some("9"));
}

#[tokio::test]
async fn answers_without_a_body() {
    for status in [204, 205, 304, 404] {
        let answer = Response::builder().status(status).header("etag", "\"1\"");
        let (first, second) = first_and_replay(answer.body(Empty::<Bytes>::new()).unwrap()).await;
        assert_eq!(first.status, status);
        assert_eq!((second.status, second.frames.len()), (first.status, 0));
        assert_eq!(second.header("etag"), Some("\"1\""));
    }
}

#[tokio::test]
async fn a_body_is_recorded_though_nobody_reads_it() {
    let (layer, _) = layer();
    let (count, service) = giving([Response::new(Full::<Bytes>::from("whole"))]);
    let service = serve(&layer, service);
    let response = service.clone().oneshot(post("k", "")).await.unwrap();
    // As hyper does with an empty or length-delimited body.
    assert_eq!(response.body().size_hint().exact(), Some(5));
    drop(response);
    assert_eq!(send(&service, post("k", "")).await.text(), "whole");
    assert_eq!(count.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_whole_answer_does_not_leave_before_it_is_recorded() {
    let (layer, store) = layer();
    let (mut sender, body) = live_body();
    /// A body that knows its size and still has to wait for it.
    struct Sized<B>(B, u64);
    impl<B: Body + Unpin> Body for Sized<B> {
        type Data = B::Data;
        type Error = B::Error;
        fn poll_frame(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
            Pin::new(&mut self.0).poll_frame(cx)
        }
        fn size_hint(&self) -> SizeHint {
            SizeHint::with_exact(self.1)
        }
    }
    let (_, service) = giving([Response::new(Sized(body, 6))]);
    let service = serve(&layer, service);
    let mut response = tokio::spawn(service.clone().oneshot(post("k", "")));
    send_text(&mut sender, "abc").await;
    support::settle().await;
    assert!(!response.is_finished());
    send_text(&mut sender, "def").await;
    drop(sender);
    let response = (&mut response).await.unwrap().unwrap();
    assert_eq!(send(&service, post("k", "")).await.text(), "abcdef");
    assert_eq!(Answer::read(response).await.text(), "abcdef");
    assert!(store.bytes() > 0);
}

#[tokio::test]
async fn a_live_answer_arrives_frame_by_frame_and_is_replayed() {
    let (layer, _) = layer();
    let (mut sender, body) = live_body();
    let (count, service) = giving([Response::new(body)]);
    let service = serve(&layer, service);
    send_text(&mut sender, "data: 1\n\n").await;
    let mut response = service.clone().oneshot(post("k", "")).await.unwrap();
    let mut next = async || {
        response
            .body_mut()
            .frame()
            .await
            .unwrap()
            .unwrap()
            .into_data()
            .unwrap()
    };
    assert_eq!(
        next().await,
        "data: 1\n\n",
        "before the handler has finished"
    );
    send_text(&mut sender, "data: 2\n\n").await;
    assert_eq!(next().await, "data: 2\n\n");
    let busy = send(&service, post("k", "")).await;
    assert_eq!(busy.code(), "idempotency_in_flight");
    sender.send_trailers(trailers()).await.unwrap();
    drop(sender);
    let rest = Answer::read(response).await;
    assert_eq!(rest.trailers, Some(trailers()));
    let replay = send(&service, post("k", "")).await;
    assert_eq!(replay.text(), "data: 1\n\ndata: 2\n\n");
    assert_eq!(replay.trailers, Some(trailers()));
    assert_eq!(count.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_live_answer_of_very_many_tokens_loses_none() {
    let (layer, _) = layer();
    let (mut sender, body) = live_body();
    let (_, service) = giving([Response::new(body)]);
    let service = serve(&layer, service);
    let mut response = service.clone().oneshot(post("k", "")).await.unwrap();
    let (mut sent, mut got) = (Vec::new(), Vec::new());
    for token in 0..2_000_u32 {
        let token = format!("{token} ");
        sent.extend_from_slice(token.as_bytes());
        sender.send_data(Bytes::from(token)).await.unwrap();
        // At every pace: at once, and some tokens behind.
        while got.len() < sent.len() && sent.len() % 7 != 0 {
            let frame = response.body_mut().frame().await.unwrap().unwrap();
            got.extend_from_slice(&frame.into_data().unwrap());
        }
    }
    drop(sender);
    got.extend_from_slice(&Answer::read(response).await.frames.concat());
    assert_eq!(got, sent);
    assert_eq!(send(&service, post("k", "")).await.frames.concat(), sent);
}

#[tokio::test]
async fn the_end_of_a_live_answer_waits_for_its_record() {
    let store = support::fault::FaultStore::new();
    let layer = IdempotencyLayer::new(store.clone());
    let (mut sender, body) = live_body();
    let (_, service) = giving([Response::new(body)]);
    let service = serve(&layer, service);
    let response = service.clone().oneshot(post("k", "")).await.unwrap();
    send_text(&mut sender, "all").await;
    store.next(
        support::fault::Verb::Complete,
        [support::fault::Fault::Refused],
    );
    drop(sender);
    let mut body = response.into_body();
    assert_eq!(
        body.frame().await.unwrap().unwrap().into_data().unwrap(),
        "all"
    );
    assert!(!body.is_end_stream());
    assert!(body.frame().await.is_none());
    assert!(send(&service, post("k", "")).await.is_replay());
    assert_eq!(store.calls(support::fault::Verb::Complete), 2);
}

#[tokio::test]
async fn a_live_answer_announces_no_length_by_which_a_client_could_tell_its_end() {
    let (layer, _) = layer();
    let (mut sender, body) = live_body();
    let answer = Response::builder().header("content-length", "3");
    let (_, service) = giving([answer.body(body).unwrap()]);
    let service = serve(&layer, service);
    let response = service.clone().oneshot(post("k", "")).await.unwrap();
    assert_eq!(response.headers().get("content-length"), None);
    send_text(&mut sender, "all").await;
    drop(sender);
    assert_eq!(Answer::read(response).await.text(), "all");
}

#[tokio::test]
async fn a_client_that_leaves_a_live_answer_changes_nothing() {
    let (layer, _) = layer();
    let (mut sender, body) = live_body();
    let (count, service) = giving([Response::new(body)]);
    let service = serve(&layer, service);
    let response = service.clone().oneshot(post("k", "")).await.unwrap();
    send_text(&mut sender, "one ").await;
    drop(response);
    support::settle().await;
    send_text(&mut sender, "two").await;
    drop(sender);
    layer.drain(Duration::from_secs(1)).await;
    assert_eq!(send(&service, post("k", "")).await.text(), "one two");
    assert_eq!(count.load(Ordering::SeqCst), 1);
}

fn limited(unkept: Unkept) -> (IdempotencyLayer<MemoryStore>, Events) {
    let events = Events::default();
    let (layer, _) = layer();
    let layer = layer
        .max_response_body(5)
        .over_limit(unkept)
        .observer(events.clone());
    (layer, events)
}

#[tokio::test]
async fn over_the_limit_the_client_gets_all_and_the_key_is_sealed() {
    let pieces = || {
        vec![
            data("123"),
            data("456"),
            data("789"),
            Frame::trailers(trailers()),
        ]
    };
    let whole = Response::new(any(Full::from("123456789")));
    let unknown = Response::new(any(frames(pieces())));
    for answer in [whole, unknown] {
        let (layer, events) = limited(Unkept::Seal);
        let (_, service) = giving([answer]);
        let service = serve(&layer, service);
        let first = send(&service, post("k", "")).await;
        assert_eq!((first.text().as_str(), &first.error), ("123456789", &None));
        let second = send(&service, post("k", "")).await;
        assert_eq!(second.code(), "idempotency_result_unavailable");
        assert_eq!(events.count("sealed:over_limit"), 1);
    }
}

#[tokio::test]
async fn the_limit_of_an_answer_is_exact() {
    let whole = |text: &'static str| any(Full::from(text));
    let unknown = |text: &'static str| any(frames(vec![data("123"), data(text)]));
    let live = |text: &'static str| {
        let begin = stream::once(ready(data("123")));
        let rest = stream::once(async move {
            tokio::task::yield_now().await;
            data(text)
        });
        any(StreamBody::new(begin.chain(rest).map(Ok::<_, Infallible>)))
    };
    let answers = [
        (whole("12345"), whole("123456")),
        (unknown("45"), unknown("456")),
        (live("45"), live("456")),
    ];
    for (at_the_limit, beyond) in answers {
        for (answer, event) in [(at_the_limit, "recorded"), (beyond, "sealed:over_limit")] {
            let (layer, events) = limited(Unkept::Seal);
            let (_, service) = giving([Response::new(answer)]);
            send(&serve(&layer, service), post("k", "")).await;
            assert_eq!(events.count(event), 1, "{event}");
        }
    }
}

#[tokio::test]
async fn over_the_limit_the_key_can_be_released() {
    let answers = || [0, 1].map(|_| Response::new(Full::<Bytes>::from("123456789")));
    let (layer, events) = limited(Unkept::DangerRelease);
    let (count, service) = giving(answers());
    let service = serve(&layer, service);
    for _ in 0..2 {
        assert_eq!(send(&service, post("k", "")).await.text(), "123456789");
    }
    assert_eq!(count.load(Ordering::SeqCst), 2);
    assert_eq!(events.count("released:over_limit"), 2);
}

#[tokio::test]
async fn a_live_answer_over_the_limit_goes_on_at_its_readers_pace() {
    let (layer, events) = limited(Unkept::Seal);
    let polled = Arc::new(AtomicUsize::new(0));
    let body = Endless {
        polled: polled.clone(),
        begun: false,
    };
    let (_, service) = giving([Response::new(body)]);
    let service = serve(&layer, service);
    let mut response = service.clone().oneshot(post("k", "")).await.unwrap();
    support::settle().await;
    assert_eq!(
        events.count("sealed:over_limit"),
        1,
        "sealed when it crossed the limit"
    );
    let before = polled.load(Ordering::SeqCst);
    assert!(before < 10, "read ahead of its reader: {before} frames");
    for _ in 0..100 {
        let frame = response.body_mut().frame().await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), "xx");
    }
    assert_eq!(
        send(&service, post("k", "")).await.code(),
        "idempotency_result_unavailable"
    );
    drop(response);
    let drained = layer.drain(Duration::from_secs(5)).await;
    assert_eq!(
        drained,
        tower_idempotency::Drained::Complete,
        "an endless body ends with its reader"
    );
}

/// Pending once, and then endless.
struct Endless {
    polled: Arc<AtomicUsize>,
    begun: bool,
}

impl Body for Endless {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if !std::mem::replace(&mut self.begun, true) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.polled.fetch_add(1, Ordering::SeqCst);
        Poll::Ready(Some(Ok(data("xx"))))
    }
}

/// Gives two bytes and then fails or panics; knows its size, or is live first.
#[derive(Clone, Copy, Debug)]
enum Fails {
    Known,
    Unknown,
    Live,
    Panics,
}

struct Failing(Fails, usize);

impl Body for Failing {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.1 += 1;
        match (self.1, self.0) {
            (1, _) => Poll::Ready(Some(Ok(data("ab")))),
            (2, Fails::Live) => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            (_, Fails::Panics) => panic!("the body panics"),
            _ => Poll::Ready(Some(Err("the disk is gone".into()))),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self.0 {
            Fails::Known => SizeHint::with_exact(4),
            _ => SizeHint::default(),
        }
    }
}

#[tokio::test]
async fn a_body_that_fails_midway_is_seen_to_fail_and_the_key_is_settled() {
    for fails in [Fails::Known, Fails::Unknown, Fails::Live, Fails::Panics] {
        for unkept in [Unkept::Seal, Unkept::DangerRelease] {
            let events = Events::default();
            let (layer, store) = layer();
            let layer = layer.broken_body(unkept).observer(events.clone());
            let (_, service) = giving([Response::new(Failing(fails, 0))]);
            let service = serve(&layer, service);
            let first = send(&service, post("k", "")).await;
            assert_eq!(first.status, StatusCode::OK);
            assert_eq!(first.text(), "ab", "{fails:?}");
            let error = first.error.expect("the failure is seen");
            match fails {
                Fails::Panics => assert!(error.contains("panicked")),
                _ => assert_eq!(error, "the disk is gone"),
            }
            match unkept {
                Unkept::Seal => {
                    let second = send(&service, post("k", "")).await;
                    assert_eq!(second.code(), "idempotency_result_unavailable");
                    assert_eq!(events.count("sealed:body_failed"), 1);
                }
                _ => {
                    assert_eq!(store.len(), 0);
                    assert_eq!(events.count("released:body_failed"), 1);
                }
            }
        }
    }
}

/// One frame, and what the body says of its size.
struct Hinting {
    frame: Option<Frame<Bytes>>,
    hint: fn() -> SizeHint,
}

impl Body for Hinting {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Poll::Ready(self.frame.take().map(Ok))
    }

    fn size_hint(&self) -> SizeHint {
        (self.hint)()
    }
}

/// `SizeHint` panics when it is given an upper bound below the lower.
#[tokio::test]
async fn a_body_whose_size_hint_panics_is_one_of_unknown_size() {
    let body = Hinting {
        frame: Some(data("all")),
        hint: || {
            let mut hint = SizeHint::with_exact(3);
            hint.set_upper(2);
            hint
        },
    };
    let (layer, _) = layer();
    let (_, service) = giving([Response::new(body)]);
    let service = serve(&layer, service);
    assert_eq!(send(&service, post("k", "")).await.text(), "all");
    assert!(send(&service, post("k", "")).await.is_replay());
}

#[tokio::test]
async fn a_body_not_as_long_as_announced_is_a_failure() {
    for frame in [Some("too long"), Some("no"), None] {
        let body = Hinting {
            frame: frame.map(data),
            hint: || SizeHint::with_exact(3),
        };
        let (layer, _) = layer();
        let (_, service) = giving([Response::new(body)]);
        let service = serve(&layer, service);
        assert!(send(&service, post("k", "")).await.error.is_some());
        assert_eq!(
            send(&service, post("k", "")).await.code(),
            "idempotency_result_unavailable"
        );
    }
}

#[tokio::test]
async fn an_upgrade_passes_with_its_extensions_and_is_sealed() {
    #[derive(Clone)]
    struct OnUpgrade;
    let mut answer = Response::builder()
        .status(101)
        .header("upgrade", "websocket")
        .body(Empty::<Bytes>::new())
        .unwrap();
    answer.extensions_mut().insert(OnUpgrade);
    let all = layer().0.record_policy_fn(|_| Directive::record());
    for layer in [layer().0, all] {
        let (_, service) = giving([answer.clone()]);
        let service = serve(&layer, service);
        let first = service.clone().oneshot(post("k", "")).await.unwrap();
        assert_eq!(first.status(), 101);
        assert_eq!(first.headers()["upgrade"], "websocket");
        assert!(first.extensions().get::<OnUpgrade>().is_some());
        assert_eq!(
            send(&service, post("k", "")).await.code(),
            "idempotency_result_unavailable"
        );
    }
}

#[tokio::test]
async fn a_passed_body_is_untouched() {
    let (layer, _) = layer();
    let read = Arc::new(AtomicBool::new(false));
    let noted = read.clone();
    let service = service_fn(move |request: Request<RequestBody<AnyBody>>| {
        let noted = noted.clone();
        async move {
            let body = request.into_body();
            assert!(body.size_hint().upper().is_none() && !body.is_end_stream());
            let body = Answer::read(Response::new(body)).await;
            assert_eq!(body.trailers, Some(trailers()));
            noted.store(true, Ordering::SeqCst);
            Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("ok")))
        }
    });
    let service = serve(&layer, service);
    let body = any(frames(vec![data("a"), Frame::trailers(trailers())]));
    let response = service
        .oneshot(Request::post("/").body(body).unwrap())
        .await
        .unwrap();
    assert_eq!(response.body().size_hint().exact(), Some(2));
    assert!(read.load(Ordering::SeqCst));
}
