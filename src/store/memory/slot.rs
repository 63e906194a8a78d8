//! What stands under one key.

use std::{cell::RefCell, sync::Arc, time::Duration};

use tokio::sync::Notify;

use super::clock::{Moment, Second};
use crate::{
    fingerprint::Fingerprint,
    record::Record,
    store::{AfterCrash, Claim, Claimed, Fence, Lease, LeaseToken, Standing},
};

/// What stands under one key. Small, since a map that has just doubled holds room for two.
pub(super) enum Slot {
    Done(Done),
    InFlight(Box<InFlight>),
}

/// A record. Its fence, unique in the store, tells whose it is: the token can go.
pub(super) struct Done {
    pub(super) record: Record,
    pub(super) fence: Fence,
    pub(super) until: Moment,
}

/// A lease, or what is left of one that lapsed. Dropping it wakes its waiters, so it is
/// dropped outside every lock.
pub(super) struct InFlight {
    token: LeaseToken,
    pub(super) fingerprint: Fingerprint,
    fence: Fence,
    attempt: u32,
    deadline: Moment,
    retention: Duration,
    /// Where the agenda has it; items found elsewhere are leftovers of earlier leases.
    queued: Second,
    waiters: Option<Arc<Notify>>,
}

/// What a claim sees in a slot.
pub(super) enum Sight {
    /// An answer.
    Stands(Claimed),
    /// Room for a lease with this attempt.
    Free { attempt: u32 },
}

/// What a lease is to a slot.
pub(super) enum Owner<'a> {
    Holder(&'a mut InFlight),
    Finisher(&'a Record),
    Nobody(Standing),
}

impl Slot {
    pub(super) fn is_gone(&self, now: Moment) -> bool {
        match self {
            Self::Done(done) => now >= done.until,
            Self::InFlight(held) => now >= held.gone_at(),
        }
    }

    /// What the payload counts towards the bound in bytes.
    pub(super) fn bytes(&self) -> u64 {
        match self {
            Self::Done(done) => done.record.bytes(),
            Self::InFlight(_) => 0,
        }
    }

    pub(super) fn claim(&mut self, claim: &Claim<'_>, now: Moment) -> Sight {
        if self.is_gone(now) {
            return Sight::Free { attempt: 1 };
        }
        match self {
            Self::Done(done) if done.record.fingerprint() != claim.fingerprint() => {
                Sight::Stands(Claimed::Mismatch)
            }
            Self::Done(done) => Sight::Stands(Claimed::Completed(done.record.clone())),
            Self::InFlight(held) => held.claim(claim, now),
        }
    }

    pub(super) fn owner(&mut self, lease: &Lease, now: Moment) -> Owner<'_> {
        if self.is_gone(now) {
            return Owner::Nobody(Standing::Absent);
        }
        match self {
            Self::Done(done) => done.owner(lease),
            Self::InFlight(held) => held.owner(lease, now),
        }
    }

    /// Drops it; the box of a lease is kept for the next one.
    pub(super) fn retire(self) {
        if let Self::InFlight(mut held) = self {
            held.wake();
            // A thread that ends keeps nothing any more.
            let _ = SPARES.try_with(|spares| {
                let mut spares = spares.borrow_mut();
                if spares.len() < MOST_SPARES {
                    spares.push(held);
                }
            });
        }
    }

    pub(super) fn standing(&self, now: Moment) -> Standing {
        match self {
            _ if self.is_gone(now) => Standing::Absent,
            Self::Done(done) => done.standing(),
            Self::InFlight(held) => held.standing(now),
        }
    }
}

impl Done {
    fn owner(&self, lease: &Lease) -> Owner<'_> {
        if self.fence == lease.fence() {
            Owner::Finisher(&self.record)
        } else {
            Owner::Nobody(self.standing())
        }
    }

    fn standing(&self) -> Standing {
        Standing::Completed(self.record.clone())
    }
}

thread_local! {
    /// Boxes of leases that are over: nearly every one ends where another begins.
    #[expect(clippy::vec_box, reason = "the boxes are what is kept")]
    static SPARES: RefCell<Vec<Box<InFlight>>> = const { RefCell::new(Vec::new()) };
}

const MOST_SPARES: usize = 64;

impl InFlight {
    /// In a box of its own, or that of an earlier lease.
    pub(super) fn boxed(self) -> Box<Self> {
        let spare = SPARES.try_with(|spares| spares.borrow_mut().pop());
        match spare {
            Ok(Some(mut spare)) => {
                *spare = self;
                spare
            }
            _ => Box::new(self),
        }
    }

    pub(super) fn new(claim: &Claim<'_>, fence: Fence, attempt: u32, now: Moment) -> Self {
        let deadline = now.plus(claim.lease());
        Self {
            token: claim.token(),
            fingerprint: claim.fingerprint(),
            fence,
            attempt,
            deadline,
            retention: claim.retention(),
            queued: deadline.over_in(),
            waiters: None,
        }
    }

    /// A token belongs to one claimant, so its resend gets its lease also if that lapsed.
    fn claim(&mut self, claim: &Claim<'_>, now: Moment) -> Sight {
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

    fn standing(&self, now: Moment) -> Standing {
        Standing::InFlight {
            remaining: now.until(self.deadline),
        }
    }

    fn owner(&mut self, lease: &Lease, now: Moment) -> Owner<'_> {
        if self.token == lease.token() && self.fence == lease.fence() {
            Owner::Holder(self)
        } else {
            Owner::Nobody(self.standing(now))
        }
    }

    pub(super) fn has_lapsed(&self, now: Moment) -> bool {
        now >= self.deadline
    }

    fn gone_at(&self) -> Moment {
        self.deadline.plus(self.retention)
    }

    pub(super) fn renew(&mut self, lease: Duration, now: Moment) {
        self.deadline = now.plus(lease);
    }

    /// The end of the lease and who waits for it, if `fence` still holds it.
    pub(super) fn watch(&mut self, fence: Fence, now: Moment) -> Option<(Arc<Notify>, Moment)> {
        if self.fence != fence || self.has_lapsed(now) {
            return None;
        }
        let waiters = self.waiters.get_or_insert_default();
        Some((Arc::clone(waiters), self.deadline))
    }

    fn wake(&mut self) {
        if let Some(waiters) = self.waiters.take() {
            waiters.notify_waiters();
        }
    }

    pub(super) fn queued(&self) -> Second {
        self.queued
    }

    /// Says when to look again: when the lease lapses, or later when nothing is left.
    pub(super) fn requeue(&mut self, now: Moment) -> Second {
        self.queued = if self.has_lapsed(now) {
            self.gone_at().over_in()
        } else {
            self.deadline.over_in()
        };
        self.queued
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_stays_small() {
        assert!(size_of::<Slot>() <= 24);
        assert!(size_of::<InFlight>() <= 128);
    }
}
