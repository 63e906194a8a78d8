//! A store of your own: the whole contract over one map behind one mutex.
//!
//! The laws are in [`Slot`]. What a store adds is an atomic step, a clock and fences; another
//! engine puts its transaction where this one has a mutex, and [`Slot::encoded`] where this
//! one has the slot itself. It never collects what expired, so it is for reading, not for
//! production.
//!
//! Run it with `cargo run --example custom_store`, and its conformance tests with
//! `cargo test --example custom_store --features conformance`.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use tokio::{
    sync::{MappedMutexGuard, Mutex, MutexGuard},
    time::{Instant, sleep},
};
use tower_idempotency::{
    Fingerprint, Record, RecordKey, Store,
    store::{Claim, Claimed, Completion, Fence, Lease, Slot, StoreError},
};

#[derive(Debug)]
struct MapStore {
    slots: Mutex<HashMap<RecordKey, Slot>>,
    fences: AtomicU64,
    epoch: Instant,
}

impl MapStore {
    /// The atomic step: nobody else sees the slot until this lock is dropped.
    async fn slot(&self, key: &RecordKey) -> MappedMutexGuard<'_, Slot> {
        let slots = self.slots.lock().await;
        MutexGuard::map(slots, |slots| slots.entry(*key).or_default())
    }

    fn new() -> Self {
        Self {
            slots: Mutex::default(),
            fences: AtomicU64::new(1),
            epoch: Instant::now(),
        }
    }
}

impl Store for MapStore {
    async fn claim(&self, claim: &Claim<'_>) -> Result<Claimed, StoreError> {
        let mut slot = self.slot(claim.key()).await;
        // Drawn under the lock, so that the fences of a key rise.
        let fence = Fence::new(self.fences.fetch_add(1, Relaxed));
        Ok(slot.claim(claim, fence, self.epoch.elapsed()))
    }

    async fn complete(
        &self,
        lease: &Lease,
        record: &Record,
        retention: Duration,
    ) -> Result<Completion, StoreError> {
        let mut slot = self.slot(lease.key()).await;
        Ok(slot.complete(lease, record, retention, self.epoch.elapsed()))
    }

    async fn release(&self, lease: &Lease) -> Result<Completion, StoreError> {
        let mut slot = self.slot(lease.key()).await;
        Ok(slot.release(lease, self.epoch.elapsed()))
    }

    async fn renew(&self, lease: &Lease) -> Result<Completion, StoreError> {
        let mut slot = self.slot(lease.key()).await;
        Ok(slot.renew(lease, self.epoch.elapsed()))
    }

    /// A waiter may return early and look again, so a short sleep is a lawful wait.
    async fn settled(
        &self,
        key: &RecordKey,
        fence: Fence,
        limit: Duration,
    ) -> Result<(), StoreError> {
        let left = self.slot(key).await.settles_in(fence, self.epoch.elapsed());
        sleep(left.min(limit).min(Duration::from_millis(20))).await;
        Ok(())
    }
}

#[tokio::main]
async fn main() -> Result<(), StoreError> {
    let store = MapStore::new();
    let key = RecordKey::from_bytes([42; 32]);
    let request = Fingerprint::custom([1; 32]);
    let response = http::Response::new("charged".into());

    let Claimed::Acquired(lease) = store.claim(&Claim::new(&key, request)).await? else {
        unreachable!("nobody else is here");
    };
    println!("first request:  runs, with fence {}", lease.fence());
    println!(
        "meanwhile:      {:?}",
        store.claim(&Claim::new(&key, request)).await?
    );
    let record = Record::answer(request, &response);
    let completion = store
        .complete(&lease, &record, Duration::from_secs(60))
        .await?;
    println!("its answer:     {completion:?}");
    println!(
        "retry:          {:?}",
        store.claim(&Claim::new(&key, request)).await?
    );
    let other = Fingerprint::custom([2; 32]);
    println!(
        "other request:  {:?}",
        store.claim(&Claim::new(&key, other)).await?
    );
    Ok(())
}

/// The laws, as tests of this store.
#[cfg(all(test, feature = "conformance"))]
mod tests {
    use super::*;
    use tower_idempotency::{SharedStore, store::conformance::Harness, store_conformance};

    struct InProcess(SharedStore);

    impl Harness for InProcess {
        type Store = SharedStore;

        async fn client(&self) -> SharedStore {
            self.0.clone()
        }

        async fn unreachable(&self) -> Option<SharedStore> {
            None
        }
    }

    store_conformance!(map, InProcess(SharedStore::new(MapStore::new())), paused);
}
