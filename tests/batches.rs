//! The example `batches`: an API whose clients put the key into the body.
#![cfg(feature = "memory")]
#![allow(clippy::unwrap_used, reason = "a test may fail")]

#[path = "../examples/batches/batch.rs"]
mod batch;

use axum::{
    Router,
    body::Body,
    http::{HeaderMap, Request},
};
use futures_util::future::join_all;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;

struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Value,
}

impl Answer {
    fn is_conflict(&self) -> bool {
        let says_so = self.body.to_string().to_lowercase().contains("conflict");
        let final_word = self.headers.get("x-should-retry");
        self.status == 409 && says_so && final_word.is_some_and(|value| value == "false")
    }
}

async fn ask(app: &Router, request: Request<Body>) -> Answer {
    let response = app.clone().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Answer {
        status: parts.status.as_u16(),
        headers: parts.headers,
        body: serde_json::from_slice(&body).unwrap_or_default(),
    }
}

async fn create(app: &Router, body: impl ToString) -> Answer {
    let request = Request::post("/v1/batches").header("content-type", "application/json");
    ask(app, request.body(Body::from(body.to_string())).unwrap()).await
}

async fn started(app: &Router) -> usize {
    let list = ask(
        app,
        Request::get("/v1/batches").body(Body::empty()).unwrap(),
    )
    .await;
    list.body["data"].as_array().unwrap().len()
}

fn asked(key: &str) -> Value {
    json!({
        "idempotency_key": key,
        "input_file_id": "file-1",
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
        "metadata": { "job": "nightly", "team": "a" },
    })
}

fn with(mut asked: Value, member: &str, value: Value) -> Value {
    asked[member] = value;
    asked
}

#[tokio::test]
async fn the_same_parameters_give_the_first_batch() {
    let (app, _) = batch::app();
    let first = create(&app, asked("k")).await;
    let other_order = r#"{
        "metadata": {"team": "a", "job": "nightly"},
        "completion_window": "24h", "endpoint": "/v1/chat/completions",
        "input_file_id": "file-1", "idempotency_key": "k"
    }"#;
    for again in [asked("k").to_string().as_str(), other_order] {
        let again = create(&app, again).await;
        assert_eq!((again.status, &again.body["id"]), (200, &first.body["id"]));
        assert_eq!(again.headers["idempotent-replayed"], "true");
    }
    assert_eq!(started(&app).await, 1);
}

#[tokio::test]
async fn other_parameters_are_a_conflict() {
    let (app, _) = batch::app();
    create(&app, asked("k")).await;
    let metadata = json!({ "job": "nightly", "team": "b" });
    for other in [
        with(asked("k"), "input_file_id", json!("file-2")),
        with(asked("k"), "metadata", metadata),
        with(asked("k"), "metadata", Value::Null),
    ] {
        assert!(create(&app, &other).await.is_conflict(), "{other}");
    }
    assert_eq!(started(&app).await, 1);
}

#[tokio::test]
async fn null_is_not_empty_metadata() {
    let (app, _) = batch::app();
    create(&app, with(asked("k"), "metadata", Value::Null)).await;
    let empty = create(&app, with(asked("k"), "metadata", json!({}))).await;
    assert!(empty.is_conflict());
}

#[tokio::test]
async fn equal_creates_at_once_start_one_batch() {
    let (app, _) = batch::app();
    let answers = join_all((0..8).map(|_| create(&app, asked("k")))).await;
    for answer in answers {
        assert_eq!(
            (answer.status, &answer.body["id"]),
            (200, &json!("batch_1"))
        );
    }
    assert_eq!(started(&app).await, 1);
}

#[tokio::test]
async fn of_two_different_creates_at_once_one_is_a_conflict() {
    let (app, _) = batch::app();
    let other = with(asked("k"), "input_file_id", json!("file-2"));
    let (a, b) = tokio::join!(create(&app, asked("k")), create(&app, other));
    assert_eq!(u8::from(a.is_conflict()) + u8::from(b.is_conflict()), 1);
    assert_eq!(u8::from(a.status == 200) + u8::from(b.status == 200), 1);
    assert_eq!(started(&app).await, 1);
}

#[tokio::test]
async fn a_batch_that_is_refused_leaves_its_key_free() {
    let (app, _) = batch::app();
    let wrong = with(asked("k"), "completion_window", json!("1h"));
    assert_eq!(create(&app, wrong).await.status, 400);
    let incomplete = json!({ "idempotency_key": "k" });
    assert_eq!(create(&app, incomplete).await.status, 422);
    let corrected = create(&app, asked("k")).await;
    assert_eq!(corrected.status, 200);
    assert!(!corrected.headers.contains_key("idempotent-replayed"));
    assert_eq!(started(&app).await, 1);
}

#[tokio::test]
async fn without_a_key_each_is_a_batch() {
    let (app, _) = batch::app();
    for key in [Value::Null, Value::Null] {
        let unkeyed = with(asked(""), "idempotency_key", key);
        assert_eq!(create(&app, unkeyed).await.status, 200);
    }
    assert_eq!(started(&app).await, 2);
    let wrong = with(asked(""), "idempotency_key", json!(1));
    assert_eq!(create(&app, wrong).await.status, 400);
    assert_eq!(create(&app, asked("")).await.status, 400);
}
