use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use bytes::Bytes;
use http::Response;
use tokio::time::{advance, sleep};

use super::*;
use crate::{
    fingerprint::Fingerprint,
    store::{Slot, Standing},
};

const KEY: RecordKey = RecordKey::from_bytes([7; 32]);
const REQUEST: Fingerprint = Fingerprint::custom([1; 32]);
const SECOND: Duration = Duration::from_secs(1);

/// One key at the other end of a wire, on which calls are counted, and replies take time.
#[derive(Clone)]
struct Remote(Arc<Wire>);

struct Wire {
    slot: Mutex<Slot>,
    calls: AtomicU32,
    epoch: Instant,
    delay: Duration,
}

impl Remote {
    fn new() -> Self {
        Self::slow(Duration::ZERO)
    }

    fn slow(delay: Duration) -> Self {
        Self(Arc::new(Wire {
            slot: Mutex::default(),
            calls: AtomicU32::new(0),
            epoch: Instant::now(),
            delay,
        }))
    }

    fn calls(&self) -> u32 {
        self.0.calls.load(Relaxed)
    }

    fn forget(&self) {
        let mut slot = self.0.slot.lock().unwrap();
        slot.forget(self.0.epoch.elapsed());
    }

    async fn call<T>(
        &self,
        verb: impl FnOnce(&mut Slot, Fence, Duration) -> T,
    ) -> Result<T, StoreError> {
        let fence = Fence::new(u64::from(self.0.calls.fetch_add(1, Relaxed)));
        let answer = verb(
            &mut self.0.slot.lock().unwrap(),
            fence,
            self.0.epoch.elapsed(),
        );
        sleep(self.0.delay).await;
        Ok(answer)
    }
}

impl Store for Remote {
    async fn claim(&self, claim: &Claim<'_>) -> Result<Claimed, StoreError> {
        self.call(|slot, fence, now| slot.claim(claim, fence, now))
            .await
    }

    async fn complete(
        &self,
        lease: &Lease,
        record: &Record,
        retention: Duration,
    ) -> Result<Completion, StoreError> {
        self.call(|slot, _, now| slot.complete(lease, record, retention, now))
            .await
    }

    async fn release(&self, lease: &Lease) -> Result<Completion, StoreError> {
        self.call(|slot, _, now| slot.release(lease, now)).await
    }

    async fn renew(&self, lease: &Lease) -> Result<Completion, StoreError> {
        self.call(|slot, _, now| slot.renew(lease, now)).await
    }

    async fn settled(&self, _: &RecordKey, _: Fence, _: Duration) -> Result<(), StoreError> {
        Ok(())
    }
}

fn answer() -> Record {
    Record::answer(REQUEST, &Response::new(Bytes::from_static(b"charged")))
}

async fn claim(store: &impl Store, request: Fingerprint) -> Claimed {
    store.claim(&Claim::new(&KEY, request)).await.unwrap()
}

async fn acquire(store: &impl Store) -> Lease {
    match claim(store, REQUEST).await {
        Claimed::Acquired(lease) => lease,
        other => panic!("{other:?}"),
    }
}

async fn complete(store: &impl Store, retention: Duration) -> Lease {
    let lease = acquire(store).await;
    let completion = store.complete(&lease, &answer(), retention).await;
    assert_eq!(completion.unwrap(), Completion::Applied);
    lease
}

fn replay(remaining: Duration) -> Claimed {
    let record = answer();
    Claimed::Completed { record, remaining }
}

#[tokio::test(start_paused = true)]
async fn replays_of_what_this_node_completed_cost_no_call() {
    let remote = Remote::new();
    let store = Cached::new(remote.clone());
    complete(&store, SECOND * 30).await;
    let calls = remote.calls();
    advance(SECOND).await;
    for store in [&store, &store.clone()] {
        assert_eq!(claim(store, REQUEST).await, replay(SECOND * 29));
        let other = claim(store, Fingerprint::custom([2; 32])).await;
        assert_eq!(other, Claimed::Mismatch);
    }
    assert_eq!(remote.calls(), calls);
}

#[tokio::test(start_paused = true)]
async fn replays_of_what_another_node_completed_cost_one_call() {
    let remote = Remote::new();
    complete(&remote, SECOND * 30).await;
    let store = Cached::new(remote.clone());
    let calls = remote.calls();
    for _ in 0..3 {
        assert_eq!(claim(&store, REQUEST).await, replay(SECOND * 30));
    }
    assert_eq!(remote.calls(), calls + 1);
}

#[tokio::test(start_paused = true)]
async fn no_copy_outlives_the_record() {
    let remote = Remote::new();
    let own = Cached::new(remote.clone());
    complete(&own, SECOND * 30).await;
    advance(SECOND * 20).await;
    let learned = Cached::new(remote.clone());
    assert_eq!(claim(&learned, REQUEST).await, replay(SECOND * 10));
    advance(SECOND * 10 - Duration::from_millis(1)).await;
    for store in [&own, &learned] {
        assert_eq!(
            claim(store, REQUEST).await,
            replay(Duration::from_millis(1))
        );
    }
    advance(Duration::from_millis(1)).await;
    acquire(&own).await;
    let other_node = claim(&learned, REQUEST).await;
    assert!(
        matches!(other_node, Claimed::InFlight { .. }),
        "{other_node:?}"
    );
}

/// The store kept it from some moment of the call on: the first one, to be safe.
#[tokio::test(start_paused = true)]
async fn a_slow_reply_does_not_lengthen_the_life_of_a_copy() {
    let remote = Remote::slow(SECOND);
    let own = Cached::new(remote.clone());
    complete(&own, SECOND * 30).await;
    assert_eq!(claim(&own, REQUEST).await, replay(SECOND * 29));
    let learned = Cached::new(remote.clone());
    assert_eq!(claim(&learned, REQUEST).await, replay(SECOND * 29));
    assert_eq!(claim(&learned, REQUEST).await, replay(SECOND * 28));
}

#[tokio::test(start_paused = true)]
async fn what_an_operator_forgot_is_used_for_max_age_at_most() {
    let remote = Remote::new();
    let store = Cached::new(remote.clone()).max_age(SECOND * 5);
    complete(&store, SECOND * 100).await;
    let forget = |slot: &mut Slot, _, now| slot.forget(now);
    let forgotten = remote.call(forget).await.unwrap();
    assert!(matches!(forgotten, Standing::Completed(_)));
    advance(SECOND * 4).await;
    assert_eq!(claim(&store, REQUEST).await, replay(SECOND * 96));
    advance(SECOND).await;
    complete(&store, SECOND * 100).await;
    remote.call(forget).await.unwrap();
    store.forget(&KEY);
    acquire(&store).await;
}

#[tokio::test(start_paused = true)]
async fn keys_in_flight_and_repeated_completions_always_reach_the_store() {
    let remote = Remote::new();
    let store = Cached::new(remote.clone());
    let lease = acquire(&store).await;
    for calls in 1..4 {
        assert_eq!(remote.calls(), calls);
        let held = claim(&store, REQUEST).await;
        assert!(matches!(held, Claimed::InFlight { .. }), "{held:?}");
    }
    let calls = remote.calls();
    // The first reply was lost: when it was applied, this node does not know.
    remote
        .complete(&lease, &answer(), SECOND * 30)
        .await
        .unwrap();
    advance(SECOND * 10).await;
    let completion = store.complete(&lease, &answer(), SECOND * 30).await;
    assert_eq!(completion.unwrap(), Completion::AlreadyApplied);
    assert_eq!(claim(&store, REQUEST).await, replay(SECOND * 20));
    assert_eq!(remote.calls(), calls + 3);
}

/// The reply was under way when the operator forgot the key, first there and then here.
#[tokio::test(start_paused = true)]
async fn a_reply_from_before_the_copy_was_forgotten_is_not_copied() {
    let remote = Remote::slow(SECOND);
    complete(&remote, SECOND * 100).await;
    let store = Cached::new(remote.clone());
    let forgets = async {
        sleep(SECOND / 2).await;
        remote.forget();
        store.forget(&KEY);
    };
    let (early, ()) = tokio::join!(claim(&store, REQUEST), forgets);
    assert!(matches!(early, Claimed::Completed { .. }), "{early:?}");
    let lease = acquire(&store).await;
    let forgets = async {
        sleep(SECOND / 2).await;
        remote.forget();
        store.clone().forget(&KEY);
    };
    let record = answer();
    let completes = store.complete(&lease, &record, SECOND * 100);
    let (completion, ()) = tokio::join!(completes, forgets);
    assert_eq!(completion.unwrap(), Completion::Applied);
    acquire(&store).await;
}
