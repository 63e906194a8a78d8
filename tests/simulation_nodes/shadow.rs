//! What the store should do, told from its calls alone.

use std::collections::HashMap;

use tower_idempotency::{
    AfterCrash, RecordKey,
    store::{Claimed, Completion, LeaseToken},
};

use super::{
    ledger::{Granted, Ledger, Over},
    verb::{Found, Told, Verb, millis},
    wrappers,
};

#[derive(Debug, Default)]
pub struct Shadow {
    /// The keys by number, and the fingerprints by variant.
    pub keys: HashMap<RecordKey, usize>,
    pub variants: HashMap<[u8; 32], u64>,
    stands: HashMap<RecordKey, Stands>,
    highest: HashMap<RecordKey, u64>,
    tokens: HashMap<LeaseToken, u64>,
    generations: u64,
}

#[derive(Debug, Clone)]
enum Stands {
    Held {
        fence: u64,
        token: LeaseToken,
        deadline: u64,
        gone: u64,
        retention: u64,
    },
    Done {
        until: u64,
    },
}

impl Shadow {
    pub fn number(&self, key: &RecordKey) -> u64 {
        self.keys.get(key).copied().unwrap_or_default() as u64
    }

    pub fn key(&self, number: usize) -> RecordKey {
        let mut keys = self.keys.iter();
        *keys.find(|(_, of)| **of == number).unwrap().0
    }

    pub fn forget(&mut self, ledger: &mut Ledger, key: &RecordKey, now: u64) {
        self.expire(ledger, key, now);
        if let Some(Stands::Held { fence, .. }) = self.stands.remove(key) {
            ledger.leases.get_mut(&fence).unwrap().over = Some((now, Over::ByHand));
        }
    }

    /// `until` if it was resolved, for as long.
    pub fn resolve(&mut self, ledger: &mut Ledger, key: &RecordKey, now: u64, until: Option<u64>) {
        self.expire(ledger, key, now);
        let lapsed = self
            .held(key)
            .filter(|(_, deadline)| *deadline <= now)
            .map(|(fence, _)| fence);
        if lapsed.is_some() != until.is_some() {
            ledger.wrong.push(format!(
                "{now}: resolved {until:?} where {lapsed:?} had lapsed"
            ));
        }
        if let (Some(fence), Some(until)) = (lapsed, until) {
            ledger.leases.get_mut(&fence).unwrap().over = Some((now, Over::ByHand));
            self.stands.insert(*key, Stands::Done { until });
        }
    }

    /// All that stands ends by so much sooner, or later; what is held, and until when.
    pub fn jump(&mut self, now: u64, by: u64, back: bool) -> Vec<(RecordKey, u64, u64)> {
        let sooner = |end: u64| end.min(end.saturating_sub(by).max(now));
        let ends = |end: &mut u64| *end = if back { *end + by } else { sooner(*end) };
        for stands in self.stands.values_mut() {
            match stands {
                Stands::Held { deadline, gone, .. } => {
                    [deadline, gone].into_iter().for_each(ends);
                }
                Stands::Done { until } => ends(until),
            }
        }
        let held = |key: &RecordKey| {
            self.held(key)
                .map(|(fence, deadline)| (*key, fence, deadline))
        };
        self.stands.keys().filter_map(held).collect()
    }

    /// The fence and the deadline of the lease that stands.
    pub fn held(&self, key: &RecordKey) -> Option<(u64, u64)> {
        match self.stands.get(key)? {
            Stands::Held {
                fence, deadline, ..
            } => Some((*fence, *deadline)),
            Stands::Done { .. } => None,
        }
    }

    pub fn lapse(&mut self, ledger: &mut Ledger, key: &RecordKey, fence: u64, at: u64) {
        if self.held(key) == Some((fence, at)) {
            let lease = ledger.leases.get_mut(&fence).unwrap();
            if lease.lapses.last() != Some(&at) {
                lease.lapses.push(at);
            }
        }
    }

    pub fn saw(
        &mut self,
        ledger: &mut Ledger,
        verb: &Verb,
        life: usize,
        stray: bool,
        told: &Told,
        now: u64,
    ) {
        let key = *verb.key();
        self.expire(ledger, &key, now);
        match (verb, told) {
            (Verb::Claim(claim), Told::Claimed(Claimed::Acquired(lease))) => {
                let claim = claim.as_claim();
                let fence = lease.fence().get();
                let (lasts, retention) = (millis(claim.lease()), millis(claim.retention()));
                let deadline = now + lasts;
                let held = Stands::Held {
                    fence,
                    token: lease.token(),
                    deadline,
                    gone: deadline + retention,
                    retention,
                };
                let before = self.stands.insert(key, held);
                let (generation, attempt) = match before {
                    Some(Stands::Held {
                        fence: same, token, ..
                    }) if same == fence && token == lease.token() => {
                        ledger.leases.get_mut(&fence).unwrap().deadline = deadline;
                        return;
                    }
                    Some(Stands::Held {
                        fence: old,
                        deadline,
                        ..
                    }) => {
                        let old = ledger.leases.get_mut(&old).unwrap();
                        if deadline > now {
                            ledger
                                .wrong
                                .push(format!("{now}: f{fence} took f{} that lives", old.fence));
                        }
                        if old.lapses.last() != Some(&deadline) {
                            old.lapses.push(deadline);
                        }
                        old.over = Some((now, Over::Taken));
                        (old.generation, old.attempt + 1)
                    }
                    Some(Stands::Done { .. }) => {
                        ledger.wrong.push(format!("{now}: f{fence} over a record"));
                        return;
                    }
                    None => {
                        self.generations += 1;
                        (self.generations, 1)
                    }
                };
                let highest = self.highest.entry(key).or_default();
                if fence <= *highest || attempt != lease.attempt() {
                    ledger.wrong.push(format!(
                        "{now}: f{fence} after f{highest}, attempt {attempt}"
                    ));
                }
                *highest = fence;
                let stray = stray || self.tokens.insert(lease.token(), fence).is_some();
                let variant = variant_of(&self.variants, claim.fingerprint());
                let granted = Granted {
                    key: self.keys[&key],
                    token: lease.token(),
                    fence,
                    life,
                    attempt,
                    generation,
                    at: now,
                    duration: lasts,
                    hold: claim.crash_mode() == AfterCrash::Hold,
                    retention,
                    variant,
                    stray,
                    deadline,
                    lapses: Vec::new(),
                    over: None,
                };
                ledger.leases.insert(fence, granted);
            }
            (
                Verb::Complete(lease, record, retention, _),
                Told::Completion(Completion::Applied),
            ) => {
                let until = now + millis(*retention);
                self.end(ledger, &key, lease.fence().get(), now, "completed");
                let Found::Record(body) = wrappers::ALL.read(&key, record) else {
                    unreachable!("it has all keys");
                };
                if let Some(lease) = ledger.leases.get_mut(&lease.fence().get()) {
                    lease.over = Some((now, Over::Completed { body, until }));
                }
                self.stands.insert(key, Stands::Done { until });
            }
            (Verb::Release(lease), Told::Completion(Completion::Applied)) => {
                self.end(ledger, &key, lease.fence().get(), now, "released");
                if let Some(lease) = ledger.leases.get_mut(&lease.fence().get()) {
                    lease.over = Some((now, Over::Released));
                }
            }
            (Verb::Renew(lease), Told::Completion(Completion::Applied)) => {
                let until = now + millis(lease.duration());
                if let Some(Stands::Held {
                    deadline,
                    gone,
                    retention,
                    ..
                }) = self.stands.get_mut(&key)
                {
                    *deadline = until;
                    *gone = until + *retention;
                    ledger
                        .leases
                        .get_mut(&lease.fence().get())
                        .unwrap()
                        .deadline = until;
                }
            }
            _ => {}
        }
    }

    fn end(&mut self, ledger: &mut Ledger, key: &RecordKey, fence: u64, now: u64, how: &str) {
        let held = self.held(key).map(|(fence, _)| fence);
        if held != Some(fence) {
            ledger
                .wrong
                .push(format!("{now}: f{fence} {how} while {held:?} stood"));
        }
        self.stands.remove(key);
    }

    fn expire(&mut self, ledger: &mut Ledger, key: &RecordKey, now: u64) {
        match self.stands.get(key) {
            Some(Stands::Held { fence, gone, .. }) if *gone <= now => {
                let lease = ledger.leases.get_mut(fence).unwrap();
                lease.over = Some((*gone, Over::Gone));
            }
            Some(Stands::Done { until }) if *until <= now => {}
            _ => return,
        }
        self.stands.remove(key);
    }
}

pub fn variant_of(
    variants: &HashMap<[u8; 32], u64>,
    fingerprint: tower_idempotency::Fingerprint,
) -> u64 {
    variants
        .get(fingerprint.digest())
        .copied()
        .unwrap_or(u64::MAX)
}
