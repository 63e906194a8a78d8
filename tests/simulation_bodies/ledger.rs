//! What happened: in the store, in the handlers, to the clients. All times are in milliseconds
//! since the beginning.

use std::{collections::HashMap, sync::Arc, time::Duration};

use bytes::BytesMut;
use http::{HeaderMap, StatusCode, Version};
use tower_idempotency::{Cause, Event};

use crate::{
    fate::Number,
    keyed::Carried,
    leases::{Granted, Term},
    plan::Arrival,
    script::Script,
    world::{KEYS, World},
};

pub struct Ledger {
    pub leases: Vec<Granted>,
    pub runs: Vec<Run>,
    pub asked: Vec<Asked>,
    /// Of which key.
    pub told: Vec<(usize, Told)>,
    /// Claims that brought no answer: for which key, from when until when.
    pub unclaimed: Vec<(usize, u64, u64)>,
    /// What was seen to be wrong at once.
    pub wrong: Vec<String>,
    pub trace: bool,
    numbers: HashMap<(usize, usize, u64), u64>,
    calls: u64,
}

/// A start of the handler.
#[derive(Debug)]
pub struct Run {
    pub client: usize,
    pub node: usize,
    pub term: Term,
    pub payload: usize,
    pub attempt: u32,
    /// When its future came to its end, or was dropped.
    pub over: Option<u64>,
    /// It was dropped before its end.
    pub cut: bool,
    pub body: Body,
    pub script: Arc<Script>,
}

impl Run {
    /// Without a key it is none of the layer's business.
    pub fn is_keyed(&self) -> bool {
        self.term.0 < KEYS
    }
}

/// How far the body of an answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    None,
    Grows,
    Ended,
    Failed,
    Dropped,
}

/// What a client got.
#[derive(Debug)]
pub struct Asked {
    pub client: usize,
    pub key: usize,
    pub payload: usize,
    pub carried: Carried,
    pub version: Version,
    pub arrival: Arrival,
    /// The store is well, and it waits for an answer.
    pub last: bool,
    pub from: u64,
    pub until: u64,
    pub got: Got,
}

#[derive(Debug)]
pub enum Got {
    /// It hung up.
    Nothing,
    Error,
    Panic,
    Answer(Box<Answer>),
}

#[derive(Debug)]
pub struct Answer {
    /// When its head came.
    pub at: u64,
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub bytes: BytesMut,
    pub trailers: Option<HeaderMap>,
    pub end: AnswerEnd,
}

#[derive(Debug, PartialEq, Eq)]
pub enum AnswerEnd {
    Whole,
    Error(String),
    Panic,
    /// The client did not read on.
    Left,
}

#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub enum Told {
    Claimed(u64),
    Recorded,
    Released(Cause),
    Sealed(Cause),
    Lost(u64),
    Unrecorded,
    Abandoned,
}

impl Ledger {
    pub fn new(trace: bool) -> Self {
        Self {
            leases: Vec::new(),
            runs: Vec::new(),
            asked: Vec::new(),
            told: Vec::new(),
            unclaimed: Vec::new(),
            wrong: Vec::new(),
            trace,
            numbers: HashMap::new(),
            calls: 0,
        }
    }

    pub fn number(&mut self, node: usize, key: usize, verb: u64) -> Number {
        self.calls += 1;
        assert!(self.calls < 50_000, "the store is asked again and again");
        let count = self.numbers.entry((node, key, verb)).or_default();
        *count += 1;
        [node as u64, key as u64, verb, *count]
    }

    pub fn told(&mut self, world: &World, event: &Event<'_>) {
        let (key, told) = match event {
            Event::Claimed { key, fence, .. } => (key, Told::Claimed(fence.get())),
            Event::Recorded { key, .. } => (key, Told::Recorded),
            Event::Released { key, cause, .. } => (key, Told::Released(*cause)),
            Event::Sealed { key, cause, .. } => (key, Told::Sealed(*cause)),
            Event::LeaseLost { key, fence, .. } => (key, Told::Lost(fence.get())),
            Event::Unrecorded { key, .. } => (key, Told::Unrecorded),
            Event::Abandoned { key, .. } => (key, Told::Abandoned),
            _ => return,
        };
        let key = world.key(key);
        self.say(world.now(), || format!("TOLD k{key} {told:?}"));
        self.told.push((key, told));
    }

    pub fn say(&self, at: u64, what: impl FnOnce() -> String) {
        if self.trace {
            println!("{at:>8} {}", what());
        }
    }

    pub fn run_of(&self, term: Term) -> Option<&Run> {
        self.runs.iter().find(|run| run.term == term)
    }
}

pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap()
}
