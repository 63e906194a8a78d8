//! Whatever is done to a slot, in whatever order: a model that keeps every lease ever won says
//! what must come of it.

use std::time::Duration;

use proptest::{collection::vec, prelude::*};

use super::*;

/// One step of somebody who uses the store.
#[derive(Debug, Clone)]
enum Step {
    /// A new claim of a request, or the same claim again.
    Claim(u8, AfterCrash),
    Resend,
    /// What the holder of the n-th lease of all does.
    Complete(prop::sample::Index),
    Release(prop::sample::Index),
    Renew(prop::sample::Index),
    Resolve,
    Forget,
    Wait(u64),
    /// The slot is written out and read back.
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let lease = any::<prop::sample::Index>;
    let crash = prop_oneof![3 => Just(AfterCrash::Takeover), 1 => Just(AfterCrash::Hold)];
    prop_oneof![
        6 => (prop_oneof![5 => Just(1), 1 => Just(2)], crash)
            .prop_map(|(request, crash)| Step::Claim(request, crash)),
        1 => Just(Step::Resend),
        3 => lease().prop_map(Step::Complete),
        2 => lease().prop_map(Step::Release),
        2 => lease().prop_map(Step::Renew),
        1 => Just(Step::Resolve),
        1 => Just(Step::Forget),
        4 => (1..12_u64).prop_map(Step::Wait),
        1 => Just(Step::Restart),
    ]
}

/// The laws told as a history: what was granted last, and what became of it.
#[derive(Default)]
struct History {
    slot: Slot,
    now: Duration,
    leases: Vec<(Lease, Claim<'static>)>,
    last: Last,
    records: u8,
}

#[derive(Debug, Clone, Default)]
enum Last {
    #[default]
    Nothing,
    Granted {
        lease: Lease,
        asked: Fingerprint,
        lapses: Duration,
    },
    Recorded {
        by: Option<Lease>,
        record: Record,
        until: Duration,
    },
}

impl History {
    fn forget_what_expired(&mut self) {
        let gone = match &self.last {
            Last::Nothing => true,
            Last::Granted { lapses, .. } => self.now >= *lapses + RETENTION,
            Last::Recorded { until, .. } => self.now >= *until,
        };
        if gone {
            self.last = Last::Nothing;
        }
    }

    fn take(&mut self, step: &Step) {
        self.forget_what_expired();
        match step {
            Step::Claim(number, crash) => self.claim(claim(*number).after_crash(*crash)),
            Step::Resend => {
                if let Some((_, claim)) = self.leases.last() {
                    self.claim(claim.clone());
                }
            }
            Step::Complete(index) => self.with_lease(index, Self::complete),
            Step::Release(index) => self.with_lease(index, Self::release),
            Step::Renew(index) => self.with_lease(index, Self::renew),
            Step::Resolve => self.resolve(),
            Step::Forget => {
                assert_eq!(self.slot.forget(self.now), self.standing());
                self.last = Last::Nothing;
            }
            Step::Wait(time) => self.now += seconds(*time),
            Step::Restart => {
                if let Some(bytes) = self.slot.encoded() {
                    self.slot = Slot::decode(bytes).unwrap();
                }
            }
        }
        self.forget_what_expired();
        assert_eq!(self.slot.standing(self.now), self.standing());
        self.check_waiters();
    }

    fn with_lease(&mut self, index: &prop::sample::Index, verb: fn(&mut Self, &Lease)) {
        if !self.leases.is_empty() {
            let (lease, _) = index.get(&self.leases).clone();
            verb(self, &lease);
        }
    }

    fn standing(&self) -> Standing {
        match &self.last {
            Last::Nothing => Standing::Absent,
            Last::Granted { lapses, .. } => Standing::InFlight {
                remaining: lapses.saturating_sub(self.now),
            },
            Last::Recorded { record, .. } => Standing::Completed(record.clone()),
        }
    }

    /// A store that draws its fences carelessly: always the same.
    fn next_fence(&self) -> Fence {
        let highest = self.leases.iter().map(|(lease, _)| lease.fence()).max();
        Fence::new(highest.map_or(1, |fence| match self.last {
            Last::Nothing => fence.get() + 1,
            _ => 1,
        }))
    }

    fn claim(&mut self, claim: Claim<'static>) {
        let (now, fence) = (self.now, self.next_fence());
        let found = self.slot.claim(&claim, fence, now);
        match self.last.clone() {
            Last::Granted { asked, .. } if asked != claim.fingerprint() => {
                assert_eq!(found, Claimed::Mismatch);
            }
            Last::Recorded { record, .. } if record.fingerprint() != claim.fingerprint() => {
                assert_eq!(found, Claimed::Mismatch);
            }
            Last::Recorded { record, until, .. } => {
                let remaining = until - now;
                assert_eq!(found, Claimed::Completed { record, remaining });
            }
            Last::Granted { lease, .. } if lease.token() == claim.token() => {
                assert_eq!(found, Claimed::Acquired(lease));
                self.granted(found, claim);
            }
            Last::Granted { lease, lapses, .. } if now < lapses => {
                let (fence, remaining) = (lease.fence(), lapses - now);
                assert_eq!(found, Claimed::InFlight { fence, remaining });
            }
            Last::Granted { .. } if claim.crash_mode() == AfterCrash::Hold => {
                assert_eq!(found, Claimed::Unknown);
            }
            Last::Granted { lease, .. } => self.grants_anew(found, claim, lease.attempt() + 1),
            Last::Nothing => self.grants_anew(found, claim, 1),
        }
    }

    fn grants_anew(&mut self, found: Claimed, claim: Claim<'static>, attempt: u32) {
        let Claimed::Acquired(lease) = &found else {
            panic!("not granted: {found:?}");
        };
        assert_eq!(lease.attempt(), attempt);
        let earlier = self.leases.iter().map(|(lease, _)| lease.fence()).max();
        assert!(Some(lease.fence()) > earlier, "a fence restarted");
        self.granted(found, claim);
    }

    fn granted(&mut self, found: Claimed, claim: Claim<'static>) {
        if let Claimed::Acquired(lease) = found {
            self.last = Last::Granted {
                lease: lease.clone(),
                asked: claim.fingerprint(),
                lapses: self.now + LEASE,
            };
            self.leases.push((lease, claim));
        }
    }

    /// Whether `lease` is the one that holds the key.
    fn holds(&self, lease: &Lease) -> bool {
        matches!(&self.last, Last::Granted { lease: last, .. } if last == lease)
    }

    fn complete(&mut self, lease: &Lease) {
        self.records += 1;
        let record = answer(self.records);
        let completion = self.slot.complete(lease, &record, RETENTION, self.now);
        if self.holds(lease) {
            assert_eq!(completion, Completion::Applied);
            let (by, until) = (Some(lease.clone()), self.now + RETENTION);
            self.last = Last::Recorded { by, record, until };
        } else if matches!(&self.last, Last::Recorded { by: Some(by), .. } if by == lease) {
            assert_eq!(completion, Completion::AlreadyApplied);
        } else {
            assert_eq!(completion, Completion::Lost(self.standing()));
        }
    }

    fn release(&mut self, lease: &Lease) {
        let completion = self.slot.release(lease, self.now);
        if self.holds(lease) {
            assert_eq!(completion, Completion::Applied);
            self.last = Last::Nothing;
        } else if self.standing() == Standing::Absent {
            assert_eq!(completion, Completion::AlreadyApplied);
        } else {
            assert_eq!(completion, Completion::Lost(self.standing()));
        }
    }

    fn renew(&mut self, lease: &Lease) {
        let completion = self.slot.renew(lease, self.now);
        let holds = self.holds(lease);
        match &mut self.last {
            Last::Granted { lapses, .. } if holds => {
                *lapses = self.now + LEASE;
                assert_eq!(completion, Completion::Applied);
            }
            _ => assert_eq!(completion, Completion::Lost(self.standing())),
        }
    }

    fn resolve(&mut self) {
        let fence = self.next_fence();
        let response = Response::new(Bytes::from_static(b"by hand"));
        let resolution = self.slot.resolve(&response, RETENTION, fence, self.now);
        match self.last.clone() {
            Last::Nothing => assert_eq!(resolution, Resolution::Absent),
            Last::Recorded { .. } => assert_eq!(resolution, Resolution::AlreadyCompleted),
            Last::Granted { lapses, .. } if self.now < lapses => {
                assert_eq!(resolution, Resolution::StillInFlight);
            }
            Last::Granted { asked, .. } => {
                assert_eq!(resolution, Resolution::Resolved);
                let (by, until) = (None, self.now + RETENTION);
                let record = Record::answer(asked, &response);
                self.last = Last::Recorded { by, record, until };
            }
        }
    }

    /// A waiter sleeps as long as the lease it saw lives, and for no other.
    fn check_waiters(&self) {
        for (lease, _) in &self.leases {
            let expected = match &self.last {
                Last::Granted {
                    lease: last,
                    lapses,
                    ..
                } if last == lease => lapses.saturating_sub(self.now),
                _ => Duration::ZERO,
            };
            assert_eq!(self.slot.settles_in(lease.fence(), self.now), expected);
        }
    }
}

proptest! {
    #[test]
    fn whatever_happens_the_laws_hold(steps in vec(step(), 0..60)) {
        let mut history = History::default();
        for step in &steps {
            history.take(step);
        }
    }
}
