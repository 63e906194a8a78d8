//! Concurrent duplicates: one leads, the others follow, wait or join.
#![cfg(feature = "memory")]
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod support;

use std::{
    convert::Infallible,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Wake, Waker},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode, Version};
use http_body::Body as _;
use http_body_util::{BodyExt as _, Full, channel::Sender, combinators::UnsyncBoxBody};
use support::{
    Answer, BoxError,
    events::Events,
    fault::{Fault, FaultStore, Verb},
    live_body, post, send_text, serve, settle, soon,
};
use tokio::{
    sync::{Semaphore, mpsc},
    task::JoinHandle,
    time::Instant,
};
use tower::{ServiceExt as _, service_fn, util::BoxCloneSyncService};
use tower_idempotency::{
    Drained, IdempotencyLayer, InFlight, StoreFailure,
    server::{RequestBody, ResponseBody},
};

type AnyBody = UnsyncBoxBody<Bytes, BoxError>;
type Sent = Request<Full<Bytes>>;
type Service = BoxCloneSyncService<Sent, Response<ResponseBody<AnyBody>>, Infallible>;

const BUDGET: Duration = Duration::from_secs(20);

fn full(text: impl Into<Bytes>) -> AnyBody {
    Full::from(text.into()).map_err(Into::into).boxed_unsync()
}

/// A node whose handler waits for the test to say what it answers.
struct Node {
    layer: IdempotencyLayer<FaultStore>,
    events: Events,
    runs: Arc<AtomicUsize>,
    answers: Arc<Semaphore>,
    next: Arc<Mutex<Vec<Next>>>,
    started: mpsc::UnboundedSender<()>,
    running: mpsc::UnboundedReceiver<()>,
}

enum Next {
    Status(u16),
    Panic,
    Live(AnyBody),
    /// Live, with the trailer `x-sum` announced.
    Announced(AnyBody),
}

impl Node {
    fn new(store: &FaultStore, in_flight: InFlight) -> Self {
        let events = Events::default();
        let (started, running) = mpsc::unbounded_channel();
        Self {
            layer: IdempotencyLayer::new(store.clone())
                .in_flight(in_flight)
                .observer(events.clone()),
            events,
            runs: Arc::default(),
            answers: Arc::new(Semaphore::new(0)),
            next: Arc::default(),
            started,
            running,
        }
    }

    fn waiting(store: &FaultStore) -> Self {
        Self::new(store, InFlight::Wait(BUDGET))
    }

    /// Runs also without a store.
    fn waiting_into_danger(store: &FaultStore) -> Self {
        let mut node = Self::waiting(store);
        node.layer = node.layer.store_failure(StoreFailure::DangerProceed);
        node
    }

    fn service(&self) -> Service {
        let (runs, answers) = (self.runs.clone(), self.answers.clone());
        let (next, started) = (self.next.clone(), self.started.clone());
        let handler = service_fn(move |_: Request<RequestBody<Full<Bytes>>>| {
            let (runs, answers) = (runs.clone(), answers.clone());
            let (next, started) = (next.clone(), started.clone());
            async move {
                let run = runs.fetch_add(1, Ordering::SeqCst) + 1;
                let _ = started.send(());
                answers.acquire().await.unwrap().forget();
                let next = next.lock().unwrap().pop().unwrap();
                let response = Response::builder();
                let response = match next {
                    Next::Status(status) => {
                        response.status(status).body(full(format!("run {run}")))
                    }
                    Next::Panic => panic!("the handler panics"),
                    Next::Live(body) => response.body(body),
                    Next::Announced(body) => response.header("trailer", "x-sum").body(body),
                };
                Ok::<_, Infallible>(response.unwrap())
            }
        });
        BoxCloneSyncService::new(serve(&self.layer, handler))
    }

    /// Lets the handler that runs answer so.
    fn answer(&self, next: Next) {
        self.next.lock().unwrap().push(next);
        self.answers.add_permits(1);
    }

    fn send(&self, body: &'static str) -> JoinHandle<Answer> {
        let request = self.service().oneshot(post("k", body));
        tokio::spawn(async move { Answer::read(request.await.unwrap()).await })
    }

    /// The first request, once its handler runs.
    async fn lead(&mut self) -> JoinHandle<Answer> {
        let leader = self.send("hello");
        soon(self.running.recv()).await;
        leader
    }

    /// A live answer, as the first client gets it, and what writes its body.
    async fn live(
        &mut self,
        next: fn(AnyBody) -> Next,
    ) -> (Sender<Bytes, BoxError>, Response<ResponseBody<AnyBody>>) {
        let first = tokio::spawn(self.service().oneshot(post("k", "hello")));
        soon(self.running.recv()).await;
        let (tokens, body) = live_body();
        self.answer(next(body.boxed_unsync()));
        (tokens, first.await.unwrap().unwrap())
    }

    fn runs(&self) -> usize {
        self.runs.load(Ordering::SeqCst)
    }
}

async fn all(answers: Vec<JoinHandle<Answer>>) -> Vec<Answer> {
    let mut read = Vec::new();
    for answer in answers {
        read.push(soon(answer).await.unwrap());
    }
    read
}

#[tokio::test(start_paused = true)]
async fn a_hundred_duplicates_are_one_execution_and_a_hundred_equal_answers() {
    let store = FaultStore::new();
    let mut node = Node::waiting(&store);
    let mut answers = vec![node.lead().await];
    answers.extend((1..100).map(|_| node.send("hello")));
    settle().await;
    node.answer(Next::Status(201));
    let answers = all(answers).await;
    assert!(
        answers
            .iter()
            .all(|answer| answer.text() == "run 1" && answer.status == 201)
    );
    assert_eq!(
        answers.iter().filter(|answer| answer.is_replay()).count(),
        99
    );
    assert_eq!(node.runs(), 1);
    assert_eq!(node.events.count("waiting"), 99);
    assert_eq!(
        (store.calls(Verb::Claim), store.calls(Verb::Complete)),
        (1, 1)
    );
}

#[tokio::test(start_paused = true)]
async fn after_a_release_exactly_one_takes_over_and_the_rest_wait_on_it() {
    for next in [Next::Status(503), Next::Panic] {
        let store = FaultStore::new();
        let mut node = Node::waiting(&store);
        let leader = node.lead().await;
        let others: Vec<_> = (0..20).map(|_| node.send("hello")).collect();
        settle().await;
        node.answer(next);
        soon(node.running.recv()).await;
        settle().await;
        assert_eq!(node.runs(), 2, "one, and one only");
        node.answer(Next::Status(200));
        let answers = all(others).await;
        assert!(answers.iter().all(|answer| answer.text() == "run 2"));
        assert_eq!(
            answers.iter().filter(|answer| answer.is_replay()).count(),
            19
        );
        assert_eq!(node.runs(), 2);
        let leader = leader.await;
        assert!(leader.is_err() || leader.unwrap().status == StatusCode::SERVICE_UNAVAILABLE);
    }
}

#[tokio::test(start_paused = true)]
async fn when_the_budget_ends_it_is_refused_and_never_runs() {
    let store = FaultStore::new();
    let mut node = Node::waiting(&store);
    let leader = node.lead().await;
    let others: Vec<_> = (0..5).map(|_| node.send("hello")).collect();
    let began = Instant::now();
    let others = all(others).await;
    assert_eq!(began.elapsed(), BUDGET);
    // The leader runs for ten times the budget.
    tokio::time::sleep(BUDGET * 9).await;
    for other in others {
        assert_eq!(other.status, 409);
        assert_eq!(other.code(), "idempotency_in_flight");
        let after: u64 = other.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=30).contains(&after));
    }
    node.answer(Next::Status(200));
    assert_eq!(leader.await.unwrap().text(), "run 1");
    settle().await;
    assert_eq!(node.runs(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_waiter_that_hangs_up_disturbs_nobody() {
    let store = FaultStore::new();
    let mut node = Node::waiting(&store);
    let leader = node.lead().await;
    let gone = node.send("hello");
    let stays = node.send("hello");
    settle().await;
    gone.abort();
    let _ = gone.await;
    node.answer(Next::Status(503));
    // The one that is gone does not run.
    soon(node.running.recv()).await;
    node.answer(Next::Status(200));
    assert_eq!(stays.await.unwrap().text(), "run 2");
    assert_eq!(leader.await.unwrap().status, 503);
    assert_eq!((node.runs(), node.events.count("detached")), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_hangs_up_leads_on() {
    let store = FaultStore::new();
    let mut node = Node::waiting(&store);
    let leader = node.lead().await;
    let other = node.send("hello");
    settle().await;
    leader.abort();
    let _ = leader.await;
    node.answer(Next::Status(200));
    assert_eq!(other.await.unwrap().text(), "run 1");
    assert_eq!((node.runs(), node.events.count("detached")), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn another_payload_in_flight_is_a_mismatch_at_once() {
    for in_flight in [InFlight::Wait(BUDGET), InFlight::Reject] {
        let store = FaultStore::new();
        let mut node = Node::new(&store, in_flight);
        let leader = node.lead().await;
        let other = soon(node.send("other")).await.unwrap();
        assert_eq!(other.code(), "idempotency_conflict");
        node.answer(Next::Status(200));
        leader.await.unwrap();
        assert_eq!((node.runs(), store.calls(Verb::Claim)), (1, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn waiters_are_bounded_per_key_and_per_layer() {
    for per_key in [true, false] {
        let store = FaultStore::new();
        let mut node = Node::waiting(&store);
        node.layer = match per_key {
            true => node.layer.clone().max_waiters_per_key(3),
            false => node.layer.clone().max_waiters(3),
        };
        let leader = node.lead().await;
        let mut others: Vec<_> = (0..3).map(|_| node.send("hello")).collect();
        settle().await;
        for _ in 0..5 {
            let over = soon(node.send("hello")).await.unwrap();
            assert_eq!(over.code(), "idempotency_in_flight");
        }
        // A place that is given up is free again.
        others.pop().unwrap().abort();
        settle().await;
        others.push(node.send("hello"));
        settle().await;
        node.answer(Next::Status(200));
        assert!(
            all(others)
                .await
                .iter()
                .all(|answer| answer.text() == "run 1")
        );
        leader.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_waited_and_runs_waits_no_more() {
    let store = FaultStore::new();
    let mut node = Node::waiting(&store);
    node.layer = node.layer.clone().max_waiters(1);
    let leader = node.lead().await;
    let second = node.send("hello");
    settle().await;
    node.answer(Next::Status(500));
    soon(node.running.recv()).await;
    // Its place is free for another.
    let third = node.send("hello");
    settle().await;
    assert!(!third.is_finished());
    node.answer(Next::Status(200));
    let answers = all(vec![second, third]).await;
    assert!(answers.iter().all(|answer| answer.text() == "run 2"));
    leader.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_storm_costs_the_store_what_one_request_does() {
    for in_flight in [InFlight::Reject, InFlight::Wait(BUDGET)] {
        let store = FaultStore::new();
        let mut node = Node::new(&store, in_flight);
        node.layer = node
            .layer
            .clone()
            .max_waiters_per_key(20_000)
            .max_waiters(20_000);
        let mut answers: Vec<_> = (0..10_000).map(|_| node.send("hello")).collect();
        soon(node.running.recv()).await;
        settle().await;
        node.answer(Next::Status(200));
        answers.extend((0..100).map(|_| node.send("hello")));
        let answers = all(answers).await;
        let calls = [Verb::Claim, Verb::Complete, Verb::Release].map(|verb| store.calls(verb));
        // After the record is there, each asks for itself.
        assert!(calls.iter().sum::<usize>() <= 50 + 100, "{calls:?}");
        assert_eq!(node.runs(), 1);
        let ok = answers.iter().filter(|answer| answer.status == 200).count();
        let expected = if in_flight == InFlight::Reject {
            101
        } else {
            10_100
        };
        assert_eq!(ok, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_cannot_claim_speaks_for_all() {
    for in_flight in [InFlight::Reject, InFlight::Wait(BUDGET)] {
        let store = FaultStore::new();
        store.lasting(Verb::Claim, Fault::LostRequest);
        let node = Node::new(&store, in_flight);
        let answers = all((0..1_000).map(|_| node.send("hello")).collect()).await;
        assert!(
            answers
                .iter()
                .all(|answer| answer.code() == "idempotency_store_unavailable")
        );
        assert_eq!(store.calls(Verb::Claim), 3);
    }
}

#[tokio::test(start_paused = true)]
async fn where_danger_is_chosen_all_run_as_soon_as_the_leader_knows() {
    let store = FaultStore::new();
    store.lasting(Verb::Claim, Fault::Silence);
    let mut node = Node::waiting_into_danger(&store);
    let requests: Vec<_> = (0..10).map(|_| node.send("hello")).collect();
    for _ in 0..10 {
        soon(node.running.recv()).await;
    }
    assert_eq!((node.runs(), store.calls(Verb::Claim)), (10, 3));
    (0..10).for_each(|_| node.answer(Next::Status(200)));
    for answer in all(requests).await {
        assert_eq!(answer.header("idempotency-status"), Some("unprotected"));
    }
}

#[tokio::test(start_paused = true)]
async fn who_follows_into_danger_runs_to_the_end_too() {
    let store = FaultStore::new();
    store.lasting(Verb::Claim, Fault::LostRequest);
    let mut node = Node::waiting_into_danger(&store);
    let requests: Vec<_> = (0..2).map(|_| node.send("hello")).collect();
    for request in requests {
        soon(node.running.recv()).await;
        request.abort();
    }
    settle().await;
    assert_eq!(node.events.count("detached"), 2);
    let drained = node.layer.drain(BUDGET).await;
    assert!(matches!(drained, Drained::DeadlinePassed(2..)));
    (0..2).for_each(|_| node.answer(Next::Status(200)));
    assert_eq!(node.layer.drain(BUDGET).await, Drained::Complete);
}

/// A record that cannot be read says that the operation ran.
#[tokio::test(start_paused = true)]
async fn nobody_runs_where_the_leader_met_a_corrupt_record() {
    let store = FaultStore::new();
    store.next(Verb::Claim, [Fault::LostRequest]);
    store.lasting(Verb::Claim, Fault::Corrupt);
    let node = Node::waiting_into_danger(&store);
    for answer in all((0..10).map(|_| node.send("hello")).collect()).await {
        assert_eq!(answer.code(), "idempotency_store_unavailable");
    }
    assert_eq!(node.runs(), 0);
}

#[tokio::test(start_paused = true)]
async fn concurrent_replays_of_one_key_share_a_claim() {
    let store = FaultStore::new();
    let node = Node::new(&store, InFlight::Reject);
    node.answer(Next::Status(200));
    node.send("hello").await.unwrap();
    // The store takes its time: the reply of the first claim is lost.
    store.next(Verb::Claim, [Fault::LostReply]);
    let answers = all((0..1_000).map(|_| node.send("hello")).collect()).await;
    assert!(answers.iter().all(|answer| answer.is_replay()));
    assert_eq!(store.calls(Verb::Claim), 3);
    // One that asks something else is judged by itself.
    store.next(Verb::Claim, [Fault::LostReply]);
    let (same, other) = (node.send("hello"), node.send("other"));
    assert!(same.await.unwrap().is_replay());
    assert_eq!(other.await.unwrap().code(), "idempotency_conflict");
}

// Two nodes.

#[tokio::test(start_paused = true)]
async fn a_waiter_on_another_node_is_woken_by_the_store() {
    let store = FaultStore::new();
    let (mut a, b) = (Node::waiting(&store), Node::waiting(&store));
    let leader = a.lead().await;
    let others: Vec<_> = (0..50).map(|_| b.send("hello")).collect();
    let began = Instant::now();
    tokio::time::sleep(BUDGET / 2).await;
    assert_eq!(store.calls(Verb::Claim), 2, "it is not polled");
    let refused = b.send("other").await.unwrap();
    assert_eq!(refused.code(), "idempotency_conflict");
    a.answer(Next::Status(200));
    let answers = all(others).await;
    assert!(
        answers
            .iter()
            .all(|answer| answer.is_replay() && answer.text() == "run 1")
    );
    let waited = began.elapsed();
    assert!(
        waited < BUDGET / 2 + Duration::from_millis(100),
        "{waited:?}"
    );
    leader.await.unwrap();
    assert_eq!((b.runs(), store.calls(Verb::Claim)), (0, 3));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_does_not_wait_is_asked_less_and_less() {
    let store = FaultStore::new();
    store.lasting(Verb::Settled, Fault::Refused);
    let (mut a, b) = (Node::waiting(&store), Node::waiting(&store));
    let leader = a.lead().await;
    let waits = b.send("hello");
    tokio::time::sleep(Duration::from_secs(5)).await;
    // The pauses double from 10 ms on: the eighth is over after 2.27 s.
    assert_eq!(store.calls(Verb::Claim), 2 + 10);
    a.answer(Next::Status(200));
    assert!(waits.await.unwrap().is_replay());
    leader.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_waiter_on_another_node_takes_over_after_a_release() {
    let store = FaultStore::new();
    let (mut a, mut b) = (Node::waiting(&store), Node::waiting(&store));
    let leader = a.lead().await;
    let others: Vec<_> = (0..10).map(|_| b.send("hello")).collect();
    settle().await;
    a.answer(Next::Status(500));
    soon(b.running.recv()).await;
    b.answer(Next::Status(200));
    assert!(
        all(others)
            .await
            .iter()
            .all(|answer| answer.text() == "run 1")
    );
    assert_eq!(leader.await.unwrap().status, 500);
    assert_eq!((a.runs(), b.runs()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn on_another_node_too_the_budget_ends_without_running() {
    let store = FaultStore::new();
    let (mut a, b) = (Node::waiting(&store), Node::waiting(&store));
    let leader = a.lead().await;
    let others: Vec<_> = (0..10).map(|_| b.send("hello")).collect();
    let late = async {
        tokio::time::sleep(BUDGET / 2).await;
        let began = Instant::now();
        let late = b.send("hello").await.unwrap();
        assert_eq!(began.elapsed(), BUDGET, "each has its own");
        late
    };
    let late = tokio::join!(late, tokio::time::sleep(BUDGET * 5)).0;
    assert_eq!(late.code(), "idempotency_in_flight");
    for other in all(others).await {
        assert_eq!(other.code(), "idempotency_in_flight");
    }
    a.answer(Next::Status(200));
    leader.await.unwrap();
    settle().await;
    assert_eq!((a.runs(), b.runs()), (1, 0));
}

/// However the store helps to wait, or not.
#[tokio::test(start_paused = true)]
async fn who_waited_elsewhere_is_told_when_the_budget_ends_how_long_is_left() {
    let budget = Duration::from_secs(12);
    // Who asks now and then has seen that the lease was renewed.
    let retries = [
        (Fault::None, "12"),
        (Fault::Silence, "12"),
        (Fault::Refused, "2"),
    ];
    for (fault, retry) in retries {
        let store = FaultStore::new();
        store.lasting(Verb::Settled, fault);
        let mut a = Node::waiting(&store);
        let b = Node::new(&store, InFlight::Wait(budget));
        let leader = a.lead().await;
        let began = Instant::now();
        let waited = (0..3).map(|_| b.send("hello")).collect();
        for refused in all(waited).await {
            assert_eq!(refused.code(), "idempotency_in_flight");
            assert_eq!(refused.header("retry-after"), Some(retry), "{fault:?}");
        }
        assert_eq!(began.elapsed(), budget, "{fault:?}");
        let claims = store.calls(Verb::Claim);
        assert!(
            fault == Fault::Refused || claims == 2,
            "nobody claims out of patience"
        );
        a.answer(Next::Status(200));
        leader.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_falls_silent_does_not_prolong_the_budget() {
    let store = FaultStore::new();
    let (mut a, b) = (Node::waiting(&store), Node::waiting(&store));
    let _leader = a.lead().await;
    store.lasting(Verb::Renew, Fault::Refused);
    // The lease lapses one second before the budget ends.
    tokio::time::sleep(Duration::from_secs(11)).await;
    let began = Instant::now();
    let waits = [b.send("hello"), b.send("hello")];
    settle().await;
    store.lasting(Verb::Claim, Fault::LostRequest);
    store.next(Verb::Claim, [Fault::Silence]);
    // A drain need not wait for one that only waits; once it claims, it must.
    assert_eq!(b.layer.drain(Duration::ZERO).await, Drained::Complete);
    tokio::time::sleep(BUDGET - Duration::from_millis(500)).await;
    let drained = b.layer.drain(Duration::ZERO).await;
    assert_eq!(drained, Drained::DeadlinePassed(1));
    for refused in all(waits.into()).await {
        assert_eq!(refused.code(), "idempotency_in_flight");
        assert!(refused.header("retry-after").is_some());
    }
    let waited = began.elapsed();
    assert!(waited <= BUDGET + Duration::from_millis(1), "{waited:?}");
    assert!(waited > BUDGET - Duration::from_secs(1), "{waited:?}");
}

/// A claim that is on its way when the budget ends says nothing of the store.
#[tokio::test(start_paused = true)]
async fn one_tired_of_waiting_does_not_run_into_danger() {
    let store = FaultStore::new();
    let (mut a, b) = (Node::waiting(&store), Node::waiting_into_danger(&store));
    let leader = a.lead().await;
    store.lasting(Verb::Renew, Fault::Refused);
    tokio::time::sleep(Duration::from_secs(11)).await;
    let waits = b.send("hello");
    settle().await;
    store.next(Verb::Claim, [Fault::LostReply, Fault::Silence]);
    b.answer(Next::Status(200));
    assert_eq!(waits.await.unwrap().code(), "idempotency_in_flight");
    assert_eq!(b.runs(), 0);
    // The takeover that it was is left to lapse, and that is no secret.
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(b.events.count("abandoned"), 1);
    a.answer(Next::Status(200));
    leader.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn one_whose_client_left_while_it_claimed_does_not_wait_on() {
    let store = FaultStore::new();
    let (mut a, b) = (Node::waiting(&store), Node::waiting(&store));
    let leader = a.lead().await;
    store.next(Verb::Claim, [Fault::LostRequest]);
    let gone = b.send("hello");
    settle().await;
    gone.abort();
    let _ = gone.await;
    assert_eq!(
        b.events.count("detached"),
        1,
        "its claim may have been applied"
    );
    let drained = b.layer.drain(Duration::from_secs(5)).await;
    assert_eq!(
        drained,
        Drained::Complete,
        "it was not, and nobody waits for more"
    );
    a.answer(Next::Status(500));
    leader.await.unwrap();
    settle().await;
    assert_eq!((a.runs(), b.runs()), (1, 0));
}

/// Behind a leader of its node, or another node, as one that never waited.
#[tokio::test(start_paused = true)]
async fn one_that_waited_and_claims_runs_without_its_client_too() {
    for nodes in [1, 2] {
        let store = FaultStore::new();
        let mut a = Node::waiting(&store);
        let leader = a.lead().await;
        let mut b = Node::waiting(&store);
        if nodes == 1 {
            b.layer = a.layer.clone();
            b.events = a.events.clone();
        }
        let gone = b.send("hello");
        settle().await;
        store.next(Verb::Claim, [Fault::LostReply]);
        let claims = store.calls(Verb::Claim);
        a.answer(Next::Status(500));
        while store.calls(Verb::Claim) == claims {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        gone.abort();
        assert!(gone.await.is_err());
        assert_eq!(b.events.count("detached"), 1, "{nodes} nodes");
        soon(b.running.recv()).await;
        b.answer(Next::Status(200));
        assert_eq!(b.layer.drain(BUDGET).await, Drained::Complete);
        assert!(b.send("hello").await.unwrap().is_replay());
        leader.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_rejecting_layer_does_not_wait_for_one_that_waits() {
    let store = FaultStore::new();
    let mut a = Node::waiting(&store);
    let leader = a.lead().await;
    let b = Node::waiting(&store);
    let mut rejecting = Node::waiting(&store);
    rejecting.layer = b.layer.clone().in_flight(InFlight::Reject);
    let waits = b.send("hello");
    tokio::time::sleep(Duration::from_secs(5)).await;
    let rejected = soon(rejecting.send("hello")).await.unwrap();
    assert_eq!(rejected.code(), "idempotency_in_flight");
    assert_eq!(rejected.header("retry-after"), Some("5"));
    a.answer(Next::Status(200));
    assert!(waits.await.unwrap().is_replay());
    leader.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_handler_whose_lease_lapsed_does_not_wedge_its_node() {
    let store = FaultStore::new();
    let mut node = Node::waiting(&store);
    node.layer = node.layer.clone().lease(BUDGET / 2);
    let zombie = node.lead().await;
    let began = Instant::now();
    let waits = node.send("hello");
    store.lasting(Verb::Renew, Fault::Refused);
    soon(node.running.recv()).await;
    assert_eq!(node.runs(), 2, "taken over on the same node");
    assert!(began.elapsed() <= BUDGET / 2 + Duration::from_millis(1));
    store.lasting(Verb::Renew, Fault::None);
    let third = node.send("hello");
    settle().await;
    // The zombie was first to ask for an answer, and is first to get one.
    node.answer(Next::Status(201));
    node.answer(Next::Status(200));
    let answers = [
        waits.await.unwrap(),
        third.await.unwrap(),
        zombie.await.unwrap(),
    ];
    let texts: Vec<_> = answers.iter().map(Answer::text).collect();
    assert!(texts[0] == texts[1], "{texts:?}");
    assert_eq!(node.runs(), 2);
}

// Live answers.

#[tokio::test]
async fn a_duplicate_joins_a_live_answer_from_its_first_byte() {
    let store = FaultStore::new();
    let mut node = Node::waiting(&store);
    let service = node.service();
    let first = tokio::spawn(service.clone().oneshot(post("k", "hello")));
    soon(node.running.recv()).await;
    let early = tokio::spawn(service.clone().oneshot(post("k", "hello")));
    let (mut tokens, body) = live_body();
    node.answer(Next::Live(body.boxed_unsync()));
    let mut first = first.await.unwrap().unwrap().into_body();
    let mut early = early.await.unwrap().unwrap();
    assert_eq!(early.headers()["idempotent-replayed"], "true");
    send_text(&mut tokens, "one ").await;
    assert_eq!(read(&mut first).await, "one ");
    send_text(&mut tokens, "two ").await;
    // Each at its own pace: this one has read nothing yet.
    let mut late = service.clone().oneshot(post("k", "hello")).await.unwrap();
    assert_eq!(read(late.body_mut()).await, "one ");
    // The first client leaves; nobody is stopped.
    drop(first);
    send_text(&mut tokens, "three").await;
    drop(tokens);
    let whole = "one two three";
    assert_eq!(Answer::read(early.map(|body| body)).await.text(), whole);
    let late = Answer::read(late).await;
    assert_eq!((late.text().as_str(), late.error), ("two three", None));
    let retry = support::send(&service, post("k", "hello")).await;
    assert_eq!((retry.text().as_str(), retry.is_replay()), (whole, true));
    assert_eq!(node.runs(), 1);
    early = service.oneshot(post("k", "hello")).await.unwrap();
    assert_eq!(Answer::read(early).await.text(), whole);
}

async fn read(body: &mut ResponseBody<AnyBody>) -> Bytes {
    soon(body.frame())
        .await
        .unwrap()
        .unwrap()
        .into_data()
        .unwrap()
}

/// What the first and one who joined get of an answer with these trailers.
async fn with_trailers(names: &[&'static str]) -> [Answer; 2] {
    let store = FaultStore::new();
    let mut node = Node::waiting(&store);
    let service = node.service();
    let (mut tokens, first) = node.live(Next::Announced).await;
    let joined = service.oneshot(post("k", "hello")).await.unwrap();
    send_text(&mut tokens, "text").await;
    let field = |name: &&'static str| {
        let name = HeaderName::from_static(name);
        (name, HeaderValue::from_static("1"))
    };
    let trailers = names.iter().map(field).collect();
    tokens.send_trailers(trailers).await.unwrap();
    drop(tokens);
    [Answer::read(first).await, Answer::read(joined).await]
}

fn trailer_names(answer: &Answer) -> Vec<&str> {
    let trailers = answer.trailers.as_ref().unwrap();
    trailers.keys().map(HeaderName::as_str).collect()
}

/// HTTP/1.1 sends only the trailers that the head names.
#[tokio::test]
async fn who_joins_is_told_of_the_trailers_to_come() {
    for answer in with_trailers(&["x-sum"]).await {
        assert_eq!(answer.header("trailer"), Some("x-sum"));
        assert_eq!(trailer_names(&answer), ["x-sum"]);
    }
}

#[tokio::test]
async fn who_joins_is_given_the_trailers_that_are_kept() {
    let [first, joined] = with_trailers(&["x-sum", "server-timing"]).await;
    assert_eq!(trailer_names(&first), ["x-sum", "server-timing"]);
    assert_eq!(trailer_names(&joined), ["x-sum"]);
}

#[tokio::test]
async fn who_leaves_a_quiet_answer_leaves_nothing_behind() {
    struct Woken;
    impl Wake for Woken {
        fn wake(self: Arc<Self>) {}
    }
    let store = FaultStore::new();
    let mut node = Node::waiting(&store);
    let service = node.service();
    let (_tokens, first) = node.live(Next::Live).await;
    let joined = service.oneshot(post("k", "hello")).await.unwrap();
    for reader in [first, joined] {
        let woken = Arc::new(Woken);
        let waker = Waker::from(Arc::clone(&woken));
        let mut body = Box::pin(reader.into_body());
        let polled = body.as_mut().poll_frame(&mut Context::from_waker(&waker));
        assert!(polled.is_pending());
        drop((body, waker));
        assert_eq!(Arc::strong_count(&woken), 1);
    }
}

#[tokio::test]
async fn past_the_limit_those_who_joined_get_an_error_and_the_first_gets_all() {
    let store = FaultStore::new();
    let mut node = Node::waiting(&store);
    node.layer = node.layer.clone().max_response_body(8);
    let service = node.service();
    let (mut tokens, first) = node.live(Next::Live).await;
    send_text(&mut tokens, "12345").await;
    let joined = service.clone().oneshot(post("k", "hello")).await.unwrap();
    let joined = tokio::spawn(Answer::read(joined));
    settle().await;
    send_text(&mut tokens, "67890").await;
    let joined = soon(joined).await.unwrap();
    assert_eq!(joined.text(), "12345");
    assert!(joined.error.unwrap().contains("broke off"));
    drop(tokens);
    let first = Answer::read(first).await;
    assert_eq!((first.text().as_str(), first.error), ("1234567890", None));
    let retry = support::send(&service, post("k", "hello")).await;
    assert_eq!(retry.code(), "idempotency_result_unavailable");
}

/// No later retry will get it.
#[tokio::test(start_paused = true)]
async fn a_live_answer_that_cannot_be_recorded_is_no_replay_for_who_joined() {
    let store = FaultStore::new();
    let mut node = Node::waiting(&store);
    let service = node.service();
    let (mut tokens, first) = node.live(Next::Live).await;
    let joined = service.clone().oneshot(post("k", "hello")).await.unwrap();
    assert_eq!(joined.headers()["idempotent-replayed"], "true");
    for verb in [Verb::Complete, Verb::Renew] {
        store.lasting(verb, Fault::Refused);
    }
    send_text(&mut tokens, "all").await;
    drop(tokens);
    let (first, joined) = tokio::join!(Answer::read(first), Answer::read(joined));
    assert_eq!((first.text().as_str(), first.error), ("all", None));
    assert_eq!(node.events.count("unrecorded"), 1);
    assert_eq!(joined.text(), "all");
    assert!(joined.error.unwrap().contains("broke off"));
}

#[tokio::test]
async fn a_live_answer_that_fails_fails_for_all() {
    let store = FaultStore::new();
    let mut node = Node::waiting(&store);
    let service = node.service();
    let (mut tokens, first) = node.live(Next::Live).await;
    send_text(&mut tokens, "some").await;
    let joined = service.clone().oneshot(post("k", "hello")).await.unwrap();
    tokens.abort("the provider is gone".into());
    let (first, joined) = (Answer::read(first).await, Answer::read(joined).await);
    assert_eq!(first.error.unwrap(), "the provider is gone");
    assert!(joined.error.unwrap().contains("broke off"));
}

/// It could not tell an answer that broke off from a whole one.
#[tokio::test]
async fn a_client_of_http_1_0_does_not_join_but_waits_for_the_end() {
    let store = FaultStore::new();
    let mut node = Node::waiting(&store);
    let service = node.service();
    let first = tokio::spawn(service.clone().oneshot(post("k", "hello")));
    soon(node.running.recv()).await;
    let old = || {
        let mut request = post("k", "hello");
        *request.version_mut() = Version::HTTP_10;
        tokio::spawn(service.clone().oneshot(request))
    };
    let early = old();
    let (mut tokens, body) = live_body();
    node.answer(Next::Live(body.boxed_unsync()));
    let first = first.await.unwrap().unwrap();
    let late = old();
    send_text(&mut tokens, "one ").await;
    settle().await;
    assert!(!early.is_finished() && !late.is_finished());
    send_text(&mut tokens, "two").await;
    drop(tokens);
    assert_eq!(Answer::read(first).await.text(), "one two");
    for waited in [early, late] {
        let replay = waited.await.unwrap().unwrap();
        assert_eq!(replay.body().size_hint().exact(), Some(7), "all there");
        let replay = Answer::read(replay).await;
        assert_eq!(
            (replay.text().as_str(), replay.is_replay()),
            ("one two", true)
        );
    }
    assert_eq!(node.runs(), 1);
}

#[tokio::test]
async fn a_rejecting_layer_does_not_join() {
    let store = FaultStore::new();
    let mut node = Node::new(&store, InFlight::Reject);
    let service = node.service();
    let (tokens, first) = node.live(Next::Live).await;
    let busy = support::send(&service, post("k", "hello")).await;
    assert_eq!(busy.code(), "idempotency_in_flight");
    drop(tokens);
    Answer::read(first).await;
}

// Nobody spins: whoever waits is polled when something has changed.

/// The answer, unless `service` has to be polled very often for it.
async fn unhurried(service: Service) -> Answer {
    let mut polls = 0;
    let mut answer = Box::pin(service.oneshot(post("k", "hello")));
    let answer = std::future::poll_fn(|cx| {
        polls += 1;
        assert!(polls < 100, "it spins");
        answer.as_mut().poll(cx)
    });
    Answer::read(answer.await.unwrap()).await
}

#[tokio::test(start_paused = true)]
async fn a_budget_that_ends_before_the_leader_has_claimed_does_not_spin() {
    let store = FaultStore::new();
    store.lasting(Verb::Claim, Fault::Silence);
    let node = Node::new(&store, InFlight::Wait(Duration::from_secs(1)));
    let leader = node.send("hello");
    settle().await;
    let follower = unhurried(node.service()).await;
    assert_eq!(follower.code(), "idempotency_store_unavailable");
    assert_eq!(leader.await.unwrap().code(), follower.code());
}

/// It waits no more, and asks as one that never waited.
#[tokio::test(start_paused = true)]
async fn a_budget_that_ended_before_the_leader_failed_does_not_cut_a_claim_off() {
    let store = FaultStore::new();
    let failures = [Fault::Refused, Fault::Corrupt, Fault::Refused];
    store.next(Verb::Claim, failures);
    let node = Node::new(&store, InFlight::Wait(Duration::from_millis(10)));
    let leader = node.send("hello");
    settle().await;
    let follower = node.send("hello");
    node.answer(Next::Status(200));
    let refused = leader.await.unwrap();
    assert_eq!(refused.code(), "idempotency_store_unavailable");
    assert_eq!(follower.await.unwrap().text(), "run 1");
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_lapses_elsewhere_does_not_make_followers_spin() {
    // Also where the store does not tell.
    for settled in [Fault::None, Fault::Silence] {
        let store = FaultStore::new();
        store.lasting(Verb::Renew, Fault::Refused);
        store.lasting(Verb::Settled, settled);
        let mut a = Node::waiting(&store);
        let mut b = Node::new(&store, InFlight::Wait(BUDGET * 5));
        let began = Instant::now();
        let _zombie = a.lead().await;
        let leader = b.send("hello");
        settle().await;
        let follower = tokio::spawn(unhurried(b.service()));
        soon(b.running.recv()).await;
        let waited = began.elapsed();
        assert!(waited < Duration::from_secs(31), "{settled:?}: {waited:?}");
        b.answer(Next::Status(200));
        assert_eq!(follower.await.unwrap().text(), "run 1");
        assert_eq!(leader.await.unwrap().text(), "run 1");
    }
}
