//! The store that all nodes share, and the wires to it.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use tokio::sync::oneshot;
use tower_idempotency::{
    RecordKey,
    store::{Fence, Slot, StoreError},
};

use super::{
    chance::Chance,
    ledger::Ledger,
    shadow::Shadow,
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
            verb.number(),
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
            (None, Back::Refused(after)) => {
                let told = Err(StoreError::not_applied("refused"));
                self.post(at + after, order, Parcel::ToNode { told, reply });
            }
            (None, Back::Unknown(after)) => {
                let told = Err(StoreError::unknown("cut off"));
                self.post(at + after, order, Parcel::ToNode { told, reply });
            }
            (None, Back::After(_) | Back::Never) => {}
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
        let now = Duration::from_millis(self.now);
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
            Back::Refused(_) | Back::Never => return,
        };
        self.post(self.now + after, order, Parcel::ToNode { told, reply });
    }

    fn apply(&mut self, verb: &Verb, life: usize, stray: bool) -> (RecordKey, Told) {
        let (key, now) = (*verb.key(), Duration::from_millis(self.now));
        let slot = self.slots.entry(key).or_default();
        let told = match verb {
            Verb::Claim(claim) => {
                self.fences += 1;
                Told::Claimed(slot.claim(&claim.as_claim(), Fence::new(self.fences), now))
            }
            Verb::Complete(lease, record, retention) => {
                Told::Completion(slot.complete(lease, record, *retention, now))
            }
            Verb::Release(lease) => Told::Completion(slot.release(lease, now)),
            Verb::Renew(lease) => Told::Completion(slot.renew(lease, now)),
            Verb::Settled(..) => Told::Settled,
        };
        self.shadow
            .saw(&mut self.ledger, verb, life, stray, &told, self.now);
        (key, told)
    }
}
