//! The store that all nodes share, and the wires to it.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use http::Response;
use tokio::sync::oneshot;
use tower_idempotency::{
    RecordKey,
    store::{Fence, Resolution, Slot, StoreError},
};

use super::{
    chance::Chance,
    ledger::Ledger,
    shadow::Shadow,
    transaction::Transaction,
    verb::{Reply, Told, Verb, millis},
    weather::{Back, Fate, Weather},
};

enum Parcel {
    ToStore {
        verb: Verb,
        life: usize,
        stray: bool,
        fate: Back,
        reply: oneshot::Sender<Reply>,
    },
    ToNode {
        told: Reply,
        reply: oneshot::Sender<Reply>,
    },
    Lapse {
        key: RecordKey,
        fence: u64,
    },
    Look,
}

struct Waiter {
    key: RecordKey,
    fence: Fence,
    until: u64,
    back: Back,
    reply: oneshot::Sender<Reply>,
}

pub struct Network {
    pub seed: u64,
    pub now: u64,
    pub ledger: Ledger,
    pub weather: HashMap<usize, Weather>,
    pub shadow: Shadow,
    slots: HashMap<RecordKey, Slot>,
    fences: u64,
    /// By how much the clock of the store is ahead of that of the world.
    ahead: u64,
    queue: BTreeMap<(u64, u64, u64), Parcel>,
    posted: u64,
    waiters: Vec<Waiter>,
    pub trace: bool,
}

impl Network {
    pub fn new(seed: u64, trace: bool) -> Self {
        Self {
            seed,
            now: 0,
            ledger: Ledger::default(),
            weather: HashMap::new(),
            shadow: Shadow::default(),
            slots: HashMap::new(),
            fences: 0,
            // It may be set back.
            ahead: 1_000_000,
            queue: BTreeMap::new(),
            posted: 0,
            waiters: Vec::new(),
            trace,
        }
    }

    pub fn say(&self, at: u64, what: impl FnOnce() -> String) {
        if self.trace {
            println!("{at:>7} {}", what());
        }
    }

    /// When it has something to do.
    pub fn next(&self) -> Option<u64> {
        self.queue.keys().next().map(|(at, ..)| *at)
    }

    pub fn someone_waits(&self) -> bool {
        !self.waiters.is_empty()
    }

    fn post(&mut self, at: u64, order: u64, parcel: Parcel) {
        self.posted += 1;
        self.queue.insert((at, order, self.posted), parcel);
    }

    /// A node sends its `count`-th call of this kind; whether it comes through as it should.
    pub fn send(
        &mut self,
        at: u64,
        life: usize,
        count: u64,
        verb: Verb,
        reply: oneshot::Sender<Reply>,
    ) -> bool {
        let node = self.ledger.lives[life].node;
        let weather = self.weather.get(&node).copied().unwrap_or_default();
        let name = [
            life as u64,
            verb.kind() as u64,
            self.shadow.number(verb.key()),
            count,
        ];
        let mut chance = Chance::of(self.seed, &name);
        let order = chance.between(0, u64::MAX - 1);
        let Fate {
            fine,
            there,
            back,
            stray,
            again,
        } = weather.fate(&mut chance);
        let what = verb.of_key(self.shadow.number(verb.key()));
        self.say(at, || {
            format!("life {life} sends {what}, there {there:?}, back {back:?}")
        });
        if let Some(again) = again {
            let ((reply, _), verb, fate) = (oneshot::channel(), verb.clone(), Back::Never);
            let parcel = Parcel::ToStore {
                verb,
                life,
                stray: true,
                fate,
                reply,
            };
            self.post(at + again, order, parcel);
        }
        match (there, back) {
            (Some(there), fate) => {
                let parcel = Parcel::ToStore {
                    verb,
                    life,
                    stray,
                    fate,
                    reply,
                };
                self.post(at + there, order, parcel);
            }
            (None, back) => {
                let (after, error) = match back {
                    Back::Refused(after) => (after, StoreError::not_applied("refused")),
                    Back::Full(after) => (after, StoreError::full()),
                    Back::Corrupt(after) => (after, StoreError::corrupt("unreadable")),
                    Back::Unknown(after) => (after, StoreError::unknown("cut off")),
                    Back::After(_) | Back::Never => return fine,
                };
                let told = Err(error);
                self.post(at + after, order, Parcel::ToNode { told, reply });
            }
        }
        fine
    }

    /// Does what is due.
    pub fn step(&mut self) {
        let Some(((at, order, _), parcel)) = self.queue.pop_first() else {
            return;
        };
        self.now = self.now.max(at);
        match parcel {
            Parcel::ToNode { told, reply } => drop(reply.send(told)),
            Parcel::Lapse { key, fence } => self.shadow.lapse(&mut self.ledger, &key, fence, at),
            Parcel::Look => {}
            Parcel::ToStore {
                verb,
                life,
                stray,
                fate,
                reply,
            } => {
                if let Verb::Settled(key, fence, limit) = verb {
                    let until = at + millis(limit);
                    self.waiters.push(Waiter {
                        key,
                        fence,
                        until,
                        back: fate,
                        reply,
                    });
                    self.post(until, order, Parcel::Look);
                } else {
                    let (key, told) = self.apply(&verb, life, stray);
                    self.say(at, || {
                        format!(
                            "store: {} of life {life} -> {told:?}",
                            verb.of_key(self.shadow.number(verb.key()))
                        )
                    });
                    if let Some((fence, deadline)) = self.shadow.held(&key) {
                        self.post(deadline, order, Parcel::Lapse { key, fence });
                    }
                    self.reply(order, fate, told, reply);
                }
            }
        }
        self.wake();
    }

    fn wake(&mut self) {
        let now = self.store_time(self.now);
        for waiter in std::mem::take(&mut self.waiters) {
            let slot = self.slots.entry(waiter.key).or_default();
            if waiter.until <= self.now || slot.settles_in(waiter.fence, now).is_zero() {
                self.reply(waiter.fence.get(), waiter.back, Told::Settled, waiter.reply);
            } else {
                self.waiters.push(waiter);
            }
        }
    }

    fn reply(&mut self, order: u64, fate: Back, told: Told, reply: oneshot::Sender<Reply>) {
        let (after, told) = match fate {
            Back::After(after) => (after, Ok(told)),
            Back::Unknown(after) => (after, Err(StoreError::unknown("reply lost"))),
            Back::Refused(_) | Back::Full(_) | Back::Corrupt(_) | Back::Never => return,
        };
        self.post(self.now + after, order, Parcel::ToNode { told, reply });
    }

    /// An operator drops what stands under a key.
    pub fn forget(&mut self, at: u64, key: usize) {
        let key = self.shadow.key(key);
        let now = self.store_time(at);
        let slot = self.slots.entry(key).or_default();
        let stood = slot.forget(now);
        self.say(at, || format!("forgotten: {stood:?}"));
        self.shadow.forget(&mut self.ledger, &key, at);
        self.wake();
    }

    /// An operator gives the answer of an operation that was never completed.
    pub fn resolve(&mut self, at: u64, key: usize) {
        let (key, now) = (self.shadow.key(key), self.store_time(at));
        let slot = self.slots.entry(key).or_default();
        self.fences += 1;
        let (response, retention) = (Response::new("by hand".into()), Duration::from_secs(3600));
        let fence = Fence::new(self.fences);
        let resolved = slot.resolve(&response, retention, fence, now) == Resolution::Resolved;
        self.say(at, || format!("resolved: {resolved}"));
        let until = at + millis(retention);
        self.shadow
            .resolve(&mut self.ledger, &key, at, resolved.then_some(until));
        self.wake();
    }

    fn store_time(&self, at: u64) -> Duration {
        Duration::from_millis(at + self.ahead)
    }

    /// The clock of the store goes ahead, and what stands there ends sooner; or it is set back.
    pub fn jump(&mut self, at: u64, by: u64, back: bool) {
        match back {
            true => self.ahead -= by,
            false => self.ahead += by,
        }
        self.ledger.jumps.push((at, back));
        for (key, fence, deadline) in self.shadow.jump(at, by, back) {
            self.post(deadline, 0, Parcel::Lapse { key, fence });
        }
        self.wake();
    }

    fn apply(&mut self, verb: &Verb, life: usize, stray: bool) -> (RecordKey, Told) {
        let (key, now) = (*verb.key(), self.store_time(self.now));
        let slot = self.slots.entry(key).or_default();
        let told = match verb {
            Verb::Claim(claim) => {
                self.fences += 1;
                Told::Claimed(slot.claim(&claim.as_claim(), Fence::new(self.fences), now))
            }
            Verb::Complete(lease, record, retention, brings) => Told::Completion(
                Transaction::complete(slot, lease, record, *retention, *brings, now),
            ),
            Verb::Release(lease) => {
                Transaction::roll_back(lease);
                Told::Completion(slot.release(lease, now))
            }
            Verb::Renew(lease) => Told::Completion(slot.renew(lease, now)),
            Verb::Settled(..) => Told::Settled,
        };
        self.shadow
            .saw(&mut self.ledger, verb, life, stray, &told, self.now);
        (key, told)
    }
}
