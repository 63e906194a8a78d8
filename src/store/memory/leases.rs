//! The leases among the keys of a shard.

use super::{
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
    pub(super) looks: Queue,
    count: usize,
    /// The box of one that ended: nearly every one ends before another begins.
    spare: Option<Box<InFlight>>,
}

/// How many looks may be left over beside those at as many leases.
const LEFTOVERS: usize = 16;

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
        } else if self.looks.len() > 2 * self.count + LEFTOVERS {
            self.looks.retain(|look| {
                let awaiting = slots.get(look.hash.whole(), |(_, slot)| slot.get().awaits(look));
                awaiting.is_some()
            });
        }
    }
}
