//! A store that several have, or that is chosen at run time.

use std::{fmt, pin::Pin, sync::Arc, time::Duration};

use super::{Claim, Claimed, Completion, Fence, Lease, Store, StoreError};
use crate::{record::Record, record_key::RecordKey};

/// Any [`Store`] behind one type, so that a backend can be chosen at run time.
///
/// Costs one allocation per call. Cheap to clone; clones share the store. For what the store
/// can do beyond the trait, as an operator's `forget`, keep a clone of it.
///
/// ```
/// # #[cfg(feature = "memory")] {
/// use tower_idempotency::{IdempotencyLayer, MemoryStore, SharedStore};
///
/// let store = match std::env::var("STORE").as_deref() {
///     // Ok(url) => SharedStore::new(a_store_in_another_process(url)),
///     _ => SharedStore::new(MemoryStore::new()),
/// };
/// let layer: IdempotencyLayer<SharedStore> = IdempotencyLayer::new(store);
/// # }
/// ```
#[derive(Clone)]
pub struct SharedStore(Arc<dyn ErasedStore>);

impl SharedStore {
    /// Erases the type of `store`.
    #[must_use]
    pub fn new(store: impl Store) -> Self {
        Self(Arc::new(store))
    }
}

impl fmt::Debug for SharedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedStore").finish_non_exhaustive()
    }
}

impl Store for SharedStore {
    async fn claim(&self, claim: &Claim<'_>) -> Result<Claimed, StoreError> {
        self.0.erased_claim(claim).await
    }

    async fn complete(
        &self,
        lease: &Lease,
        record: &Record,
        retention: Duration,
    ) -> Result<Completion, StoreError> {
        self.0.erased_complete(lease, record, retention).await
    }

    async fn release(&self, lease: &Lease) -> Result<Completion, StoreError> {
        self.0.erased_release(lease).await
    }

    async fn renew(&self, lease: &Lease) -> Result<Completion, StoreError> {
        self.0.erased_renew(lease).await
    }

    async fn settled(
        &self,
        key: &RecordKey,
        fence: Fence,
        limit: Duration,
    ) -> Result<(), StoreError> {
        self.0.erased_settled(key, fence, limit).await
    }
}

/// For a store that is not cheap to clone itself: clones of the [`Arc`] share it.
impl<S: Store> Store for Arc<S> {
    fn claim(&self, claim: &Claim<'_>) -> impl Future<Output = Result<Claimed, StoreError>> + Send {
        (**self).claim(claim)
    }

    fn complete(
        &self,
        lease: &Lease,
        record: &Record,
        retention: Duration,
    ) -> impl Future<Output = Result<Completion, StoreError>> + Send {
        (**self).complete(lease, record, retention)
    }

    fn release(
        &self,
        lease: &Lease,
    ) -> impl Future<Output = Result<Completion, StoreError>> + Send {
        (**self).release(lease)
    }

    fn renew(&self, lease: &Lease) -> impl Future<Output = Result<Completion, StoreError>> + Send {
        (**self).renew(lease)
    }

    fn settled(
        &self,
        key: &RecordKey,
        fence: Fence,
        limit: Duration,
    ) -> impl Future<Output = Result<(), StoreError>> + Send {
        (**self).settled(key, fence, limit)
    }
}

type Erased<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// The dyn-compatible twin of [`Store`]. Its methods have names of their own, so that a
/// call on a store is never ambiguous.
trait ErasedStore: Send + Sync + 'static {
    fn erased_claim<'a>(&'a self, claim: &'a Claim<'_>) -> Erased<'a, Claimed>;

    fn erased_complete<'a>(
        &'a self,
        lease: &'a Lease,
        record: &'a Record,
        retention: Duration,
    ) -> Erased<'a, Completion>;

    fn erased_release<'a>(&'a self, lease: &'a Lease) -> Erased<'a, Completion>;

    fn erased_renew<'a>(&'a self, lease: &'a Lease) -> Erased<'a, Completion>;

    fn erased_settled<'a>(
        &'a self,
        key: &'a RecordKey,
        fence: Fence,
        limit: Duration,
    ) -> Erased<'a, ()>;
}

impl<S: Store> ErasedStore for S {
    fn erased_claim<'a>(&'a self, claim: &'a Claim<'_>) -> Erased<'a, Claimed> {
        Box::pin(self.claim(claim))
    }

    fn erased_complete<'a>(
        &'a self,
        lease: &'a Lease,
        record: &'a Record,
        retention: Duration,
    ) -> Erased<'a, Completion> {
        Box::pin(self.complete(lease, record, retention))
    }

    fn erased_release<'a>(&'a self, lease: &'a Lease) -> Erased<'a, Completion> {
        Box::pin(self.release(lease))
    }

    fn erased_renew<'a>(&'a self, lease: &'a Lease) -> Erased<'a, Completion> {
        Box::pin(self.renew(lease))
    }

    fn erased_settled<'a>(
        &'a self,
        key: &'a RecordKey,
        fence: Fence,
        limit: Duration,
    ) -> Erased<'a, ()> {
        Box::pin(self.settled(key, fence, limit))
    }
}
