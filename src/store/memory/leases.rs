//! The leases among the keys of a shard.

use std::{iter, mem};

use super::{
    clock::Second,
    place::Hash,
    queue::{Look, Queue},
    shard::Slots,
    slot::{InFlight, Slot},
};
use crate::store::slot::Held;

/// When to look at which lease.
#[derive(Default)]
pub(super) struct Leases {
    /// One look at each, and some that are left over from leases that ended.
    looks: Queue,
    /// Looks that are being sorted out: a few whenever a lease ends. All at once would keep the
    /// lock too long.
    unsorted: Queue,
    count: usize,
    /// The box of one that ended: nearly every one ends before another begins.
    spare: Option<Box<InFlight>>,
}

/// How many looks may be left over beside those at as many leases.
const LEFTOVERS: usize = 16;

/// How many looks are sorted out when a lease ends. There are at most twice as many as leases
/// when that begins: with three or more it is done before it begins anew.
const SORTED_AT_ONCE: usize = 4;

impl Leases {
    /// A slot for a lease that begins.
    pub(super) fn begin(&mut self, held: Held, hash: Hash) -> Slot {
        let second = held.deadline.over_in();
        let look = Look { second, hash };
        self.looks.push(look);
        self.count += 1;
        Slot::InFlight(match self.spare.take() {
            Some(mut spare) => {
                spare.renew(held, look);
                spare
            }
            None => Box::new(InFlight::new(held, look)),
        })
    }

    /// Keeps the box of a lease that ended for the next one. What is given back is dropped
    /// when the lock is free again.
    pub(super) fn retire(&mut self, ended: Slot, slots: &Slots) -> Option<Slot> {
        self.ended(slots);
        match ended {
            Slot::InFlight(flight) if self.spare.is_none() && !flight.is_waited_for() => {
                self.spare = Some(flight);
                None
            }
            ended => Some(ended),
        }
    }

    /// Counts one less. It is no longer among the slots; the look at it is taken back with
    /// those at others, as it may be far off.
    pub(super) fn ended(&mut self, slots: &Slots) {
        self.count -= 1;
        if self.count == 0 {
            self.looks.clear();
            self.unsorted.clear();
            return;
        }
        if self.unsorted.len() == 0 && self.looks.len() > 2 * self.count + LEFTOVERS {
            mem::swap(&mut self.looks, &mut self.unsorted);
        }
        for look in iter::from_fn(|| self.unsorted.pop()).take(SORTED_AT_ONCE) {
            let awaiting = slots.get(look.hash.whole(), |(_, slot)| slot.get().awaits(look));
            if awaiting.is_some() {
                self.looks.push(look);
            }
        }
    }

    /// Has a lease looked at again.
    pub(super) fn look_again(&mut self, look: Look) {
        self.looks.push(look);
    }

    /// Takes a look that is due.
    pub(super) fn pop_due(&mut self, now: Second) -> Option<Look> {
        let unsorted = self.unsorted.pop_due(now);
        unsorted.or_else(|| self.looks.pop_due(now))
    }

    pub(super) fn are_due(&self, now: Second) -> bool {
        self.unsorted.is_due(now) || self.looks.is_due(now)
    }

    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.count
    }

    #[cfg(test)]
    pub(super) fn looks(&self) -> usize {
        self.unsorted.len() + self.looks.len()
    }
}
