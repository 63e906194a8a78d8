//! The keys that share a lock.

use std::hash::BuildHasher as _;

use dashmap::{RwLockWriteGuard, SharedValue};
use hashbrown::raw::RawTable;

use super::{
    clock::Second,
    leases::Leases,
    place::Hash,
    queue::{Look, Queue},
    slot::Slot,
};
use crate::{hasher::DigestHasher, record_key::RecordKey, store::slot::Moment};

/// The keys that share a lock, and when to look at them again, both locked.
pub(super) struct Shard<'a> {
    // In front, so that it is unlocked first: nobody ever waits for it.
    pub(super) looks: RwLockWriteGuard<'a, Looks>,
    pub(super) slots: RwLockWriteGuard<'a, Slots>,
}

/// A shard of the map.
pub(super) type Slots = RawTable<Entry>;

type Entry = (RecordKey, SharedValue<Slot>);

/// When to look at which key of a shard. Locked only under the lock of the shard.
#[derive(Default)]
pub(super) struct Looks {
    pub(super) leases: Leases,
    pub(super) records: Queue,
}

/// What a look found.
pub(super) enum Found {
    /// What stood there, and is dropped when the lock is free again.
    Gone(Slot),
    /// It lives on, or went before.
    Nothing,
}

/// How much there is room for from the first key on: to grow step by step costs more than the
/// room.
const FIRST_KEYS: usize = 14;
const FIRST_LOOKS: usize = 16;

impl Shard<'_> {
    /// Before the first key.
    #[cold]
    pub(super) fn open(&mut self) {
        *self.slots = Slots::with_capacity(FIRST_KEYS);
        self.looks.records.reserve(FIRST_LOOKS);
    }

    pub(super) fn find(&mut self, hash: u64, key: &RecordKey) -> Option<&mut Slot> {
        let found = self.slots.get_mut(hash, |(other, _)| other == key);
        found.map(|(_, slot)| slot.get_mut())
    }

    pub(super) fn remove(&mut self, hash: u64, key: &RecordKey) -> Option<Slot> {
        remove(&mut self.slots, hash, |(other, _)| other == key)
    }

    /// Looks at one key that is due.
    pub(super) fn look(&mut self, now: Moment, hasher: &DigestHasher) -> Option<Found> {
        if let Some(look) = self.looks.leases.pop_due(now.second()) {
            return Some(self.look_at_lease(look, now));
        }
        let look = self.looks.records.pop_due(now.second())?;
        Some(self.end(look, hasher))
    }

    /// Removes the record that expires first.
    pub(super) fn evict(&mut self, hasher: &DigestHasher) -> Option<Found> {
        let look = self.looks.records.pop()?;
        Some(self.end(look, hasher))
    }

    /// Removes the lease that `look` means if it is gone, or queues it again.
    fn look_at_lease(&mut self, look: Look, now: Moment) -> Found {
        let (hash, leases) = (look.hash.whole(), &mut self.looks.leases);
        let is_meant = |(_, slot): &Entry| slot.get().awaits(look);
        let is_gone = |entry: &Entry| is_meant(entry) && entry.1.get().is_gone(now);
        if let Some(slot) = remove(&mut self.slots, hash, is_gone) {
            leases.ended(&self.slots);
            return Found::Gone(slot);
        }
        let alive = self.slots.get_mut(hash, is_meant);
        if let Some(Slot::InFlight(flight)) = alive.map(|(_, slot)| slot.get_mut()) {
            leases.look_again(flight.look_again(now));
        }
        Found::Nothing
    }

    /// Removes the record that `look` means, and not one that came there later.
    fn end(&mut self, look: Look, hasher: &DigestHasher) -> Found {
        let is_meant = |(key, slot): &Entry| {
            slot.get().is_over_in(look.second) && Hash::half(hasher.hash_one(key)) == look.hash
        };
        remove(&mut self.slots, look.hash.whole(), is_meant).map_or(Found::Nothing, Found::Gone)
    }
}

impl Looks {
    pub(super) fn are_due(&self, now: Second) -> bool {
        self.leases.are_due(now) || self.records.is_due(now)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.leases.looks() + self.records.len()
    }
}

fn remove(slots: &mut Slots, hash: u64, is_it: impl Fn(&Entry) -> bool) -> Option<Slot> {
    let removed = slots.remove_entry(hash, is_it);
    removed.map(|(_, slot)| slot.into_inner())
}
