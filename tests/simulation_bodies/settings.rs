//! How the layer of one world is set up. All times are in milliseconds.

use std::{sync::Arc, time::Duration};

use tower_idempotency::{AfterCrash, IdempotencyLayer, InFlight, Scope, StoreFailure, Unkept};

use crate::{chance::Chance, keyed::Source, wire::Wire, world::World};

#[derive(Debug, Clone)]
pub struct Settings {
    /// The store never fails, and is never slow.
    pub healthy: bool,
    pub nodes: usize,
    pub source: Source,
    /// A request without a key is refused.
    pub required: bool,
    pub wait: Option<u64>,
    pub max_waiters: usize,
    pub max_waiters_per_key: usize,
    pub max_response: u64,
    pub over_limit: Unkept,
    pub broken_body: Unkept,
    pub holds: bool,
    pub lease: u64,
    pub retention: u64,
    pub store_deadline: u64,
    pub attempts: u32,
    /// Without a store it runs unprotected.
    pub proceeds: bool,
    pub body_deadline: u64,
}

/// The longest request body, in bytes.
pub const MAX_REQUEST: u64 = 60;

impl Settings {
    pub fn draw(chance: &mut Chance) -> Self {
        let unkept = [Unkept::Seal, Unkept::DangerRelease];
        let healthy = chance.percent(40);
        Self {
            healthy,
            nodes: if chance.percent(25) { 2 } else { 1 },
            source: Source::draw(chance),
            required: chance.percent(30),
            wait: chance.percent(60).then(|| chance.between(1, 30_000)),
            max_waiters: chance.one_of(&[10_000, 10_000, 1, 2, 0]),
            max_waiters_per_key: chance.one_of(&[1000, 1000, 1, 2]),
            max_response: chance.one_of(&[0, 10, 40, 1000]),
            over_limit: chance.one_of(&unkept),
            broken_body: chance.one_of(&unkept),
            holds: chance.percent(33),
            lease: chance.one_of(&[300, 1000, 3000, 10_000, 30_000]),
            retention: chance.one_of(&[0, 500, 5000, 60_000, 86_400_000]),
            store_deadline: chance.one_of(&[50, 300, 2000]),
            attempts: chance.one_of(&[1, 2, 3]),
            proceeds: chance.percent(10) && !healthy,
            body_deadline: chance.one_of(&[3000, 20_000]),
        }
    }

    /// The longest that a healthy store takes there, and back.
    pub fn prompt(&self) -> u64 {
        self.store_deadline.min(self.lease / 3) / 4
    }

    pub fn layer(&self, world: &Arc<World>, node: usize) -> IdempotencyLayer<Wire> {
        let told = Arc::clone(world);
        let wait = |wait| InFlight::Wait(Duration::from_millis(wait));
        let crash = [AfterCrash::Takeover, AfterCrash::Hold];
        let failure = [StoreFailure::Refuse, StoreFailure::DangerProceed];
        let layer = self
            .source
            .set(IdempotencyLayer::new(Wire::new(world, node)));
        let layer = match self.required {
            true => layer.require_key(),
            false => layer,
        };
        layer
            .scope_fn(|_| Ok(Scope::global()))
            .in_flight(self.wait.map_or(InFlight::Reject, wait))
            .max_waiters(self.max_waiters)
            .max_waiters_per_key(self.max_waiters_per_key)
            .max_request_body(MAX_REQUEST)
            .max_response_body(self.max_response)
            .over_limit(self.over_limit)
            .broken_body(self.broken_body)
            .after_crash(crash[usize::from(self.holds)])
            .lease(Duration::from_millis(self.lease))
            .retention(Duration::from_millis(self.retention))
            .store_deadline(Duration::from_millis(self.store_deadline))
            .store_attempts(self.attempts)
            .store_failure(failure[usize::from(self.proceeds)])
            .body_deadline(Duration::from_millis(self.body_deadline))
            .observer_fn(move |event| told.ledger().told(&told, event))
    }
}
