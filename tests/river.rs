//! One request from end to end: replay, mismatch, in flight, and the order of decisions.
#![cfg(feature = "memory")]
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod support;

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response};
use http_body_util::{BodyExt as _, Full};
use support::{events::Events, layer, post, post_to, send, serve};
use tokio::sync::Notify;
use tower::service_fn;
use tower_idempotency::{
    Directive, Idempotency, IdempotencyLayer, InFlight, KeySpace, MemoryStore, MissingScope,
    Record, RecordKey, Scope, Store, WireContract,
    server::RequestBody,
    store::{Claim, Claimed, Completion, Fence, Lease, StoreError},
};

/// A service that counts how often it runs and answers 201 with the count and the body.
fn counting() -> (
    Arc<AtomicUsize>,
    impl tower::Service<
        Request<RequestBody<Full<Bytes>>>,
        Response = Response<Full<Bytes>>,
        Error = Infallible,
        Future: Send,
    > + Clone
    + Send,
) {
    let count = Arc::new(AtomicUsize::new(0));
    let service = {
        let count = count.clone();
        service_fn(move |request: Request<RequestBody<Full<Bytes>>>| {
            let run = count.fetch_add(1, Ordering::SeqCst) + 1;
            async move {
                let body = request.into_body().collect().await.unwrap().to_bytes();
                let text = format!("run {run}: {}", String::from_utf8_lossy(&body));
                let response = Response::builder()
                    .status(201)
                    .header("x-run", run.to_string());
                Ok::<_, Infallible>(response.body(Full::from(text)).unwrap())
            }
        })
    };
    (count, service)
}

#[tokio::test]
async fn a_retry_gets_the_first_answer() {
    let (layer, store) = layer();
    let (count, service) = counting();
    let service = serve(&layer, service);
    let first = send(&service, post("k1", "hello")).await;
    let second = send(&service, post("\"k1\"", "hello")).await;
    assert_eq!(
        (first.status.as_u16(), first.text().as_str()),
        (201, "run 1: hello")
    );
    assert!(!first.is_replay() && second.is_replay());
    let mut marked = first.clone();
    let marker = HeaderValue::from_static("true");
    marked.headers.insert("idempotent-replayed", marker);
    assert_eq!(second, marked);
    assert_eq!(count.load(Ordering::SeqCst), 1);
    assert_eq!(store.len(), 1);
}

#[tokio::test]
async fn another_payload_under_the_key_is_a_conflict() {
    let (layer, _) = layer();
    let (count, service) = counting();
    let service = serve(&layer, service);
    send(&service, post("k1", "hello")).await;
    let conflict = send(&service, post("k1", "other")).await;
    assert_eq!(conflict.status, 409);
    assert_eq!(conflict.code(), "idempotency_conflict");
    assert_eq!(
        conflict.header("content-type"),
        Some("application/problem+json")
    );
    assert_eq!(conflict.header("x-should-retry"), Some("false"));
    assert_eq!(conflict.header("stripe-should-retry"), Some("false"));
    assert_eq!(conflict.header("cache-control"), Some("no-store"));
    assert!(!conflict.is_replay());
    assert_eq!(count.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn a_duplicate_in_flight_is_told_when_to_come_back() {
    let (layer, _) = layer();
    let gate = Arc::new(Notify::new());
    let service = {
        let gate = gate.clone();
        service_fn(move |_: Request<RequestBody<Full<Bytes>>>| {
            let gate = gate.clone();
            async move {
                gate.notified().await;
                Ok::<_, Infallible>(Response::new(Full::from("done")))
            }
        })
    };
    let service = serve(&layer, service);
    let first = tokio::spawn({
        let service = service.clone();
        async move { send(&service, post("k1", "hello")).await }
    });
    support::settle().await;
    tokio::time::advance(Duration::from_millis(3_500)).await;
    let second = send(&service, post("k1", "hello")).await;
    assert_eq!(second.code(), "idempotency_in_flight");
    // As long again as it has run already.
    assert_eq!(second.header("retry-after"), Some("3"));
    // A mismatch comes before in flight.
    let other = send(&service, post("k1", "other")).await;
    assert_eq!(other.code(), "idempotency_conflict");
    gate.notify_one();
    assert_eq!(first.await.unwrap().text(), "done");
    assert!(send(&service, post("k1", "hello")).await.is_replay());
}

#[tokio::test]
async fn what_is_not_enabled_passes_through_untouched() {
    let (layer, store) = layer();
    let (count, service) = counting();
    let service = serve(&layer.when(|parts| parts.uri.path() != "/open"), service);
    for method in [
        Method::GET,
        Method::HEAD,
        Method::OPTIONS,
        Method::TRACE,
        Method::PUT,
        Method::DELETE,
    ] {
        for _ in 0..2 {
            let mut request = post("k1", "hello");
            *request.method_mut() = method.clone();
            let answer = send(&service, request).await;
            assert!(!answer.is_replay());
        }
    }
    for _ in 0..2 {
        send(&service, post_to("/open", "k1", "hello")).await;
        let mut unkeyed = post("k1", "hello");
        unkeyed.headers_mut().clear();
        send(&service, unkeyed).await;
    }
    assert_eq!(count.load(Ordering::SeqCst), 16);
    assert_eq!(store.len(), 0);
}

#[tokio::test]
async fn enabled_methods_and_never_the_safe_ones() {
    let (layer, _) = layer();
    let (count, service) = counting();
    let methods = [Method::PUT, Method::GET, Method::CONNECT];
    let service = serve(&layer.methods(methods), service);
    for (method, runs) in [
        (Method::PUT, 1),
        (Method::GET, 2),
        (Method::CONNECT, 2),
        (Method::POST, 2),
    ] {
        let before = count.load(Ordering::SeqCst);
        for _ in 0..2 {
            let mut request = post("k1", "hello");
            *request.method_mut() = method.clone();
            send(&service, request).await;
        }
        assert_eq!(count.load(Ordering::SeqCst) - before, runs, "{method}");
    }
}

#[tokio::test]
async fn decisions_come_in_order() {
    let oversized = "x".repeat(100);
    let build = |layer: IdempotencyLayer<MemoryStore>| {
        layer
            .require_key()
            .max_request_body(10)
            .when(|parts| parts.uri.path() != "/open")
            .scope_fn(|parts| match parts.headers.get("x-tenant") {
                Some(tenant) => Ok(Scope::new(tenant)),
                None => Err(MissingScope::new()),
            })
    };
    let (layer, store) = layer();
    let (count, service) = counting();
    let service = serve(&build(layer), service);
    let request = |path: &str, key: Option<&str>, tenant: Option<&str>, body: &str| {
        let mut headers = HeaderMap::new();
        for (name, value) in [("idempotency-key", key), ("x-tenant", tenant)] {
            if let Some(value) = value {
                headers.insert(HeaderName::from_static(name), value.parse().unwrap());
            }
        }
        let mut request = post_to(path, "k", body);
        *request.headers_mut() = headers;
        request
    };
    // Each has every fault that a later decision would find.
    let cases = [
        (request("/open", Some(""), None, &oversized), 201, ""),
        (
            request("/", None, None, &oversized),
            400,
            "idempotency_key_required",
        ),
        (
            request("/", Some(""), None, &oversized),
            400,
            "idempotency_key_invalid",
        ),
        (
            request("/", Some("k"), None, &oversized),
            403,
            "idempotency_scope_missing",
        ),
        (
            request("/", Some("k"), Some("a"), &oversized),
            413,
            "idempotency_payload_too_large",
        ),
        (request("/", Some("k"), Some("a"), "small"), 201, ""),
        (request("/", Some("k"), Some("b"), "other"), 201, ""),
        (
            request("/", Some("k"), Some("a"), "other"),
            409,
            "idempotency_conflict",
        ),
    ];
    for (request, status, code) in cases {
        let answer = send(&service, request).await;
        assert_eq!(answer.status.as_u16(), status, "{code}");
        if !code.is_empty() {
            assert_eq!(answer.code(), code);
        }
    }
    assert_eq!(count.load(Ordering::SeqCst), 3);
    assert_eq!(store.len(), 2, "what is refused claims nothing");
}

#[tokio::test]
async fn keys_are_apart_per_caller_route_and_namespace() {
    let (layer, _) = layer();
    let (count, service) = counting();
    let here = serve(&layer, service.clone());
    let there = serve(&layer.clone().namespace("other"), service);
    let with = |header: &'static str| {
        let mut request = post("k", "same");
        request
            .headers_mut()
            .insert(header, HeaderValue::from_static("alice"));
        request
    };
    send(&here, post("k", "same")).await;
    send(&here, post_to("/b", "k", "same")).await;
    send(&here, with("authorization")).await;
    send(&here, with("cookie")).await;
    send(&here, with("x-api-key")).await;
    send(&there, post("k", "same")).await;
    assert_eq!(count.load(Ordering::SeqCst), 6);
    assert!(send(&here, with("cookie")).await.is_replay());
}

#[tokio::test]
async fn a_shared_key_space_makes_another_route_a_mismatch() {
    let (layer, _) = layer();
    let (_, service) = counting();
    let service = serve(&layer.key_space(KeySpace::Shared), service);
    send(&service, post_to("/a", "k", "same")).await;
    let other = send(&service, post_to("/b", "k", "same")).await;
    assert_eq!(other.code(), "idempotency_conflict");
    assert!(send(&service, post_to("/a", "k", "same")).await.is_replay());
}

#[tokio::test]
async fn presets_of_the_wire_contract() {
    let run = |contract: WireContract, key: &'static str, body: &'static str| async move {
        let (layer, _) = layer();
        let (_, service) = counting();
        let service = serve(&layer.contract(contract), service);
        send(&service, post(key, "hello")).await;
        send(&service, post(key, body)).await
    };
    let bare = run(WireContract::ietf(), "k", "hello").await;
    assert_eq!(
        (bare.status.as_u16(), bare.code().as_str()),
        (400, "idempotency_key_invalid")
    );
    assert!(
        run(WireContract::ietf(), "\"k\"", "hello")
            .await
            .is_replay()
    );
    assert_eq!(
        run(WireContract::ietf(), "\"k\"", "other").await.status,
        422
    );
    let stripe = run(WireContract::stripe(), "k", "other").await;
    assert_eq!(stripe.status, 400);
    assert!(stripe.text().contains("\"type\":\"idempotency_error\""));
}

/// Answers with the status, headers and directive the request names.
fn obedient() -> (
    Arc<AtomicUsize>,
    impl tower::Service<
        Request<RequestBody<Full<Bytes>>>,
        Response = Response<Full<Bytes>>,
        Error = Infallible,
        Future: Send,
    > + Clone
    + Send,
) {
    let count = Arc::new(AtomicUsize::new(0));
    let counter = count.clone();
    let service = service_fn(move |request: Request<RequestBody<Full<Bytes>>>| {
        counter.fetch_add(1, Ordering::SeqCst);
        let mut response = Response::new(Full::from("answer"));
        let asked = |name: &str| {
            request
                .headers()
                .get(name)
                .map(|value| value.to_str().unwrap())
        };
        if let Some(status) = asked("x-status") {
            *response.status_mut() = status.parse().unwrap();
        }
        let directive = match asked("x-directive") {
            Some("record") => Some(Directive::record()),
            Some("release") => Some(Directive::release()),
            Some("seal") => Some(Directive::seal()),
            Some("brief") => Some(Directive::record().retention(Duration::from_secs(10))),
            _ => None,
        };
        if let Some(directive) = directive {
            response.extensions_mut().insert(directive);
        }
        if let Some(marker) = request.headers().get("x-marker") {
            for name in ["idempotent-replayed", "idempotency-status"] {
                response.headers_mut().insert(name, marker.clone());
            }
        }
        async { Ok::<_, Infallible>(response) }
    });
    (count, service)
}

fn asking(key: &str, name: &'static str, value: &'static str) -> Request<Full<Bytes>> {
    let mut request = post(key, "hello");
    request
        .headers_mut()
        .insert(name, HeaderValue::from_static(value));
    request
}

#[tokio::test]
async fn what_is_recorded_and_what_is_released() {
    let events = Events::default();
    let (layer, store) = layer();
    let (count, service) = obedient();
    let service = serve(&layer.observer(events.clone()), service);
    for (status, runs) in [
        ("200", 1),
        ("302", 1),
        ("422", 1),
        ("401", 2),
        ("429", 2),
        ("500", 2),
        ("503", 2),
    ] {
        let before = count.load(Ordering::SeqCst);
        for _ in 0..2 {
            let answer = send(&service, asking(status, "x-status", status)).await;
            assert_eq!(answer.status.as_str(), status);
            assert_eq!(answer.text(), "answer");
        }
        assert_eq!(count.load(Ordering::SeqCst) - before, runs, "{status}");
    }
    assert_eq!(store.len(), 3);
    assert_eq!(events.count("released:directive"), 8);
}

#[tokio::test(start_paused = true)]
async fn the_handlers_directive_wins() {
    let (layer, _) = layer();
    let (count, service) = obedient();
    let service = serve(&layer, service);
    let again = |directive: &'static str, status: &'static str| {
        let mut request = asking(directive, "x-directive", directive);
        request
            .headers_mut()
            .insert("x-status", HeaderValue::from_static(status));
        request
    };
    send(&service, again("record", "500")).await;
    assert!(send(&service, again("record", "500")).await.is_replay());
    send(&service, again("release", "200")).await;
    assert!(!send(&service, again("release", "200")).await.is_replay());
    assert_eq!(send(&service, again("seal", "200")).await.text(), "answer");
    let sealed = send(&service, again("seal", "200")).await;
    assert_eq!(sealed.code(), "idempotency_result_unavailable");
    assert_eq!(sealed.header("x-should-retry"), Some("false"));
    assert_eq!(count.load(Ordering::SeqCst), 4);

    send(&service, again("brief", "200")).await;
    tokio::time::advance(Duration::from_millis(9_900)).await;
    assert!(send(&service, again("brief", "200")).await.is_replay());
    tokio::time::advance(Duration::from_millis(200)).await;
    assert!(!send(&service, again("brief", "200")).await.is_replay());
}

#[tokio::test]
async fn the_markers_are_ours() {
    let (layer, _) = layer();
    let (_, service) = obedient();
    let service = serve(&layer, service);
    let request = || asking("k", "x-marker", "false");
    let first = send(&service, request()).await;
    assert_eq!(first.header("idempotent-replayed"), None);
    assert_eq!(first.header("idempotency-status"), None);
    let second = send(&service, request()).await;
    assert_eq!(second.header("idempotency-status"), None);
    let markers: Vec<_> = second
        .headers
        .get_all("idempotent-replayed")
        .iter()
        .collect();
    assert_eq!(markers, ["true"]);
}

#[tokio::test]
async fn no_store_in_the_answer_does_not_switch_protection_off() {
    let (layer, _) = layer();
    let service = service_fn(|_: Request<RequestBody<Full<Bytes>>>| async {
        let response = Response::builder().header("cache-control", "no-store");
        Ok::<_, Infallible>(response.body(Full::<Bytes>::from("answer")).unwrap())
    });
    let service = serve(&layer, service);
    send(&service, post("k", "hello")).await;
    let replay = send(&service, post("k", "hello")).await;
    assert!(replay.is_replay());
    assert_eq!(replay.header("cache-control"), Some("no-store"));
}

#[tokio::test]
async fn the_handler_knows_its_operation() {
    let (layer, _) = layer();
    let service = service_fn(|request: Request<RequestBody<Full<Bytes>>>| async move {
        let operation = request.extensions().get::<Idempotency>().unwrap();
        assert_eq!(operation.key().as_str(), "k1");
        assert_eq!(operation.attempt(), 1);
        assert!(operation.fence().get() > 0);
        assert!(!operation.is_lease_lost());
        assert!(!format!("{operation:?}").contains("k1"));
        let child = operation.child_key("charge").as_str().to_owned();
        let response = Response::builder()
            .status(500)
            .body(Full::<Bytes>::from(child));
        Ok::<_, Infallible>(response.unwrap())
    });
    let service = serve(&layer, service);
    let first = send(&service, post("k1", "hello")).await.text();
    let second = send(&service, post("k1", "hello")).await.text();
    assert_eq!(
        first, second,
        "released and run again: still the same operation"
    );
}

#[tokio::test]
async fn durations_without_end_do_not_overflow() {
    let (layer, _) = layer();
    let layer = layer
        .lease(Duration::MAX)
        .retention(Duration::MAX)
        .body_deadline(Duration::MAX)
        .store_deadline(Duration::MAX)
        .in_flight(InFlight::Wait(Duration::MAX));
    let (_, service) = counting();
    let service = serve(&layer, service);
    send(&service, post("k", "hello")).await;
    assert!(send(&service, post("k", "hello")).await.is_replay());
    layer.drain(Duration::MAX).await;
}

/// Nor does what a store says of a lease elsewhere.
#[tokio::test(start_paused = true)]
async fn a_lease_without_end_does_not_overflow() {
    struct HeldForEver;
    impl Store for HeldForEver {
        async fn claim(&self, _: &Claim<'_>) -> Result<Claimed, StoreError> {
            Ok(Claimed::in_flight(Fence::new(1), Duration::MAX))
        }

        async fn complete(
            &self,
            _: &Lease,
            _: &Record,
            _: Duration,
        ) -> Result<Completion, StoreError> {
            unreachable!("nothing runs")
        }

        async fn release(&self, _: &Lease) -> Result<Completion, StoreError> {
            unreachable!("nothing runs")
        }

        async fn renew(&self, _: &Lease) -> Result<Completion, StoreError> {
            unreachable!("nothing runs")
        }

        async fn settled(&self, _: &RecordKey, _: Fence, _: Duration) -> Result<(), StoreError> {
            std::future::pending().await
        }
    }
    for in_flight in [InFlight::Reject, InFlight::Wait(Duration::from_secs(5))] {
        let layer = IdempotencyLayer::new(HeldForEver).in_flight(in_flight);
        let (_, service) = counting();
        let refused = send(&serve(&layer, service), post("k", "hello")).await;
        assert_eq!(refused.code(), "idempotency_in_flight");
    }
}

#[tokio::test]
async fn a_full_store_refuses_new_keys_and_keeps_the_old() {
    let store = MemoryStore::new().max_entries(1);
    let (count, service) = counting();
    let service = serve(&IdempotencyLayer::new(store), service);
    send(&service, post("old", "hello")).await;
    let refused = send(&service, post("new", "hello")).await;
    assert_eq!(refused.status, 503);
    assert_eq!(refused.code(), "idempotency_store_unavailable");
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert!(send(&service, post("old", "hello")).await.is_replay());
    assert_eq!(count.load(Ordering::SeqCst), 1);
}
