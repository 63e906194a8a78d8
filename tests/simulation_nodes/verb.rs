//! What a node asks of the store, and what it is told.

use std::time::Duration;

use tower_idempotency::{
    Record, RecordKey,
    store::{
        Claimed, Completion, Fence, Lease, LeaseToken, OwnedClaim, Standing, StoreError,
        StoreErrorKind,
    },
};

use super::wrappers::Wrappers;

#[derive(Debug, Clone)]
pub enum Verb {
    Claim(OwnedClaim),
    /// And whether it brings the transaction of the handler.
    Complete(Lease, Record, Duration, bool),
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

    pub fn kind(&self) -> Kind {
        match self {
            Self::Claim(_) => Kind::Claim,
            Self::Complete(..) => Kind::Complete,
            Self::Release(_) => Kind::Release,
            Self::Renew(_) => Kind::Renew,
            Self::Settled(..) => Kind::Settled,
        }
    }

    pub fn token(&self) -> Option<LeaseToken> {
        match self {
            Self::Claim(claim) => Some(claim.as_claim().token()),
            Self::Complete(lease, ..) | Self::Release(lease) | Self::Renew(lease) => {
                Some(lease.token())
            }
            Self::Settled(..) => None,
        }
    }

    pub fn fence(&self) -> u64 {
        match self {
            Self::Complete(lease, ..) | Self::Release(lease) | Self::Renew(lease) => {
                lease.fence().get()
            }
            Self::Claim(_) | Self::Settled(..) => 0,
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
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    Claim = 1,
    Complete,
    Release,
    Renew,
    Settled,
}

/// What a call came to, as its node heard.
#[derive(Debug, Clone, PartialEq)]
pub enum Found {
    /// Won, or applied.
    Done,
    Record(Option<String>),
    InFlight,
    Absent,
    RolledBack,
    Mismatch,
    Unknown,
    Failed,
    /// It need not be sent again.
    Full,
    Corrupt,
}

impl Found {
    pub fn of(reply: &Reply, key: &RecordKey, wrappers: &Wrappers) -> Self {
        let read = |record| wrappers.read(key, record);
        match reply {
            Ok(Told::Settled | Told::Claimed(Claimed::Acquired(_))) => Self::Done,
            Ok(Told::Claimed(Claimed::Completed { record, .. })) => read(record),
            Ok(Told::Claimed(Claimed::InFlight { .. })) => Self::InFlight,
            Ok(Told::Claimed(Claimed::Mismatch)) => Self::Mismatch,
            Ok(Told::Claimed(Claimed::Unknown)) => Self::Unknown,
            Ok(Told::Completion(Completion::Lost(Standing::Completed(record)))) => {
                match read(record) {
                    // It was done all the same.
                    Self::Corrupt => Self::Record(None),
                    found => found,
                }
            }
            Ok(Told::Completion(Completion::Lost(Standing::InFlight { .. }))) => Self::InFlight,
            Ok(Told::Completion(Completion::Lost(_))) => Self::Absent,
            Ok(Told::Completion(Completion::RolledBack)) => Self::RolledBack,
            Ok(_) => Self::Done,
            Err(error) => match error.kind() {
                StoreErrorKind::Full => Self::Full,
                StoreErrorKind::Corrupt => Self::Corrupt,
                _ => Self::Failed,
            },
        }
    }

    /// The store has spoken.
    pub fn is_answer(&self) -> bool {
        !matches!(self, Self::Failed | Self::Full | Self::Corrupt)
    }
}

pub fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
