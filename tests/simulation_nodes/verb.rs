//! What a node asks of the store, and what it is told.

use std::time::Duration;

use tower_idempotency::{
    Record, RecordKey,
    store::{Claimed, Completion, Fence, Lease, OwnedClaim, StoreError},
};

#[derive(Debug, Clone)]
pub enum Verb {
    Claim(OwnedClaim),
    Complete(Lease, Record, Duration),
    Release(Lease),
    Renew(Lease),
    Settled(RecordKey, Fence, Duration),
}

#[derive(Debug)]
pub enum Told {
    Claimed(Claimed),
    Completion(Completion),
    Settled,
}

pub type Reply = Result<Told, StoreError>;

impl Verb {
    pub fn key(&self) -> &RecordKey {
        match self {
            Self::Claim(claim) => {
                let claim = claim.as_claim();
                claim.key()
            }
            Self::Complete(lease, ..) | Self::Release(lease) | Self::Renew(lease) => lease.key(),
            Self::Settled(key, ..) => key,
        }
    }

    /// For the trace.
    pub fn of_key(&self, key: u64) -> String {
        match self {
            Self::Claim(_) => format!("claim k{key}"),
            Self::Complete(lease, ..) => format!("complete k{key} f{}", lease.fence()),
            Self::Release(lease) => format!("release k{key} f{}", lease.fence()),
            Self::Renew(lease) => format!("renew k{key} f{}", lease.fence()),
            Self::Settled(_, fence, limit) => format!("settled k{key} f{fence} {limit:?}"),
        }
    }

    pub fn number(&self) -> u64 {
        match self {
            Self::Claim(_) => 1,
            Self::Complete(..) => 2,
            Self::Release(_) => 3,
            Self::Renew(_) => 4,
            Self::Settled(..) => 5,
        }
    }
}

pub fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
