//! The contract between the layer and what keeps the keys.
//!
//! # The laws
//!
//! 1. [`claim`](Store::claim) is one atomic step. An absent key is acquired. The lease token
//!    of the lease that holds the key gets that same lease again: a resend is harmless.
//!    Another fingerprint is a mismatch, whatever the state. A completed key yields its
//!    record, a key in flight the time left. A lapsed lease is taken over with a higher
//!    fence and the attempt one up, or, under [`AfterCrash::Hold`], is unknown.
//! 2. [`complete`](Store::complete), [`release`](Store::release) and [`renew`](Store::renew)
//!    compare lease token and fence in the same atomic step as the write. A lease that was
//!    lost is refused, with what stands there now. The owner may repeat a call. Completing
//!    an absent key is refused.
//! 3. A fence never restarts for the life of the store: not on release, not on expiry, not
//!    on restart.
//! 4. Time is the store's own clock. Only durations cross the border. Deadlines inside the
//!    record decide; whatever expiry the engine offers only collects garbage.
//! 5. Retention starts at completion. An expired key is as if never seen.
//! 6. Keys in flight are never evicted. A full store refuses new claims.
//! 7. [`settled`](Store::settled) returns when the claim may have ended. It may return
//!    early; it must not sleep past the end.
//! 8. An error says which of three happened: *not applied*, *unknown*, *corrupt*. A corrupt
//!    record is never "absent".
//!
//! The `conformance` feature holds these laws as a test suite for any store. Every verb may
//! be cancelled at any await point, so a verb is one statement, one script or one critical
//! section.

#[cfg(feature = "conformance")]
pub mod conformance;
#[cfg(feature = "memory")]
mod memory;
mod shared;

use std::{error::Error, fmt, time::Duration};

use crate::{fingerprint::Fingerprint, record::Record, record_key::RecordKey};

#[cfg(feature = "memory")]
pub use self::memory::{MemoryStore, Resolution};
pub use self::shared::SharedStore;

/// Keeps keys, leases and records. See the [module documentation](self) for the laws an
/// implementation must hold.
///
/// Implementors write plain `async fn`.
pub trait Store: Send + Sync + 'static {
    /// Tries to become the one who executes.
    ///
    /// # Errors
    ///
    /// [`StoreError`] says whether the claim was applied. The caller may resend it.
    fn claim(&self, claim: &Claim<'_>) -> impl Future<Output = Result<Claimed, StoreError>> + Send;

    /// Ends a lease with a record, kept for `retention` from now.
    ///
    /// # Errors
    ///
    /// [`StoreError`] says whether the record was written. The caller may resend it.
    fn complete(
        &self,
        lease: &Lease,
        record: &Record,
        retention: Duration,
    ) -> impl Future<Output = Result<Completion, StoreError>> + Send;

    /// Ends a lease without a record: the key is free again. Where the key is absent it is
    /// free already: [`Completion::AlreadyApplied`].
    ///
    /// # Errors
    ///
    /// [`StoreError`] says whether the key was released. The caller may resend it.
    fn release(&self, lease: &Lease)
    -> impl Future<Output = Result<Completion, StoreError>> + Send;

    /// Prolongs a lease to its full duration from now, also if it lapsed and nobody took
    /// the key over.
    ///
    /// # Errors
    ///
    /// [`StoreError`] says whether the lease was prolonged. The caller may resend it.
    fn renew(&self, lease: &Lease) -> impl Future<Output = Result<Completion, StoreError>> + Send;

    /// Waits until the claim seen with `fence` may have ended: it was completed or
    /// released, its lease lapsed, or `limit` is over. May return early.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the store cannot tell. The caller looks again by claiming.
    fn settled(
        &self,
        key: &RecordKey,
        fence: Fence,
        limit: Duration,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// The atomic attempt to become the one who executes.
#[derive(Debug, Clone)]
pub struct Claim<'a> {
    key: &'a RecordKey,
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
        Self {
            key,
            fingerprint,
            token: LeaseToken::random(),
            lease: Duration::from_secs(30),
            retention: Duration::from_secs(24 * 60 * 60),
            after_crash: AfterCrash::Takeover,
        }
    }

    /// How long the lease lives unless renewed.
    #[must_use]
    pub fn lease_for(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    /// How long the key is kept after a lease that lapsed and was never taken over.
    #[must_use]
    pub fn retained_for(mut self, retention: Duration) -> Self {
        self.retention = retention;
        self
    }

    /// What to do with a lapsed lease of somebody else.
    #[must_use]
    pub fn after_crash(mut self, after_crash: AfterCrash) -> Self {
        self.after_crash = after_crash;
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
        self.fingerprint
    }

    /// The token that will prove ownership; a resend carries the same.
    #[must_use]
    pub fn token(&self) -> LeaseToken {
        self.token
    }

    /// How long the lease lives unless renewed.
    #[must_use]
    pub fn lease(&self) -> Duration {
        self.lease
    }

    /// How long the key is kept after a lease that lapsed.
    #[must_use]
    pub fn retention(&self) -> Duration {
        self.retention
    }

    /// What to do with a lapsed lease of somebody else.
    #[must_use]
    pub fn crash_mode(&self) -> AfterCrash {
        self.after_crash
    }

    /// The same claim, token included, of a key held elsewhere.
    pub(crate) fn rebind<'b>(&self, key: &'b RecordKey) -> Claim<'b> {
        let Self {
            fingerprint,
            token,
            lease,
            retention,
            after_crash,
            ..
        } = *self;
        Claim {
            key,
            fingerprint,
            token,
            lease,
            retention,
            after_crash,
        }
    }

    /// The lease this claim wins with `fence` as the `attempt`-th, counted from 1.
    #[must_use]
    pub fn won(&self, fence: Fence, attempt: u32) -> Lease {
        Lease {
            key: *self.key,
            token: self.token,
            fence,
            attempt,
            duration: self.lease,
        }
    }
}

/// What to do with a key whose lease lapsed before it was completed: the node that held it
/// crashed or was cut off.
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
#[non_exhaustive]
pub enum Claimed {
    /// The key is yours, under this lease.
    Acquired(Lease),
    /// The key is completed.
    Completed(Record),
    /// Somebody else holds the key.
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

/// What became of `complete`, `release` or `renew`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Completion {
    /// Done.
    Applied,
    /// An earlier call of the same owner had done it.
    AlreadyApplied,
    /// Refused: the lease was lost. This stands there now.
    Lost(Standing),
}

/// What stands under a key whose lease was lost.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Standing {
    /// Nothing: released or expired.
    Absent,
    /// Another lease.
    InFlight {
        /// The time left of it, unless renewed.
        remaining: Duration,
    },
    /// A record.
    Completed(Record),
}

/// A claim that was won, for a bounded, renewable time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    key: RecordKey,
    token: LeaseToken,
    fence: Fence,
    attempt: u32,
    duration: Duration,
}

impl Lease {
    /// The key it is for.
    #[must_use]
    pub fn key(&self) -> &RecordKey {
        &self.key
    }

    /// The token that proves ownership.
    #[must_use]
    pub fn token(&self) -> LeaseToken {
        self.token
    }

    /// The fence, higher than that of every earlier lease of the key.
    #[must_use]
    pub fn fence(&self) -> Fence {
        self.fence
    }

    /// 1 for the first lease of a generation, one more for each takeover.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// How long it lives from each renewal.
    #[must_use]
    pub fn duration(&self) -> Duration {
        self.duration
    }
}

/// 128 random bits made by the claimant. They prove ownership and make a resent claim
/// harmless. `Debug` does not show them.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct LeaseToken([u8; 16]);

impl LeaseToken {
    /// A fresh token.
    ///
    /// # Panics
    ///
    /// If the operating system has no randomness to give.
    #[must_use]
    #[expect(clippy::expect_used, reason = "without randomness no lease is safe")]
    pub fn random() -> Self {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).expect("the operating system has no randomness");
        Self(bytes)
    }

    /// A token from what a store kept of it.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bytes, for a store to keep.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Debug for LeaseToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LeaseToken(…)")
    }
}

/// A number that strictly grows with each lease of a record key and never restarts.
/// Downstream systems may keep the highest they saw and refuse lower ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fence(u64);

impl Fence {
    /// The fence with this number.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Why a store could not do what it was asked.
#[derive(Debug)]
pub struct StoreError {
    kind: StoreErrorKind,
    source: Option<Box<dyn Error + Send + Sync>>,
}

/// Which of three happened, and whether asking again may help.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// Nothing was written; the same call may succeed later.
    NotApplied,
    /// Nothing was written, and the store is full: it takes no new key until old ones
    /// expire.
    Full,
    /// Nobody knows whether it was written: the reply was lost.
    Unknown,
    /// What stands there cannot be read. It is not absent.
    Corrupt,
}

impl StoreError {
    /// Nothing was written.
    pub fn not_applied(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::new(StoreErrorKind::NotApplied, Some(source.into()))
    }

    /// Nobody knows whether it was written.
    pub fn unknown(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::new(StoreErrorKind::Unknown, Some(source.into()))
    }

    /// What stands there cannot be read.
    pub fn corrupt(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::new(StoreErrorKind::Corrupt, Some(source.into()))
    }

    /// The store is full; nothing was written.
    #[must_use]
    pub fn full() -> Self {
        Self::new(StoreErrorKind::Full, None)
    }

    fn new(kind: StoreErrorKind, source: Option<Box<dyn Error + Send + Sync>>) -> Self {
        Self { kind, source }
    }

    /// Which of three happened.
    #[must_use]
    pub fn kind(&self) -> StoreErrorKind {
        self.kind
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            StoreErrorKind::NotApplied => "the store did not apply the call",
            StoreErrorKind::Full => "the store is full",
            StoreErrorKind::Unknown => "it is unknown whether the store applied the call",
            StoreErrorKind::Corrupt => "the store holds a record that cannot be read",
        })
    }
}

impl Error for StoreError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source
            .as_ref()
            .map(|source| &**source as &(dyn Error + 'static))
    }
}
