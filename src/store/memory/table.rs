//! The verbs, each one critical section under the lock of one shard.
//!
//! No lock is held across an await, no second lock is taken under a first but that of the
//! looks of the same shard, and what leaves the map is dropped, and its waiters woken, when the
//! lock is free again.

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
use dashmap::{RwLock, SharedValue};
use http::Response;
use tokio::sync::Notify;

use super::{
    clock::{Clock, Second, SharedSecond},
    place::{Hash, Map, Place},
    queue::Look,
    room::Room,
    shard::{Looks, Shard},
    slot::{Owner, Slot},
};
use crate::{
    hasher::DigestHasher,
    record::Record,
    record_key::RecordKey,
    store::{
        Claim, Claimed, Completion, Fence, Lease, LeaseToken, Resolution, Standing, StoreError,
        slot::{Done, Held, Moment, Sight},
    },
};

pub(super) struct Table {
    pub(super) map: Map,
    /// When to look at the keys of each shard of the map.
    looks: Box<[RwLock<Looks>]>,
    /// When the first record of each shard is over.
    pub(super) expiring: Box<[SharedSecond]>,
    /// The last second in which all that was due was cleared away.
    pub(super) cleared: SharedSecond,
    pub(super) room: Room,
    clock: Clock,
    fences: AtomicU64,
}

/// How many due keys a claim that takes room looks at. It leads to at most two looks, so more
/// than two keep them from piling up.
const CLEARED_PER_CLAIM: usize = 4;

impl Table {
    /// With so many shards, which is a power of two.
    pub(super) fn new(shards: usize, room: Room) -> Self {
        let secret = *LeaseToken::random().as_bytes();
        Self::with_secret(secret, shards, room)
    }

    /// What the secret is only tests choose: they look for keys that meet.
    pub(super) fn with_secret(secret: [u8; 16], shards: usize, room: Room) -> Self {
        let hasher = DigestHasher::with_secret(secret);
        Self {
            map: Map::with_hasher_and_shard_amount(hasher, shards),
            looks: (0..shards).map(|_| RwLock::default()).collect(),
            expiring: (0..shards).map(|_| SharedSecond::none()).collect(),
            cleared: SharedSecond::none(),
            room,
            clock: Clock::start(),
            fences: AtomicU64::new(0),
        }
    }

    pub(super) fn now(&self) -> Moment {
        self.clock.now()
    }

    pub(super) fn claim(&self, claim: &Claim<'_>) -> Result<Claimed, StoreError> {
        loop {
            let claimed = self.claim_if_room(claim);
            if claimed.is_ok() || !self.make_room() {
                return claimed;
            }
        }
    }

    fn claim_if_room(&self, claim: &Claim<'_>) -> Result<Claimed, StoreError> {
        let (place, now) = (self.place(claim.key()), self.now());
        let mut shard = self.lock(place.shard);
        if shard.slots.capacity() == 0 {
            shard.open();
        }
        let is_it = |(key, _): &(RecordKey, _)| key == claim.key();
        let mut found = shard.slots.get_mut(place.hash, is_it);
        let attempt = match &mut found {
            Some((_, slot)) => match slot.get_mut().claim(claim, now) {
                Sight::Stands(claimed) => return Ok(claimed),
                Sight::Free { attempt } => attempt,
            },
            None if self.room.take() => 1,
            None => return Err(StoreError::full()),
        };
        let fence = self.next_fence();
        let held = Held::new(claim, fence, attempt, now);
        let slot = shard.looks.leases.begin(held, Hash::half(place.hash));
        let over = match found {
            Some((_, over)) => Some(mem::replace(over.get_mut(), slot)),
            None => {
                let entry = (*claim.key(), SharedValue::new(slot));
                let rehash = |(key, _): &(RecordKey, _)| self.map.hasher().hash_one(key);
                shard.slots.insert(place.hash, entry, rehash);
                None
            }
        };
        if let Some(Slot::InFlight(_)) = over {
            shard.looks.leases.ended(&shard.slots);
        }
        let is_due = shard.looks.are_due(now.second());
        drop(shard);
        if let Some(over) = over {
            self.room.shed(over.bytes());
        }
        if is_due {
            let cleared = self.clear(place.shard, now);
            cleared.take(CLEARED_PER_CLAIM).for_each(drop);
        }
        Ok(Claimed::Acquired(claim.won(fence, attempt)))
    }

    /// Higher than every fence before it: fences of one key are drawn under its lock.
    fn next_fence(&self) -> Fence {
        Fence::new(self.fences.fetch_add(1, Relaxed) + 1)
    }

    pub(super) fn complete(
        &self,
        lease: &Lease,
        record: &Record,
        retention: Duration,
    ) -> Completion {
        let (place, now) = (self.place(lease.key()), self.now());
        let mut shard = self.lock(place.shard);
        let Some(slot) = shard.find(place.hash, lease.key()) else {
            return Completion::Lost(Standing::Absent);
        };
        match slot.owner(lease, now) {
            Owner::Holder(_) => {}
            Owner::Finisher(_) => return Completion::AlreadyApplied,
            Owner::Nobody(standing) => return Completion::Lost(standing),
        }
        let done = Done {
            record: record.clone(),
            fence: lease.fence(),
            until: now.plus(retention),
        };
        let end = done.until.over_in();
        self.room.load(done.record.bytes());
        let ended = mem::replace(slot, Slot::Done(done));
        self.completed(place, shard, ended, end);
        Completion::Applied
    }

    /// What is left to do when a record took the place of a lease.
    fn completed(&self, place: Place, mut shard: Shard<'_>, ended: Slot, end: Second) {
        shard.looks.records.push(Look {
            second: end,
            hash: Hash::half(place.hash),
        });
        self.expiring[place.shard].set(shard.looks.records.first());
        let ended = shard.looks.leases.retire(ended, &shard.slots);
        drop(shard);
        drop(ended);
    }

    pub(super) fn release(&self, lease: &Lease) -> Completion {
        let (place, now) = (self.place(lease.key()), self.now());
        let mut shard = self.lock(place.shard);
        let Some(slot) = shard.find(place.hash, lease.key()) else {
            return Completion::AlreadyApplied;
        };
        match slot.owner(lease, now) {
            Owner::Holder(_) => {}
            Owner::Finisher(record) => {
                return Completion::Lost(Standing::Completed(record.clone()));
            }
            Owner::Nobody(Standing::Absent) => return Completion::AlreadyApplied,
            Owner::Nobody(standing) => return Completion::Lost(standing),
        }
        self.remove(place, shard, lease.key());
        Completion::Applied
    }

    fn remove(&self, place: Place, mut shard: Shard<'_>, key: &RecordKey) {
        let Some(slot) = shard.remove(place.hash, key) else {
            return;
        };
        self.room.leave(slot.bytes());
        let slot = match slot {
            Slot::InFlight(_) => shard.looks.leases.retire(slot, &shard.slots),
            Slot::Done(_) => Some(slot),
        };
        drop(shard);
        drop(slot);
    }

    pub(super) fn renew(&self, lease: &Lease) -> Completion {
        let (place, now) = (self.place(lease.key()), self.now());
        let mut shard = self.lock(place.shard);
        let Some(slot) = shard.find(place.hash, lease.key()) else {
            return Completion::Lost(Standing::Absent);
        };
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
        let place = self.place(key);
        match self.lock(place.shard).find(place.hash, key)? {
            Slot::InFlight(flight) => flight.watch(fence, self.now()),
            Slot::Done(_) => None,
        }
    }

    pub(super) fn forget(&self, key: &RecordKey) -> Standing {
        let (place, now) = (self.place(key), self.now());
        let mut shard = self.lock(place.shard);
        let Some(slot) = shard.find(place.hash, key) else {
            return Standing::Absent;
        };
        let standing = slot.standing(now);
        self.remove(place, shard, key);
        standing
    }

    pub(super) fn resolve(
        &self,
        key: &RecordKey,
        response: &Response<Bytes>,
        retention: Duration,
    ) -> Resolution {
        let (place, now) = (self.place(key), self.now());
        let mut shard = self.lock(place.shard);
        let Some(slot) = shard.find(place.hash, key) else {
            return Resolution::Absent;
        };
        let fingerprint = match &*slot {
            slot if slot.is_gone(now) => return Resolution::Absent,
            Slot::Done(_) => return Resolution::AlreadyCompleted,
            Slot::InFlight(flight) if !flight.held.has_lapsed(now) => {
                return Resolution::StillInFlight;
            }
            Slot::InFlight(flight) => flight.held.fingerprint,
        };
        let done = Done {
            record: Record::answer(fingerprint, response),
            fence: self.next_fence(),
            until: now.plus(retention),
        };
        let end = done.until.over_in();
        self.room.load(done.record.bytes());
        let ended = mem::replace(slot, Slot::Done(done));
        self.completed(place, shard, ended, end);
        Resolution::Resolved
    }

    pub(super) fn place(&self, key: &RecordKey) -> Place {
        Place::of(key, &self.map)
    }

    #[cfg(test)]
    pub(super) fn looks(&self) -> usize {
        let shards = 0..self.looks.len();
        shards.map(|shard| self.lock(shard).looks.len()).sum()
    }

    pub(super) fn lock(&self, shard: usize) -> Shard<'_> {
        let slots = self.map.shards()[shard].write();
        let looks = self.looks[shard].write();
        Shard { looks, slots }
    }
}

#[cfg(test)]
mod tests;
