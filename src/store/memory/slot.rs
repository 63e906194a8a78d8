//! What stands under one key.

use std::{cell::RefCell, sync::Arc};

use tokio::sync::Notify;

use super::clock::Second;
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
    /// Where the agenda has it; items found elsewhere are leftovers of earlier leases.
    queued: Second,
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
            Self::InFlight(flight) => now >= flight.held.gone_at(),
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
            Self::InFlight(flight) => flight.held.standing(now),
        }
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
        let held = Held::new(claim, fence, attempt, now);
        Self {
            queued: held.deadline.over_in(),
            held,
            waiters: None,
        }
    }

    /// The end of the lease and who waits for it, if `fence` still holds it.
    pub(super) fn watch(&mut self, fence: Fence, now: Moment) -> Option<(Arc<Notify>, Moment)> {
        if !self.held.is_waited_for(fence, now) {
            return None;
        }
        let waiters = self.waiters.get_or_insert_default();
        Some((Arc::clone(waiters), self.held.deadline))
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
        self.queued = if self.held.has_lapsed(now) {
            self.held.gone_at().over_in()
        } else {
            self.held.deadline.over_in()
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
