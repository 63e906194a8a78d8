//! The store in this process's memory.

mod clearing;
mod clock;
mod leases;
mod place;
mod queue;
mod room;
mod shard;
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
    /// **Bodies that were cut from larger buffers hold more.** They are kept as they came, and
    /// a short answer that a proxy passes on may be a slice of the 8 KiB it was read into:
    /// there, choose the bound by what the process really holds.
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
    /// empty shard takes 324 bytes.
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
    pub fn sweep(&self) -> u64 {
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
mod tests;
