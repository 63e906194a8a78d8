//! The leases that the store granted, and what it was told of them. All times are in
//! milliseconds since the beginning.

use std::time::Duration;

use tower_idempotency::{
    Record,
    store::{Claim, Lease},
};

use crate::{
    ledger::{Body, Ledger, millis},
    world::World,
};

/// What tells a lease from all others: its key, and its fence, which is 0 for what runs
/// unprotected.
pub type Term = (usize, u64);

/// A lease that the store granted.
#[derive(Debug)]
pub struct Granted {
    pub term: Term,
    pub payload: usize,
    pub attempt: u32,
    pub at: u64,
    pub lapses: u64,
    /// It had lapsed when something was heard of it again.
    pub lapsed: bool,
    pub retention: u64,
    pub over: Option<Over>,
    /// Until when a node may have known of it, and not of its end.
    pub known: u64,
    pub sent: Vec<Sent>,
}

/// How a lease ended in the store.
#[derive(Debug)]
pub enum Over {
    Released(u64),
    /// When, and until when it is kept.
    Completed(u64, u64, Record),
}

/// What its node sent to end it, and how far the handler was.
#[derive(Debug)]
pub enum Sent {
    Complete(Record, u64, Option<Body>),
    Release(bool),
}

impl Ledger {
    pub fn lease(&self, term: Term) -> Option<&Granted> {
        self.leases.iter().find(|lease| lease.term == term)
    }

    fn of(&mut self, term: Term) -> &mut Granted {
        let found = self.leases.iter_mut().find(|lease| lease.term == term);
        found.expect("a lease that the store granted")
    }

    pub fn acquired(&mut self, world: &World, lease: &Lease, claim: &Claim<'_>) {
        let (now, term, attempt) = (world.now(), world.term(lease), lease.attempt());
        if self.lease(term).is_some() {
            return self.renewed(term, lease.duration(), now);
        }
        let payload = world
            .settings
            .source
            .payload_of(term.0, claim.fingerprint());
        let mut leases = self.leases.iter().rev();
        let last = leases.find(|last| last.term.0 == term.0);
        let justified = last.is_none_or(|last| match attempt {
            1 => last.stands_until() <= now,
            _ => {
                let lapsed = last.over.is_none() && last.lapses <= now;
                let next = attempt == last.attempt + 1 && payload == last.payload;
                lapsed && next && !world.settings.holds
            }
        });
        if !justified {
            let wrong = format!("{now}: {lease:?} was won over {last:?}");
            self.wrong.push(wrong);
        }
        self.leases.push(Granted {
            term,
            payload,
            attempt,
            at: now,
            lapses: now + millis(lease.duration()),
            lapsed: false,
            retention: millis(claim.retention()),
            over: None,
            known: now,
            sent: Vec::new(),
        });
    }

    pub fn renewed(&mut self, term: Term, lasts: Duration, now: u64) {
        let granted = self.of(term);
        granted.lapsed |= granted.lapses <= now;
        granted.lapses = now + millis(lasts);
    }

    /// A call that began at `since` is over: its node may have taken the lease with this fence
    /// to stand until now; or be told now of any that stood meanwhile.
    pub fn heard(&mut self, key: usize, fence: Option<u64>, since: u64, now: u64) {
        let leases = self.leases.iter_mut().filter(|lease| lease.term.0 == key);
        for lease in leases {
            let known = match fence {
                Some(fence) => fence == lease.term.1,
                None => lease.stands_until() >= since,
            };
            if known {
                lease.known = now;
            }
        }
    }

    pub fn sends_complete(&mut self, term: Term, record: &Record, retention: Duration) {
        let body = self.run_of(term).map(|run| run.body);
        let sent = Sent::Complete(record.clone(), millis(retention), body);
        self.of(term).sent.push(sent);
    }

    pub fn sends_release(&mut self, term: Term) {
        let is_over = self.run_of(term).is_none_or(|run| run.over.is_some());
        self.of(term).sent.push(Sent::Release(is_over));
    }

    pub fn ended(&mut self, term: Term, over: Over, now: u64) {
        let granted = self.of(term);
        granted.lapsed |= granted.lapses <= now;
        granted.over = Some(over);
    }
}

impl Granted {
    /// Until when the store says that the key is taken, or knows what came of it.
    pub fn stands_until(&self) -> u64 {
        match self.over {
            Some(Over::Completed(_, until, _)) => until,
            Some(Over::Released(at)) => at,
            None => self.lapses + self.retention,
        }
    }

    pub fn is_sealed(&self) -> bool {
        matches!(&self.over, Some(Over::Completed(_, _, record)) if record.is_sealed())
    }
}
