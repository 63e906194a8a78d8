//! Records near at hand.

mod shelf;

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use self::shelf::{Copied, Shelf};
use super::{Claim, Claimed, Completion, Fence, Lease, Store, StoreError};
use crate::{horizon::after, record::Record, record_key::RecordKey};

/// Keeps copies of completed records in this process, so that a hot replay costs no round
/// trip.
///
/// # What it promises
///
/// Only completed records are copied, and a completed record does not change. Whatever a copy
/// cannot answer goes to the store: every claim that is won, every key in flight. No copy is
/// used beyond the time that the store, when asked, said the record is kept.
///
/// # What it does not
///
/// An operator's `forget`, or a store that lost or evicted a record, is noticed here only when
/// the copy is dropped: at most [`max_age`](Self::max_age) after the store was asked. To drop
/// one at once, call [`forget`](Self::forget) on each node.
///
/// # Where it belongs
///
/// Outermost, where it replays without decrypting or unpacking. There it holds what
/// [`Encrypted`](super::Encrypted) hides from the store, in the memory of this process; put it
/// below if that may not be.
///
/// Cheap to clone if the store is; clones share the copies.
///
/// ```
/// # #[cfg(feature = "memory")] {
/// use std::time::Duration;
/// use tower_idempotency::{IdempotencyLayer, MemoryStore, store::Cached};
///
/// # let remote = MemoryStore::new();
/// let store = Cached::new(remote).max_bytes(16 << 20).max_age(Duration::from_secs(10));
/// let idempotency = IdempotencyLayer::new(store);
/// # }
/// ```
#[derive(Clone)]
pub struct Cached<S> {
    store: S,
    max_age: Duration,
    shelf: Arc<Mutex<Shelf>>,
}

impl<S> Cached<S> {
    /// Copies up to 10,000 records and 64 MiB of `store`, for at most a minute each.
    #[must_use]
    pub fn new(store: S) -> Self {
        Self {
            store,
            max_age: Duration::from_secs(60),
            shelf: Arc::new(Mutex::new(Shelf::new(10_000, 64 << 20))),
        }
    }

    /// How many records are copied at most; 10,000 by default. Applies to all clones.
    #[must_use]
    pub fn max_entries(self, max_entries: usize) -> Self {
        self.shelf().max_entries = max_entries;
        self
    }

    /// How many bytes the copies hold at most, as counted by [`Record::bytes`] and 200 more
    /// for each; 64 MiB by default. A record of more than half of it is not copied. Applies to
    /// all clones.
    #[must_use]
    pub fn max_bytes(self, max_bytes: u64) -> Self {
        self.shelf().max_bytes = max_bytes;
        self
    }

    /// How long a copy is used at most before the store is asked again; a minute by default.
    /// Applies to the clones made of this one.
    #[must_use]
    pub fn max_age(mut self, max_age: Duration) -> Self {
        self.max_age = max_age;
        self
    }

    /// Drops the copy of `key`, if there is one: after an operator's `forget` on the store
    /// [inside](Self::get_ref).
    pub fn forget(&self, key: &RecordKey) {
        let copy = self.shelf().forget(key);
        drop(copy);
    }

    /// The store inside, for what it can do beyond [`Store`]. What is done there is not
    /// noticed here: after a `forget`, [forget](Self::forget) the copy as well.
    #[must_use]
    pub fn get_ref(&self) -> &S {
        &self.store
    }

    /// The store inside; the copies are dropped with the last clone.
    #[must_use]
    pub fn into_inner(self) -> S {
        self.store
    }

    /// The store is asked now.
    fn asked(&self) -> Asked {
        let forgets = self.shelf().forgets;
        let at = Instant::now();
        Asked { at, forgets }
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the copy of a completed key answers.
    fn replay(&self, claim: &Claim<'_>) -> Option<Claimed> {
        let now = Instant::now();
        let found = self.shelf().find(claim.key(), now);
        let (copied, _) = found?;
        if copied.record.fingerprint() != claim.fingerprint() {
            return Some(Claimed::Mismatch);
        }
        let remaining = copied.remaining(now);
        let record = copied.record;
        Some(Claimed::Completed { record, remaining })
    }

    /// Copies a record that is kept for `remaining` from some moment after `asked` on; unless
    /// a copy was forgotten since, which may have been meant for this one.
    fn copy(&self, key: &RecordKey, record: &Record, remaining: Duration, asked: Asked) {
        let copied = Copied {
            record: record.clone(),
            kept_until: after(asked.at, remaining),
            used_until: after(asked.at, self.max_age),
        };
        let mut shelf = self.shelf();
        if shelf.forgets != asked.forgets {
            return;
        }
        let dropped = shelf.put(*key, copied);
        drop(shelf);
        drop(dropped);
    }
}

/// When the store was asked.
#[derive(Clone, Copy)]
struct Asked {
    at: Instant,
    /// How often a copy had been forgotten by then.
    forgets: u64,
}

impl<S> fmt::Debug for Cached<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cached").finish_non_exhaustive()
    }
}

impl<S: Store> Store for Cached<S> {
    async fn claim(&self, claim: &Claim<'_>) -> Result<Claimed, StoreError> {
        if let Some(claimed) = self.replay(claim) {
            return Ok(claimed);
        }
        let asked = self.asked();
        let claimed = self.store.claim(claim).await?;
        if let Claimed::Completed { record, remaining } = &claimed {
            self.copy(claim.key(), record, *remaining, asked);
        }
        Ok(claimed)
    }

    async fn complete(
        &self,
        lease: &Lease,
        record: &Record,
        retention: Duration,
    ) -> Result<Completion, StoreError> {
        let asked = self.asked();
        let completion = self.store.complete(lease, record, retention).await?;
        // If an earlier call had applied it, it was kept from then on.
        if completion == Completion::Applied {
            self.copy(lease.key(), record, retention, asked);
        }
        Ok(completion)
    }

    async fn release(&self, lease: &Lease) -> Result<Completion, StoreError> {
        self.store.release(lease).await
    }

    async fn renew(&self, lease: &Lease) -> Result<Completion, StoreError> {
        self.store.renew(lease).await
    }

    async fn settled(
        &self,
        key: &RecordKey,
        fence: Fence,
        limit: Duration,
    ) -> Result<(), StoreError> {
        self.store.settled(key, fence, limit).await
    }
}

#[cfg(test)]
mod tests;
