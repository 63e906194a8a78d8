//! What a storm of duplicates costs in memory and calls of the store. A process of its own,
//! as it counts what everybody allocates.
#![cfg(feature = "memory")]
#![allow(clippy::unwrap_used, reason = "a test may fail")]
#![allow(unsafe_code, reason = "an allocator is unsafe by its nature")]

mod support;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use support::{
    Answer,
    fault::{FaultStore, Verb},
    post, serve,
};
use tokio::sync::Semaphore;
use tower::{ServiceExt as _, service_fn};
use tower_idempotency::{IdempotencyLayer, InFlight, server::RequestBody};

struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: passes on to the system's allocator and only counts.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = NOW.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(now, Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Ordering::Relaxed);
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

const DUPLICATES: usize = 10_000;
const MIB: usize = 1024 * 1024;

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "it is printed, not asserted")]
async fn ten_thousand_duplicates_cost_little() {
    for in_flight in [InFlight::Reject, InFlight::Wait(Duration::from_secs(600))] {
        let store = FaultStore::new();
        let layer = IdempotencyLayer::new(store.clone())
            .in_flight(in_flight)
            .max_waiters(DUPLICATES)
            .max_waiters_per_key(DUPLICATES);
        let gate = Arc::new(Semaphore::new(0));
        let runs = Arc::new(AtomicUsize::new(0));
        let handler = {
            let (gate, runs) = (gate.clone(), runs.clone());
            service_fn(move |_: Request<RequestBody<Full<Bytes>>>| {
                let (gate, runs) = (gate.clone(), runs.clone());
                async move {
                    runs.fetch_add(1, Ordering::SeqCst);
                    gate.acquire().await.unwrap().forget();
                    Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("done")))
                }
            })
        };
        let service = serve(&layer, handler);
        let body = "x".repeat(1024);
        let before = NOW.load(Ordering::Relaxed);
        PEAK.store(before, Ordering::Relaxed);
        let began = Instant::now();
        let requests: Vec<_> = (0..DUPLICATES)
            .map(|_| {
                let request = service.clone().oneshot(post("k", &body));
                tokio::spawn(async move { Answer::read(request.await.unwrap()).await.status })
            })
            .collect();
        support::settle().await;
        let peak = PEAK.load(Ordering::Relaxed) - before;
        gate.add_permits(1);
        let mut answered = 0;
        for request in requests {
            answered += usize::from(request.await.unwrap() == 200);
        }
        let calls: usize = [Verb::Claim, Verb::Complete, Verb::Release, Verb::Renew]
            .map(|verb| store.calls(verb))
            .iter()
            .sum();
        println!(
            "{in_flight:?}: {DUPLICATES} duplicates, {} run, {answered} answered, {calls} calls of the \
             store, {} MiB at the peak, {:?}",
            runs.load(Ordering::SeqCst),
            peak / MIB,
            began.elapsed(),
        );
        assert_eq!(runs.load(Ordering::SeqCst), 1);
        assert!(calls <= 50, "{calls}");
        assert!(peak <= 64 * MIB, "{} MiB", peak / MIB);
    }
}
