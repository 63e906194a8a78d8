//! The verbs, each one transaction, and a look before it where that may be enough.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::SqliteStore;
use crate::{
    record::Record,
    record_key::RecordKey,
    store::{Claim, Claimed, Completion, Fence, Lease, Slot, Store, StoreError},
};

impl Store for SqliteStore {
    async fn claim(&self, claim: &Claim<'_>) -> Result<Claimed, StoreError> {
        let look = claim.owned();
        let found = self.read(move |session| {
            let claim = look.as_claim();
            let mut slot = session.slot(claim.key())?;
            Ok(slot.claim(&claim, Fence::new(0), session.now()))
        });
        match found.await? {
            // That has to be written.
            Claimed::Acquired(_) => {}
            found => return Ok(found),
        }
        let write = claim.owned();
        self.step(claim.key(), move |slot, fence, now| {
            slot.claim(&write.as_claim(), fence, now)
        })
        .await
    }

    async fn complete(
        &self,
        lease: &Lease,
        record: &Record,
        retention: Duration,
    ) -> Result<Completion, StoreError> {
        let (lease, record) = (lease.clone(), record.clone());
        let key = *lease.key();
        let complete =
            move |slot: &mut Slot, _, now| slot.complete(&lease, &record, retention, now);
        self.step(&key, complete).await
    }

    async fn release(&self, lease: &Lease) -> Result<Completion, StoreError> {
        let (key, lease) = (*lease.key(), lease.clone());
        self.step(&key, move |slot, _, now| slot.release(&lease, now))
            .await
    }

    async fn renew(&self, lease: &Lease) -> Result<Completion, StoreError> {
        let (key, lease) = (*lease.key(), lease.clone());
        self.step(&key, move |slot, _, now| slot.renew(&lease, now))
            .await
    }

    async fn settled(
        &self,
        key: &RecordKey,
        fence: Fence,
        limit: Duration,
    ) -> Result<(), StoreError> {
        let (key, began) = (*key, Instant::now());
        let waiter = self.wait_for(&key);
        let mut look_again = FIRST_LOOK;
        loop {
            let woken = waiter.woken();
            let left = self
                .read(move |session| session.settles_in(&key, fence))
                .await?;
            let nap = left
                .min(limit.saturating_sub(began.elapsed()))
                .min(look_again);
            if nap.is_zero() || timeout(nap, woken).await.is_ok() {
                return Ok(());
            }
            look_again = (look_again * 2).min(LAST_LOOK);
        }
    }
}

/// How soon a waiter looks for what other processes did; then ever less often.
const FIRST_LOOK: Duration = Duration::from_millis(10);
const LAST_LOOK: Duration = Duration::from_millis(200);
