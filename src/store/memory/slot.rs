//! What stands under one key.

use std::sync::Arc;

use tokio::sync::Notify;

use super::{clock::Second, queue::Look};
use crate::{
    record::Record,
    store::{
        Claim, Fence, Lease, Standing,
        slot::{Done, Held, Moment, Sight},
    },
};

/// What stands under one key. Small, since a map that has just doubled holds room for two.
pub(super) enum Slot {
    Done(Done),
    InFlight(Box<InFlight>),
}

/// A lease, or what is left of one that lapsed. Dropping it wakes its waiters, so it is
/// dropped outside every lock.
pub(super) struct InFlight {
    pub(super) held: Held,
    /// When it is looked at; other looks are left over from earlier leases.
    pub(super) look: Look,
    waiters: Option<Arc<Notify>>,
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
            Self::InFlight(flight) => flight.held.is_gone(now),
        }
    }

    /// Whether `look` is meant for this lease, and not left over from an earlier one.
    pub(super) fn awaits(&self, look: Look) -> bool {
        matches!(self, Self::InFlight(flight) if flight.look == look)
    }

    /// Whether this is a record that is over in `second`, and not before.
    pub(super) fn is_over_in(&self, second: Second) -> bool {
        matches!(self, Self::Done(done) if done.until.over_in() == second)
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
            Self::Done(done) => Sight::Stands(done.claim(claim, now)),
            Self::InFlight(flight) => flight.held.claim(claim, now),
        }
    }

    pub(super) fn owner(&mut self, lease: &Lease, now: Moment) -> Owner<'_> {
        if self.is_gone(now) {
            return Owner::Nobody(Standing::Absent);
        }
        match self {
            Self::InFlight(flight) if !flight.held.is_of(lease) => {
                Owner::Nobody(flight.held.standing(now))
            }
            Self::Done(done) if !done.is_of(lease) => Owner::Nobody(done.standing()),
            Self::InFlight(flight) => Owner::Holder(flight),
            Self::Done(done) => Owner::Finisher(&done.record),
        }
    }

    pub(super) fn standing(&self, now: Moment) -> Standing {
        match self {
            _ if self.is_gone(now) => Standing::Absent,
            Self::Done(done) => done.standing(),
            Self::InFlight(flight) => flight.held.standing(now),
        }
    }
}

impl InFlight {
    pub(super) fn new(held: Held, look: Look) -> Self {
        Self {
            held,
            look,
            waiters: None,
        }
    }

    /// Makes the box of a lease nobody waits for that of another.
    pub(super) fn renew(&mut self, held: Held, look: Look) {
        self.held = held;
        self.look = look;
    }

    /// The end of the lease and who waits for it, if `fence` still holds it.
    pub(super) fn watch(&mut self, fence: Fence, now: Moment) -> Option<(Arc<Notify>, Moment)> {
        if !self.held.is_waited_for(fence, now) {
            return None;
        }
        let waiters = self.waiters.get_or_insert_default();
        Some((Arc::clone(waiters), self.held.deadline))
    }

    pub(super) fn is_waited_for(&self) -> bool {
        self.waiters.is_some()
    }

    /// Says when to look again: when the lease lapses, or later when nothing is left.
    pub(super) fn look_again(&mut self, now: Moment) -> Look {
        let end = if self.held.has_lapsed(now) {
            self.held.gone_at()
        } else {
            self.held.deadline
        };
        self.look.second = end.over_in();
        self.look
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if let Some(waiters) = &self.waiters {
            waiters.notify_waiters();
        }
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
