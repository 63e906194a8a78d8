//! `poll_ready` and `call`: only the instance that was ready is called, and an answer of
//! the layer's own gives back what readiness had taken.
#![cfg(feature = "memory")]
#![allow(clippy::unwrap_used, reason = "what fails here is a test that fails")]

use std::{
    convert::Infallible,
    future::{Ready, ready},
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::FutureExt as _;
use http::{Request, Response};
use http_body::Body;
use http_body_util::Full;
use tower::{
    BoxError, Service, ServiceBuilder, ServiceExt, load_shed::error::Overloaded, service_fn,
};
use tower_idempotency::{IdempotencyLayer, MemoryStore, server::RequestBody};

use self::outside::{Gate, Runs, send, soon, whole};

mod outside;

type Asked = Request<Full<Bytes>>;

fn layer() -> IdempotencyLayer<MemoryStore> {
    IdempotencyLayer::new(MemoryStore::new())
}

fn post(uri: &str, key: &str, body: &str) -> Asked {
    outside::post(uri, key, body)
}

fn answer(text: String) -> Response<Full<Bytes>> {
    Response::new(Full::from(text))
}

/// Panics if an instance is called that was not ready; a clone never is.
#[derive(Default)]
struct Ripe {
    ready: bool,
    runs: Runs,
}

impl Clone for Ripe {
    fn clone(&self) -> Self {
        Self {
            ready: false,
            runs: self.runs.clone(),
        }
    }
}

impl<B: Body> Service<Request<B>> for Ripe {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<B>) -> Self::Future {
        assert!(self.ready, "called without being ready");
        self.ready = false;
        ready(Ok(answer(format!("run {}", self.runs.add()))))
    }
}

#[tokio::test]
async fn only_the_instance_that_was_ready_is_called() {
    let (service, runs) = (Ripe::default(), Runs::default());
    let service = Ripe {
        runs: runs.clone(),
        ..service
    };
    let mut service = ServiceBuilder::new().layer(layer()).service(service);
    for key in ["a", "b", "a", "c"] {
        let ready = ServiceExt::<Asked>::ready(&mut service).await.unwrap();
        whole(ready.call(post(key, key, "1")).await.unwrap()).await;
        let keyless = Request::post("/").body(Full::default()).unwrap();
        let ready = ServiceExt::<Asked>::ready(&mut service).await.unwrap();
        whole(ready.call(keyless).await.unwrap()).await;
    }
    assert_eq!(runs.count(), 3 + 4);
}

#[tokio::test]
async fn a_replay_and_a_rejection_never_call_the_inner_service() {
    let runs = Runs::default();
    let inner = Ripe {
        runs: runs.clone(),
        ready: false,
    };
    let service = layer().max_request_body(8).require_key();
    let service = ServiceBuilder::new().layer(service).service(inner);
    send(&service, post("/", "k", "1")).await;
    assert_eq!(runs.count(), 1);

    assert!(send(&service, post("/", "k", "1")).await.is_replay());
    for (code, request) in [
        ("idempotency_conflict", post("/", "k", "2")),
        ("idempotency_key_invalid", post("/", "", "1")),
        ("idempotency_payload_too_large", post("/", "l", "123456789")),
        (
            "idempotency_key_required",
            Request::post("/").body(Full::default()).unwrap(),
        ),
    ] {
        assert_eq!(send(&service, request).await.code(), code);
    }
    assert_eq!(runs.count(), 1);
}

/// It would be an answer that nobody gave.
#[tokio::test]
#[should_panic = "polled after completion"]
async fn a_rejection_is_given_once() {
    let inner = Ripe {
        runs: Runs::default(),
        ready: false,
    };
    let mut service = ServiceBuilder::new().layer(layer()).service(inner);
    let mut refused = std::pin::pin!(service.call(post("/", "", "1")));
    assert_eq!(refused.as_mut().await.unwrap().status(), 400);
    _ = refused.await;
}

#[tokio::test]
async fn under_a_concurrency_limit_of_one() {
    let (runs, gate) = (Runs::default(), Gate::closed());
    let service = {
        let (runs, gate) = (runs.clone(), gate.clone());
        ServiceBuilder::new()
            .layer(layer())
            .concurrency_limit(1)
            .service_fn(move |_: Request<RequestBody<Full<Bytes>>>| {
                let (run, gate) = (runs.add(), gate.clone());
                async move {
                    gate.pass().await;
                    Ok::<_, Infallible>(answer(format!("run {run}")))
                }
            })
    };
    let ask = |key: &'static str| {
        let service = service.clone();
        tokio::spawn(async move { send(&service, post("/", key, "1")).await })
    };
    let first = ask("a");
    gate.somebody_came().await;
    let (duplicate, other) = (ask("a"), ask("b"));
    gate.open();
    assert_eq!(soon(first).await.unwrap().text(), "run 1");
    assert!(soon(duplicate).await.unwrap().is_replay());
    assert_eq!(soon(other).await.unwrap().text(), "run 2");
    assert_eq!(soon(ask("c")).await.unwrap().text(), "run 3");
    assert!(soon(ask("c")).await.unwrap().is_replay());
    assert_eq!(runs.count(), 3);
}

/// Whether a service is ready without waiting.
fn now_ready<S: Service<Asked>>(service: &mut S) -> Option<()> {
    service.ready().now_or_never().map(drop)
}

#[tokio::test]
async fn a_replay_and_a_rejection_give_their_permit_back() {
    let service = ServiceBuilder::new()
        .layer(layer())
        .concurrency_limit(1)
        .service(Ripe::default());
    send(&service, post("/", "k", "1")).await;

    for (key, status) in [("k", 200), ("", 400)] {
        let mut asked = service.clone();
        let ready = soon(ServiceExt::<Asked>::ready(&mut asked)).await.unwrap();
        let mut other = service.clone();
        assert!(now_ready(&mut other).is_none(), "the permit is taken");
        // The service that was asked lives on, and so does the body that was not read.
        let answer = soon(ready.call(post("/", key, "1"))).await.unwrap();
        assert_eq!(answer.status(), status);
        assert!(now_ready(&mut other).is_some(), "the permit is back");
        drop((asked, answer));
    }
}

#[tokio::test]
async fn around_and_inside_a_buffer() {
    let around = ServiceBuilder::new()
        .layer(layer())
        .buffer::<Request<RequestBody<Full<Bytes>>>>(8)
        .service(Ripe::default());
    let inside = ServiceBuilder::new()
        .buffer::<Asked>(8)
        .layer(layer())
        .service(Ripe::default());
    assert_eq!(send(&around, post("/", "k", "1")).await.text(), "run 1");
    assert!(send(&around, post("/", "k", "1")).await.is_replay());
    assert_eq!(send(&inside, post("/", "k", "1")).await.text(), "run 1");
    assert!(send(&inside, post("/", "k", "1")).await.is_replay());
}

#[tokio::test]
async fn a_request_that_is_shed_leaves_its_key_free() {
    let gate = Gate::closed();
    let service = {
        let gate = gate.clone();
        ServiceBuilder::new()
            .layer(layer())
            .load_shed()
            .concurrency_limit(1)
            .service_fn(move |_: Request<RequestBody<Full<Bytes>>>| {
                let gate = gate.clone();
                async move {
                    gate.pass().await;
                    Ok::<_, Infallible>(answer("done".to_owned()))
                }
            })
    };
    let first = tokio::spawn({
        let service = service.clone();
        async move { send(&service, post("/", "a", "1")).await }
    });
    gate.somebody_came().await;
    let shed = service.clone().oneshot(post("/", "b", "1")).await;
    assert!(shed.err().unwrap().is::<Overloaded>());
    gate.open();
    soon(first).await.unwrap();
    let retry = send(&service, post("/", "b", "1")).await;
    assert_eq!((retry.text(), retry.is_replay()), ("done", false));
}

/// An error that is nothing but itself: it converts into no other.
#[derive(Debug, PartialEq)]
struct Declined(usize);

#[tokio::test]
async fn an_error_of_the_inner_service_passes_untouched_and_frees_the_key() {
    let runs = Runs::default();
    let service = ServiceBuilder::new().layer(layer()).service(service_fn({
        let runs = runs.clone();
        move |_: Request<RequestBody<Full<Bytes>>>| {
            let run = runs.add();
            ready(if run < 3 {
                Err(Declined(run))
            } else {
                Ok(answer(format!("run {run}")))
            })
        }
    }));
    for run in 1..3 {
        let error = service.clone().oneshot(post("/", "k", "1")).await.err();
        assert_eq!(error, Some(Declined(run)));
    }
    assert_eq!(send(&service, post("/", "k", "1")).await.text(), "run 3");
    assert!(send(&service, post("/", "k", "1")).await.is_replay());
}

/// Never ready: it has failed.
#[derive(Clone)]
struct Failed;

impl<B> Service<Request<B>> for Failed {
    type Response = Response<Full<Bytes>>;
    type Error = BoxError;
    type Future = Ready<Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Err("out of order".into()))
    }

    fn call(&mut self, _: Request<B>) -> Self::Future {
        unreachable!("called without being ready")
    }
}

#[tokio::test]
async fn an_error_of_readiness_passes_untouched() {
    let layer = layer();
    let service = ServiceBuilder::new().layer(layer.clone()).service(Failed);
    let error = service.oneshot(post("/", "k", "1")).await.err();
    assert_eq!(error.unwrap().to_string(), "out of order");
    assert!(layer.store().is_empty());
}
