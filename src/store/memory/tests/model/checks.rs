//! What must be true of a store, whatever was done to it.

use std::{
    pin::Pin,
    task::{Context, Waker},
};

use super::{
    super::{super::slot::Slot as Stands, *},
    KEYS, key,
    world::World,
};
use crate::store::{Slot, slot::Moment};

impl World {
    /// Whatever is gone before its time was evicted: records, those that expire first.
    pub(super) fn note_evicted(&mut self) {
        let now = self.now();
        let over = |slot: &Slot| slot.gone_at().map(|end| Moment::at(end).over_in());
        let missing: Vec<_> = (0..KEYS)
            .filter(|number| !self.table.map.contains_key(&key(*number)))
            .filter(|number| self.slots[*number].standing(now) != Standing::Absent)
            .collect();
        for number in missing {
            assert!(self.evicts);
            let Standing::Completed(_) = self.slots[number].standing(now) else {
                panic!("what is in flight was evicted");
            };
            let evicted = over(&std::mem::take(&mut self.slots[number]));
            let mut kept = self.found().filter(|kept| !self.is_in_flight(*kept));
            assert!(kept.all(|kept| over(&self.slots[kept]) >= evicted));
        }
    }

    pub(super) fn found(&self) -> impl Iterator<Item = usize> {
        (0..KEYS).filter(|number| self.table.map.contains_key(&key(*number)))
    }

    pub(super) fn is_in_flight(&self, number: usize) -> bool {
        let stands = self.table.map.get(&key(number));
        stands.is_some_and(|stands| matches!(*stands, Stands::InFlight(_)))
    }

    /// Whether what stands there should have been cleared away by now.
    pub(super) fn is_cleared_away(&self, number: usize) -> bool {
        let end = self.slots[number].gone_at();
        end.is_none_or(|end| Moment::at(end).over_in() <= self.table.now().second())
    }

    pub(super) fn check(&mut self) {
        let now = self.table.now();
        for (number, slot) in self.slots.iter().enumerate() {
            let stands = self.table.map.get(&key(number));
            let standing = stands.map_or(Standing::Absent, |stands| stands.standing(now));
            assert_eq!(standing, slot.standing(now.since_epoch()), "key {number}");
        }
        self.check_room();
        self.check_leases();
        self.check_waiters();
    }

    fn check_room(&self) {
        let entries = self.table.map.len();
        let payload: u64 = self.table.map.iter().map(|stands| stands.bytes()).sum();
        assert_eq!(self.table.room.entries(), entries);
        assert_eq!(self.table.room.bytes(), payload + 300 * entries as u64);
    }

    fn check_leases(&self) {
        let counted = [0, 1].map(|shard| {
            let leases = &self.table.lock(shard).looks.leases;
            assert!(leases.count() > 0 || leases.looks() == 0);
            leases.count()
        });
        let in_flight = (0..KEYS)
            .filter(|number| self.is_in_flight(*number))
            .count();
        assert_eq!(counted.iter().sum::<usize>(), in_flight);
    }

    /// Who waits is woken when its lease is no longer there, and not before.
    fn check_waiters(&mut self) {
        let table = &self.table;
        self.waiters.retain_mut(|waiter| {
            let stands = table.map.get(&key(waiter.key));
            let is_there = stands.is_some_and(|stands| match &*stands {
                Stands::InFlight(flight) => flight.held.fence == waiter.fence,
                Stands::Done(_) => false,
            });
            assert_eq!(is_pending(&mut waiter.woken), is_there);
            is_there
        });
    }
}

pub(super) fn is_pending(future: &mut Pin<Box<dyn Future<Output = ()>>>) -> bool {
    let mut cx = Context::from_waker(Waker::noop());
    future.as_mut().poll(&mut cx).is_pending()
}
