//! The store in this process's memory.

mod clearing;
mod clock;
mod expiry;
mod room;
mod slot;
mod table;

use std::{
    fmt,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use bytes::Bytes;
use http::Response;
use tokio::time::timeout;

use self::{room::Room, table::Table};
use super::{Claim, Claimed, Completion, Fence, Lease, Resolution, Standing, Store, StoreError};
use crate::{record::Record, record_key::RecordKey};

/// Keeps keys, leases and records in the memory of this process.
///
/// They are **gone when the process ends**, and other processes do not see them: behind a
/// load balancer with two nodes, a retry that reaches the other node runs again. Use it
/// for one node, and for tests.
///
/// Bounded: by default a store takes 1,000,000 entries and 1 GiB, and refuses new keys
/// beyond that with [`StoreErrorKind::Full`](super::StoreErrorKind::Full), which clients
/// see as a 503. Keys in flight are never evicted.
///
/// Cheap to clone; clones share everything, bounds included.
///
/// Expired keys are cleared away a few at a time as new ones are claimed, so the memory of
/// a store that is no longer used stays taken until [`sweep`](Self::sweep) is called.
///
/// ```
/// use tower_idempotency::MemoryStore;
///
/// let store = MemoryStore::new().max_entries(100_000).max_bytes(256 << 20);
/// assert!(store.is_empty());
/// ```
#[derive(Clone)]
pub struct MemoryStore(Arc<Table>);

impl MemoryStore {
    /// An empty store with 1024 shards that takes 1,000,000 entries and 1 GiB and evicts
    /// nothing.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(Table::new(1024, Room::new())))
    }

    /// How many keys it holds at most, in flight and completed together; 1,000,000 by
    /// default. A full store refuses new keys. Applies to all clones.
    #[must_use]
    pub fn max_entries(self, max_entries: usize) -> Self {
        self.0.room.max_entries.store(max_entries, Relaxed);
        self
    }

    /// How many bytes it holds at most; 1 GiB by default. Counts what
    /// [`Record::bytes`] says and 300 bytes for each key. Applies to all clones.
    ///
    /// A store that has reached the bound refuses new keys, but takes the record of every
    /// key in flight: an operation that was carried out must not lose its answer. So it
    /// may exceed the bound by the records of the keys in flight at that moment.
    #[must_use]
    pub fn max_bytes(self, max_bytes: u64) -> Self {
        self.0.room.max_bytes.store(max_bytes, Relaxed);
        self
    }

    /// Lets a full store evict the records that expire first, instead of refusing new
    /// keys. Off by default. Applies to all clones.
    ///
    /// **This lowers the guarantee**: a retry of an operation whose record was evicted
    /// carries it out again, and whoever can make up keys can have records evicted. Keys
    /// in flight are never evicted; a store full of them refuses new keys all the same.
    #[must_use]
    pub fn evict_completed(self) -> Self {
        self.0.room.evict_completed.store(true, Relaxed);
        self
    }

    /// How many parts with a lock of their own it has; 1024 by default. Begins an empty
    /// store with the same bounds, so call it before the store is used.
    ///
    /// A shard that grows keeps its callers waiting until it has moved all its keys. With
    /// five million keys in 8 shards that takes 52 ms, in 1024 shards less than 2 ms. An
    /// empty shard takes 128 bytes.
    ///
    /// # Panics
    ///
    /// If `shards` is not a power of two, or is 1.
    #[must_use]
    pub fn shards(self, shards: usize) -> Self {
        assert!(
            shards > 1 && shards.is_power_of_two(),
            "the number of shards must be a power of two above 1"
        );
        Self(Arc::new(Table::new(shards, self.0.room.emptied())))
    }

    /// How many keys it holds, in flight and completed, and expired but not yet cleared
    /// away.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.room.entries()
    }

    /// Whether it holds no key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many bytes it holds, as counted for [`max_bytes`](Self::max_bytes).
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.0.room.bytes()
    }

    /// Clears away all keys that expired a second ago or more, and says how many there were.
    ///
    /// Takes a microsecond or two for each, in steps that never hold up other callers, but
    /// does not yield: where millions may have expired, call it on a thread that may block.
    /// A full store clears away some by itself before it refuses a key.
    #[expect(clippy::must_use_candidate, reason = "the number is only for interest")]
    pub fn sweep(&self) -> usize {
        self.0.sweep()
    }

    /// For operators: drops whatever stands under `key`, and says what it was.
    ///
    /// **The operation can then be carried out again**, also while it is still being
    /// carried out: a key in flight is dropped too. Its holder can no longer complete it,
    /// and what it has done by then stays done.
    #[expect(clippy::must_use_candidate, reason = "what stood there may not matter")]
    pub fn forget(&self, key: &RecordKey) -> Standing {
        self.0.forget(key)
    }

    /// For operators: gives the answer to an operation whose lease lapsed before it was
    /// completed, for example one that answers `idempotency_outcome_unknown` under
    /// [`AfterCrash::Hold`](super::AfterCrash::Hold). Retries get it for `retention`
    /// from now.
    ///
    /// Whoever held the lease can no longer complete it: should it be alive after all, it
    /// finds this answer.
    ///
    /// Header fields are kept as by [`Record::answer`].
    pub fn resolve(
        &self,
        key: &RecordKey,
        response: &Response<Bytes>,
        retention: Duration,
    ) -> Resolution {
        self.0.resolve(key, response, retention)
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore")
            .field("len", &self.len())
            .field("bytes", &self.bytes())
            .finish_non_exhaustive()
    }
}

impl Store for MemoryStore {
    async fn claim(&self, claim: &Claim<'_>) -> Result<Claimed, StoreError> {
        self.0.claim(claim)
    }

    async fn complete(
        &self,
        lease: &Lease,
        record: &Record,
        retention: Duration,
    ) -> Result<Completion, StoreError> {
        Ok(self.0.complete(lease, record, retention))
    }

    async fn release(&self, lease: &Lease) -> Result<Completion, StoreError> {
        Ok(self.0.release(lease))
    }

    async fn renew(&self, lease: &Lease) -> Result<Completion, StoreError> {
        Ok(self.0.renew(lease))
    }

    async fn settled(
        &self,
        key: &RecordKey,
        fence: Fence,
        limit: Duration,
    ) -> Result<(), StoreError> {
        let end = self.0.now().plus(limit);
        while let Some((waiters, _)) = self.0.watch(key, fence) {
            let settled = waiters.notified();
            // It may have settled before `settled` was there to hear of it.
            let Some((_, lapse)) = self.0.watch(key, fence) else {
                break;
            };
            let remaining = self.0.now().until(lapse.min(end));
            let is_over = timeout(remaining, settled).await.is_ok() || self.0.now() >= end;
            if is_over {
                break;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        fingerprint::Fingerprint,
        store::{AfterCrash, StoreErrorKind},
    };
    use tokio::{
        join,
        time::{Instant, advance, sleep},
    };

    const REQUEST: Fingerprint = Fingerprint::custom([1; 32]);
    const HOUR: Duration = Duration::from_secs(3600);

    fn key(number: u8) -> RecordKey {
        RecordKey::from_bytes([number; 32])
    }

    fn record(bytes: usize) -> Record {
        Record::answer(REQUEST, &Response::new(vec![b'x'; bytes].into()))
    }

    async fn acquire(store: &MemoryStore, number: u8) -> Lease {
        match store.claim(&Claim::new(&key(number), REQUEST)).await {
            Ok(Claimed::Acquired(lease)) => lease,
            other => panic!("{other:?}"),
        }
    }

    async fn complete(store: &MemoryStore, number: u8, bytes: usize, retention: Duration) {
        let lease = acquire(store, number).await;
        let completion = store.complete(&lease, &record(bytes), retention).await;
        assert_eq!(completion.unwrap(), Completion::Applied);
    }

    async fn found(store: &MemoryStore, number: u8) -> Claimed {
        let key = key(number);
        let claim = Claim::new(&key, REQUEST).after_crash(AfterCrash::Hold);
        store.claim(&claim).await.unwrap()
    }

    async fn is_full(store: &MemoryStore) -> bool {
        match store.claim(&Claim::new(&key(255), REQUEST)).await {
            Err(error) => error.kind() == StoreErrorKind::Full,
            Ok(_) => panic!("claimed"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_store_refuses_new_keys_and_nothing_else() {
        let store = MemoryStore::new().max_entries(2);
        let lease = acquire(&store, 1).await;
        complete(&store, 2, 10, HOUR).await;
        assert!(is_full(&store).await);
        assert!(matches!(found(&store, 1).await, Claimed::InFlight { .. }));
        assert!(matches!(found(&store, 2).await, Claimed::Completed { .. }));
        assert_eq!(store.renew(&lease).await.unwrap(), Completion::Applied);
        advance(Duration::from_secs(31)).await;
        let second = acquire(&store, 1).await;
        assert_eq!(second.attempt(), 2);
        assert_eq!(store.release(&second).await.unwrap(), Completion::Applied);
        acquire(&store, 3).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_full_of_bytes_takes_records_but_no_keys() {
        let store = MemoryStore::new().max_bytes(10_000);
        let (one, two) = (acquire(&store, 1).await, acquire(&store, 2).await);
        for lease in [&one, &two] {
            let completion = store.complete(lease, &record(9_000), HOUR).await;
            assert_eq!(completion.unwrap(), Completion::Applied);
        }
        assert_eq!(store.bytes(), 2 * 9_300);
        assert!(is_full(&store).await);
        store.forget(&key(1));
        assert_eq!(store.bytes(), 9_300);
        acquire(&store, 3).await;
    }

    #[tokio::test(start_paused = true)]
    async fn what_expired_makes_room() {
        let store = MemoryStore::new().max_entries(3);
        complete(&store, 1, 10, Duration::from_secs(5)).await;
        complete(&store, 2, 10, HOUR).await;
        acquire(&store, 3).await;
        assert!(is_full(&store).await);
        advance(Duration::from_secs(6)).await;
        acquire(&store, 4).await;
        assert!(matches!(found(&store, 2).await, Claimed::Completed { .. }));
        assert!(is_full(&store).await);
    }

    #[tokio::test(start_paused = true)]
    async fn eviction_takes_the_record_that_expires_first_and_nothing_in_flight() {
        let store = MemoryStore::new().max_entries(4).evict_completed();
        let held = acquire(&store, 1).await;
        complete(&store, 2, 10, 2 * HOUR).await;
        complete(&store, 3, 10, HOUR).await;
        complete(&store, 4, 10, 3 * HOUR).await;
        acquire(&store, 5).await;
        assert_eq!(store.len(), 4);
        assert!(matches!(found(&store, 2).await, Claimed::Completed { .. }));
        assert!(matches!(found(&store, 4).await, Claimed::Completed { .. }));
        acquire(&store, 6).await;
        acquire(&store, 7).await;
        assert!(is_full(&store).await, "all are in flight");
        let completion = store.complete(&held, &record(1), HOUR).await;
        assert_eq!(completion.unwrap(), Completion::Applied);
    }

    #[tokio::test(start_paused = true)]
    async fn eviction_frees_enough_bytes() {
        let store = MemoryStore::new().max_bytes(10_000).evict_completed();
        for number in 0..100 {
            complete(&store, number, 1_000, HOUR).await;
            assert!(store.bytes() < 11_300);
        }
        assert!(store.len() >= 7);
    }

    #[tokio::test(start_paused = true)]
    async fn counters_return_to_zero() {
        let store = MemoryStore::new();
        complete(&store, 1, 1_000, Duration::from_secs(5)).await;
        complete(&store, 2, 1_000, HOUR).await;
        let lease = acquire(&store, 3).await;
        acquire(&store, 4).await;
        assert_eq!((store.len(), store.bytes()), (4, 2_000 + 4 * 300));
        store.release(&lease).await.unwrap();
        store.forget(&key(2));
        assert_eq!(store.sweep(), 0);
        advance(25 * HOUR).await;
        assert_eq!(store.sweep(), 2);
        assert!(store.is_empty());
        assert_eq!(store.bytes(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn an_expired_key_that_is_claimed_again_is_counted_once() {
        let store = MemoryStore::new();
        for _ in 0..3 {
            complete(&store, 1, 1_000, Duration::from_secs(5)).await;
            assert_eq!((store.len(), store.bytes()), (1, 1_300));
            advance(Duration::from_millis(5_001)).await;
        }
    }

    #[tokio::test]
    async fn clones_share_keys_and_bounds() {
        let store = MemoryStore::new();
        let clone = store.clone().max_entries(1);
        acquire(&store, 1).await;
        assert_eq!(clone.len(), 1);
        assert!(is_full(&store).await);
        let other = store.shards(4);
        assert!(other.is_empty());
        acquire(&other, 1).await;
        assert!(is_full(&other).await, "bounds are kept");
    }

    #[test]
    #[should_panic(expected = "power of two")]
    fn shards_are_a_power_of_two() {
        let _ = MemoryStore::new().shards(3);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_forgotten_can_be_claimed_and_not_completed() {
        let store = MemoryStore::new();
        let zombie = acquire(&store, 1).await;
        let remaining = Duration::from_secs(30);
        assert_eq!(store.forget(&key(1)), Standing::InFlight { remaining });
        assert_eq!(store.forget(&key(1)), Standing::Absent);
        let lost = Completion::Lost(Standing::Absent);
        let completion = store.complete(&zombie, &record(1), HOUR).await;
        assert_eq!(completion.unwrap(), lost);
        complete(&store, 1, 1, HOUR).await;
        assert_eq!(store.forget(&key(1)), Standing::Completed(record(1)));
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_lapsed_key_can_be_resolved() {
        let store = MemoryStore::new();
        let answer = Response::new(Bytes::from_static(b"by hand"));
        let resolve = || store.resolve(&key(1), &answer, HOUR);
        assert_eq!(resolve(), Resolution::Absent);
        let zombie = acquire(&store, 1).await;
        assert_eq!(resolve(), Resolution::StillInFlight);
        advance(Duration::from_secs(30)).await;
        assert_eq!(found(&store, 1).await, Claimed::Unknown);
        assert_eq!(resolve(), Resolution::Resolved);
        assert_eq!(resolve(), Resolution::AlreadyCompleted);
        let resolved = Record::answer(REQUEST, &answer);
        let replay = Claimed::Completed {
            record: resolved.clone(),
            remaining: HOUR,
        };
        assert_eq!(found(&store, 1).await, replay);
        let completion = store.complete(&zombie, &record(1), HOUR).await;
        let lost = Completion::Lost(Standing::Completed(resolved));
        assert_eq!(completion.unwrap(), lost);
        assert_eq!(store.bytes(), 307);
        advance(HOUR).await;
        assert_eq!(resolve(), Resolution::Absent);
        advance(Duration::from_secs(1)).await;
        store.sweep();
        assert_eq!(store.bytes(), 0);
    }

    /// How long a waiter sleeps while `end` happens a second later.
    async fn slept(store: &MemoryStore, lease: &Lease, end: impl Future) -> Duration {
        let start = Instant::now();
        let settled = async {
            let settled = store.settled(lease.key(), lease.fence(), HOUR).await;
            settled.unwrap();
            start.elapsed()
        };
        let end = async {
            sleep(Duration::from_secs(1)).await;
            end.await;
        };
        join!(settled, end).0
    }

    #[tokio::test(start_paused = true)]
    async fn waiters_wake_on_every_end_and_on_nothing_else() {
        let store = MemoryStore::new();
        let lease = acquire(&store, 1).await;
        let record = record(1);
        let complete = store.complete(&lease, &record, HOUR);
        assert_eq!(slept(&store, &lease, complete).await.as_secs(), 1);

        let lease = acquire(&store, 2).await;
        let release = store.release(&lease);
        assert_eq!(slept(&store, &lease, release).await.as_secs(), 1);

        let lease = acquire(&store, 3).await;
        let forget = async { store.forget(&key(3)) };
        assert_eq!(slept(&store, &lease, forget).await.as_secs(), 1);

        let lease = acquire(&store, 4).await;
        let nothing = async {};
        assert_eq!(slept(&store, &lease, nothing).await.as_secs(), 30);

        let lease = acquire(&store, 5).await;
        let renew = store.renew(&lease);
        assert_eq!(slept(&store, &lease, renew).await.as_secs(), 31);
    }

    #[tokio::test]
    async fn waiters_and_completions_on_many_threads_never_miss() {
        let store = MemoryStore::new();
        for number in 0..200 {
            let lease = acquire(&store, number).await;
            let waiter = {
                let (store, lease) = (store.clone(), lease.clone());
                std::thread::spawn(move || {
                    let runtime = tokio::runtime::Builder::new_current_thread();
                    let runtime = { runtime }.enable_time().build().unwrap();
                    let settled = store.settled(lease.key(), lease.fence(), HOUR);
                    runtime.block_on(async { timeout(Duration::from_secs(20), settled).await })
                })
            };
            std::thread::yield_now();
            store.complete(&lease, &record(1), HOUR).await.unwrap();
            waiter.join().unwrap().unwrap().unwrap();
        }
    }
}
