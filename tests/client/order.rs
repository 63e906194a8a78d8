//! The order of layers, and the guard for the wrong one.

use http::{HeaderName, Method, Request};
use tower::{Layer as _, ServiceBuilder, ServiceExt as _, retry::RetryLayer};
use tower_idempotency::{
    Key,
    client::{IdempotentRetry, SetIdempotencyKeyLayer, UseKey},
};

use crate::script::{Met, Server, status};

fn post() -> Request<&'static str> {
    Request::post("http://api.example/pay")
        .body("body")
        .unwrap()
}

fn assert_one(keys: &[String], attempts: usize) {
    assert_eq!(keys.len(), attempts);
    assert!(keys.iter().all(|key| *key == keys[0]), "{keys:?}");
}

#[tokio::test(start_paused = true)]
async fn outside_of_the_retry_all_attempts_share_a_key() {
    let server = Server::new([Met::Cut, status(503), Met::Cut]);
    let client = ServiceBuilder::new()
        .layer(SetIdempotencyKeyLayer::new())
        .layer(RetryLayer::new(IdempotentRetry::new()))
        .service(server.service());
    let response = client.oneshot(post()).await.unwrap();
    let keys = server.keys();
    assert_one(&keys, 4);
    let told = response.extensions().get::<Key>().unwrap();
    assert_eq!(told.as_str(), keys[0]);
}

async fn inside(server: &Server, layer: SetIdempotencyKeyLayer, request: Request<&'static str>) {
    let client = ServiceBuilder::new()
        .layer(RetryLayer::new(IdempotentRetry::new()))
        .layer(layer)
        .service(server.service());
    drop(client.oneshot(request).await);
}

#[tokio::test(start_paused = true)]
async fn inside_of_it_an_answer_tells_the_key() {
    for script in [
        [status(503), status(503), status(503)],
        // Once told, it is also known after an error.
        [status(503), Met::Cut, Met::Cut],
    ] {
        let server = Server::new(script);
        inside(&server, SetIdempotencyKeyLayer::new(), post()).await;
        assert_one(&server.keys(), 4);
    }
}

#[tokio::test(start_paused = true)]
async fn inside_of_it_an_error_is_the_end() {
    for method in [Method::POST, Method::PUT, Method::PATCH] {
        let server = Server::new([Met::Cut]);
        let mut request = post();
        *request.method_mut() = method;
        inside(&server, SetIdempotencyKeyLayer::new(), request).await;
        assert_one(&server.keys(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn inside_of_it_in_another_header() {
    let server = Server::new([status(503), Met::Cut]);
    let header = HeaderName::from_static("x-request-key");
    inside(
        &server,
        SetIdempotencyKeyLayer::new().header(header),
        post(),
    )
    .await;
    let sent = server.sent();
    assert_eq!(sent.len(), 3);
    for headers in &sent {
        assert_eq!(headers["x-request-key"], sent[0]["x-request-key"]);
        assert!(!headers.contains_key("idempotency-key"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_chosen_key_is_the_same_in_any_order() {
    let server = Server::new([status(503), Met::Cut]);
    let mut request = post();
    request.extensions_mut().insert(UseKey::new("order-42"));
    inside(&server, SetIdempotencyKeyLayer::new(), request).await;
    assert_eq!(server.keys(), ["order-42"; 3]);
}

#[test]
fn the_service_inside_can_be_reached() {
    let mut client = SetIdempotencyKeyLayer::new().layer("plain");
    assert_eq!(*client.get_ref(), "plain");
    *client.get_mut() = "other";
    assert_eq!(client.into_inner(), "other");
}
