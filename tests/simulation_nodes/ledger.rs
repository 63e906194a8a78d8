//! What happened, as the store, the handlers and the clients saw it. All times are in
//! milliseconds since the beginning.

use std::collections::BTreeMap;

use tower_idempotency::store::LeaseToken;

use super::{
    settings::Settings,
    verb::{Found, Kind},
};

/// How a lease ended in the store.
#[derive(Debug, Clone, PartialEq)]
pub enum Over {
    Completed {
        body: Option<String>,
        until: u64,
    },
    Released,
    Taken,
    /// Retention ended after it lapsed.
    Gone,
    /// An operator did it.
    ByHand,
}

/// A lease that was granted.
#[derive(Debug, Clone)]
pub struct Granted {
    pub key: usize,
    pub token: LeaseToken,
    pub fence: u64,
    /// The life of the node that claimed.
    pub life: usize,
    pub attempt: u32,
    pub generation: u64,
    pub at: u64,
    pub duration: u64,
    pub hold: bool,
    pub retention: u64,
    pub variant: u64,
    /// By a claim that came late or twice: its node need not know of it.
    pub stray: bool,
    pub deadline: u64,
    pub lapses: Vec<u64>,
    pub over: Option<(u64, Over)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Record,
    Seal,
    Release,
}

/// One start of the handler.
#[derive(Debug, Clone)]
pub struct Run {
    pub key: usize,
    /// 0 if it ran unprotected.
    pub fence: u64,
    pub attempt: u32,
    pub life: usize,
    pub request: usize,
    pub start: u64,
    /// Until when it watched whether its lease was lost.
    pub watched: Option<u64>,
    /// When the handler learned that its lease was lost.
    pub lost: Option<u64>,
    pub end: Option<(u64, Outcome)>,
    /// Dropped before its end.
    pub cut: Option<u64>,
    pub body: String,
    /// Its body came in parts.
    pub live: bool,
    pub status: u16,
    /// It has no answer: it panics, or returns an error.
    pub fails: bool,
    /// For how long its record is to be kept.
    pub keeps: u64,
    /// Its answer counts only if the store says so.
    pub attaches: bool,
}

impl Run {
    /// Until when it ran.
    pub fn until(&self) -> u64 {
        let end = self.end.map(|(at, _)| at);
        end.or(self.cut).unwrap_or(u64::MAX)
    }

    /// What is told of it if the store does not say what became of its answer.
    pub fn is_told_unsettled(&self) -> &'static str {
        match self.attaches {
            true => "abandoned",
            false => "unrecorded",
        }
    }
}

/// A call of the store, as its node saw it.
#[derive(Debug, Clone)]
pub struct Call {
    pub life: usize,
    /// For whom; nobody, if it is made aside.
    pub request: Option<usize>,
    pub key: usize,
    pub kind: Kind,
    /// Of the claim, or of the lease; none of them for what waits.
    pub token: Option<LeaseToken>,
    /// That of the lease, or of the one that was won.
    pub fence: u64,
    /// That of a claim.
    pub variant: u64,
    pub sent: u64,
    pub heard: Option<(u64, Found)>,
}

/// An event of a layer.
#[derive(Debug, Clone)]
pub struct Told {
    pub life: usize,
    pub at: u64,
    pub key: usize,
    pub name: &'static str,
    /// 0 where it tells none.
    pub fence: u64,
}

/// What a client got.
#[derive(Debug, Clone, Default)]
pub struct Answer {
    pub status: u16,
    pub replayed: bool,
    pub mark: Option<String>,
    pub code: Option<String>,
    pub retry_after: Option<u64>,
    pub body: String,
    /// The body or the service failed.
    pub error: Option<String>,
}

#[derive(Debug, Clone)]
pub struct Asked {
    pub key: usize,
    pub variant: u64,
    pub life: usize,
    pub start: u64,
    pub settings: Settings,
    pub hung_up: Option<u64>,
    pub answer: Option<(u64, Answer)>,
}

impl Asked {
    /// When it was told that the store did not say what became of its answer.
    pub fn unsettled(&self) -> Option<u64> {
        let (at, answer) = self.answer.as_ref()?;
        let told = [&answer.mark, &answer.code].map(Option::as_deref);
        let unsettled = [Some("unrecorded"), Some("idempotency_unconfirmed")];
        let is_unsettled = told.iter().any(|told| unsettled.contains(told));
        is_unsettled.then_some(*at)
    }
}

/// A node from its start to its crash or shutdown.
#[derive(Debug, Clone)]
pub struct Life {
    pub node: usize,
    pub end: Option<u64>,
    /// When its calls, or itself, were impaired.
    pub troubles: Vec<(u64, u64)>,
    pub frozen: Vec<(u64, u64)>,
    /// When drain was called, and what came of it when.
    pub drained: Option<(u64, Option<(u64, bool)>)>,
}

#[derive(Debug, Default)]
pub struct Ledger {
    pub leases: BTreeMap<u64, Granted>,
    pub runs: Vec<Run>,
    pub requests: Vec<Asked>,
    pub lives: Vec<Life>,
    /// When the clock of the store went ahead, or was set back.
    pub jumps: Vec<(u64, bool)>,
    pub calls: Vec<Call>,
    pub events: Vec<Told>,
    /// What was seen to be wrong at once.
    pub wrong: Vec<String>,
}

impl Life {
    pub fn troubled(&self, from: u64, to: u64) -> bool {
        self.troubles
            .iter()
            .chain(&self.frozen)
            .any(|(begin, end)| *begin <= to && *end >= from)
    }

    pub fn was_frozen(&self, from: u64, to: u64) -> bool {
        self.frozen
            .iter()
            .any(|(begin, end)| *begin <= to && *end >= from)
    }

    pub fn frozen_for(&self, from: u64, to: u64) -> u64 {
        let within = |(begin, end): &(u64, u64)| (*end).min(to).saturating_sub((*begin).max(from));
        self.frozen.iter().map(within).sum()
    }
}
