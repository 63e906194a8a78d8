//! The keys that share a lock.

use hashbrown::HashTable;

use super::{
    clock::Second,
    leases::Leases,
    place::Hash,
    queue::{Look, Queue},
    slot::Slot,
};
use crate::{hasher::DigestHasher, record_key::RecordKey, store::slot::Moment};

/// The keys that share a lock, and when to look at them again.
#[derive(Default)]
pub(super) struct Shard {
    pub(super) slots: Slots,
    pub(super) leases: Leases,
    pub(super) records: Queue,
}

pub(super) type Slots = HashTable<(RecordKey, Slot)>;

/// What a look found.
pub(super) enum Found {
    /// What stood there, and is dropped when the lock is free again.
    Gone(Slot),
    Alive,
}

/// How much there is room for from the first key on: to grow step by step costs more than the
/// room.
const FIRST_KEYS: usize = 14;
const FIRST_LOOKS: usize = 16;

impl Shard {
    /// Before the first key.
    #[cold]
    pub(super) fn open(&mut self) {
        self.slots = HashTable::with_capacity(FIRST_KEYS);
        self.records.reserve(FIRST_LOOKS);
    }

    pub(super) fn find(&mut self, hash: Hash, key: &RecordKey) -> Option<&mut Slot> {
        let found = self.slots.find_mut(hash.whole(), |(other, _)| other == key);
        found.map(|(_, slot)| slot)
    }

    pub(super) fn remove(&mut self, hash: Hash, key: &RecordKey) -> Option<Slot> {
        remove(&mut self.slots, hash, |(other, _)| other == key)
    }

    pub(super) fn is_due(&self, now: Second) -> bool {
        self.leases.looks.is_due(now) || self.records.is_due(now)
    }

    #[cfg(test)]
    pub(super) fn looks(&self) -> usize {
        self.leases.looks.len() + self.records.len()
    }

    /// Looks at one key that is due.
    pub(super) fn look(&mut self, now: Moment, hasher: &DigestHasher) -> Option<Found> {
        if let Some(look) = self.leases.looks.pop_due(now.second()) {
            return Some(self.look_at_lease(look, now));
        }
        let look = self.records.pop_due(now.second())?;
        Some(self.end(look, hasher))
    }

    /// Removes the record that expires first.
    pub(super) fn evict(&mut self, hasher: &DigestHasher) -> Option<Found> {
        let look = self.records.pop()?;
        Some(self.end(look, hasher))
    }

    /// Removes the lease that `look` means if it is gone, or queues it again.
    fn look_at_lease(&mut self, look: Look, now: Moment) -> Found {
        let Ok(mut found) = self
            .slots
            .find_entry(look.hash.whole(), |(_, slot)| slot.awaits(look))
        else {
            return Found::Alive;
        };
        match &mut found.get_mut().1 {
            Slot::InFlight(flight) if !flight.held.is_gone(now) => {
                self.leases.looks.push(flight.look_again(now));
                Found::Alive
            }
            _ => {
                let ((_, slot), _) = found.remove();
                self.leases.ended(&self.slots);
                Found::Gone(slot)
            }
        }
    }

    /// Removes the record that `look` means, and not one that came there later.
    fn end(&mut self, look: Look, hasher: &DigestHasher) -> Found {
        let is_meant = |(key, slot): &(RecordKey, Slot)| {
            slot.is_over_in(look.second) && Hash::of(key, hasher) == look.hash
        };
        remove(&mut self.slots, look.hash, is_meant).map_or(Found::Alive, Found::Gone)
    }
}

fn remove(
    slots: &mut Slots,
    hash: Hash,
    is_it: impl Fn(&(RecordKey, Slot)) -> bool,
) -> Option<Slot> {
    let found = slots.find_entry(hash.whole(), is_it).ok()?;
    let ((_, slot), _) = found.remove();
    Some(slot)
}
