//! Clearing away what is gone, one key at a time, and making room.

use std::{iter::from_fn, sync::atomic::Ordering::Relaxed};

use super::{shard::Found, table::Table};
use crate::store::slot::Moment;

/// How many keys a claim looks at to make room before it gives up.
const LOOKS_FOR_ROOM: usize = 1024;

impl Table {
    /// Removes all that is gone by now, and says how much that was.
    pub(super) fn sweep(&self) -> u64 {
        self.clear_all(self.now()).map(u64::from).sum()
    }

    /// Looks at keys of a shard that are due one by one, and says of each whether it was gone.
    pub(super) fn clear(&self, index: usize, now: Moment) -> impl Iterator<Item = bool> {
        from_fn(move || {
            let mut shard = self.lock(index);
            let found = shard.look(now, self.map.hasher())?;
            self.expiring[index].set(shard.looks.records.first());
            drop(shard);
            Some(self.count_out(found))
        })
    }

    fn clear_all(&self, now: Moment) -> impl Iterator<Item = bool> {
        (0..self.expiring.len()).flat_map(move |index| self.clear(index, now))
    }

    fn count_out(&self, found: Found) -> bool {
        match found {
            Found::Gone(slot) => {
                self.room.leave(slot.bytes());
                true
            }
            Found::Nothing => false,
        }
    }

    /// Clears away what is gone, then, if the store was told so, evicts the records that
    /// expire first, until there is room. Never what is in flight.
    pub(super) fn make_room(&self) -> bool {
        let gone = self.clear_once(self.now());
        let evicted = from_fn(|| self.evict());
        gone.chain(evicted)
            .take(LOOKS_FOR_ROOM)
            .any(|removed| removed && self.room.is_left())
    }

    /// Looks at all that is due, if nobody has in this second: more is not before the next.
    fn clear_once(&self, now: Moment) -> impl Iterator<Item = bool> {
        let second = Some(now.second());
        let is_cleared = self.cleared.get() == second;
        let due = (!is_cleared).then(|| self.clear_all(now));
        let note = from_fn(move || {
            self.cleared.set(second);
            None
        });
        due.into_iter().flatten().chain(note)
    }

    /// `None` if there is nothing to evict.
    fn evict(&self) -> Option<bool> {
        if !self.room.evict_completed.load(Relaxed) {
            return None;
        }
        let expiring = self.expiring.iter().enumerate();
        let first = expiring
            .filter_map(|(index, second)| Some((second.get()?, index)))
            .min();
        let (_, index) = first?;
        let mut shard = self.lock(index);
        let found = shard.evict(self.map.hasher());
        self.expiring[index].set(shard.looks.records.first());
        drop(shard);
        Some(found.is_some_and(|found| self.count_out(found)))
    }
}
