//! The layer among axum's routers and extractors.
#![cfg(all(feature = "axum", feature = "memory"))]
#![allow(clippy::unwrap_used, reason = "what fails here is a test that fails")]

use std::convert::Infallible;

use axum::{
    Json, Router,
    body::Body,
    extract::{Path, Query, Request, State},
    http::{HeaderMap, Method, StatusCode},
    response::{
        Sse,
        sse::{Event, KeepAlive},
    },
    routing::{any, post as on_post},
};
use futures_util::{Stream, StreamExt as _, stream};
use tower::Service;
use tower_idempotency::{Idempotency, IdempotencyLayer, MemoryStore};

use self::outside::{Connection, Runs, Server, raw_post, send};

mod outside;

fn layer() -> IdempotencyLayer<MemoryStore> {
    IdempotencyLayer::new(MemoryStore::new())
}

fn post(uri: &str, key: &str, body: &str) -> Request {
    outside::post(uri, key, body)
}

async fn count(State(runs): State<Runs>) -> String {
    format!("run {}", runs.add())
}

async fn runs_once(app: Router) {
    let first = send(&app, post("/pay", "k", "1")).await;
    let second = send(&app, post("/pay", "k", "1")).await;
    assert_eq!((first.text(), first.is_replay()), ("run 1", false));
    assert_eq!((second.text(), second.is_replay()), ("run 1", true));
}

#[tokio::test]
async fn on_a_router() {
    let app = Router::new().route("/pay", on_post(count)).layer(layer());
    runs_once(app.with_state(Runs::default())).await;
}

#[tokio::test]
async fn on_a_method_router() {
    let app = Router::new().route("/pay", on_post(count).layer(layer()));
    runs_once(app.with_state(Runs::default())).await;
}

#[tokio::test]
async fn on_the_routes_of_a_router() {
    let app = Router::new()
        .route("/pay", on_post(count))
        .route_layer(layer());
    let app = app.with_state(Runs::default());
    runs_once(app.clone()).await;
    let missing = send(&app, post("/missing", "k", "1")).await;
    assert_eq!(missing.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn the_error_of_a_route_stays_infallible() {
    fn cannot_fail<S: Service<Request, Error = Infallible>>(_: &S) {}
    let app = Router::new().route("/pay", on_post(count)).layer(layer());
    cannot_fail(&app.with_state::<()>(Runs::default()));
}

#[tokio::test]
async fn get_head_and_options_pass_through_with_a_key() {
    let (layer, runs) = (layer(), Runs::default());
    let app = Router::new().route("/pay", any(count)).layer(layer.clone());
    let app = app.with_state(runs.clone());
    for method in [Method::GET, Method::HEAD, Method::OPTIONS] {
        for _ in 0..2 {
            let mut request = post("/pay", "k", "1");
            *request.method_mut() = method.clone();
            assert!(!send(&app, request).await.is_replay(), "{method}");
        }
    }
    assert_eq!(runs.count(), 6);
    assert!(layer.store().is_empty(), "nothing was claimed");
}

async fn required(operation: Idempotency) -> String {
    format!("{} {}", operation.key().as_str(), operation.attempt())
}

async fn optional(operation: Option<Idempotency>) -> String {
    operation.map_or("none".to_owned(), |operation| {
        operation.key().as_str().to_owned()
    })
}

fn keyless(uri: &str) -> Request {
    Request::post(uri).body(Body::empty()).unwrap()
}

#[tokio::test]
async fn a_handler_that_needs_the_operation_gets_it_or_answers_500() {
    let bare = Router::new().route("/pay", on_post(required));
    let app = bare.clone().layer(layer());
    assert_eq!(send(&app, post("/pay", "k", "1")).await.text(), "k 1");
    let no_key = send(&app, keyless("/pay")).await;
    assert_eq!(no_key.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert!(no_key.text().contains("no idempotency key"));
    let no_layer = send(&bare, post("/pay", "k", "1")).await;
    assert_eq!(no_layer.status, StatusCode::INTERNAL_SERVER_ERROR);
}

#[tokio::test]
async fn a_handler_may_do_without_the_operation() {
    let bare = Router::new().route("/pay", on_post(optional));
    let app = bare.clone().layer(layer());
    assert_eq!(send(&app, post("/pay", "k", "1")).await.text(), "k");
    assert_eq!(send(&app, keyless("/pay")).await.text(), "none");
    assert_eq!(send(&bare, post("/pay", "k", "1")).await.text(), "none");
}

#[tokio::test]
async fn a_nest_and_a_flat_route_of_the_same_path_are_one_operation() {
    let layer = layer();
    let pay = Router::new().route("/pay", on_post(count));
    let nested = Router::new().nest("/a", pay.layer(layer.clone()));
    let nested = nested.with_state(Runs::default());
    let flat = Router::new().route("/a/pay", on_post(count)).layer(layer);
    let flat = flat.with_state(Runs::default());
    assert!(!send(&nested, post("/a/pay", "k", "1")).await.is_replay());
    assert!(send(&flat, post("/a/pay", "k", "1")).await.is_replay());
}

/// Three events, none of them there at once.
async fn events(State(runs): State<Runs>) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let run = runs.add();
    let events = stream::iter(0..3).then(move |event| async move {
        tokio::task::yield_now().await;
        Ok(Event::default().data(format!("run {run}, event {event}")))
    });
    Sse::new(events).keep_alive(KeepAlive::default())
}

#[tokio::test]
async fn server_sent_events_are_replayed_byte_for_byte() {
    let app = Router::new().route("/ask", on_post(events)).layer(layer());
    let app = app.with_state(Runs::default());
    let first = send(&app, post("/ask", "k", "1")).await;
    let second = send(&app, post("/ask", "k", "1")).await;
    assert_eq!(
        first.text(),
        "data: run 1, event 0\n\ndata: run 1, event 1\n\ndata: run 1, event 2\n\n"
    );
    assert_eq!(second.body, first.body);
    assert_eq!(second.headers["content-type"], "text/event-stream");
    assert_eq!((first.is_replay(), second.is_replay()), (false, true));
}

/// As a gateway does that copies the fields of what it asked.
async fn forward() -> ([(&'static str, &'static str); 1], Body) {
    let chunks = stream::iter(["an", "swer"]).map(Ok::<_, Infallible>);
    (
        [("transfer-encoding", "chunked")],
        Body::from_stream(chunks),
    )
}

#[tokio::test]
async fn an_answer_that_was_chunked_where_it_came_from_arrives() {
    let bare = Router::new().route("/pay", on_post(forward));
    for app in [bare.clone(), bare.layer(layer())] {
        let server = Server::http1(app).await;
        for _ in 0..2 {
            let mut client = Connection::open(server.address).await;
            let answer = client.ask(&raw_post("k", "1")).await;
            assert_eq!((answer.status, answer.text()), (200, "answer"));
        }
    }
}

async fn every_extractor(
    State(runs): State<Runs>,
    Path(user): Path<String>,
    Query(query): Query<Vec<(String, String)>>,
    headers: HeaderMap,
    Json(body): Json<serde_json::Value>,
) -> (StatusCode, Json<serde_json::Value>) {
    let seen = serde_json::json!({
        "run": runs.add(),
        "user": user,
        "query": query,
        "agent": headers["user-agent"].to_str().unwrap_or_default(),
        "body": body,
    });
    (StatusCode::CREATED, Json(seen))
}

#[tokio::test]
async fn other_extractors_see_what_they_would_see_without_the_layer() {
    let route = Router::new().route("/users/{user}/pay", on_post(every_extractor));
    let bare = route.clone().with_state(Runs::default());
    let layered = route.layer(layer()).with_state(Runs::default());
    let request = || {
        let mut request = post("/users/ada/pay?a=1&a=2", "k", r#"{"amount":3}"#);
        let headers = request.headers_mut();
        headers.insert("content-type", "application/json".parse().unwrap());
        headers.insert("user-agent", "test".parse().unwrap());
        request
    };
    let expected = send(&bare, request()).await;
    assert_eq!(expected.status, StatusCode::CREATED);
    for _ in 0..2 {
        let answer = send(&layered, request()).await;
        assert_eq!(answer.status, expected.status);
        assert_eq!(answer.text(), expected.text());
        assert_eq!(answer.headers["content-type"], "application/json");
    }
}
