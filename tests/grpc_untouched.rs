//! gRPC calls that nobody opted in, with and without the feature `grpc`.
#![cfg(feature = "memory")]
#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use tower::service_fn;
use tower_idempotency::{IdempotencyLayer, MemoryStore};

mod support;

/// How often the same call runs of two times that it is sent.
async fn runs(layer: IdempotencyLayer<MemoryStore>) -> usize {
    let runs = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&runs);
    let service = service_fn(move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
        let answer = Response::builder().header("grpc-status", "0");
        let answer = answer.body(Full::<Bytes>::default()).unwrap();
        async { Ok::<_, Infallible>(answer) }
    });
    let service = support::serve(&layer, service);
    for _ in 0..2 {
        let call = Request::post("/payments.v1.Payments/Charge")
            .header("content-type", "application/grpc")
            .header("idempotency-key", "k")
            .body(Full::<Bytes>::default())
            .unwrap();
        let answer = support::send(&service, call).await;
        assert_eq!(answer.header("grpc-status"), Some("0"));
    }
    runs.load(Ordering::SeqCst)
}

#[tokio::test]
async fn without_a_when_they_pass() {
    let layer = IdempotencyLayer::new(MemoryStore::new());
    assert_eq!(runs(layer.require_key()).await, 2);
}

#[cfg(not(feature = "grpc"))]
#[tokio::test]
async fn without_the_feature_they_pass_whatever_when_says() {
    let layer = IdempotencyLayer::new(MemoryStore::new());
    assert_eq!(runs(layer.when(|_| true)).await, 2);
}

#[cfg(feature = "grpc")]
#[tokio::test]
async fn with_the_feature_when_decides() {
    let layer = IdempotencyLayer::new(MemoryStore::new());
    assert_eq!(runs(layer.clone().when(|_| false)).await, 2);
    assert_eq!(runs(layer.when(|_| true)).await, 1);
}
