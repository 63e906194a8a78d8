//! The settings of the layer mean the same in whatever order they are made.
#![cfg(feature = "memory")]
#![allow(clippy::unwrap_used, reason = "what fails here is a test that fails")]

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use tower::service_fn;
use tower_idempotency::{
    ByStatus, Directive, HeaderKey, IdempotencyLayer, JsonField, JsonFingerprint, KeySpace,
    MemoryStore, Outcome, RecordPolicy, Rejection, Render, Scope, WireContract,
    server::RequestBody,
};

use self::support::{events::Events, send, serve};

mod support;

type Layer = IdempotencyLayer<MemoryStore>;

/// Refuses with the bare code.
struct Terse;

impl Render for Terse {
    fn render(&self, rejection: &Rejection) -> Response<Bytes> {
        let mut response = Response::new(rejection.kind().code().into());
        *response.status_mut() = rejection.status();
        response
    }
}

fn loud(rejection: &Rejection) -> Response<Bytes> {
    Response::new(rejection.kind().title().to_uppercase().into())
}

/// What is set, and how. What sets the same stands under one name: there the last one wins.
type Setting = (&'static str, fn(Layer) -> Layer);

const SETTINGS: [Setting; 16] = [
    ("contract", |layer| layer.contract(WireContract::ietf())),
    ("contract", |layer| layer.contract(WireContract::stripe())),
    ("render", |layer| layer.render(Terse)),
    ("render", |layer| layer.render_fn(loud)),
    ("key", |layer| layer.key_source(named("x-operation"))),
    ("key", |layer| layer.key_source(JsonField::new("key"))),
    ("key", |layer| layer.key_source_fn(|_| Ok(None))),
    ("key space", |layer| layer.key_space(KeySpace::PerRoute)),
    ("key space", |layer| layer.key_space(KeySpace::Shared)),
    ("policy", |layer| layer.record_policy(ByStatus::new())),
    ("policy", |layer| {
        layer.record_policy_fn(|parts| match ByStatus::new().directive(parts) {
            kept if kept.outcome() == Outcome::Record => Directive::seal(),
            other => other,
        })
    }),
    ("fingerprint", |layer| {
        layer.fingerprint(JsonFingerprint::new().only(["/amount"]))
    }),
    ("presence", Layer::require_key),
    ("methods", |layer| layer.methods([Method::PUT])),
    ("scope", |layer| layer.scope_fn(|_| Ok(Scope::global()))),
    ("when", |layer| layer.when(|parts| parts.uri.path() != "/b")),
];

fn named(header: &'static str) -> HeaderKey {
    HeaderKey::new().name(header.parse().unwrap())
}

/// Requests that some settings tell apart: caller, path, key and body.
const REQUESTS: [(&str, &str, &str, &str); 10] = [
    ("ada", "/a", "\"k\"", r#"{"key":"k","amount":1}"#),
    ("ada", "/a", "\"k\"", r#"{"key":"k","amount":1}"#),
    ("ada", "/a", "\"k\"", r#"{"amount": 1.0, "key":"k","x":0}"#),
    ("ada", "/a", "\"k\"", r#"{"key":"k","amount":2}"#),
    ("bob", "/a", "\"k\"", r#"{"key":"k","amount":1}"#),
    ("ada", "/b", "\"k\"", r#"{"key":"k","amount":1}"#),
    ("ada", "/a", "bare", r#"{"key":"bare","amount":1}"#),
    ("ada", "/fails", "\"f\"", r#"{"key":"f"}"#),
    ("ada", "/fails", "\"f\"", r#"{"key":"f"}"#),
    ("ada", "/a", "", "{}"),
];

/// What clients and observers see of the layer.
async fn face(layer: Layer) -> Vec<String> {
    let events = Events::default();
    let runs = Arc::new(AtomicU64::new(0));
    let service = service_fn(move |request: Request<RequestBody<Full<Bytes>>>| {
        let run = runs.fetch_add(1, Ordering::SeqCst);
        let mut response = Response::new(Full::from(format!("run {run}")));
        if request.uri().path() == "/fails" {
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        }
        async { Ok::<_, Infallible>(response) }
    });
    let service = serve(&layer.observer(events.clone()), service);
    let mut seen = Vec::new();
    for (header, method) in [
        ("idempotency-key", Method::POST),
        ("idempotency-key", Method::PUT),
        ("x-operation", Method::POST),
    ] {
        for (caller, path, key, body) in REQUESTS {
            let request = Request::builder()
                .method(&method)
                .uri(path)
                .header("cookie", caller)
                .header("content-type", "application/json")
                .header(if key.is_empty() { "x-none" } else { header }, key)
                .body(Full::from(body));
            let answer = send(&service, request.unwrap()).await;
            seen.push(format!("{} {}", answer.status, answer.text()));
        }
    }
    seen.extend(events.seen());
    seen
}

#[tokio::test]
async fn the_order_of_settings_does_not_matter() {
    let layer = || IdempotencyLayer::new(MemoryStore::new());
    for (at, (name, set)) in SETTINGS.into_iter().enumerate() {
        for (other, set_other) in &SETTINGS[at + 1..] {
            if name == *other {
                continue;
            }
            let here = face(set_other(set(layer()))).await;
            let there = face(set(set_other(layer()))).await;
            assert_eq!(here, there, "{name}, {other}");
        }
    }
}

/// Else the test above would compare nothing.
#[tokio::test]
async fn each_setting_makes_a_difference() {
    let layers = || {
        let layer = IdempotencyLayer::new(MemoryStore::new());
        let stripe = IdempotencyLayer::new(MemoryStore::new()).contract(WireContract::stripe());
        [layer, stripe]
    };
    for (at, (name, set)) in SETTINGS.into_iter().enumerate() {
        let mut differs = false;
        for (plain, layer) in layers().into_iter().zip(layers()) {
            differs |= face(set(layer)).await != face(plain).await;
        }
        assert!(differs, "{name}, number {at}");
    }
}
