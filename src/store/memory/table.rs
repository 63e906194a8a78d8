//! The verbs, each one critical section under the lock of one shard.
//!
//! No lock is held across an await, no second lock is taken under a first, and what leaves
//! the map is dropped, and its waiters woken, when the lock is free again.

use std::{
    hash::BuildHasher as _,
    mem,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use dashmap::{DashMap, Entry};
use http::Response;
use tokio::sync::Notify;

use super::{
    clock::Clock,
    expiry::{Agenda, Item, Reason},
    room::Room,
    slot::{InFlight, Owner, Slot},
};
use crate::{
    hasher::DigestHasher,
    record::Record,
    record_key::RecordKey,
    store::{
        Claim, Claimed, Completion, Fence, Lease, LeaseToken, Resolution, Standing, StoreError,
        slot::{Done, Moment, Sight},
    },
};

pub(super) struct Table {
    pub(super) map: DashMap<RecordKey, Slot, DigestHasher>,
    pub(super) room: Room,
    pub(super) agenda: Agenda,
    clock: Clock,
    fences: AtomicU64,
}

/// How many due keys a claim that takes room clears away. It adds at most two items, so
/// more than two keep the agenda from growing.
const CLEARED_PER_CLAIM: usize = 4;

impl Table {
    pub(super) fn new(shards: usize, room: Room) -> Self {
        let hasher = DigestHasher::with_secret(*LeaseToken::random().as_bytes());
        Self {
            map: DashMap::with_hasher_and_shard_amount(hasher, shards),
            room,
            agenda: Agenda::new(),
            clock: Clock::start(),
            fences: AtomicU64::new(0),
        }
    }

    pub(super) fn now(&self) -> Moment {
        self.clock.now()
    }

    pub(super) fn claim(&self, claim: &Claim<'_>) -> Result<Claimed, StoreError> {
        loop {
            if let Some(claimed) = self.claim_if_room(claim) {
                return Ok(claimed);
            }
            if !self.make_room() {
                return Err(StoreError::full());
            }
        }
    }

    /// `None` if the claim needs room and there is none.
    fn claim_if_room(&self, claim: &Claim<'_>) -> Option<Claimed> {
        let now = self.now();
        let mut replaced = None;
        let lease = match self.map.entry(*claim.key()) {
            Entry::Occupied(mut entry) => match entry.get_mut().claim(claim, now) {
                Sight::Stands(claimed) => return Some(claimed),
                Sight::Free { attempt } => {
                    let (slot, lease) = self.lease(claim, attempt, now);
                    replaced = Some(entry.insert(slot));
                    lease
                }
            },
            Entry::Vacant(entry) => {
                if !self.room.take() {
                    return None;
                }
                let (slot, lease) = self.lease(claim, 1, now);
                entry.insert(slot);
                lease
            }
        };
        if let Some(replaced) = replaced {
            self.room.shed(replaced.bytes());
            self.withdraw(claim.key(), &replaced);
        }
        self.expect_lapse(claim, now);
        Some(Claimed::Acquired(lease))
    }

    fn lease(&self, claim: &Claim<'_>, attempt: u32, now: Moment) -> (Slot, Lease) {
        let fence = self.next_fence();
        let held = InFlight::new(claim, fence, attempt, now);
        (Slot::InFlight(held.boxed()), claim.won(fence, attempt))
    }

    /// Higher than every fence before it: fences of one key are drawn under its lock.
    fn next_fence(&self) -> Fence {
        Fence::new(self.fences.fetch_add(1, Relaxed) + 1)
    }

    /// Queues the key for the end of its lease, not for that of its retention: keys that
    /// are soon released would else pile up there.
    fn expect_lapse(&self, claim: &Claim<'_>, now: Moment) {
        let hash = self.hash(claim.key());
        self.agenda.push(Item {
            hash,
            second: now.plus(claim.lease()).over_in(),
            reason: Reason::Lease,
        });
        let stripe = Agenda::stripe_of(hash);
        self.clear(stripe, now)
            .take(CLEARED_PER_CLAIM)
            .for_each(drop);
    }

    /// Takes the look at a lease that is over back: it may have been a long one.
    fn withdraw(&self, key: &RecordKey, over: &Slot) {
        if let Slot::InFlight(held) = over {
            self.agenda.withdraw(self.hash(key), held.queued());
        }
    }

    pub(super) fn complete(
        &self,
        lease: &Lease,
        record: &Record,
        retention: Duration,
    ) -> Completion {
        let now = self.now();
        let until = now.plus(retention);
        let done = Slot::Done(Done {
            record: record.clone(),
            fence: lease.fence(),
            until,
        });
        let replaced = match self.finish(lease, done, now) {
            Ok(replaced) => replaced,
            Err(completion) => return completion,
        };
        self.withdraw(lease.key(), &replaced);
        replaced.retire();
        self.expect_end(lease.key(), until);
        Completion::Applied
    }

    fn finish(&self, lease: &Lease, done: Slot, now: Moment) -> Result<Slot, Completion> {
        let Some(mut slot) = self.map.get_mut(lease.key()) else {
            return Err(Completion::Lost(Standing::Absent));
        };
        match slot.owner(lease, now) {
            Owner::Holder(_) => {
                self.room.load(done.bytes());
                Ok(mem::replace(&mut slot, done))
            }
            Owner::Finisher(_) => Err(Completion::AlreadyApplied),
            Owner::Nobody(standing) => Err(Completion::Lost(standing)),
        }
    }

    fn expect_end(&self, key: &RecordKey, until: Moment) {
        self.agenda.push(Item {
            hash: self.hash(key),
            second: until.over_in(),
            reason: Reason::Record,
        });
    }

    pub(super) fn release(&self, lease: &Lease) -> Completion {
        let mut completion = Completion::AlreadyApplied;
        let removed = self.map.remove_if_mut(lease.key(), |_, slot| {
            completion = match slot.owner(lease, self.now()) {
                Owner::Holder(_) => Completion::Applied,
                Owner::Finisher(record) => Completion::Lost(Standing::Completed(record.clone())),
                Owner::Nobody(Standing::Absent) => Completion::AlreadyApplied,
                Owner::Nobody(standing) => Completion::Lost(standing),
            };
            completion == Completion::Applied
        });
        if let Some((key, slot)) = removed {
            self.room.leave(slot.bytes());
            self.withdraw(&key, &slot);
            slot.retire();
        }
        completion
    }

    pub(super) fn renew(&self, lease: &Lease) -> Completion {
        let Some(mut slot) = self.map.get_mut(lease.key()) else {
            return Completion::Lost(Standing::Absent);
        };
        let now = self.now();
        match slot.owner(lease, now) {
            Owner::Holder(flight) => {
                flight.held.renew(lease.duration(), now);
                Completion::Applied
            }
            Owner::Finisher(record) => Completion::Lost(Standing::Completed(record.clone())),
            Owner::Nobody(standing) => Completion::Lost(standing),
        }
    }

    /// The end of the lease with `fence` and who waits for it, if it is held.
    pub(super) fn watch(&self, key: &RecordKey, fence: Fence) -> Option<(Arc<Notify>, Moment)> {
        match &mut *self.map.get_mut(key)? {
            Slot::InFlight(held) => held.watch(fence, self.now()),
            Slot::Done(_) => None,
        }
    }

    pub(super) fn forget(&self, key: &RecordKey) -> Standing {
        let Some((_, slot)) = self.map.remove(key) else {
            return Standing::Absent;
        };
        self.room.leave(slot.bytes());
        self.withdraw(key, &slot);
        slot.standing(self.now())
    }

    pub(super) fn resolve(
        &self,
        key: &RecordKey,
        response: &Response<Bytes>,
        retention: Duration,
    ) -> Resolution {
        let until = self.now().plus(retention);
        match self.replace_lapsed(key, response, until) {
            Ok(replaced) => self.withdraw(key, &replaced),
            Err(resolution) => return resolution,
        }
        self.expect_end(key, until);
        Resolution::Resolved
    }

    fn replace_lapsed(
        &self,
        key: &RecordKey,
        response: &Response<Bytes>,
        until: Moment,
    ) -> Result<Slot, Resolution> {
        let mut slot = self.map.get_mut(key).ok_or(Resolution::Absent)?;
        let now = self.now();
        let fingerprint = match &*slot {
            slot if slot.is_gone(now) => return Err(Resolution::Absent),
            Slot::Done(_) => return Err(Resolution::AlreadyCompleted),
            Slot::InFlight(flight) if !flight.held.has_lapsed(now) => {
                return Err(Resolution::StillInFlight);
            }
            Slot::InFlight(flight) => flight.held.fingerprint,
        };
        let done = Slot::Done(Done {
            record: Record::answer(fingerprint, response),
            fence: self.next_fence(),
            until,
        });
        self.room.load(done.bytes());
        Ok(mem::replace(&mut slot, done))
    }

    pub(super) fn hash(&self, key: &RecordKey) -> u64 {
        self.map.hasher().hash_one(key)
    }

    #[expect(clippy::cast_possible_truncation, reason = "as the map does")]
    pub(super) fn shard(&self, hash: u64) -> usize {
        self.map.determine_shard(hash as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fingerprint::Fingerprint;
    use tokio::time::advance;

    const REQUEST: Fingerprint = Fingerprint::custom([1; 32]);

    fn table() -> Table {
        Table::new(2, Room::new())
    }

    fn key(number: u32) -> RecordKey {
        let mut key = [0; 32];
        key[..4].copy_from_slice(&number.to_ne_bytes());
        RecordKey::from_bytes(key)
    }

    fn acquire(table: &Table, claim: &Claim<'_>) -> Lease {
        match table.claim(claim).unwrap() {
            Claimed::Acquired(lease) => lease,
            other => panic!("{other:?}"),
        }
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[tokio::test(start_paused = true)]
    async fn every_key_goes_whatever_became_of_it() {
        let table = table();
        for number in 0..20_000 {
            let key = key(number);
            let claim = Claim::new(&key, REQUEST).retained_for(seconds(5));
            let lease = acquire(&table, &claim.lease_for(seconds(1)));
            match number % 4 {
                0 => drop(table.release(&lease)),
                1 => drop(table.complete(&lease, &Record::sealed(REQUEST), seconds(3))),
                2 => drop(table.renew(&lease)),
                _ => {}
            }
            advance(Duration::from_millis(u64::from(number % 2))).await;
        }
        advance(seconds(10)).await;
        table.sweep();
        assert_eq!((table.room.entries(), table.room.bytes()), (0, 0));
        assert_eq!((table.map.len(), table.agenda.len()), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn released_keys_do_not_pile_up() {
        let table = table();
        let key = key(1);
        for _ in 0..3600 {
            let lease = acquire(&table, &Claim::new(&key, REQUEST));
            table.release(&lease);
            advance(seconds(1)).await;
        }
        // The default lease lasts 30 s.
        assert!(table.agenda.len() <= 32, "{} items", table.agenda.len());
    }

    /// However long their leases were.
    #[tokio::test(start_paused = true)]
    async fn keys_released_or_forgotten_at_once_leave_nothing() {
        let table = table();
        for number in 0..1000 {
            let key = key(number);
            let claim = Claim::new(&key, REQUEST).lease_for(seconds(86_400));
            let lease = acquire(&table, &claim);
            if number % 2 == 0 {
                table.release(&lease);
            } else {
                table.forget(&key);
            }
            advance(Duration::from_millis(10)).await;
        }
        assert_eq!(table.agenda.len(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_that_lives_on_has_one_item() {
        let table = table();
        let key = key(1);
        let claim = Claim::new(&key, REQUEST).lease_for(seconds(3));
        let mut lease = acquire(&table, &claim);
        for round in 0..100 {
            if round % 10 == 0 {
                advance(seconds(4)).await;
                lease = acquire(&table, &Claim::new(&key, REQUEST).lease_for(seconds(3)));
            }
            table.renew(&lease);
            advance(seconds(2)).await;
            table.sweep();
        }
        assert_eq!(table.agenda.len(), 1);
        assert_eq!(table.room.entries(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn claims_clear_away_what_is_gone() {
        let table = table();
        for number in 0..100_u32 {
            let key = key(number);
            let lease = acquire(&table, &Claim::new(&key, REQUEST));
            table.complete(&lease, &Record::sealed(REQUEST), seconds(1));
        }
        advance(seconds(60)).await;
        // Enough that every stripe gets its share.
        for number in 100..1100 {
            acquire(&table, &Claim::new(&key(number), REQUEST));
        }
        assert_eq!(table.room.entries(), 1000);
    }

    #[test]
    fn threads_that_race_for_a_key_have_one_winner() {
        let (table, threads) = (table(), 8);
        let barrier = std::sync::Barrier::new(threads);
        let wins = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    for number in 0..500 {
                        barrier.wait();
                        let claimed = table.claim(&Claim::new(&key(number), REQUEST));
                        let is_won = matches!(claimed, Ok(Claimed::Acquired(_)));
                        wins.fetch_add(is_won.into(), Relaxed);
                    }
                });
            }
        });
        assert_eq!(wins.into_inner(), 500);
        assert_eq!(table.room.entries(), 500);
    }

    #[test]
    fn threads_that_race_for_room_stay_within_the_bound() {
        let table = table();
        table.room.max_entries.store(100, Relaxed);
        let won = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let (table, won) = (&table, &won);
                scope.spawn(move || {
                    for number in 0..200 {
                        let key = key(thread * 1000 + number);
                        let is_won = table.claim(&Claim::new(&key, REQUEST)).is_ok();
                        won.fetch_add(is_won.into(), Relaxed);
                    }
                });
            }
        });
        assert_eq!(won.into_inner(), 100);
        assert_eq!((table.room.entries(), table.map.len()), (100, 100));
    }

    #[test]
    fn sweeping_races_with_every_verb() {
        let table = table();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for number in 0..2000 {
                        let key = key(number % 50);
                        let claim = Claim::new(&key, REQUEST).lease_for(Duration::ZERO);
                        if let Ok(Claimed::Acquired(lease)) = table.claim(&claim) {
                            match number % 3 {
                                0 => drop(table.release(&lease)),
                                1 => {
                                    let record = Record::sealed(REQUEST);
                                    table.complete(&lease, &record, Duration::ZERO);
                                }
                                _ => drop(table.forget(&key)),
                            }
                        }
                        table.sweep();
                    }
                });
            }
        });
        assert_eq!(table.room.entries(), table.map.len());
    }
}
