//! The end of a process: drained, or cut off.
#![cfg(feature = "memory")]
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod support;

use std::{
    convert::Infallible,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use support::{
    Answer,
    events::Events,
    fault::{Fault, FaultStore, Verb},
    live_body, post, send, send_text, serve, settle,
};
use tokio::{
    runtime::{Builder, Runtime},
    sync::Semaphore,
};
use tower::{ServiceExt as _, service_fn};
use tower_idempotency::{
    Drained, IdempotencyLayer, MemoryStore, Store, StoreFailure, server::RequestBody,
};

type Asked = Request<RequestBody<Full<Bytes>>>;

fn gated(
    gate: &Arc<Semaphore>,
    runs: &Arc<AtomicUsize>,
) -> impl tower::Service<Asked, Response = Response<Full<Bytes>>, Error = Infallible, Future: Send>
+ Clone
+ Send
+ use<> {
    let (gate, runs) = (gate.clone(), runs.clone());
    service_fn(move |_: Asked| {
        let (gate, runs) = (gate.clone(), runs.clone());
        async move {
            runs.fetch_add(1, Ordering::SeqCst);
            gate.acquire().await.unwrap().forget();
            Ok(Response::new(Full::from("done")))
        }
    })
}

/// Answers once, with this body.
fn once<B: Send + 'static>(
    body: B,
) -> impl tower::Service<Asked, Response = Response<B>, Error = Infallible, Future: Send> + Clone + Send
{
    let body = Arc::new(Mutex::new(Some(body)));
    service_fn(move |_: Asked| {
        let body = body.lock().unwrap().take().unwrap();
        async { Ok(Response::new(body)) }
    })
}

#[tokio::test(start_paused = true)]
async fn drain_waits_for_what_lost_its_client() {
    let layer = IdempotencyLayer::new(MemoryStore::new());
    let (gate, runs) = (Arc::new(Semaphore::new(0)), Arc::default());
    let service = serve(&layer, gated(&gate, &runs));
    assert_eq!(
        layer.drain(Duration::ZERO).await,
        Drained::Complete,
        "nothing to wait for"
    );
    let first = tokio::spawn(service.clone().oneshot(post("k", "hello")));
    settle().await;
    first.abort();
    let _ = first.await;
    let drained = layer.drain(Duration::from_secs(5)).await;
    assert_eq!(drained, Drained::DeadlinePassed(1));
    gate.add_permits(1);
    assert_eq!(layer.drain(Duration::from_secs(5)).await, Drained::Complete);
    assert!(send(&service, post("k", "hello")).await.is_replay());
}

/// A connection that closes tells the server before it drops its request.
#[tokio::test(start_paused = true)]
async fn drain_waits_for_what_is_about_to_lose_its_client() {
    for claims in [Fault::None, Fault::Refused] {
        let store = FaultStore::new();
        store.lasting(Verb::Claim, claims);
        let layer = IdempotencyLayer::new(store)
            .store_failure(StoreFailure::DangerProceed)
            .store_attempts(1);
        let (gate, runs) = (Arc::new(Semaphore::new(0)), Arc::default());
        let service = serve(&layer, gated(&gate, &runs));
        let request = tokio::spawn(service.oneshot(post("k", "hello")));
        settle().await;
        let draining = layer.clone();
        let drained = tokio::spawn(async move { draining.drain(LEASE * 60).await });
        settle().await;
        request.abort();
        settle().await;
        assert!(!drained.is_finished(), "{claims:?}");
        gate.add_permits(1);
        assert_eq!(drained.await.unwrap(), Drained::Complete);
        assert_eq!(gate.available_permits(), 0, "it ran to its end");
    }
}

/// Nobody leads any more, but its handler still runs.
#[tokio::test(start_paused = true)]
async fn drain_waits_for_what_lost_its_lease_to_another() {
    let store = FaultStore::new();
    let layer = IdempotencyLayer::new(store.clone()).lease(LEASE);
    let (gate, runs) = (Arc::new(Semaphore::new(0)), Arc::default());
    let service = serve(&layer, gated(&gate, &runs));
    store.lasting(Verb::Renew, Fault::Refused);
    let zombie = tokio::spawn(service.clone().oneshot(post("k", "hello")));
    tokio::time::sleep(LEASE * 2).await;
    let other = send(&service, post("k", "other")).await;
    assert_eq!(other.code(), "idempotency_conflict");
    let drained = layer.drain(Duration::from_secs(5)).await;
    assert_eq!(drained, Drained::DeadlinePassed(1));
    gate.add_permits(1);
    assert_eq!(layer.drain(Duration::from_secs(5)).await, Drained::Complete);
    assert!(zombie.is_finished());
}

#[tokio::test(start_paused = true)]
async fn drain_waits_for_live_answers() {
    let layer = IdempotencyLayer::new(MemoryStore::new());
    let (mut sender, body) = live_body();
    let service = serve(&layer, once(body));
    let response = service.oneshot(post("k", "hello")).await.unwrap();
    send_text(&mut sender, "half").await;
    assert_eq!(
        layer.drain(Duration::from_secs(5)).await,
        Drained::DeadlinePassed(1)
    );
    drop(sender);
    assert_eq!(layer.drain(Duration::from_secs(5)).await, Drained::Complete);
    assert_eq!(Answer::read(response).await.text(), "half");
}

fn runtime() -> Runtime {
    Builder::new_multi_thread()
        .worker_threads(1)
        .enable_time()
        .build()
        .unwrap()
}

const LEASE: Duration = Duration::from_secs(1);

/// Starts a request on a runtime of its own and shuts that down in the handler.
fn cut_off<S: Store>(layer: &IdempotencyLayer<S>, hang_up: bool) {
    let (gate, runs) = (Arc::new(Semaphore::new(0)), Arc::<AtomicUsize>::default());
    let service = serve(layer, gated(&gate, &runs));
    let runtime = runtime();
    let request = runtime.spawn(service.oneshot(post("k", "hello")));
    while runs.load(Ordering::SeqCst) == 0 {
        std::thread::yield_now();
    }
    if hang_up {
        request.abort();
        let _ = runtime.block_on(request);
    }
    drop(runtime);
}

#[test]
fn a_runtime_that_shuts_down_leaves_a_lease_that_lapses() {
    for hang_up in [false, true] {
        let events = Events::default();
        let store = MemoryStore::new();
        let layer = IdempotencyLayer::new(store.clone())
            .lease(LEASE)
            .observer(events.clone());
        cut_off(&layer, hang_up);
        assert_eq!(events.count("abandoned"), 1, "hang_up: {hang_up}");
        assert_eq!(store.len(), 1);

        // The same layer on the next runtime: the key is taken over, and renewed.
        let (gate, runs) = (Arc::new(Semaphore::new(0)), Arc::<AtomicUsize>::default());
        let service = serve(&layer, gated(&gate, &runs));
        runtime().block_on(async {
            let busy = send(&service, post("k", "hello")).await;
            assert_eq!(busy.code(), "idempotency_in_flight");
            tokio::time::sleep(LEASE).await;
            let retry = tokio::spawn(service.clone().oneshot(post("k", "hello")));
            tokio::time::sleep(LEASE * 3 / 2).await;
            let busy = send(&service, post("k", "hello")).await;
            assert_eq!(busy.code(), "idempotency_in_flight", "its lease is renewed");
            gate.add_permits(1);
            assert_eq!(
                Answer::read(retry.await.unwrap().unwrap()).await.text(),
                "done"
            );
            assert_eq!(runs.load(Ordering::SeqCst), 1);
        });
    }
}

#[test]
fn a_future_dropped_outside_any_runtime_is_told() {
    let events = Events::default();
    let layer = IdempotencyLayer::new(MemoryStore::new()).observer(events.clone());
    let (gate, runs) = (Arc::new(Semaphore::new(0)), Arc::default());
    let service = serve(&layer, gated(&gate, &runs));
    let runtime = runtime();
    let mut request = Box::pin(service.oneshot(post("k", "hello")));
    runtime.block_on(async {
        assert!(futures_util::poll!(request.as_mut()).is_pending());
    });
    drop(request);
    assert_eq!(events.seen(), ["claimed", "abandoned"]);
    drop(runtime);
}

#[test]
fn a_live_answer_whose_runtime_is_gone_does_not_end_as_if_whole() {
    let layer = IdempotencyLayer::new(MemoryStore::new());
    let (sender, body) = live_body();
    let service = serve(&layer, once(body));
    let gone = runtime();
    let response = gone.block_on(service.oneshot(post("k", "hello"))).unwrap();
    drop(gone);
    let answer = runtime().block_on(Answer::read(response));
    assert!(answer.error.unwrap().contains("cut short"));
    drop(sender);
}

#[test]
fn a_live_answer_whose_task_never_began_does_not_end_as_if_whole() {
    let layer = IdempotencyLayer::new(MemoryStore::new());
    let (sender, body) = live_body();
    let service = serve(&layer, once(body));
    // One thread, which stops before it comes to the task that was spawned last.
    let gone = Builder::new_current_thread().enable_time().build().unwrap();
    let response = gone.block_on(async {
        let mut request = Box::pin(service.oneshot(post("k", "hello")));
        std::future::poll_fn(|cx| request.as_mut().poll(cx))
            .await
            .unwrap()
    });
    drop(gone);
    let answer = runtime().block_on(Answer::read(response));
    assert!(answer.error.unwrap().contains("cut short"));
    drop(sender);
}
