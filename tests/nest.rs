//! The layer inside of `Router::nest`, which strips the prefix from the path: with the feature
//! `axum` and without it.
#![cfg(feature = "memory")]
#![allow(clippy::unwrap_used, reason = "what fails here is a test that fails")]

use axum::{
    Router,
    extract::{Request, State},
    routing::post as on_post,
};
use tower_idempotency::{IdempotencyLayer, KeySpace, MemoryStore};

use self::outside::{Answer, Runs, send};

mod outside;

type Layer = IdempotencyLayer<MemoryStore>;

fn layer() -> Layer {
    IdempotencyLayer::new(MemoryStore::new())
}

fn post(path: &str) -> Request {
    outside::post(path, "k", "1")
}

/// The route that stands in every nest.
fn pay() -> Router<Runs> {
    let count = |State(runs): State<Runs>| async move { format!("run {}", runs.add()) };
    Router::new().route("/pay", on_post(count))
}

fn nested(a: Layer, b: Layer) -> Router<Runs> {
    let (a, b) = (pay().layer(a), pay().layer(b));
    Router::new().nest("/a", a).nest("/b", b)
}

/// What the second path answers to the key and payload that the first has answered.
async fn second(app: Router<Runs>, paths: [&str; 2]) -> Answer {
    let app = app.with_state(Runs::default());
    let first = send(&app, post(paths[0])).await;
    assert_eq!((first.text(), first.is_replay()), ("run 1", false));
    send(&app, post(paths[1])).await
}

const TWO_NESTS: [&str; 2] = ["/a/pay", "/b/pay"];

#[tokio::test]
async fn only_with_the_feature_axum_are_two_nests_two_operations() {
    let layer = layer();
    let answer = second(nested(layer.clone(), layer), TWO_NESTS).await;
    match cfg!(feature = "axum") {
        true => assert_eq!((answer.text(), answer.is_replay()), ("run 2", false)),
        false => assert_eq!((answer.text(), answer.is_replay()), ("run 1", true)),
    }
}

#[tokio::test]
async fn only_with_the_feature_axum_is_a_shared_key_in_another_nest_a_mismatch() {
    let layer = layer().key_space(KeySpace::Shared);
    let answer = second(nested(layer.clone(), layer), TWO_NESTS).await;
    match cfg!(feature = "axum") {
        true => assert_eq!(answer.code(), "idempotency_conflict"),
        false => assert!(answer.is_replay()),
    }
}

#[tokio::test]
async fn only_with_the_feature_axum_does_a_parameter_of_the_prefix_count() {
    let app = Router::new().nest("/tenants/{id}", pay().layer(layer()));
    let answer = second(app, ["/tenants/1/pay", "/tenants/2/pay"]).await;
    assert_eq!(answer.is_replay(), !cfg!(feature = "axum"));
}

#[tokio::test]
async fn namespaces_keep_nests_apart() {
    let layer = layer();
    let app = nested(layer.clone().namespace("a"), layer.namespace("b"));
    let answer = second(app, TWO_NESTS).await;
    assert_eq!((answer.text(), answer.is_replay()), ("run 2", false));
}

#[tokio::test]
async fn a_layer_outside_of_the_nests_sees_the_whole_path() {
    let app = Router::new().nest("/a", pay()).nest("/b", pay());
    let answer = second(app.layer(layer()), TWO_NESTS).await;
    assert_eq!((answer.text(), answer.is_replay()), ("run 2", false));
}

/// As the service in the nest has them.
#[cfg(feature = "grpc")]
#[tokio::test]
async fn methods_are_listed_without_the_prefix() {
    let charge = "/pay.Payments/Charge";
    let answer = || async { [("grpc-status", "0")] };
    let layer = layer().when(tower_idempotency::grpc::methods([charge]));
    let payments = Router::new().route(charge, on_post(answer)).layer(layer);
    let app: Router = Router::new().nest("/api", payments);
    let call = || {
        let mut call: Request = post("/api/pay.Payments/Charge");
        let media_type = "application/grpc".parse().unwrap();
        call.headers_mut().insert("content-type", media_type);
        call
    };
    assert!(!send(&app, call()).await.is_replay());
    assert!(send(&app, call()).await.is_replay());
}
