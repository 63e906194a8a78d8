//! A claim that was won, and how it ends.

use std::{
    any::Any,
    fmt,
    sync::{Arc, OnceLock},
    time::Duration,
};

use tokio::time::Instant;

use super::random;
use crate::{record::Record, record_key::RecordKey};

/// A claim that was won, for a bounded, renewable time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    key: RecordKey,
    token: LeaseToken,
    fence: Fence,
    attempt: u32,
    duration: Duration,
    attachment: Attachment,
}

impl Lease {
    pub(super) fn new(
        key: RecordKey,
        token: LeaseToken,
        fence: Fence,
        attempt: u32,
        duration: Duration,
    ) -> Self {
        Self {
            key,
            token,
            fence,
            attempt,
            duration,
            attachment: Attachment::default(),
        }
    }

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

    /// For stores that complete a key in the handler's own transaction: leaves something for
    /// [`complete`](super::Store::complete) to find with the lease, which handlers get by
    /// [`AsRef`] of their [`Idempotency`](crate::Idempotency).
    ///
    /// From then on an answer that the store does not say it has recorded is not given.
    ///
    /// # Errors
    ///
    /// Gives `attachment` back if there is one already.
    pub fn attach<T: Any + Send + Sync>(&self, attachment: Arc<T>) -> Result<(), Arc<T>> {
        let attached = self.attachment.0.set(Arc::<T>::clone(&attachment));
        attached.map_err(|_| attachment)
    }

    /// What was [attached](Self::attach), if it is a `T`.
    #[must_use]
    pub fn attached<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        let attachment = self.attachment.0.get()?;
        Arc::clone(attachment).downcast().ok()
    }

    /// Whether something was [attached](Self::attach).
    #[must_use]
    pub fn has_attachment(&self) -> bool {
        self.attachment.0.get().is_some()
    }
}

impl AsRef<Lease> for Lease {
    fn as_ref(&self) -> &Lease {
        self
    }
}

/// Says nothing about which lease it is, so all are equal.
#[derive(Clone, Default)]
struct Attachment(OnceLock<Arc<dyn Any + Send + Sync>>);

impl PartialEq for Attachment {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Attachment {}

impl fmt::Debug for Attachment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0.get() {
            Some(_) => "Some(…)",
            None => "None",
        })
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
    pub fn random() -> Self {
        Self::random_at(Instant::now())
    }

    /// A fresh one for what begins now.
    pub(super) fn random_at(now: Instant) -> Self {
        Self(random::sixteen(now))
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
    /// Refused: the transaction the handler had [attached](Lease::attach) was rolled back, and
    /// what it wrote with it. The key is still held.
    RolledBack,
}

/// What stands under a key whose lease was lost.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Standing {
    /// Nothing: released or expired.
    Absent,
    /// Another lease. A store makes it with [`in_flight`](Self::in_flight).
    #[non_exhaustive]
    InFlight {
        /// The time left of it, unless renewed.
        remaining: Duration,
    },
    /// A record.
    Completed(Record),
}

impl Standing {
    /// [`InFlight`](Self::InFlight), under a lease that lapses in `remaining`.
    #[must_use]
    pub fn in_flight(remaining: Duration) -> Self {
        Self::InFlight { remaining }
    }
}
