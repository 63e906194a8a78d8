//! The attempt to become the one who executes.

use std::time::Duration;

use tokio::time::Instant;

use super::{Fence, Lease, LeaseToken};
use crate::{fingerprint::Fingerprint, record::Record, record_key::RecordKey};

/// The atomic attempt to become the one who executes.
#[derive(Debug, Clone)]
pub struct Claim<'a> {
    key: &'a RecordKey,
    terms: Terms,
}

/// All of a claim but its key.
#[derive(Debug, Clone, Copy)]
struct Terms {
    fingerprint: Fingerprint,
    token: LeaseToken,
    lease: Duration,
    retention: Duration,
    after_crash: AfterCrash,
}

impl<'a> Claim<'a> {
    /// A claim of `key` for the request with this fingerprint, with a fresh lease token, a
    /// lease of 30 s, a retention of 24 h, and takeover after a crash.
    #[must_use]
    pub fn new(key: &'a RecordKey, fingerprint: Fingerprint) -> Self {
        Self::at(Instant::now(), key, fingerprint)
    }

    /// A claim that is sent now.
    pub(crate) fn at(now: Instant, key: &'a RecordKey, fingerprint: Fingerprint) -> Self {
        Self {
            key,
            terms: Terms {
                fingerprint,
                token: LeaseToken::random_at(now),
                lease: Duration::from_secs(30),
                retention: Duration::from_secs(24 * 60 * 60),
                after_crash: AfterCrash::Takeover,
            },
        }
    }

    /// How long the lease lives unless renewed.
    #[must_use]
    pub fn lease_for(mut self, lease: Duration) -> Self {
        self.terms.lease = lease;
        self
    }

    /// How long the key is kept after a lease that lapsed and was never taken over.
    #[must_use]
    pub fn retained_for(mut self, retention: Duration) -> Self {
        self.terms.retention = retention;
        self
    }

    /// What to do with a lapsed lease of somebody else.
    #[must_use]
    pub fn after_crash(mut self, after_crash: AfterCrash) -> Self {
        self.terms.after_crash = after_crash;
        self
    }

    /// The key claimed.
    #[must_use]
    pub fn key(&self) -> &'a RecordKey {
        self.key
    }

    /// What was asked.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.terms.fingerprint
    }

    /// The token that will prove ownership; a resend carries the same.
    #[must_use]
    pub fn token(&self) -> LeaseToken {
        self.terms.token
    }

    /// How long the lease lives unless renewed.
    #[must_use]
    pub fn lease(&self) -> Duration {
        self.terms.lease
    }

    /// How long the key is kept after a lease that lapsed.
    #[must_use]
    pub fn retention(&self) -> Duration {
        self.terms.retention
    }

    /// What to do with a lapsed lease of somebody else.
    #[must_use]
    pub fn crash_mode(&self) -> AfterCrash {
        self.terms.after_crash
    }

    /// The same claim, its key included, for a task or thread that outlives the borrow.
    #[must_use]
    pub fn owned(&self) -> OwnedClaim {
        OwnedClaim {
            key: *self.key,
            terms: self.terms,
        }
    }

    /// The lease this claim wins with `fence` as the `attempt`-th, counted from 1.
    #[must_use]
    pub fn won(&self, fence: Fence, attempt: u32) -> Lease {
        let Terms { token, lease, .. } = self.terms;
        Lease::new(*self.key, token, fence, attempt, lease)
    }
}

/// A [`Claim`] with a key of its own, so that a store can take it to where it does its work.
///
/// ```
/// use std::{thread, time::Duration};
/// use tower_idempotency::{
///     Fingerprint, RecordKey,
///     store::{Claim, Claimed, Fence, Slot},
/// };
///
/// fn claim(claim: &Claim<'_>) -> Claimed {
///     let claim = claim.owned();
///     let work = move || Slot::new().claim(&claim.as_claim(), Fence::new(1), Duration::ZERO);
///     thread::spawn(work).join().unwrap()
/// }
///
/// let key = RecordKey::from_bytes([7; 32]);
/// let request = Claim::new(&key, Fingerprint::custom([1; 32]));
/// assert_eq!(claim(&request), Claimed::Acquired(request.won(Fence::new(1), 1)));
/// ```
#[derive(Debug, Clone)]
pub struct OwnedClaim {
    key: RecordKey,
    terms: Terms,
}

impl OwnedClaim {
    /// The claim, lease token included: to send it is to send the same claim again.
    #[must_use]
    pub fn as_claim(&self) -> Claim<'_> {
        Claim {
            key: &self.key,
            terms: self.terms,
        }
    }
}

/// What to do with a key whose lease lapsed before it was completed: the node that held it
/// crashed, was cut off, or could not record the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum AfterCrash {
    /// A retry of the same request takes the key over and runs again, with
    /// `attempt() > 1`. The default.
    #[default]
    Takeover,
    /// Nothing runs again: the key answers `idempotency_outcome_unknown` until retention
    /// ends or an operator resolves it.
    Hold,
}

/// What a claim found.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "the key may be somebody else's"]
#[non_exhaustive]
pub enum Claimed {
    /// The key is yours, under this lease.
    Acquired(Lease),
    /// The key is completed. A store makes it with [`completed`](Self::completed).
    #[non_exhaustive]
    Completed {
        /// What is replayed.
        record: Record,
        /// How long it is still kept.
        remaining: Duration,
    },
    /// Somebody else holds the key. A store makes it with [`in_flight`](Self::in_flight).
    #[non_exhaustive]
    InFlight {
        /// The fence of their lease.
        fence: Fence,
        /// The time left of it, unless renewed.
        remaining: Duration,
    },
    /// The key stands for another request.
    Mismatch,
    /// The lease lapsed, and the claim holds after a crash.
    Unknown,
}

impl Claimed {
    /// [`Completed`](Self::Completed), with a record that is kept for `remaining` from now.
    pub fn completed(record: Record, remaining: Duration) -> Self {
        Self::Completed { record, remaining }
    }

    /// [`InFlight`](Self::InFlight), under a lease with `fence` that lapses in `remaining`.
    pub fn in_flight(fence: Fence, remaining: Duration) -> Self {
        Self::InFlight { fence, remaining }
    }
}
