//! A store that says what the test wants, and stops where it wants.

use std::{sync::Arc, time::Duration};

use tower_idempotency::{
    MemoryStore, Record, RecordKey, Store,
    store::{Claim, Claimed, Completion, Fence, Lease, Standing, StoreError},
};

use crate::outside::Gate;

#[derive(Debug, Clone)]
pub(crate) struct Stub {
    memory: Arc<MemoryStore>,
    says: Says,
}

#[derive(Debug, Clone)]
pub(crate) enum Says {
    /// On each claim.
    Unknown,
    /// On each claim.
    Down,
    /// On each completion.
    Lost,
    /// Completes once the gate is open.
    Slow(Gate),
}

impl Stub {
    pub(crate) fn new(says: Says) -> Self {
        let memory = Arc::new(MemoryStore::new());
        Self { memory, says }
    }
}

impl Store for Stub {
    async fn claim(&self, claim: &Claim<'_>) -> Result<Claimed, StoreError> {
        match self.says {
            Says::Unknown => Ok(Claimed::Unknown),
            Says::Down => Err(StoreError::not_applied("down")),
            _ => self.memory.claim(claim).await,
        }
    }

    async fn complete(
        &self,
        lease: &Lease,
        record: &Record,
        retention: Duration,
    ) -> Result<Completion, StoreError> {
        match &self.says {
            Says::Lost => return Ok(Completion::Lost(Standing::Absent)),
            Says::Slow(gate) => gate.pass().await,
            _ => {}
        }
        self.memory.complete(lease, record, retention).await
    }

    async fn release(&self, lease: &Lease) -> Result<Completion, StoreError> {
        self.memory.release(lease).await
    }

    async fn renew(&self, lease: &Lease) -> Result<Completion, StoreError> {
        self.memory.renew(lease).await
    }

    async fn settled(
        &self,
        key: &RecordKey,
        fence: Fence,
        limit: Duration,
    ) -> Result<(), StoreError> {
        self.memory.settled(key, fence, limit).await
    }
}
