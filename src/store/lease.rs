//! A claim that was won, and how it ends.

use std::{fmt, time::Duration};

use crate::{record::Record, record_key::RecordKey};

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
