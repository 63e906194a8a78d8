//! A lease as a store keeps it.

use std::time::Duration;

use super::Moment;
use crate::{
    fingerprint::Fingerprint,
    store::{AfterCrash, Claim, Claimed, Fence, Lease, LeaseToken, Standing},
};

/// A lease, or what is left of one that lapsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::store) struct Held {
    pub(in crate::store) token: LeaseToken,
    pub(in crate::store) fingerprint: Fingerprint,
    pub(in crate::store) fence: Fence,
    pub(in crate::store) attempt: u32,
    pub(in crate::store) deadline: Moment,
    pub(in crate::store) retention: Duration,
}

/// What a claim sees.
pub(in crate::store) enum Sight {
    /// An answer.
    Stands(Claimed),
    /// Room for a lease with this attempt.
    Free { attempt: u32 },
}

impl Held {
    pub(in crate::store) fn new(
        claim: &Claim<'_>,
        fence: Fence,
        attempt: u32,
        now: Moment,
    ) -> Self {
        Self {
            token: claim.token(),
            fingerprint: claim.fingerprint(),
            fence,
            attempt,
            deadline: now.plus(claim.lease()),
            retention: claim.retention(),
        }
    }

    /// A token belongs to one claimant, so its resend gets its lease also if that lapsed.
    pub(in crate::store) fn claim(&mut self, claim: &Claim<'_>, now: Moment) -> Sight {
        if self.fingerprint != claim.fingerprint() {
            return Sight::Stands(Claimed::Mismatch);
        }
        if self.token == claim.token() {
            self.renew(claim.lease(), now);
            return Sight::Stands(Claimed::Acquired(claim.won(self.fence, self.attempt)));
        }
        if !self.has_lapsed(now) {
            return Sight::Stands(Claimed::InFlight {
                fence: self.fence,
                remaining: now.until(self.deadline),
            });
        }
        match claim.crash_mode() {
            AfterCrash::Hold => Sight::Stands(Claimed::Unknown),
            AfterCrash::Takeover => Sight::Free {
                attempt: self.attempt.saturating_add(1),
            },
        }
    }

    pub(in crate::store) fn is_of(&self, lease: &Lease) -> bool {
        self.token == lease.token() && self.fence == lease.fence()
    }

    pub(in crate::store) fn renew(&mut self, lease: Duration, now: Moment) {
        self.deadline = now.plus(lease);
    }

    pub(in crate::store) fn has_lapsed(&self, now: Moment) -> bool {
        now >= self.deadline
    }

    /// Whether a waiter for the lease with `fence` has something to wait for.
    pub(in crate::store) fn is_waited_for(&self, fence: Fence, now: Moment) -> bool {
        self.fence == fence && !self.has_lapsed(now)
    }

    pub(in crate::store) fn is_gone(&self, now: Moment) -> bool {
        now >= self.gone_at()
    }

    pub(in crate::store) fn gone_at(&self) -> Moment {
        self.deadline.plus(self.retention)
    }

    pub(in crate::store) fn standing(&self, now: Moment) -> Standing {
        Standing::InFlight {
            remaining: now.until(self.deadline),
        }
    }
}
