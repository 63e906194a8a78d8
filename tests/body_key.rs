//! The key in the body.
#![cfg(feature = "memory")]
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod support;

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::Frame;
use http_body_util::{Empty, Full};
use support::{
    Answer, AnyBody, Unreadable, any, data, frames, layer, live_body, send, send_text, serve,
    settle,
};
use tokio::{sync::Semaphore, time::Instant};
use tower::{Service, ServiceBuilder, ServiceExt as _, service_fn};
use tower_idempotency::{
    BodyKey, ExactFingerprint, Fingerprinter, Frames, HeaderKey, Idempotency, InvalidKey,
    JsonField, JsonFingerprint, Key, KeyPlace, KeySource, MissingScope, server::RequestBody,
};

/// A request with a JSON body.
fn json(body: &str) -> Request<AnyBody> {
    with_body(any(Full::from(body.to_owned())))
}

fn with_body(body: AnyBody) -> Request<AnyBody> {
    let request = Request::post("/").header("content-type", "application/json");
    request.body(body).unwrap()
}

fn and_header(mut request: Request<AnyBody>, key: &'static str) -> Request<AnyBody> {
    let key = HeaderValue::from_static(key);
    request.headers_mut().insert("idempotency-key", key);
    request
}

fn field() -> JsonField {
    JsonField::new("key")
}

/// What came to the handler: the body, and under which key.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<(Answer, Option<String>)>>>);

impl Seen {
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
        let seen = self.clone();
        service_fn(move |request: Request<RequestBody<AnyBody>>| {
            let seen = seen.clone();
            async move {
                let operation = request.extensions().get::<Idempotency>();
                let key = operation.map(|operation| operation.key().as_str().to_owned());
                let body = Answer::read(Response::new(request.into_body())).await;
                let mut all = seen.0.lock().unwrap();
                all.push((body, key));
                Ok(Response::new(Full::from(format!("run {}", all.len()))))
            }
        })
    }

    fn count(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    fn last(&self) -> (Answer, Option<String>) {
        self.0.lock().unwrap().last().cloned().unwrap()
    }
}

#[tokio::test]
async fn a_retry_may_spell_its_body_otherwise() {
    let (seen, (layer, _)) = (Seen::default(), layer());
    let service = serve(&layer.key_source(field()), seen.service());
    let first = send(&service, json(r#"{"key":"k1","amount":1,"to":"a"}"#)).await;
    let retry = send(&service, json(r#"{ "to":"a", "amount":1.0, "key":"k1" }"#)).await;
    assert!(!first.is_replay() && retry.is_replay());
    assert_eq!(retry.text(), "run 1");
    assert_eq!(seen.last().1.as_deref(), Some("k1"));
    let conflict = send(&service, json(r#"{"key":"k1","amount":2,"to":"a"}"#)).await;
    assert_eq!(conflict.code(), "idempotency_conflict");
    let other = send(&service, json(r#"{"key":"k2","amount":1,"to":"a"}"#)).await;
    assert_eq!(other.text(), "run 2");
}

#[tokio::test]
async fn a_body_without_a_key_is_passed_on_as_it_came() {
    let (seen, (layer, store)) = (Seen::default(), layer());
    let service = serve(&layer.key_source(field()), seen.service());
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", HeaderValue::from_static("1"));
    for pieces in [
        &[r#"{"amount""#, r#":1,"key":null}"#][..],
        &[r#"{"amount":1}"#],
        &["[1,", "2]"],
        &[],
    ] {
        let pieces = pieces.iter().map(|piece| Bytes::from((*piece).to_owned()));
        let pieces: Vec<_> = pieces.collect();
        let mut all: Vec<_> = pieces.iter().cloned().map(Frame::data).collect();
        all.push(Frame::trailers(trailers.clone()));
        let answer = send(&service, with_body(any(frames(all)))).await;
        assert_eq!(answer.status, 200);
        let (body, key) = seen.last();
        let pointers = |frames: &[Bytes]| {
            frames
                .iter()
                .map(|frame| frame.as_ptr())
                .collect::<Vec<_>>()
        };
        assert_eq!(
            pointers(&body.frames),
            pointers(&pieces),
            "not copied, not joined"
        );
        assert_eq!((body.trailers.as_ref(), key), (Some(&trailers), None));
    }
    assert_eq!((seen.count(), store.len()), (4, 0));
}

#[tokio::test]
async fn a_key_may_be_required() {
    let (seen, (layer, _)) = (Seen::default(), layer());
    let service = serve(&layer.key_source(field()).require_key(), seen.service());
    for body in ["{}", r#"{"key":null}"#, "[]", ""] {
        let refused = send(&service, json(body)).await;
        assert_eq!(
            (refused.status.as_u16(), refused.code().as_str()),
            (400, "idempotency_key_required")
        );
    }
    let text = Request::post("/")
        .body(any(Full::from(r#"{"key":"k"}"#)))
        .unwrap();
    assert_eq!(
        send(&service, text).await.code(),
        "idempotency_key_required"
    );
    assert_eq!(seen.count(), 0);
    assert_eq!(send(&service, json(r#"{"key":"k"}"#)).await.status, 200);
}

#[tokio::test]
async fn what_is_no_key_is_refused() {
    let (seen, (layer, store)) = (Seen::default(), layer());
    let service = serve(&layer.key_source(field()), seen.service());
    for (body, reason) in [
        (r#"{"key":""}"#, "empty_key"),
        (r#"{"key":7}"#, "field_not_string"),
        (r#"{"key":["k"]}"#, "field_not_string"),
        (r#"{"key":"k","key":"k"}"#, "repeated_field"),
        (r#"{"key":"k""#, "body_not_json"),
    ] {
        let refused = send(&service, json(body)).await;
        assert_eq!(refused.status, 400);
        assert_eq!(refused.code(), "idempotency_key_invalid");
        assert!(refused.text().contains(reason), "{}", refused.text());
    }
    assert_eq!((seen.count(), store.len()), (0, 0));
}

#[tokio::test]
async fn what_can_have_no_field_is_not_read() {
    let (layer, _) = layer();
    let unread = service_fn(|_: Request<RequestBody<AnyBody>>| async {
        Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
    });
    let layer = layer
        .key_source(field())
        .when(|parts| parts.uri.path() != "/open");
    let service = serve(&layer, unread);
    let mut requests: Vec<_> = (0..3).map(|_| with_body(any(Unreadable))).collect();
    *requests[0].method_mut() = http::Method::GET;
    let text = HeaderValue::from_static("text/plain");
    requests[1].headers_mut().insert("content-type", text);
    *requests[2].uri_mut() = "/open".parse().unwrap();
    for request in requests {
        assert_eq!(send(&service, request).await.status, 200);
    }
}

#[tokio::test]
async fn header_and_field_must_agree() {
    let (seen, (layer, _)) = (Seen::default(), layer());
    let source = field().header(HeaderKey::new());
    let service = serve(&layer.key_source(source), seen.service());
    let disagree = send(&service, and_header(json(r#"{"key":"a"}"#), "b")).await;
    assert_eq!(disagree.code(), "idempotency_key_invalid");
    assert!(disagree.text().contains("disagreement"));
    // The field does not count, so where the key stands may change.
    for (request, is_replay) in [
        (and_header(json(r#"{"n":1}"#), "\"a\""), false),
        (and_header(json(r#"{"n":1,"key":"a"}"#), "a"), true),
        (and_header(json(r#"{"n":1,"key":null}"#), "a"), true),
        (json(r#"{"key":"a","n":1}"#), true),
    ] {
        assert_eq!(send(&service, request).await.is_replay(), is_replay);
    }
    let malformed = send(&service, and_header(json("{}"), "a,b")).await;
    assert_eq!(malformed.code(), "idempotency_key_invalid");
    let mut text = and_header(with_body(any(Full::from("text"))), "t");
    text.headers_mut().remove("content-type");
    assert_eq!(send(&service, text).await.text(), "run 2");
    assert_eq!(seen.last().1.as_deref(), Some("t"));
}

#[tokio::test]
async fn from_a_json_fingerprint_the_field_is_left_out_and_from_no_other() {
    async fn replayed(fingerprint: impl Fingerprinter, field_first: bool) -> bool {
        let (seen, (layer, _)) = (Seen::default(), layer());
        let source = field().header(HeaderKey::new());
        let layer = match field_first {
            true => layer.key_source(source).fingerprint(fingerprint),
            false => layer.fingerprint(fingerprint).key_source(source),
        };
        let service = serve(&layer, seen.service());
        send(&service, and_header(json(r#"{"at":1}"#), "k")).await;
        send(&service, json(r#"{"at":2,"key":"k"}"#))
            .await
            .is_replay()
    }
    for field_first in [true, false] {
        assert!(replayed(JsonFingerprint::new().ignore("/at"), field_first).await);
        assert!(
            !replayed(JsonFingerprint::new(), field_first).await,
            "at counts"
        );
        assert!(!replayed(ExactFingerprint::new(), field_first).await);
    }
}

#[tokio::test]
async fn another_source_brings_the_exact_comparison_back() {
    let (seen, (layer, _)) = (Seen::default(), layer());
    let layer = layer.key_source(field()).key_source(HeaderKey::new());
    let service = serve(&layer, seen.service());
    send(&service, and_header(json("{}"), "k")).await;
    let other = send(&service, and_header(json("{ }"), "k")).await;
    assert_eq!(other.code(), "idempotency_conflict");
}

#[tokio::test(start_paused = true)]
async fn limits_hold_before_the_key_is_known() {
    let (seen, (layer, store)) = (Seen::default(), layer());
    let layer = layer
        .key_source(field())
        .max_request_body(12)
        .body_deadline(Duration::from_secs(5));
    let service = serve(&layer, seen.service());
    let refused = async |request| {
        let refused = send(&service, request).await;
        (refused.status.as_u16(), refused.code())
    };
    let mut announced = with_body(any(Unreadable));
    let length = HeaderValue::from_static("13");
    announced.headers_mut().insert("content-length", length);
    for large in [
        announced,
        json(r#"{"key":"abc"}"#),
        with_body(any(frames(vec![data(r#"{"key":"#), data("null }")]))),
    ] {
        assert_eq!(
            refused(large).await,
            (413, "idempotency_payload_too_large".to_owned())
        );
    }
    let (mut sender, body) = live_body();
    send_text(&mut sender, "{").await;
    let began = Instant::now();
    assert_eq!(
        refused(with_body(any(body))).await,
        (408, "idempotency_body_unreadable".to_owned())
    );
    assert_eq!(began.elapsed().as_secs(), 5);
    let (sender, body) = live_body();
    sender.abort("gone".into());
    assert_eq!(
        refused(with_body(any(body))).await,
        (400, "idempotency_body_unreadable".to_owned())
    );
    assert_eq!((seen.count(), store.len()), (0, 0));
    assert_eq!(send(&service, json(r#"{"key":"ab"}"#)).await.status, 200);
}

#[tokio::test]
async fn the_key_is_decided_on_before_the_scope() {
    let (seen, (layer, _)) = (Seen::default(), layer());
    let layer = layer
        .key_source(field())
        .scope_fn(|_| Err(MissingScope::new()));
    let service = serve(&layer, seen.service());
    assert_eq!(
        send(&service, json(r#"{"key":1}"#)).await.code(),
        "idempotency_key_invalid"
    );
    assert_eq!(
        send(&service, json(r#"{"key":"k"}"#)).await.code(),
        "idempotency_scope_missing"
    );
    assert_eq!(send(&service, json("{}")).await.text(), "run 1");
}

#[tokio::test]
async fn a_client_that_leaves_before_its_body_is_there_leaves_no_trace() {
    let (seen, (layer, store)) = (Seen::default(), layer());
    let service = serve(&layer.key_source(field()), seen.service());
    let (mut sender, body) = live_body();
    send_text(&mut sender, r#"{"key":"k""#).await;
    let mut answer = Box::pin(service.clone().oneshot(with_body(any(body))));
    assert!(futures_util::poll!(&mut answer).is_pending());
    drop(answer);
    settle().await;
    assert_eq!((seen.count(), store.len()), (0, 0));
}

#[tokio::test]
async fn a_client_that_leaves_later_changes_nothing() {
    let (layer, _) = layer();
    let gate = Arc::new(Semaphore::new(0));
    let held = gate.clone();
    let service = service_fn(move |_: Request<RequestBody<AnyBody>>| {
        let gate = held.clone();
        async move {
            gate.acquire().await.unwrap().forget();
            Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("done")))
        }
    });
    let layer = layer.key_source(field());
    let service = serve(&layer, service);
    let mut answer = Box::pin(service.clone().oneshot(json(r#"{"key":"k"}"#)));
    assert!(futures_util::poll!(&mut answer).is_pending());
    drop(answer);
    gate.add_permits(1);
    layer.drain(Duration::from_secs(60)).await;
    let retry = send(&service, json(r#"{"key":"k"}"#)).await;
    assert!(retry.is_replay());
    assert_eq!(retry.text(), "done");
}

#[tokio::test]
async fn the_instance_that_was_ready_is_called() {
    let (seen, (layer, _)) = (Seen::default(), layer());
    let limited = ServiceBuilder::new()
        .concurrency_limit(1)
        .service(seen.service());
    let service = serve(&layer.key_source(field()), limited);
    for (nth, body) in [
        r#"{"key":"a"}"#,
        "{}",
        r#"{"key":"b"}"#,
        r#"{"key":1}"#,
        "{}",
    ]
    .into_iter()
    .enumerate()
    {
        let answer = send(&service, json(body)).await;
        assert_eq!(answer.status == 400, nth == 3);
    }
    assert_eq!(seen.count(), 4);
}

/// The key is the first line.
#[derive(Clone, Copy)]
struct FirstLine;

impl KeySource for FirstLine {
    fn key(&self, _: &http::request::Parts) -> Result<KeyPlace, InvalidKey> {
        Ok(KeyPlace::Body(Box::new(*self)))
    }
}

impl BodyKey for FirstLine {
    fn key(self: Box<Self>, body: &Frames) -> Result<Option<Key>, InvalidKey> {
        let text = String::from_utf8(body.as_slice().concat()).unwrap();
        text.lines().next().map(Key::new).transpose()
    }
}

#[tokio::test]
async fn a_source_of_ones_own_may_read_the_body() {
    let (seen, (layer, _)) = (Seen::default(), layer());
    let service = serve(&layer.key_source(FirstLine), seen.service());
    let text = |text: &str| {
        Request::post("/")
            .body(any(Full::from(text.to_owned())))
            .unwrap()
    };
    assert_eq!(send(&service, text("k\nhello")).await.text(), "run 1");
    assert!(send(&service, text("k\nhello")).await.is_replay());
    assert_eq!(
        send(&service, text("k\nother")).await.code(),
        "idempotency_conflict"
    );
    assert_eq!(send(&service, text("")).await.text(), "run 2");
}
