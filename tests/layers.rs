//! The layer among those of tower-http, in the order its documentation gives, and in some
//! it does not.
#![cfg(all(feature = "axum", feature = "memory"))]
#![allow(clippy::unwrap_used, reason = "what fails here is a test that fails")]

use std::{future::pending, time::Duration};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Request, State},
    http::{HeaderMap, Method, StatusCode},
    middleware::{Next, from_fn},
    response::Response,
    routing::post as on_post,
};
use futures_util::stream;
use tower::{Layer as _, ServiceBuilder};
use tower_http::{
    catch_panic::CatchPanicLayer,
    compression::CompressionLayer,
    cors::{AllowOrigin, CorsLayer},
    decompression::Decompression,
    limit::RequestBodyLimitLayer,
    map_request_body::MapRequestBodyLayer,
    timeout::TimeoutLayer,
    trace::TraceLayer,
};
use tower_idempotency::{Drained, ExtensionScope, IdempotencyLayer, MemoryStore};

use self::outside::{Gate, Runs, send};

mod outside;

fn layer() -> IdempotencyLayer<MemoryStore> {
    IdempotencyLayer::new(MemoryStore::new())
}

fn post(uri: &str, key: &str, body: &str) -> Request {
    outside::post(uri, key, body)
}

fn with(name: &'static str, value: &str) -> Request {
    let mut request = post("/pay", "k", "1");
    request.headers_mut().insert(name, value.parse().unwrap());
    request
}

/// Whom the token of a request was issued to.
#[derive(Clone)]
struct Tenant(String);

impl AsRef<[u8]> for Tenant {
    fn as_ref(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// Tokens read `tenant.serial`; whoever has none goes on as nobody.
async fn authenticate(mut request: Request, next: Next) -> Response {
    let token = request.headers().get("authorization");
    let token = token.and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    if let Some((tenant, _)) = token.and_then(|token| token.split_once('.')) {
        let tenant = Tenant(tenant.to_owned());
        request.extensions_mut().insert(tenant);
    }
    next.run(request).await
}

async fn count(State(runs): State<Runs>) -> String {
    format!("run {}", runs.add())
}

#[tokio::test]
async fn inside_authentication_the_principal_is_the_scope() {
    let runs = Runs::default();
    let app = Router::new()
        .route("/pay", on_post(count))
        .layer(layer().scope(ExtensionScope::<Tenant>::new()))
        .layer(from_fn(authenticate))
        .with_state(runs.clone());
    let ask = |token| send(&app, with("authorization", token));

    assert_eq!(ask("Bearer ada.1").await.text(), "run 1");
    assert_eq!(ask("Bearer bob.1").await.text(), "run 2");
    let refreshed = ask("Bearer ada.2").await;
    assert_eq!((refreshed.text(), refreshed.is_replay()), ("run 1", true));
    let nobody = send(&app, post("/pay", "k", "1")).await;
    assert_eq!(nobody.status, StatusCode::FORBIDDEN);
    assert_eq!(nobody.code(), "idempotency_scope_missing");
    assert_eq!(runs.count(), 2);
}

/// Never answers the first time.
async fn hangs_once(State(runs): State<Runs>) -> String {
    match runs.add() {
        1 => pending().await,
        run => format!("run {run}"),
    }
}

fn timeout(status: StatusCode) -> TimeoutLayer {
    TimeoutLayer::with_status_code(status, Duration::from_secs(1))
}

#[tokio::test(start_paused = true)]
async fn outside_the_timeout_of_the_handler_a_timeout_frees_the_key() {
    for status in [StatusCode::REQUEST_TIMEOUT, StatusCode::GATEWAY_TIMEOUT] {
        let app = Router::new()
            .route("/pay", on_post(hangs_once))
            .layer(timeout(status))
            .layer(layer())
            .with_state(Runs::default());
        assert_eq!(send(&app, post("/pay", "k", "1")).await.status, status);
        let retry = send(&app, post("/pay", "k", "1")).await;
        assert_eq!((retry.text(), retry.is_replay()), ("run 2", false));
        assert!(send(&app, post("/pay", "k", "1")).await.is_replay());
    }
}

#[tokio::test(start_paused = true)]
async fn inside_a_timeout_the_handler_still_runs_once() {
    let (layer, runs, gate) = (layer(), Runs::default(), Gate::closed());
    let handler = {
        let gate = gate.clone();
        async move |State(runs): State<Runs>| {
            gate.pass().await;
            format!("run {}", runs.add())
        }
    };
    let app = Router::new()
        .route("/pay", on_post(handler))
        .layer(layer.clone())
        .layer(timeout(StatusCode::GATEWAY_TIMEOUT))
        .with_state(runs.clone());

    let cut = send(&app, post("/pay", "k", "1")).await;
    assert_eq!(cut.status, StatusCode::GATEWAY_TIMEOUT);
    let early = send(&app, post("/pay", "k", "1")).await;
    assert_eq!(early.code(), "idempotency_in_flight");
    gate.open();
    assert_eq!(layer.drain(Duration::from_secs(9)).await, Drained::Complete);
    let retry = send(&app, post("/pay", "k", "1")).await;
    assert_eq!((retry.text(), retry.is_replay()), ("run 1", true));
    assert_eq!(runs.count(), 1);
}

const TEXT: &str = "the same sentence, often enough to be worth compressing; ";

async fn long_text(State(runs): State<Runs>) -> String {
    format!("run {}: {}", runs.add(), TEXT.repeat(100))
}

#[tokio::test]
async fn inside_compression_each_client_gets_the_encoding_it_accepts() {
    let app = Router::new()
        .route("/pay", on_post(long_text))
        .layer(layer())
        .layer(CompressionLayer::new())
        .with_state(Runs::default());
    let expected = format!("run 1: {}", TEXT.repeat(100));
    let decoding = Decompression::new(app.clone());
    for (at, encoding) in ["gzip", "br", "zstd", "deflate"].into_iter().enumerate() {
        let raw = send(&app, with("accept-encoding", encoding)).await;
        assert_eq!(raw.headers["content-encoding"], encoding);
        assert_eq!(raw.is_replay(), at > 0);
        let decoded = send(&decoding, with("accept-encoding", encoding)).await;
        assert_eq!(decoded.text(), expected, "{encoding}");
    }
    let plain = send(&app, post("/pay", "k", "1")).await;
    assert!(!plain.headers.contains_key("content-encoding"));
    assert_eq!((plain.text(), plain.is_replay()), (&*expected, true));
}

/// With nothing in between that would box the body.
#[tokio::test]
async fn right_inside_cors_a_preflight_is_answered_with_nothing() {
    let stack = ServiceBuilder::new()
        .layer(CorsLayer::permissive())
        .layer(layer());
    let app = Router::new()
        .route("/pay", on_post(count))
        .layer(stack)
        .with_state(Runs::default());
    let mut preflight = with("origin", "https://a.example");
    *preflight.method_mut() = Method::OPTIONS;
    let answer = send(&app, preflight).await;
    assert_eq!((answer.status, answer.text()), (StatusCode::OK, ""));
    assert!(!send(&app, post("/pay", "k", "1")).await.is_replay());
    assert!(send(&app, post("/pay", "k", "1")).await.is_replay());
}

/// Which takes no body but axum's.
#[tokio::test]
async fn middleware_of_axum_may_stand_right_inside() {
    let stack = ServiceBuilder::new()
        .layer(layer())
        .layer(MapRequestBodyLayer::new(Body::new))
        .layer(from_fn(authenticate));
    let app = Router::new()
        .route("/pay", on_post(count))
        .layer(stack)
        .with_state(Runs::default());
    for replay in [false, true] {
        let answer = send(&app, post("/pay", "k", "1")).await;
        assert_eq!(answer.is_replay(), replay);
    }
}

#[tokio::test]
async fn inside_cors_a_replay_carries_the_headers_of_its_own_request() {
    let cors = CorsLayer::new().allow_origin(AllowOrigin::mirror_request());
    let app = Router::new()
        .route("/pay", on_post(count))
        .layer(layer())
        .layer(cors)
        .with_state(Runs::default());
    for (replay, origin) in [(false, "https://a.example"), (true, "https://b.example")] {
        let answer = send(&app, with("origin", origin)).await;
        let allowed = answer.headers.get_all("access-control-allow-origin");
        assert_eq!(allowed.iter().collect::<Vec<_>>(), [origin]);
        assert_eq!(answer.is_replay(), replay);
    }
}

async fn panics_once(State(runs): State<Runs>) -> String {
    let run = runs.add();
    assert!(run > 1, "the first run panics");
    format!("run {run}")
}

#[tokio::test]
async fn a_panic_frees_the_key_inside_and_outside_catch_panic() {
    let handler = Router::new().route("/pay", on_post(panics_once));
    let inside = handler.clone().layer(layer()).layer(CatchPanicLayer::new());
    let outside = handler.layer(CatchPanicLayer::new()).layer(layer());
    for app in [inside, outside] {
        let app = app.with_state(Runs::default());
        let panicked = send(&app, post("/pay", "k", "1")).await;
        assert_eq!(panicked.status, StatusCode::INTERNAL_SERVER_ERROR);
        let retry = send(&app, post("/pay", "k", "1")).await;
        assert_eq!((retry.text(), retry.is_replay()), ("run 2", false));
        assert!(send(&app, post("/pay", "k", "1")).await.is_replay());
    }
}

async fn length(State(runs): State<Runs>, body: Bytes) -> String {
    format!("run {}: {} bytes", runs.add(), body.len())
}

/// A body whose length nobody knows beforehand.
fn streamed(text: &'static str) -> Request {
    let mut request = post("/pay", "k", "");
    let halves = text.split_at(text.len() / 2);
    let pieces = [halves.0, halves.1].map(Ok::<_, std::io::Error>);
    *request.body_mut() = Body::from_stream(stream::iter(pieces));
    request
}

fn announced(text: &str) -> Request {
    let mut request = post("/pay", "k", text);
    let length = text.len().into();
    request.headers_mut().insert("content-length", length);
    request
}

#[tokio::test]
async fn inside_a_body_limit_nothing_is_claimed_for_a_body_over_it() {
    let (layer, runs) = (layer(), Runs::default());
    let app = Router::new()
        .route("/pay", on_post(length))
        .layer(layer.clone())
        .layer(RequestBodyLimitLayer::new(8))
        .with_state(runs.clone());
    for over in [announced("123456789"), streamed("123456789")] {
        let refused = send(&app, over).await;
        assert_eq!(refused.status, StatusCode::PAYLOAD_TOO_LARGE);
        assert!(layer.store().is_empty());
    }
    assert_eq!(
        send(&app, streamed("12345678")).await.text(),
        "run 1: 8 bytes"
    );
    assert!(send(&app, announced("12345678")).await.is_replay());
    assert_eq!(runs.count(), 1);
}

#[tokio::test]
async fn outside_a_body_limit_its_refusal_is_an_answer_like_any_other() {
    let runs = Runs::default();
    let app = Router::new()
        .route("/pay", on_post(length))
        .layer(RequestBodyLimitLayer::new(8))
        .layer(layer())
        .with_state(runs.clone());
    for replay in [false, true] {
        let refused = send(&app, announced("123456789")).await;
        assert_eq!(refused.status, StatusCode::PAYLOAD_TOO_LARGE);
        assert_eq!(refused.is_replay(), replay);
    }
    assert_eq!(runs.count(), 0);
}

#[tokio::test]
async fn the_whole_stack_in_its_documented_order() {
    let (layer, runs) = (layer(), Runs::default());
    let stack = ServiceBuilder::new()
        .layer(TraceLayer::new_for_http())
        .layer(CatchPanicLayer::new())
        .layer(CorsLayer::permissive())
        .layer(CompressionLayer::new())
        .layer(from_fn(authenticate))
        .layer(RequestBodyLimitLayer::new(1024))
        .layer(layer.scope(ExtensionScope::<Tenant>::new()))
        .layer(timeout(StatusCode::GATEWAY_TIMEOUT));
    let app = Router::new()
        .route("/pay", on_post(long_text))
        .layer(stack)
        .with_state(runs.clone());
    let request = || {
        let mut request = with("authorization", "Bearer ada.1");
        let headers = request.headers_mut();
        headers.insert("accept-encoding", "gzip".parse().unwrap());
        headers.insert("origin", "https://a.example".parse().unwrap());
        request
    };
    let first = send(&app, request()).await;
    let second = send(&app, request()).await;
    assert_eq!((first.is_replay(), second.is_replay()), (false, true));
    assert_eq!(second.body, first.body);
    assert_eq!(framing(&second.headers), framing(&first.headers));
    assert_eq!(runs.count(), 1);
}

fn framing(headers: &HeaderMap) -> Vec<String> {
    let names = [
        "content-type",
        "content-encoding",
        "vary",
        "access-control-allow-origin",
    ];
    let lines = names.into_iter().flat_map(|name| headers.get_all(name));
    lines.map(|value| format!("{value:?}")).collect()
}

/// Traces the layer from inside and outside: bodies of both kinds have to go through.
#[tokio::test]
async fn trace_on_both_sides() {
    let app = Router::new()
        .route("/pay", on_post(count))
        .layer(TraceLayer::new_for_http())
        .layer(layer())
        .with_state(Runs::default());
    let app = TraceLayer::new_for_http().layer(app);
    let first = send(&app, post("/pay", "k", "1")).await;
    let second = send(&app, post("/pay", "k", "1")).await;
    assert_eq!(second.text(), first.text());
    assert!(second.is_replay());
}

#[test]
fn the_service_inside_can_be_reached() {
    let mut service = layer().layer("plain");
    assert_eq!(*service.get_ref(), "plain");
    *service.get_mut() = "other";
    assert_eq!(service.into_inner(), "other");
}
