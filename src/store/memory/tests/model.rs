//! Whatever is done to a store, in whatever order: a [`store::Slot`](crate::store::Slot) for
//! each key says what must come of it. Most of the keys have one hash.

use std::{
    pin::Pin,
    sync::atomic::Ordering::Relaxed,
    task::{Context, Waker},
};

use proptest::{collection::vec, prelude::*, sample::Index};
use tokio::{runtime::Builder, time::advance};

use super::{super::slot::Slot as Stands, *};
use crate::store::{AfterCrash, OwnedClaim, Slot, slot::Moment};

const KEYS: usize = 8;

/// Without a secret, a product of zero and something: all keys but the last have one hash.
fn key(number: usize) -> RecordKey {
    let mut digest = [0; 32];
    digest[0] = u8::try_from(number).unwrap();
    let last = u8::from(number == KEYS - 1);
    (digest[16], digest[31]) = (last, last);
    RecordKey::from_bytes(digest)
}

fn table(room: Room) -> Table {
    Table::with_secret([0; 16], 2, room)
}

#[tokio::test]
async fn keys_that_meet_are_told_apart() {
    let table = table(Room::new());
    let hash = |number| table.place(&key(number)).hash;
    assert!((0..KEYS - 1).all(|number| hash(number) == hash(0)));
    assert_ne!(hash(KEYS - 1), hash(0));
}

#[derive(Debug, Clone)]
enum Step {
    /// The n-th key, for the n-th request.
    Claim(usize, u8, AfterCrash, Terms),
    /// The n-th key is claimed and given back so often: what leaves many looks.
    Churn(usize, u8),
    /// What somebody does who claimed the n-th time.
    Resend(Index),
    Complete(Index, usize, Duration),
    Release(Index),
    Renew(Index),
    Wait(Index),
    Resolve(usize, Duration),
    Forget(usize),
    Advance(Duration),
    Sweep,
}

#[derive(Debug, Clone, Copy)]
struct Terms {
    lease: Duration,
    retention: Duration,
}

fn time() -> impl Strategy<Value = Duration> {
    prop_oneof![
        1 => Just(Duration::ZERO),
        4 => (1..4_u64).prop_map(Duration::from_secs),
        4 => (1..5_000_u64).prop_map(Duration::from_millis),
    ]
}

fn time_or_for_ever() -> impl Strategy<Value = Duration> {
    prop_oneof![9 => time(), 1 => Just(Duration::MAX)]
}

fn terms() -> impl Strategy<Value = Terms> {
    let terms = (time_or_for_ever(), time_or_for_ever());
    terms.prop_map(|(lease, retention)| Terms { lease, retention })
}

fn step() -> impl Strategy<Value = Step> {
    let lease = any::<Index>;
    let request = prop_oneof![9 => Just(1), 1 => Just(2)];
    let crash = prop_oneof![3 => Just(AfterCrash::Takeover), 1 => Just(AfterCrash::Hold)];
    let claim = (0..KEYS, request, crash, terms());
    prop_oneof![
        12 => claim.prop_map(|(key, request, crash, terms)| Step::Claim(key, request, crash, terms)),
        2 => (0..KEYS, 0..40_u8).prop_map(|(key, times)| Step::Churn(key, times)),
        1 => lease().prop_map(Step::Resend),
        5 => (lease(), 0..1000_usize, time()).prop_map(|(lease, bytes, retention)| {
            Step::Complete(lease, bytes, retention)
        }),
        4 => lease().prop_map(Step::Release),
        2 => lease().prop_map(Step::Renew),
        2 => lease().prop_map(Step::Wait),
        1 => (0..KEYS, time()).prop_map(|(key, retention)| Step::Resolve(key, retention)),
        1 => (0..KEYS).prop_map(Step::Forget),
        4 => time().prop_map(Step::Advance),
        1 => Just(Step::Sweep),
    ]
}

fn room() -> impl Strategy<Value = (usize, u64, bool)> {
    let entries = prop_oneof![1 => 1..5_usize, 1 => Just(1000)];
    let bytes = prop_oneof![1 => 500..3000_u64, 1 => Just(1 << 30)];
    (entries, bytes, any::<bool>())
}

struct World {
    table: Table,
    evicts: bool,
    slots: [Slot; KEYS],
    claims: Vec<(usize, OwnedClaim, Lease)>,
    waiters: Vec<Waiter>,
    /// The last that was drawn.
    fence: u64,
}

struct Waiter {
    key: usize,
    fence: Fence,
    woken: Pin<Box<dyn Future<Output = ()>>>,
}

impl World {
    fn new((entries, bytes, evicts): (usize, u64, bool)) -> Self {
        let room = Room::new();
        room.max_entries.store(entries, Relaxed);
        room.max_bytes.store(bytes, Relaxed);
        room.evict_completed.store(evicts, Relaxed);
        Self {
            table: table(room),
            evicts,
            slots: [const { Slot::new() }; KEYS],
            claims: Vec::new(),
            waiters: Vec::new(),
            fence: 0,
        }
    }

    fn now(&self) -> Duration {
        self.table.now().since_epoch()
    }

    async fn take(&mut self, step: Step) {
        match step {
            Step::Claim(number, request, crash, terms) => {
                let key = key(number);
                let claim = Claim::new(&key, Fingerprint::custom([request; 32]))
                    .lease_for(terms.lease)
                    .retained_for(terms.retention)
                    .after_crash(crash);
                self.claim(number, &claim);
            }
            Step::Churn(number, times) => (0..times).for_each(|_| self.churn(number)),
            Step::Resend(index) => {
                if let Some((number, claim, _)) = self.one(&index) {
                    self.claim(number, &claim.as_claim());
                }
            }
            Step::Complete(index, bytes, retention) => {
                if let Some((number, claim, lease)) = self.one(&index) {
                    let response = Response::new(vec![0; bytes].into());
                    let record = Record::answer(claim.as_claim().fingerprint(), &response);
                    let completion = self.table.complete(&lease, &record, retention);
                    let now = self.now();
                    let meant = self.slots[number].complete(&lease, &record, retention, now);
                    assert_eq!(completion, meant);
                }
            }
            Step::Release(index) => {
                if let Some((number, _, lease)) = self.one(&index) {
                    self.release(number, &lease);
                }
            }
            Step::Renew(index) => {
                if let Some((number, _, lease)) = self.one(&index) {
                    let completion = self.table.renew(&lease);
                    let now = self.now();
                    assert_eq!(completion, self.slots[number].renew(&lease, now));
                }
            }
            Step::Wait(index) => {
                if let Some((number, _, lease)) = self.one(&index) {
                    self.wait(number, lease.fence());
                }
            }
            Step::Resolve(number, retention) => self.resolve(number, retention),
            Step::Forget(number) => self.forget(number),
            Step::Advance(time) => advance(time).await,
            Step::Sweep => self.sweep(),
        }
        self.check();
    }

    fn one(&self, index: &Index) -> Option<(usize, OwnedClaim, Lease)> {
        (!self.claims.is_empty()).then(|| index.get(&self.claims).clone())
    }

    fn claim(&mut self, number: usize, claim: &Claim<'_>) {
        let claimed = self.table.claim(claim);
        self.note_evicted();
        let Ok(claimed) = claimed else {
            assert!(!self.table.room.is_left());
            assert!(!self.table.map.contains_key(claim.key()));
            for number in self.found() {
                assert!(!self.is_cleared_away(number), "there was room to be made");
                assert!(!self.evicts || self.is_in_flight(number));
            }
            return;
        };
        let now = self.now();
        let next = Fence::new(self.fence + 1);
        let meant = self.slots[number].claim(claim, next, now);
        assert_eq!(claimed, meant);
        if let Claimed::Acquired(lease) = claimed {
            self.fence = self.fence.max(lease.fence().get());
            self.claims.push((number, claim.owned(), lease));
        }
    }

    fn release(&mut self, number: usize, lease: &Lease) {
        let completion = self.table.release(lease);
        let now = self.now();
        assert_eq!(completion, self.slots[number].release(lease, now));
    }

    fn churn(&mut self, number: usize) {
        let (key, claims) = (key(number), self.claims.len());
        let claim = Claim::new(&key, Fingerprint::custom([1; 32])).lease_for(HOUR);
        self.claim(number, &claim);
        if let Some((_, _, lease)) = self.claims.split_off(claims).pop() {
            self.release(number, &lease);
        }
    }

    /// Whatever is gone before its time was evicted: records, those that expire first.
    fn note_evicted(&mut self) {
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

    fn found(&self) -> impl Iterator<Item = usize> {
        (0..KEYS).filter(|number| self.table.map.contains_key(&key(*number)))
    }

    fn is_in_flight(&self, number: usize) -> bool {
        let stands = self.table.map.get(&key(number));
        stands.is_some_and(|stands| matches!(*stands, Stands::InFlight(_)))
    }

    /// Whether what stands there should have been cleared away by now.
    fn is_cleared_away(&self, number: usize) -> bool {
        let end = self.slots[number].gone_at();
        end.is_none_or(|end| Moment::at(end).over_in() <= self.table.now().second())
    }

    fn wait(&mut self, number: usize, fence: Fence) {
        let watched = self.table.watch(&key(number), fence);
        let left = self.slots[number].settles_in(fence, self.now());
        let Some((waiters, lapse)) = watched else {
            return assert_eq!(left, Duration::ZERO);
        };
        assert_eq!(self.table.now().until(lapse), left);
        let mut woken: Pin<Box<dyn Future<Output = ()>>> =
            Box::pin(async move { waiters.notified().await });
        assert!(is_pending(&mut woken));
        let key = number;
        self.waiters.push(Waiter { key, fence, woken });
    }

    fn resolve(&mut self, number: usize, retention: Duration) {
        let response = Response::new(Bytes::from_static(b"by hand"));
        let resolution = self.table.resolve(&key(number), &response, retention);
        let (next, now) = (Fence::new(self.fence + 1), self.now());
        let meant = self.slots[number].resolve(&response, retention, next, now);
        assert_eq!(resolution, meant);
        if let Resolution::Resolved = resolution {
            self.fence += 1;
        }
    }

    fn forget(&mut self, number: usize) {
        let standing = self.table.forget(&key(number));
        let now = self.now();
        assert_eq!(standing, self.slots[number].forget(now));
    }

    fn sweep(&mut self) {
        let before = self.table.map.len();
        let swept = usize::try_from(self.table.sweep()).unwrap();
        assert_eq!(self.table.map.len(), before - swept);
        assert!(self.found().all(|number| !self.is_cleared_away(number)));
    }

    fn check(&mut self) {
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

    /// Nothing is left in the end, of looks neither.
    async fn end(mut self) {
        const DAY: Duration = Duration::from_secs(24 * 60 * 60);
        let end = self.now() + DAY;
        for number in 0..KEYS {
            if self.slots[number].gone_at().is_some_and(|gone| gone > end) {
                self.forget(number);
            }
        }
        advance(DAY).await;
        self.sweep();
        self.check();
        assert_eq!((self.table.map.len(), self.table.looks()), (0, 0));
        assert_eq!((self.table.room.entries(), self.table.room.bytes()), (0, 0));
    }
}

fn is_pending(future: &mut Pin<Box<dyn Future<Output = ()>>>) -> bool {
    let mut cx = Context::from_waker(Waker::noop());
    future.as_mut().poll(&mut cx).is_pending()
}

proptest! {
    #[test]
    fn whatever_happens_each_key_is_as_its_slot_says(
        room in room(),
        steps in vec(step(), 0..80),
    ) {
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.unwrap().block_on(async {
            let mut world = World::new(room);
            for step in steps {
                world.take(step).await;
            }
            world.end().await;
        });
    }
}
