//! Who watches takes nothing with him.
#![cfg(feature = "memory")]
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod support;

use std::{
    convert::Infallible,
    panic,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Waker},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use support::{
    events::Events,
    fault::{Fault, FaultStore, Verb},
    post, send, serve, settle, soon,
};
use tokio::sync::Semaphore;
use tower::{ServiceExt as _, service_fn, util::BoxCloneSyncService};
use tower_idempotency::{
    AfterCrash, Event, IdempotencyLayer, InFlight, MemoryStore, Observer, server::RequestBody,
};

const LEASE: Duration = Duration::from_secs(30);

/// A layer that is watched by one observer that always panics, and then by one that notes.
fn watched(store: &FaultStore) -> (IdempotencyLayer<FaultStore>, Events) {
    let events = Events::default();
    let layer = IdempotencyLayer::new(store.clone())
        .lease(LEASE)
        // Unlike `panic!` it prints nothing.
        .observer_fn(|_: &Event<'_>| panic::resume_unwind(Box::new("an observer")))
        .observer(events.clone());
    (layer, events)
}

fn gated(
    gate: &Arc<Semaphore>,
) -> impl tower::Service<
    Request<RequestBody<Full<Bytes>>>,
    Response = Response<Full<Bytes>>,
    Error = Infallible,
    Future: Send,
> + Clone
+ Send
+ use<> {
    let gate = gate.clone();
    service_fn(move |_| {
        let gate = gate.clone();
        async move {
            gate.acquire().await.unwrap().forget();
            Ok(Response::new(Full::from("done")))
        }
    })
}

#[tokio::test(start_paused = true)]
async fn an_observer_that_panics_changes_no_answer() {
    let (layer, events) = watched(&FaultStore::new());
    let layer = layer.after_crash(AfterCrash::Hold);
    let gate = Arc::new(Semaphore::new(1));
    let service = serve(&layer, gated(&gate));
    assert_eq!(send(&service, post("k", "a")).await.text(), "done");
    assert!(send(&service, post("k", "a")).await.is_replay());
    let conflict = send(&service, post("k", "b")).await;
    assert_eq!(conflict.code(), "idempotency_conflict");
    let seen = ["claimed", "recorded", "replayed", "rejected"];
    assert_eq!(events.seen(), seen, "the others are told all the same");
}

#[tokio::test(start_paused = true)]
async fn an_observer_that_panics_at_a_hang_up_cuts_nothing_in_half() {
    let (layer, _) = watched(&FaultStore::new());
    let gate = Arc::new(Semaphore::new(0));
    let service = serve(&layer, gated(&gate));
    let request = tokio::spawn(service.clone().oneshot(post("k", "a")));
    settle().await;
    request.abort();
    settle().await;
    gate.add_permits(1);
    layer.drain(LEASE).await;
    assert!(send(&service, post("k", "a")).await.is_replay());
}

#[tokio::test(start_paused = true)]
async fn an_observer_that_panics_at_a_lost_lease_wedges_no_key() {
    let store = FaultStore::new();
    let (layer, events) = watched(&store);
    let gate = Arc::new(Semaphore::new(0));
    let service = serve(&layer, gated(&gate));
    store.lasting(Verb::Renew, Fault::Refused);
    let first = tokio::spawn(service.clone().oneshot(post("k", "a")));
    tokio::time::sleep(2 * LEASE).await;
    assert_eq!(events.count("lease_lost"), 1);
    gate.add_permits(1);
    soon(first).await.unwrap().unwrap();
    assert!(soon(send(&service, post("k", "a"))).await.is_replay());
}

#[tokio::test(start_paused = true)]
async fn an_observer_that_panics_while_one_waits_keeps_no_place() {
    let (layer, _) = watched(&FaultStore::new());
    let layer = layer.in_flight(InFlight::Wait(LEASE)).max_waiters(1);
    let gate = Arc::new(Semaphore::new(0));
    let service = serve(&layer, gated(&gate));
    for round in 0..2 {
        let key = format!("k{round}");
        let first = tokio::spawn(service.clone().oneshot(post(&key, "a")));
        settle().await;
        let waits = service.clone().oneshot(post(&key, "a"));
        let waits = tokio::spawn(waits);
        settle().await;
        assert!(!waits.is_finished(), "it has a place");
        gate.add_permits(1);
        let answers = (first.await.unwrap(), waits.await.unwrap());
        assert!(answers.0.is_ok() && answers.1.is_ok());
    }
}

type Sent = BoxCloneSyncService<Request<Full<Bytes>>, (), ()>;

/// Sends a request with the same key, and goes over the whole store, at every event.
#[derive(Clone, Default)]
struct ComesBack {
    to: Arc<Mutex<Option<(Sent, MemoryStore)>>>,
    times: Arc<AtomicUsize>,
}

impl Observer for ComesBack {
    fn observe(&self, _: &Event<'_>) {
        // Not at what it does itself.
        let Ok(mut to) = self.to.try_lock() else {
            return;
        };
        if let Some((service, store)) = &mut *to {
            let mut request = Box::pin(service.clone().oneshot(post("k", "a")));
            let _ = request
                .as_mut()
                .poll(&mut Context::from_waker(Waker::noop()));
            store.sweep();
            self.times.fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// No lock is held when they are told.
#[tokio::test(start_paused = true)]
async fn an_observer_may_come_back_to_the_layer_and_its_store() {
    let (store, observer) = (FaultStore::new(), ComesBack::default());
    let layer = IdempotencyLayer::new(store.clone()).lease(LEASE);
    let layer = layer
        .in_flight(InFlight::Wait(LEASE))
        .observer(observer.clone());
    let gate = Arc::new(Semaphore::new(0));
    let service = serve(&layer, gated(&gate));
    let sent = service.clone().map_response(drop).map_err(drop);
    let to = (BoxCloneSyncService::new(sent), store.memory.clone());
    *observer.to.lock().unwrap() = Some(to);
    store.lasting(Verb::Renew, Fault::Refused);
    // It lapses, and whoever waits takes over; one hangs up.
    let requests = [(); 3].map(|()| tokio::spawn(service.clone().oneshot(post("k", "a"))));
    settle().await;
    requests[2].abort();
    tokio::time::sleep(LEASE + LEASE / 2).await;
    gate.add_permits(9);
    for request in requests.into_iter().take(2) {
        soon(request).await.unwrap().unwrap();
    }
    assert!(send(&service, post("k", "a")).await.is_replay());
    layer.drain(2 * LEASE).await;
    assert!(observer.times.load(Ordering::SeqCst) > 5);
}
