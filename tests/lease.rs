//! Leases: renewed, lapsed, lost, taken over, held.
#![cfg(feature = "memory")]
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod support;

use std::{
    convert::Infallible,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::Body as _;
use http_body_util::{BodyExt as _, Full, channel::Sender, combinators::UnsyncBoxBody};
use support::{
    Answer, BoxError,
    events::Events,
    fault::{Fault, FaultStore, LATE, Verb},
    live_body, post, send, send_text, serve, settle,
};
use tokio::{
    sync::{Semaphore, mpsc},
    time::Instant,
};
use tower::{ServiceExt as _, service_fn, util::BoxCloneSyncService};
use tower_idempotency::{
    AfterCrash, Event, Idempotency, IdempotencyLayer, InFlight,
    server::{RequestBody, ResponseBody},
    store::{Lease, Resolution},
};

type AnyBody = UnsyncBoxBody<Bytes, BoxError>;
type Asked = Request<RequestBody<Full<Bytes>>>;

const LEASE: Duration = Duration::from_secs(30);

/// One of two nodes over one store. Its handler shows the operation, waits for a permit,
/// and answers with the node's name and the attempt.
struct Node {
    layer: IdempotencyLayer<FaultStore>,
    events: Events,
    running: mpsc::UnboundedReceiver<Idempotency>,
    gate: Arc<Semaphore>,
    runs: Arc<AtomicUsize>,
    /// Whether it answers 500.
    fails: Arc<AtomicBool>,
    name: &'static str,
    shown: mpsc::UnboundedSender<Idempotency>,
}

impl Node {
    fn new(name: &'static str, store: &FaultStore) -> Self {
        let events = Events::default();
        let (shown, running) = mpsc::unbounded_channel();
        Self {
            layer: IdempotencyLayer::new(store.clone())
                .lease(LEASE)
                .observer(events.clone()),
            events,
            running,
            gate: Arc::new(Semaphore::new(0)),
            runs: Arc::default(),
            fails: Arc::default(),
            name,
            shown,
        }
    }

    fn service(
        &self,
    ) -> BoxCloneSyncService<Request<Full<Bytes>>, Response<ResponseBody<Full<Bytes>>>, Infallible>
    {
        let (shown, gate, runs) = (self.shown.clone(), self.gate.clone(), self.runs.clone());
        let (fails, name) = (self.fails.clone(), self.name);
        let handler = service_fn(move |request: Asked| {
            let (shown, gate, runs) = (shown.clone(), gate.clone(), runs.clone());
            let fails = fails.clone();
            async move {
                runs.fetch_add(1, Ordering::SeqCst);
                let operation = request.extensions().get::<Idempotency>().unwrap().clone();
                shown.send(operation.clone()).unwrap();
                gate.acquire().await.unwrap().forget();
                let text = format!("{name}, attempt {}", operation.attempt());
                let mut response = Response::new(Full::<Bytes>::from(text));
                if fails.load(Ordering::SeqCst) {
                    *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
                }
                Ok::<_, Infallible>(response)
            }
        });
        BoxCloneSyncService::new(serve(&self.layer, handler))
    }

    /// Sends a request and waits until its handler runs.
    async fn start(&mut self) -> (tokio::task::JoinHandle<Answer>, Idempotency) {
        let service = self.service();
        let answer = tokio::spawn(async move { send(&service, post("k", "hello")).await });
        (answer, support::soon(self.running.recv()).await.unwrap())
    }

    async fn send(&self) -> Answer {
        send(&self.service(), post("k", "hello")).await
    }
}

/// Cuts the renewals, and lets the lease lapse.
async fn lapse(store: &FaultStore) {
    store.lasting(Verb::Renew, Fault::Refused);
    tokio::time::sleep(LEASE + Duration::from_secs(1)).await;
    settle().await;
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_renewed_for_as_long_as_the_handler_runs() {
    let store = FaultStore::new();
    let mut node = Node::new("a", &store);
    let (answer, operation) = node.start().await;
    for _ in 0..20 {
        tokio::time::sleep(LEASE / 2).await;
        let busy = node.send().await;
        assert_eq!(busy.code(), "idempotency_in_flight");
        let after: u64 = busy.header("retry-after").unwrap().parse().unwrap();
        // The lease is never older than a third of it.
        assert!((1..=10).contains(&after), "{after}");
    }
    assert!(
        store.calls(Verb::Renew) >= 28,
        "{}",
        store.calls(Verb::Renew)
    );
    assert!(!operation.is_lease_lost());
    node.gate.add_permits(1);
    assert_eq!(answer.await.unwrap().text(), "a, attempt 1");
    assert_eq!(node.runs.load(Ordering::SeqCst), 1);
    let renewals = store.calls(Verb::Renew);
    tokio::time::sleep(LEASE * 3).await;
    assert_eq!(
        store.calls(Verb::Renew),
        renewals,
        "nothing is renewed for nobody"
    );
}

/// It may hold what others wait for.
#[tokio::test(start_paused = true)]
async fn what_was_left_with_a_lease_goes_when_that_ends() {
    let mut node = Node::new("one", &FaultStore::new());
    let (answer, operation) = node.start().await;
    let left = Arc::new(());
    let weak = Arc::downgrade(&left);
    AsRef::<Lease>::as_ref(&operation).attach(left).unwrap();
    drop(operation);
    // It is renewed meanwhile.
    tokio::time::sleep(LEASE / 2).await;
    node.gate.add_permits(1);
    assert_eq!(answer.await.unwrap().status, StatusCode::OK);
    settle().await;
    assert_eq!(weak.strong_count(), 0);
}

/// When `noted` saw what it looks for, while three hundred leases began one after the other.
async fn moments(
    store: FaultStore,
    noted: impl Fn(&Event<'_>) -> bool + Send + Sync + 'static,
) -> Vec<Instant> {
    let moments: Arc<Mutex<Vec<Instant>>> = Arc::default();
    let seen = moments.clone();
    let layer = IdempotencyLayer::new(store).lease(LEASE);
    let layer = layer.observer_fn(move |event| {
        if noted(event) {
            seen.lock().unwrap().push(Instant::now());
        }
    });
    let handler = service_fn(|_: Asked| async {
        tokio::time::sleep(LEASE * 2).await;
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
    });
    let service = serve(&layer, handler);
    for number in 0..300 {
        let request = post(&format!("k{number}"), "");
        tokio::spawn(service.clone().oneshot(request));
        tokio::time::sleep(LEASE / 1000).await;
    }
    tokio::time::sleep(LEASE).await;
    let moments = moments.lock().unwrap();
    moments.clone()
}

/// Each look goes over all flights: one look for each of them is a core for ten thousand.
#[tokio::test(start_paused = true)]
async fn renewals_share_their_looks() {
    let renewed = |event: &Event<'_>| {
        let is_renewal = |verb| verb == tower_idempotency::Verb::Renew;
        matches!(event, Event::StoreCalled { verb, .. } if is_renewal(*verb))
    };
    let mut moments = moments(FaultStore::new(), renewed).await;
    assert!(moments.len() >= 3 * 300, "each is renewed every third");
    moments.dedup();
    // A hundred in each lease.
    assert!(moments.len() <= 140, "{} looks", moments.len());
}

/// None is told late, and none much too early.
#[tokio::test(start_paused = true)]
async fn leases_that_lapse_share_their_looks() {
    let store = FaultStore::new();
    store.lasting(Verb::Renew, Fault::Refused);
    let began = Instant::now();
    let lost = |event: &Event<'_>| matches!(event, Event::LeaseLost { .. });
    let mut moments = moments(store, lost).await;
    assert_eq!(moments.len(), 300);
    for (number, moment) in (0..).zip(&moments) {
        let lapses = LEASE + number * (LEASE / 1000);
        let told = *moment - began;
        assert!(
            told <= lapses && told >= lapses - LEASE / 100,
            "{number}: {told:?}"
        );
    }
    moments.dedup();
    assert!(moments.len() <= 31, "{} looks", moments.len());
}

#[tokio::test(start_paused = true)]
async fn a_renewal_that_fails_is_tried_again_in_time() {
    let store = FaultStore::new();
    let mut node = Node::new("a", &store);
    let (answer, operation) = node.start().await;
    store.next(
        Verb::Renew,
        [Fault::Refused, Fault::LostReply, Fault::LostRequest],
    );
    tokio::time::sleep(LEASE * 2).await;
    assert!(!operation.is_lease_lost());
    assert_eq!(node.send().await.code(), "idempotency_in_flight");
    node.gate.add_permits(1);
    assert_eq!(answer.await.unwrap().text(), "a, attempt 1");
}

/// The store may have counted since then, and give the key to another when that is over.
#[tokio::test(start_paused = true)]
async fn a_lease_counts_from_when_its_claim_was_sent_first() {
    let late = [[Fault::Late].as_slice(), &[Fault::Silence, Fault::Late]];
    for (faults, waits) in late.into_iter().flat_map(|f| [(f, false), (f, true)]) {
        let store = FaultStore::new();
        let (mut a, mut b) = (Node::new("a", &store), Node::new("b", &store));
        b.layer = b.layer.clone().in_flight(InFlight::Wait(LEASE));
        store.lasting(Verb::Renew, Fault::Refused);
        if waits {
            a.fails.store(true, Ordering::SeqCst);
            let (first, _) = a.start().await;
            let second = b.service();
            tokio::spawn(async move { send(&second, post("k", "hello")).await });
            settle().await;
            store.next(Verb::Claim, faults.iter().copied());
            a.gate.add_permits(1);
            first.await.unwrap();
        } else {
            store.next(Verb::Claim, faults.iter().copied());
            let second = b.service();
            tokio::spawn(async move { send(&second, post("k", "hello")).await });
        }
        let began = Instant::now();
        let operation = support::soon(b.running.recv()).await.unwrap();
        assert!(began.elapsed() >= LATE, "{faults:?}");
        support::soon(operation.lease_lost()).await;
        // Who waited claims after a pause.
        let told = began.elapsed();
        assert!(
            told <= LEASE + Duration::from_millis(20),
            "{faults:?}, waits: {waits}: {told:?}"
        );
    }
}

/// However long the store may take to say so.
#[tokio::test(start_paused = true)]
async fn a_handler_is_told_when_its_lease_lapses_and_from_then_on() {
    let store = FaultStore::new();
    let mut node = Node::new("a", &store);
    node.layer = node.layer.clone().store_deadline(LEASE * 10);
    store.lasting(Verb::Renew, Fault::Silence);
    let (answer, operation) = node.start().await;
    let soon = Duration::from_millis(10);
    tokio::time::sleep(LEASE - soon).await;
    assert!(!operation.is_lease_lost());
    let told = tokio::time::timeout(2 * soon, operation.lease_lost()).await;
    assert!(told.is_ok() && operation.is_lease_lost());
    node.gate.add_permits(1);
    answer.await.unwrap();
    assert!(operation.is_lease_lost(), "whatever became of the answer");
    support::soon(operation.lease_lost()).await;
    assert_eq!(node.events.count("lease_lost"), 1);
}

/// The answer is refused before any renewal was.
#[tokio::test(start_paused = true)]
async fn a_handler_whose_answer_was_refused_has_lost_its_lease() {
    let store = FaultStore::new();
    let mut node = Node::new("a", &store);
    let (answer, operation) = node.start().await;
    store.memory.forget(operation.record_key());
    node.gate.add_permits(1);
    answer.await.unwrap();
    assert!(operation.is_lease_lost());
    support::soon(operation.lease_lost()).await;
}

#[tokio::test(start_paused = true)]
async fn a_renewal_that_finds_the_record_is_no_loss() {
    let store = FaultStore::new();
    let mut node = Node::new("a", &store);
    let (answer, operation) = node.start().await;
    store.next(Verb::Complete, [Fault::Silence]);
    tokio::time::sleep(LEASE / 3 - Duration::from_secs(1)).await;
    node.gate.add_permits(1);
    assert_eq!(answer.await.unwrap().text(), "a, attempt 1");
    assert_eq!(
        (store.calls(Verb::Renew), store.calls(Verb::Complete)),
        (1, 2)
    );
    assert!(!operation.is_lease_lost());
    assert_eq!(node.events.count("lease_lost"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_release_that_comes_too_late_is_no_secret() {
    let store = FaultStore::new();
    let (mut a, mut b) = (Node::new("a", &store), Node::new("b", &store));
    store.lasting(Verb::Renew, Fault::Refused);
    store.lasting(Verb::Release, Fault::Refused);
    a.fails.store(true, Ordering::SeqCst);
    let (answer, operation) = a.start().await;
    tokio::time::sleep(LEASE - Duration::from_secs(5)).await;
    a.gate.add_permits(1);
    assert_eq!(answer.await.unwrap().status, 500);
    tokio::time::sleep(Duration::from_secs(6)).await;
    let (_successor, _) = b.start().await;
    assert!(!operation.is_lease_lost());
    store.lasting(Verb::Release, Fault::None);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(operation.is_lease_lost());
    assert_eq!(a.events.count("lease_lost"), 1);
    assert_eq!(a.events.count("abandoned"), 0);
}

#[tokio::test(start_paused = true)]
async fn renewals_that_hang_do_not_pile_up() {
    let store = FaultStore::new();
    let mut node = Node::new("a", &store);
    node.layer = node.layer.clone().store_deadline(Duration::MAX);
    store.lasting(Verb::Renew, Fault::Silence);
    let (_answer, _) = node.start().await;
    tokio::time::sleep(LEASE * 100).await;
    // Each has a third of a lease.
    let renewals = store.calls(Verb::Renew);
    assert!((200..=300).contains(&renewals), "{renewals}");
}

/// All threads for what blocks are busy, and nothing else can wake a task from outside.
#[test]
fn leases_are_renewed_while_the_blocking_threads_are_busy() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .max_blocking_threads(1)
        .build()
        .unwrap();
    runtime.block_on(async {
        let (free, busy) = std::sync::mpsc::channel::<()>();
        let busy = tokio::task::spawn_blocking(move || busy.recv().is_err());
        let store = FaultStore::new();
        let mut node = Node::new("a", &store);
        let (answer, operation) = node.start().await;
        for _ in 0..10 {
            tokio::time::advance(LEASE / 2).await;
            settle().await;
        }
        assert!(store.calls(Verb::Renew) >= 10);
        assert!(!operation.is_lease_lost());
        drop(free);
        assert!(busy.await.unwrap());
        node.gate.add_permits(1);
        assert_eq!(answer.await.unwrap().text(), "a, attempt 1");
    });
}

#[tokio::test(start_paused = true)]
async fn a_lapsed_lease_is_taken_over_and_the_zombie_gets_the_record() {
    let store = FaultStore::new();
    let (mut a, mut b) = (Node::new("a", &store), Node::new("b", &store));
    let (zombie, first) = a.start().await;
    lapse(&store).await;
    let (successor, second) = b.start().await;
    assert_eq!((first.attempt(), second.attempt()), (1, 2));
    assert!(second.fence() > first.fence());
    assert_eq!(first.child_key("charge"), second.child_key("charge"));
    b.gate.add_permits(1);
    assert_eq!(successor.await.unwrap().text(), "b, attempt 2");
    a.gate.add_permits(1);
    let zombie = zombie.await.unwrap();
    assert_eq!(zombie.text(), "b, attempt 2", "never its own answer");
    assert!(zombie.is_replay());
    assert_eq!(a.send().await.text(), "b, attempt 2");
    assert_eq!(a.events.count("lease_lost"), 1);
}

/// A node that froze in a call finds the call timed out and its lease lapsed at once.
#[tokio::test(start_paused = true)]
async fn a_zombie_whose_call_fails_asks_once_more_before_it_answers() {
    let store = FaultStore::new();
    let (mut a, mut b) = (Node::new("a", &store), Node::new("b", &store));
    let (zombie, _) = a.start().await;
    lapse(&store).await;
    let (successor, _) = b.start().await;
    b.gate.add_permits(1);
    successor.await.unwrap();
    store.next(Verb::Complete, [Fault::LostRequest]);
    a.gate.add_permits(1);
    let zombie = zombie.await.unwrap();
    assert_eq!(zombie.text(), "b, attempt 2", "never its own answer");
    assert_eq!(a.events.count("unrecorded"), 0);
}

/// Which finds out by its release.
#[tokio::test(start_paused = true)]
async fn a_zombie_that_failed_gets_the_record_too() {
    let store = FaultStore::new();
    let (mut a, mut b) = (Node::new("a", &store), Node::new("b", &store));
    a.fails.store(true, Ordering::SeqCst);
    let (zombie, _) = a.start().await;
    lapse(&store).await;
    let (successor, _) = b.start().await;
    b.gate.add_permits(1);
    successor.await.unwrap();
    a.gate.add_permits(1);
    let zombie = zombie.await.unwrap();
    assert_eq!(zombie.text(), "b, attempt 2", "never its own answer");
    assert!(zombie.is_replay());
}

#[tokio::test(start_paused = true)]
async fn a_zombie_whose_successor_still_runs_is_told_to_wait() {
    let store = FaultStore::new();
    let (mut a, mut b) = (Node::new("a", &store), Node::new("b", &store));
    let (zombie, operation) = a.start().await;
    lapse(&store).await;
    let (successor, _) = b.start().await;
    support::soon(operation.lease_lost()).await;
    a.gate.add_permits(1);
    assert_eq!(zombie.await.unwrap().code(), "idempotency_in_flight");
    b.gate.add_permits(1);
    assert_eq!(successor.await.unwrap().text(), "b, attempt 2");
}

#[tokio::test(start_paused = true)]
async fn a_zombie_whose_key_is_gone_does_not_write() {
    let store = FaultStore::new();
    let mut a = Node::new("a", &store);
    let (zombie, operation) = a.start().await;
    store.memory.forget(operation.record_key());
    a.gate.add_permits(1);
    assert_eq!(
        zombie.await.unwrap().code(),
        "idempotency_result_unavailable"
    );
    assert_eq!(store.memory.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_lapsed_lease_nobody_took_over_is_still_good() {
    let store = FaultStore::new();
    let mut a = Node::new("a", &store);
    let (answer, operation) = a.start().await;
    lapse(&store).await;
    assert!(operation.is_lease_lost(), "the handler is warned");
    a.gate.add_permits(1);
    assert_eq!(answer.await.unwrap().text(), "a, attempt 1");
    assert!(a.send().await.is_replay());
}

/// The lease of `a` outlives two of them, and its handler then answers.
async fn is_kept(a: &Node, b: &Node) {
    tokio::time::sleep(LEASE * 2).await;
    b.gate.add_permits(1);
    assert_eq!(b.send().await.code(), "idempotency_in_flight");
    a.gate.add_permits(1);
}

/// A retry on its node follows it again.
#[tokio::test(start_paused = true)]
async fn a_lapsed_lease_that_was_renewed_in_time_is_kept() {
    let store = FaultStore::new();
    let (mut a, b) = (Node::new("a", &store), Node::new("b", &store));
    let (answer, operation) = a.start().await;
    lapse(&store).await;
    assert!(operation.is_lease_lost());
    store.lasting(Verb::Renew, Fault::None);
    tokio::time::sleep(LEASE / 6).await;
    assert_eq!(a.send().await.code(), "idempotency_in_flight");
    assert_eq!(store.calls(Verb::Claim), 1, "the store is not asked");
    is_kept(&a, &b).await;
    assert_eq!(answer.await.unwrap().text(), "a, attempt 1");
}

/// The store knows better than the clock of a node that does not hear it.
#[tokio::test(start_paused = true)]
async fn a_lease_is_kept_though_a_retry_of_its_node_took_it_for_lapsed() {
    let store = FaultStore::new();
    let (mut a, b) = (Node::new("a", &store), Node::new("b", &store));
    let (answer, operation) = a.start().await;
    store.lasting(Verb::Renew, Fault::LostReply);
    tokio::time::sleep(LEASE + Duration::from_secs(1)).await;
    assert!(operation.is_lease_lost());
    assert_eq!(a.send().await.code(), "idempotency_in_flight");
    assert_eq!(store.calls(Verb::Claim), 2, "the store was asked");
    is_kept(&a, &b).await;
    assert_eq!(answer.await.unwrap().text(), "a, attempt 1");
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_gone_is_not_renewed_any_more() {
    let store = FaultStore::new();
    let mut a = Node::new("a", &store);
    let (_answer, operation) = a.start().await;
    store.memory.forget(operation.record_key());
    tokio::time::sleep(LEASE / 2).await;
    assert!(operation.is_lease_lost());
    let renewals = store.calls(Verb::Renew);
    tokio::time::sleep(LEASE * 2).await;
    assert_eq!(store.calls(Verb::Renew), renewals);
}

/// A live answer, and what writes its body.
async fn live(store: &FaultStore) -> (Sender<Bytes, BoxError>, Response<ResponseBody<AnyBody>>) {
    let layer = IdempotencyLayer::new(store.clone()).lease(LEASE);
    let (mut sender, body) = live_body();
    let body = Arc::new(Mutex::new(Some(body)));
    let service = service_fn(move |_: Asked| {
        let body: AnyBody = body.lock().unwrap().take().unwrap().boxed_unsync();
        async { Ok::<_, Infallible>(Response::new(body)) }
    });
    let service = serve(&layer, service);
    let response = service.oneshot(post("k", "hello")).await.unwrap();
    send_text(&mut sender, "mine").await;
    (sender, response)
}

#[tokio::test(start_paused = true)]
async fn the_lease_of_a_live_answer_is_renewed_until_that_ends() {
    let store = FaultStore::new();
    let (sender, response) = live(&store).await;
    let b = Node::new("b", &store);
    for _ in 0..3 {
        tokio::time::sleep(LEASE).await;
        assert_eq!(b.send().await.code(), "idempotency_in_flight");
    }
    drop(sender);
    let first = Answer::read(response).await;
    assert_eq!((first.text().as_str(), first.error), ("mine", None));
    assert_eq!(b.send().await.text(), "mine");
}

#[tokio::test(start_paused = true)]
async fn a_live_answer_of_a_zombie_ends_with_an_error() {
    let store = FaultStore::new();
    let (sender, response) = live(&store).await;
    lapse(&store).await;
    let mut b = Node::new("b", &store);
    let (successor, _) = b.start().await;
    b.gate.add_permits(1);
    assert_eq!(successor.await.unwrap().text(), "b, attempt 2");
    drop(sender);
    assert!(!response.body().is_end_stream());
    let zombie = Answer::read(response).await;
    assert!(zombie.error.unwrap().contains("lost its lease"));
    assert_eq!(b.send().await.text(), "b, attempt 2");
}

#[tokio::test(start_paused = true)]
async fn held_keys_are_never_run_again() {
    let store = FaultStore::new();
    let mut a = Node::new("a", &store);
    a.layer = a
        .layer
        .clone()
        .after_crash(AfterCrash::Hold)
        .retention(LEASE * 100);
    let (zombie, operation) = a.start().await;
    zombie.abort();
    let _ = zombie.await;
    settle().await;
    // The hung-up request still runs: end it as a crash would.
    lapse(&store).await;
    for _ in 0..3 {
        let unknown = a.send().await;
        assert_eq!(unknown.status, 409);
        assert_eq!(unknown.code(), "idempotency_outcome_unknown");
        assert_eq!(unknown.header("x-should-retry"), Some("false"));
        tokio::time::sleep(LEASE).await;
    }
    assert_eq!(a.runs.load(Ordering::SeqCst), 1);
    let answer = Response::builder()
        .status(202)
        .body(Bytes::from_static(b"settled by hand"));
    let resolved = store
        .memory
        .resolve(operation.record_key(), &answer.unwrap(), LEASE);
    assert_eq!(resolved, Resolution::Resolved);
    let replay = a.send().await;
    assert_eq!(
        (replay.status.as_u16(), replay.text().as_str()),
        (202, "settled by hand")
    );
    assert!(replay.is_replay());
}

#[tokio::test(start_paused = true)]
async fn a_held_key_is_free_again_after_its_retention() {
    let store = FaultStore::new();
    let mut a = Node::new("a", &store);
    a.layer = a
        .layer
        .clone()
        .after_crash(AfterCrash::Hold)
        .retention(LEASE);
    let (zombie, _) = a.start().await;
    lapse(&store).await;
    assert_eq!(a.send().await.code(), "idempotency_outcome_unknown");
    tokio::time::sleep(LEASE).await;
    a.gate.add_permits(2);
    assert_eq!(a.send().await.text(), "a, attempt 1");
    zombie.await.unwrap();
    assert_eq!(a.runs.load(Ordering::SeqCst), 2);
}

#[test]
fn a_handler_that_blocks_its_thread_does_not_starve_the_renewal() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build()
        .unwrap();
    let store = FaultStore::new();
    let layer = IdempotencyLayer::new(store.clone()).lease(Duration::from_millis(60));
    let (open, gate) = std::sync::mpsc::channel::<()>();
    let gate = Arc::new(Mutex::new(gate));
    let service = service_fn(move |_: Asked| {
        let gate = gate.clone();
        async move {
            gate.lock().unwrap().recv().unwrap();
            Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("done")))
        }
    });
    let service = serve(&layer, service);
    let answer = runtime.spawn(service.oneshot(post("k", "hello")));
    // Ten renewals are three lives of the lease.
    while store.calls(Verb::Renew) < 10 {
        std::thread::yield_now();
    }
    open.send(()).unwrap();
    let answer = runtime.block_on(answer).unwrap().unwrap();
    assert_eq!(runtime.block_on(Answer::read(answer)).text(), "done");
}

#[tokio::test(start_paused = true)]
async fn a_handler_can_stop_when_its_lease_is_lost() {
    let store = FaultStore::new();
    let layer = IdempotencyLayer::new(store.clone()).lease(LEASE);
    let service = service_fn(|request: Asked| async move {
        let operation = request.extensions().get::<Idempotency>().unwrap().clone();
        operation.lease_lost().await;
        Ok::<_, Infallible>(
            Response::builder()
                .status(500)
                .body(Full::<Bytes>::from("stopped"))
                .unwrap(),
        )
    });
    let service = serve(&layer, service);
    store.lasting(Verb::Renew, Fault::Refused);
    let answer = support::soon(send(&service, post("k", "hello"))).await;
    assert_eq!(answer.text(), "stopped");
    assert_eq!(store.memory.len(), 0);
}
