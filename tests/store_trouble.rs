//! A store that does not answer, or not in time, or not what it should.
#![cfg(feature = "memory")]
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod support;

use std::{
    convert::Infallible,
    future::poll_fn,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::Poll,
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use support::{
    Answer,
    events::Events,
    fault::{Fault, FaultStore, Verb},
    post, send, serve,
};
use tokio::runtime::Builder;
use tower::{ServiceExt as _, service_fn};
use tower_idempotency::{
    AfterCrash, Drained, Idempotency, IdempotencyLayer, StoreFailure, server::RequestBody,
    store::Resilient,
};

struct Bench {
    store: FaultStore,
    layer: IdempotencyLayer<FaultStore>,
    events: Events,
    runs: Arc<AtomicUsize>,
    status: StatusCode,
}

impl Bench {
    fn new() -> Self {
        let store = FaultStore::new();
        let events = Events::default();
        Self {
            layer: IdempotencyLayer::new(store.clone()).observer(events.clone()),
            store,
            events,
            runs: Arc::default(),
            status: StatusCode::OK,
        }
    }

    async fn send(&self) -> Answer {
        let (runs, status) = (self.runs.clone(), self.status);
        let service = service_fn(move |request: Request<RequestBody<Full<Bytes>>>| {
            let run = runs.fetch_add(1, Ordering::SeqCst) + 1;
            let operation = request.extensions().get::<Idempotency>().unwrap();
            let answer = Response::builder()
                .status(status)
                .header("idempotent-replayed", "true")
                .header("x-fence", operation.fence().get())
                .body(Full::from(format!("run {run}")));
            async {
                let body = request.into_body().collect().await.unwrap();
                assert_eq!(body.to_bytes(), "hello");
                Ok::<_, Infallible>(answer.unwrap())
            }
        });
        send(&serve(&self.layer, service), post("k", "hello")).await
    }

    fn runs(&self) -> usize {
        self.runs.load(Ordering::SeqCst)
    }
}

const FAULTS: [Fault; 4] = [
    Fault::Refused,
    Fault::LostRequest,
    Fault::LostReply,
    Fault::Silence,
];

#[tokio::test(start_paused = true)]
async fn a_claim_is_sent_again_under_the_same_token() {
    for fault in FAULTS {
        let bench = Bench::new();
        bench.store.next(Verb::Claim, [fault, fault]);
        assert_eq!(bench.send().await.text(), "run 1", "{fault:?}");
        assert!(bench.send().await.is_replay());
        assert_eq!(bench.events.count("store_failed:claim"), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_does_not_answer_means_503_and_nothing_runs() {
    for fault in FAULTS {
        let bench = Bench::new();
        bench.store.lasting(Verb::Claim, fault);
        let refused = bench.send().await;
        assert_eq!(refused.status, 503, "{fault:?}");
        assert_eq!(refused.code(), "idempotency_store_unavailable");
        assert_eq!(refused.header("retry-after"), Some("1"));
        assert_eq!(bench.store.calls(Verb::Claim), 3);
        assert_eq!(bench.runs(), 0);
        // What was not applied need not be given back.
        bench.layer.drain(Duration::from_secs(1)).await;
        let asks_on = bench.store.calls(Verb::Claim) > 3;
        assert_eq!(asks_on, fault != Fault::Refused, "{fault:?}");
    }
}

/// To ask again changes nothing, and nothing is left behind.
#[tokio::test(start_paused = true)]
async fn a_full_store_is_asked_once() {
    let mut bench = Bench::new();
    let _ = bench.store.memory.clone().max_entries(0);
    assert_eq!(bench.send().await.code(), "idempotency_store_unavailable");
    assert_eq!((bench.runs(), bench.store.calls(Verb::Claim)), (0, 1));
    bench.layer = bench
        .layer
        .clone()
        .store_failure(StoreFailure::DangerProceed);
    assert_eq!(bench.send().await.text(), "run 1");
    bench.layer.drain(Duration::from_secs(1)).await;
    assert_eq!(bench.store.calls(Verb::Claim), 2);
}

#[tokio::test(start_paused = true)]
async fn a_claim_in_doubt_is_given_back_when_the_store_answers_again() {
    for after_crash in [AfterCrash::Takeover, AfterCrash::Hold] {
        let mut bench = Bench::new();
        bench.layer = bench.layer.clone().after_crash(after_crash);
        bench.store.lasting(Verb::Claim, Fault::LostReply);
        assert_eq!(bench.send().await.status, 503);
        assert_eq!(bench.store.memory.len(), 1, "the store did apply it");
        tokio::time::sleep(Duration::from_secs(2)).await;
        bench.store.lasting(Verb::Claim, Fault::None);
        bench
            .store
            .next(Verb::Release, [Fault::Refused, Fault::LostRequest]);
        bench.layer.drain(Duration::from_secs(60)).await;
        assert_eq!(bench.events.count("released:claim_unconfirmed"), 1);
        assert_eq!(bench.send().await.text(), "run 1");
    }
}

/// It may be won all the same, by an attempt of which the layer does not know.
#[tokio::test(start_paused = true)]
async fn a_claim_in_doubt_within_a_wrapper_is_given_back_whatever_came_of_it_at_last() {
    let events = Events::default();
    let store = FaultStore::new();
    store.next(Verb::Claim, [Fault::LostReply, Fault::Corrupt]);
    let layer = IdempotencyLayer::new(Resilient::new(store.clone()))
        .after_crash(AfterCrash::Hold)
        .observer(events.clone());
    let service = service_fn(|_: Request<RequestBody<Full<Bytes>>>| async {
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
    });
    let answer = send(&serve(&layer, service), post("k", "hello")).await;
    assert_eq!(answer.code(), "idempotency_store_unavailable");
    let drained = layer.drain(Duration::from_secs(60)).await;
    assert_eq!(drained, Drained::Complete);
    assert_eq!(store.memory.len(), 0);
    assert_eq!(events.count("released:claim_unconfirmed"), 1);
}

/// As a record whose encryption key this node lacks: it could not be released either.
#[tokio::test(start_paused = true)]
async fn nobody_insists_on_a_claim_in_doubt_where_the_store_cannot_read_what_stands() {
    let mut bench = Bench::new();
    bench.layer = bench.layer.clone().after_crash(AfterCrash::Hold);
    bench.store.next(Verb::Claim, [Fault::LostReply; 3]);
    assert_eq!(bench.send().await.status, 503);
    bench.store.lasting(Verb::Claim, Fault::Corrupt);
    let drained = bench.layer.drain(Duration::from_secs(60)).await;
    assert_eq!(drained, Drained::Complete);
    assert_eq!(bench.events.count("abandoned"), 1);
}

/// A claim that is sent again after the release would win the key anew, for nobody.
#[tokio::test(start_paused = true)]
async fn a_claim_in_doubt_is_won_once_and_then_released() {
    let bench = Bench::new();
    bench.store.next(Verb::Claim, [Fault::LostReply; 3]);
    bench.store.next(Verb::Release, [Fault::LostReply; 3]);
    assert_eq!(bench.send().await.status, 503);
    bench.layer.drain(Duration::from_secs(60)).await;
    let calls = [Verb::Claim, Verb::Release].map(|verb| bench.store.calls(verb));
    assert_eq!(calls, [4, 4]);
    assert_eq!(bench.events.count("released:claim_unconfirmed"), 1);
    assert_eq!(bench.store.memory.len(), 0);
}

/// The claim that is to find out what became of one that never arrived wins the key itself: when
/// all but no time is left, too.
#[tokio::test(start_paused = true)]
async fn a_key_that_is_won_to_give_it_back_is_given_back() {
    let mut bench = Bench::new();
    let layer = bench.layer.after_crash(AfterCrash::Hold);
    bench.layer = layer.retention(Duration::from_secs(60));
    bench.store.lasting(Verb::Claim, Fault::LostRequest);
    bench.store.lasting(Verb::Release, Fault::LostRequest);
    assert_eq!(bench.send().await.status, 503);
    let asked = bench.store.calls(Verb::Claim);
    tokio::time::sleep(Duration::from_secs(80)).await;
    assert!(bench.store.calls(Verb::Claim) > asked);
    bench.store.lasting(Verb::Claim, Fault::None);
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(bench.store.memory.len(), 1, "won, and not released");
    bench.store.lasting(Verb::Release, Fault::None);
    bench.layer.drain(Duration::from_secs(60)).await;
    assert_eq!(bench.store.memory.len(), 0);
    assert_eq!(bench.events.count("abandoned"), 0);
}

/// Nobody may take over what lapsed, so nothing else would free the key before its retention
/// ends.
#[tokio::test(start_paused = true)]
async fn a_key_that_is_held_is_given_back_after_any_outage() {
    for verb in [Verb::Claim, Verb::Release] {
        let mut bench = Bench::new();
        bench.layer = bench
            .layer
            .clone()
            .after_crash(AfterCrash::Hold)
            .retention(Duration::MAX);
        bench.status = StatusCode::SERVICE_UNAVAILABLE;
        let first = match verb {
            Verb::Claim => Fault::LostReply,
            _ => Fault::LostRequest,
        };
        bench.store.next(verb, [first]);
        bench.store.lasting(verb, Fault::Refused);
        assert_eq!(bench.send().await.status, 503);
        tokio::time::sleep(Duration::from_secs(10 * 60 + 10)).await;
        bench.store.lasting(verb, Fault::None);
        // It is asked seldom by now, but for a drain at once.
        let drained = bench.layer.drain(Duration::from_secs(1)).await;
        assert_eq!(drained, Drained::Complete, "{verb:?}");
        assert_eq!(bench.store.memory.len(), 0, "{verb:?}");
        assert_eq!(bench.events.count("abandoned"), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_claim_in_doubt_that_is_never_given_back_is_no_secret() {
    let bench = Bench::new();
    bench.store.lasting(Verb::Claim, Fault::LostReply);
    assert_eq!(bench.send().await.status, 503);
    bench.layer.drain(Duration::from_secs(60)).await;
    assert_eq!(bench.events.count("abandoned"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_claim_in_doubt_of_a_recorded_key_changes_nothing() {
    let bench = Bench::new();
    bench.send().await;
    bench.store.lasting(Verb::Claim, Fault::LostReply);
    assert_eq!(bench.send().await.status, 503);
    bench.store.lasting(Verb::Claim, Fault::None);
    bench.layer.drain(Duration::from_secs(60)).await;
    assert_eq!(bench.events.count("abandoned"), 0);
    assert!(bench.send().await.is_replay());
}

#[tokio::test(start_paused = true)]
async fn a_route_that_chose_danger_runs_unprotected_and_says_so() {
    let mut bench = Bench::new();
    bench.layer = bench
        .layer
        .clone()
        .store_failure(StoreFailure::DangerProceed);
    bench.store.lasting(Verb::Claim, Fault::Refused);
    for run in 1..3 {
        let answer = bench.send().await;
        assert_eq!(answer.text(), format!("run {run}"));
        assert_eq!(answer.header("idempotency-status"), Some("unprotected"));
        assert_eq!(answer.header("x-fence"), Some("0"));
        assert!(!answer.is_replay());
    }
    assert_eq!(bench.events.count("unprotected"), 2);
    bench.store.lasting(Verb::Claim, Fault::Corrupt);
    assert_eq!(
        bench.send().await.status,
        503,
        "a garbled record says that it ran"
    );
}

/// What it answered holds what the handler gave it: connections, permits.
#[tokio::test(start_paused = true)]
async fn a_panic_in_the_drop_of_an_unprotected_handler_takes_its_answer_along() {
    struct PanicsWhenDropped;
    impl Drop for PanicsWhenDropped {
        fn drop(&mut self) {
            panic!("the handler panics");
        }
    }
    let bench = Bench::new();
    bench.store.lasting(Verb::Claim, Fault::Refused);
    let layer = bench.layer.store_failure(StoreFailure::DangerProceed);
    let permit = Arc::new(());
    let held = Arc::clone(&permit);
    let service = service_fn(move |_: Request<RequestBody<Full<Bytes>>>| {
        let mut answer = Response::new(Full::<Bytes>::default());
        answer.extensions_mut().insert(Arc::clone(&held));
        let (mut answer, guard) = (Some(Ok::<_, Infallible>(answer)), PanicsWhenDropped);
        poll_fn(move |_| {
            let _ = &guard;
            Poll::Ready(answer.take().unwrap())
        })
    });
    let service = serve(&layer, service);
    let panicked = tokio::spawn(service.oneshot(post("k", "hello")));
    assert!(panicked.await.unwrap_err().is_panic());
    assert_eq!(Arc::strong_count(&permit), 1);
    let drained = layer.drain(Duration::from_secs(60)).await;
    assert_eq!(drained, Drained::Complete);
}

#[tokio::test(start_paused = true)]
async fn a_corrupt_record_is_never_absent() {
    let bench = Bench::new();
    bench.store.lasting(Verb::Claim, Fault::Corrupt);
    assert_eq!(bench.send().await.code(), "idempotency_store_unavailable");
    assert_eq!((bench.runs(), bench.store.calls(Verb::Claim)), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_completion_is_sent_again_until_it_is_known() {
    for fault in FAULTS {
        let bench = Bench::new();
        bench.store.next(Verb::Complete, [fault; 6]);
        let first = bench.send().await;
        assert_eq!(first.text(), "run 1");
        assert_eq!(first.header("idempotency-status"), None);
        assert!(bench.send().await.is_replay());
        assert_eq!(bench.store.calls(Verb::Complete), 7);
        assert_eq!(bench.events.count("recorded"), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_cannot_be_recorded_is_served_and_marked() {
    for fault in [Fault::Refused, Fault::LostRequest] {
        let bench = Bench::new();
        let began = tokio::time::Instant::now();
        for verb in [Verb::Complete, Verb::Renew] {
            bench.store.lasting(verb, fault);
        }
        let answer = bench.send().await;
        assert_eq!(answer.text(), "run 1");
        assert_eq!(answer.header("idempotency-status"), Some("unrecorded"));
        assert_eq!(bench.events.count("unrecorded"), 1);
        let took = began.elapsed();
        assert!(
            (30..35).contains(&took.as_secs()),
            "as long as the lease lived: {took:?}"
        );
        // The key lapses by itself; then a retry runs.
        for verb in [Verb::Complete, Verb::Renew] {
            bench.store.lasting(verb, Fault::None);
        }
        tokio::time::sleep(Duration::from_secs(31)).await;
        assert_eq!(bench.send().await.text(), "run 2");
    }
}

#[tokio::test(start_paused = true)]
async fn a_release_is_sent_again_and_then_goes_on_in_the_background() {
    for fault in FAULTS {
        let mut bench = Bench::new();
        bench.status = StatusCode::INTERNAL_SERVER_ERROR;
        bench.store.next(Verb::Release, [fault; 5]);
        let answer = bench.send().await;
        assert_eq!(answer.status, 500);
        assert_eq!(
            bench.store.calls(Verb::Release),
            3,
            "the client does not wait longer"
        );
        bench.layer.drain(Duration::from_secs(60)).await;
        assert_eq!(bench.store.memory.len(), 0, "{fault:?}");
        assert_eq!(bench.send().await.text(), "run 2");
    }
}

#[tokio::test(start_paused = true)]
async fn no_event_is_silent_about_a_key_left_behind() {
    let mut bench = Bench::new();
    bench.status = StatusCode::INTERNAL_SERVER_ERROR;
    bench.store.lasting(Verb::Release, Fault::Refused);
    bench.send().await;
    bench.layer.drain(Duration::from_secs(60)).await;
    assert_eq!(bench.events.count("abandoned"), 1);
}

/// Whoever shuts down without a drain, or when its time is over, learns what is left.
#[test]
fn no_event_is_silent_about_a_key_that_the_runtime_left_behind() {
    for verb in [Verb::Release, Verb::Claim] {
        let mut bench = Bench::new();
        bench.status = StatusCode::INTERNAL_SERVER_ERROR;
        bench.store.lasting(verb, Fault::LostRequest);
        let mut runtime = Builder::new_current_thread();
        let runtime = runtime.enable_time().start_paused(true).build().unwrap();
        runtime.block_on(bench.send());
        assert_eq!(bench.events.count("abandoned"), 0);
        drop(runtime);
        assert_eq!(bench.events.count("abandoned"), 1, "{verb:?}");
    }
}

/// What stands there and cannot be read never takes a record: nobody waits for that.
#[tokio::test(start_paused = true)]
async fn a_completion_that_finds_what_cannot_be_read_is_not_sent_again() {
    let bench = Bench::new();
    bench.store.lasting(Verb::Complete, Fault::Corrupt);
    let answer = bench.send().await;
    assert_eq!(answer.text(), "run 1");
    assert_eq!(answer.header("idempotency-status"), Some("unrecorded"));
    assert_eq!(bench.store.calls(Verb::Complete), 1);
    assert_eq!(bench.events.count("unrecorded"), 1);
}

/// Nothing was to be recorded of it.
#[tokio::test(start_paused = true)]
async fn a_key_that_cannot_be_read_is_left_behind_by_an_answer_that_releases_it() {
    let mut bench = Bench::new();
    bench.status = StatusCode::INTERNAL_SERVER_ERROR;
    bench.store.lasting(Verb::Release, Fault::Corrupt);
    let answer = bench.send().await;
    assert_eq!(answer.text(), "run 1");
    assert_eq!(answer.header("idempotency-status"), None);
    let drained = bench.layer.drain(Duration::from_secs(1)).await;
    assert_eq!(drained, Drained::Complete, "it is asked once more");
    let events = ["unrecorded", "abandoned"].map(|name| bench.events.count(name));
    assert_eq!(events, [0, 1]);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_renews_but_does_not_record_holds_nobody_for_ever() {
    let bench = Bench::new();
    let began = tokio::time::Instant::now();
    bench.store.lasting(Verb::Complete, Fault::Refused);
    let answer = support::soon(bench.send()).await;
    assert_eq!(answer.header("idempotency-status"), Some("unrecorded"));
    assert!(began.elapsed() < Duration::from_secs(65));
    tokio::time::sleep(Duration::from_secs(31)).await;
    bench.store.lasting(Verb::Complete, Fault::None);
    assert_eq!(bench.send().await.text(), "run 2");
}
