//! A store beside a slot for each key, and the same done to both.

use std::{pin::Pin, sync::atomic::Ordering::Relaxed};

use proptest::sample::Index;
use tokio::time::advance;

use super::{super::*, KEYS, checks::is_pending, key, step::Step, table};
use crate::store::{OwnedClaim, Slot};

pub(super) struct World {
    pub(super) table: Table,
    pub(super) evicts: bool,
    pub(super) slots: [Slot; KEYS],
    claims: Vec<(usize, OwnedClaim, Lease)>,
    pub(super) waiters: Vec<Waiter>,
    /// The last that was drawn.
    fence: u64,
}

pub(super) struct Waiter {
    pub(super) key: usize,
    pub(super) fence: Fence,
    pub(super) woken: Pin<Box<dyn Future<Output = ()>>>,
}

impl World {
    pub(super) fn new((entries, bytes, evicts): (usize, u64, bool)) -> Self {
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

    pub(super) fn now(&self) -> Duration {
        self.table.now().since_epoch()
    }

    pub(super) async fn take(&mut self, step: Step) {
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

    /// Nothing is left in the end, of looks neither.
    pub(super) async fn end(mut self) {
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
