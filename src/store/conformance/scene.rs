//! What every law begins with: two clients, and a key nobody used before.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::Response;

use super::Harness;
use crate::{
    fingerprint::Fingerprint,
    record::Record,
    record_key::RecordKey,
    store::{Claim, Claimed, Completion, Lease, LeaseToken, Store},
};

/// The request all laws make, and another one.
pub(super) const REQUEST: Fingerprint = Fingerprint::custom([1; 32]);
pub(super) const OTHER_REQUEST: Fingerprint = Fingerprint::custom([2; 32]);

/// How long anything is kept that no law waits for.
pub(super) const LONG: Duration = Duration::from_secs(60 * 60);

pub(super) struct Scene<'h, H: Harness> {
    harness: &'h H,
    /// The client of the node that holds the lease.
    pub(super) node: Arc<H::Store>,
    /// The client of another node.
    pub(super) other: Arc<H::Store>,
    pub(super) key: RecordKey,
}

impl<'h, H: Harness> Scene<'h, H> {
    pub(super) async fn new(harness: &'h H) -> Self {
        Self {
            harness,
            node: Arc::new(harness.client().await),
            other: Arc::new(harness.client().await),
            key: random_key(),
        }
    }

    pub(super) fn ticks(&self, ticks: u32) -> Duration {
        self.harness.tick() * ticks
    }

    pub(super) async fn pass(&self, ticks: u32) {
        self.harness.pass(self.ticks(ticks)).await;
    }

    /// A claim whose lease outlives the law.
    pub(super) fn claim(&self) -> Claim<'_> {
        claim(&self.key)
    }

    /// A claim whose lease lapses after two ticks.
    pub(super) fn short_claim(&self) -> Claim<'_> {
        self.claim().lease_for(self.ticks(2))
    }

    /// A claim for another request under the same key.
    pub(super) fn other_claim(&self) -> Claim<'_> {
        Claim::new(&self.key, OTHER_REQUEST).lease_for(LONG)
    }

    /// Claims the key, which is free.
    pub(super) async fn acquire(&self) -> Lease {
        won(self.found(&self.claim()).await)
    }

    /// Claims the key, which is free, and lets the lease lapse.
    pub(super) async fn acquire_and_lapse(&self) -> Lease {
        let lease = won(self.found(&self.short_claim()).await);
        self.pass(3).await;
        lease
    }

    /// Claims the key from the other node, which takes it over.
    pub(super) async fn take_over(&self) -> Lease {
        won(self.other_found(&self.claim()).await)
    }

    pub(super) async fn found(&self, claim: &Claim<'_>) -> Claimed {
        self.node.claim(claim).await.expect("claim")
    }

    pub(super) async fn other_found(&self, claim: &Claim<'_>) -> Claimed {
        self.other.claim(claim).await.expect("claim")
    }

    pub(super) async fn complete(&self, lease: &Lease, record: &Record) -> Completion {
        self.complete_for(lease, record, LONG).await
    }

    pub(super) async fn complete_for(
        &self,
        lease: &Lease,
        record: &Record,
        retention: Duration,
    ) -> Completion {
        let completion = self.node.complete(lease, record, retention).await;
        completion.expect("complete")
    }

    pub(super) async fn release(&self, lease: &Lease) -> Completion {
        self.node.release(lease).await.expect("release")
    }

    pub(super) async fn renew(&self, lease: &Lease) -> Completion {
        self.node.renew(lease).await.expect("renew")
    }
}

pub(super) fn random_key() -> RecordKey {
    let mut key = [0; 32];
    key[..16].copy_from_slice(LeaseToken::random().as_bytes());
    key[16..].copy_from_slice(LeaseToken::random().as_bytes());
    RecordKey::from_bytes(key)
}

pub(super) fn claim(key: &RecordKey) -> Claim<'_> {
    Claim::new(key, REQUEST).lease_for(LONG).retained_for(LONG)
}

pub(super) fn record(body: &'static str) -> Record {
    Record::answer(REQUEST, &Response::new(Bytes::from_static(body.as_bytes())))
}

/// What a claim replays.
#[track_caller]
pub(super) fn replayed(claimed: Claimed) -> Record {
    match claimed {
        Claimed::Completed { record, .. } => record,
        other => panic!("not completed, but {other:?}"),
    }
}

#[track_caller]
pub(super) fn won(claimed: Claimed) -> Lease {
    match claimed {
        Claimed::Acquired(lease) => lease,
        other => panic!("not acquired, but {other:?}"),
    }
}
