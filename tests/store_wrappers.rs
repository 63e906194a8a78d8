//! Stores over stores hold the laws, each for itself and one over the other.
#![cfg(all(feature = "memory", feature = "conformance"))]
#![allow(clippy::unwrap_used, reason = "what fails here is a test that fails")]

use std::time::Duration;

use tower_idempotency::{
    MemoryStore, Record, RecordKey, Store,
    store::{
        Cached, Claim, Claimed, Completion, Fence, Lease, Resilient, StoreError,
        conformance::Harness,
    },
    store_conformance,
};

/// A memory store, or one that is not there.
#[derive(Clone)]
enum Below {
    Memory(MemoryStore),
    NotThere,
}

impl Below {
    fn new() -> Self {
        Self::Memory(MemoryStore::new())
    }

    fn reach(&self) -> Result<&MemoryStore, StoreError> {
        match self {
            Self::Memory(memory) => Ok(memory),
            Self::NotThere => Err(StoreError::not_applied("not there")),
        }
    }
}

impl Store for Below {
    async fn claim(&self, claim: &Claim<'_>) -> Result<Claimed, StoreError> {
        self.reach()?.claim(claim).await
    }

    async fn complete(
        &self,
        lease: &Lease,
        record: &Record,
        retention: Duration,
    ) -> Result<Completion, StoreError> {
        self.reach()?.complete(lease, record, retention).await
    }

    async fn release(&self, lease: &Lease) -> Result<Completion, StoreError> {
        self.reach()?.release(lease).await
    }

    async fn renew(&self, lease: &Lease) -> Result<Completion, StoreError> {
        self.reach()?.renew(lease).await
    }

    async fn settled(
        &self,
        key: &RecordKey,
        fence: Fence,
        limit: Duration,
    ) -> Result<(), StoreError> {
        self.reach()?.settled(key, fence, limit).await
    }
}

/// Each client wraps the store anew, as each node does.
struct Wrapped<W> {
    below: Below,
    wrap: fn(Below) -> W,
}

impl<W> Wrapped<W> {
    fn new(wrap: fn(Below) -> W) -> Self {
        let below = Below::new();
        Self { below, wrap }
    }
}

impl<W: Store> Harness for Wrapped<W> {
    type Store = W;

    async fn client(&self) -> W {
        (self.wrap)(self.below.clone())
    }

    async fn unreachable(&self) -> Option<W> {
        Some((self.wrap)(Below::NotThere))
    }
}

store_conformance!(cached, Wrapped::new(Cached::new), paused);

store_conformance!(resilient, Wrapped::new(Resilient::new), paused);

store_conformance!(
    cached_in_vain,
    Wrapped::new(|store| Cached::new(store).max_entries(0)),
    paused
);

#[cfg(feature = "compression")]
store_conformance!(
    compressed,
    Wrapped::new(|store| tower_idempotency::store::Compressed::new(store).above(0)),
    paused
);

#[cfg(feature = "encryption")]
store_conformance!(encrypted, Wrapped::new(encrypted), paused);

#[cfg(feature = "encryption")]
fn encrypted<S>(store: S) -> tower_idempotency::store::Encrypted<S> {
    use tower_idempotency::store::{Encrypted, EncryptionKeys};

    Encrypted::new(store, EncryptionKeys::new(1, &[7; 32]))
}

#[cfg(all(feature = "compression", feature = "encryption"))]
mod stacked {
    use super::*;
    use tower_idempotency::{
        Fingerprint,
        store::{Compressed, Encrypted},
    };

    const HOUR: Duration = Duration::from_secs(3600);

    type Stack = Cached<Compressed<Encrypted<Resilient<Below>>>>;

    fn as_documented(store: Below) -> Stack {
        let small = Compressed::new(encrypted(Resilient::new(store)));
        Cached::new(small.above(0))
    }

    fn the_other_way_round(store: Below) -> Resilient<Encrypted<Compressed<Cached<Below>>>> {
        Resilient::new(encrypted(Compressed::new(Cached::new(store)).above(0)))
    }

    #[tokio::test(start_paused = true)]
    async fn an_operator_reaches_the_store_inside() {
        let store = as_documented(Below::new());
        let key = RecordKey::from_bytes([1; 32]);
        let claim = Claim::new(&key, Fingerprint::custom([1; 32]));
        let Claimed::Acquired(lease) = store.claim(&claim).await.unwrap() else {
            panic!("not acquired");
        };
        let record = Record::sealed(claim.fingerprint());
        store.complete(&lease, &record, HOUR).await.unwrap();

        let inside = store.get_ref().get_ref().get_ref().get_ref();
        inside.reach().unwrap().forget(&key);
        assert!(is_completed(&store, &claim).await, "there is a copy");
        store.forget(&key);
        assert!(!is_completed(&store, &claim).await);

        let inside = store.into_inner().into_inner().into_inner().into_inner();
        assert_eq!(inside.reach().unwrap().len(), 1);
    }

    async fn is_completed(store: &Stack, claim: &Claim<'_>) -> bool {
        let claimed = store.claim(claim).await.unwrap();
        matches!(claimed, Claimed::Completed { .. })
    }

    store_conformance!(in_order, Wrapped::new(as_documented), paused);

    store_conformance!(upside_down, Wrapped::new(the_other_way_round), paused);
}
