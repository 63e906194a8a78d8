//! Clearing away what is gone, one key at a time, and making room.

use std::sync::atomic::Ordering::Relaxed;

use dashmap::SharedValue;

use super::{
    clock::Second,
    expiry::{Agenda, Item, Reason},
    slot::Slot,
    table::Table,
};
use crate::{record_key::RecordKey, store::slot::Moment};

/// How many keys a claim looks at to make room before it gives up.
const LOOKS_FOR_ROOM: usize = 1024;

impl Table {
    /// Removes all that is gone by now, and says how much that was.
    pub(super) fn sweep(&self) -> u64 {
        let now = self.now();
        let stripes = 0..Agenda::STRIPES;
        stripes
            .flat_map(|stripe| self.clear(stripe, now))
            .map(u64::from)
            .sum()
    }

    /// Clears due keys of a stripe away one by one, and says of each whether it was gone.
    pub(super) fn clear(&self, stripe: usize, now: Moment) -> impl Iterator<Item = bool> {
        let due = move || self.agenda.pop_due(stripe, now.second());
        std::iter::from_fn(due).map(|item| self.look(item))
    }

    /// Removes what `item` stands for if it is gone, or queues it again.
    fn look(&self, item: Item) -> bool {
        let now = self.now();
        if self.remove(item, |slot| slot.is_gone(now)) {
            return true;
        }
        if let Some(second) = self.requeue(item, now) {
            self.agenda.push(Item { second, ..item });
        }
        false
    }

    fn remove(&self, item: Item, is_due: impl Fn(&Slot) -> bool) -> bool {
        let mut shard = self.map.shards()[self.shard(item.hash)].write();
        let removed = shard.remove_entry(item.hash, |(key, slot)| {
            self.is_meant(key, slot.get(), item) && is_due(slot.get())
        });
        drop(shard);
        let removed = removed.map(|(_, slot)| SharedValue::into_inner(slot));
        if let Some(slot) = &removed {
            self.room.leave(slot.bytes());
        }
        removed.is_some()
    }

    fn requeue(&self, item: Item, now: Moment) -> Option<Second> {
        let mut shard = self.map.shards()[self.shard(item.hash)].write();
        let (_, slot) = shard.get_mut(item.hash, |(key, slot)| {
            self.is_meant(key, slot.get(), item)
        })?;
        match slot.get_mut() {
            Slot::InFlight(held) => Some(held.requeue(now)),
            Slot::Done(_) => None,
        }
    }

    /// Clears away what is gone, then, if the store was told so, evicts the records that
    /// expire first, until there is room. Never what is in flight.
    pub(super) fn make_room(&self) -> bool {
        let now = self.now();
        let stripes = 0..Agenda::STRIPES;
        let gone = stripes.flat_map(|stripe| self.clear(stripe, now));
        let evicted = std::iter::from_fn(|| self.evict());
        gone.chain(evicted)
            .take(LOOKS_FOR_ROOM)
            .any(|removed| removed && self.room.is_left())
    }

    /// `None` if there is nothing to evict.
    fn evict(&self) -> Option<bool> {
        if !self.room.evict_completed.load(Relaxed) {
            return None;
        }
        let item = self.agenda.pop_first_record()?;
        Some(self.remove(item, |_| true))
    }

    /// Whether a look at `item` means this slot, and is not left over from an earlier one.
    /// The map offers every key whose hash begins alike.
    fn is_meant(&self, key: &RecordKey, slot: &Slot, item: Item) -> bool {
        let is_time = match (slot, item.reason) {
            (Slot::InFlight(held), Reason::Lease) => held.queued() == item.second,
            (Slot::Done(done), Reason::Record) => done.until.over_in() == item.second,
            (Slot::InFlight(_), Reason::Record) | (Slot::Done(_), Reason::Lease) => false,
        };
        is_time && self.hash(key) == item.hash
    }
}
