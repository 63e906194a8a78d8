//! How a node is set up.

use std::time::Duration;

use tower_idempotency::{
    AfterCrash, IdempotencyLayer, InFlight, Scope, SharedStore, StoreFailure, server::Unkept,
};

use super::{chance::Chance, wrappers::Wrappers};

#[derive(Debug, Clone, Copy)]
pub struct Settings {
    pub lease: u64,
    pub hold: bool,
    pub wait: Option<u64>,
    pub retention: u64,
    pub deadline: u64,
    pub attempts: u32,
    pub proceeds: bool,
    /// How large an answer may be that is kept, and what becomes of one that is larger.
    pub limit: u64,
    pub over_limit: Unkept,
    pub broken: Unkept,
    /// How many may wait on the node, and for one key.
    pub crowd: [usize; 2],
}

/// A node: its layer, a clone of it with settings of its own, and what is around the store.
#[derive(Debug, Clone, Copy)]
pub struct Site {
    pub layers: [Settings; 2],
    pub wrappers: Wrappers,
}

/// About how many bytes a large answer has.
pub const LARGE: u64 = 100;

const LEASES: [u64; 6] = [300, 500, 1_000, 3_000, 10_000, 30_000];

impl Settings {
    pub fn draw(chance: &mut Chance) -> Self {
        let waits = chance.percent(50);
        Self {
            lease: chance.one_of(&LEASES),
            hold: chance.percent(40),
            wait: waits.then(|| chance.time(100, 20_000)),
            retention: if chance.percent(20) {
                chance.between(1_000, 9_000)
            } else {
                3_600_000
            },
            deadline: chance.one_of(&[60, 200, 1_000, 2_000]),
            attempts: u32::try_from(chance.between(1, 4)).unwrap(),
            proceeds: chance.percent(20),
            limit: chance.one_of(&[LARGE - 20, LARGE * 2]),
            over_limit: unkept(chance),
            broken: unkept(chance),
            crowd: match chance.percent(20) {
                true => [chance.index(4), chance.index(3)],
                false => [10_000, 1_000],
            },
        }
    }

    /// With the lease and all that belongs to a key of another.
    fn like(self, other: &Self) -> Self {
        Self {
            lease: other.lease,
            hold: other.hold,
            retention: other.retention,
            ..self
        }
    }

    pub fn set(&self, layer: IdempotencyLayer<SharedStore>) -> IdempotencyLayer<SharedStore> {
        let layer = layer
            .scope_fn(|_| Ok(Scope::global()))
            .max_response_body(self.limit)
            .over_limit(self.over_limit)
            .broken_body(self.broken)
            .max_waiters(self.crowd[0])
            .max_waiters_per_key(self.crowd[1])
            .lease(Duration::from_millis(self.lease))
            .after_crash(if self.hold {
                AfterCrash::Hold
            } else {
                AfterCrash::Takeover
            })
            .retention(Duration::from_millis(self.retention))
            .store_deadline(Duration::from_millis(self.deadline))
            .store_attempts(self.attempts);
        let layer = match self.wait {
            Some(budget) => layer.in_flight(InFlight::Wait(Duration::from_millis(budget))),
            None => layer.in_flight(InFlight::Reject),
        };
        layer.store_failure(match self.proceeds {
            true => StoreFailure::DangerProceed,
            false => StoreFailure::Refuse,
        })
    }
}

fn unkept(chance: &mut Chance) -> Unkept {
    match chance.percent(40) {
        true => Unkept::DangerRelease,
        false => Unkept::Seal,
    }
}

impl Site {
    pub fn draw(chance: &mut Chance, common: &(Settings, Wrappers), mixed: bool) -> Self {
        let mut layer = || match mixed {
            true => Settings::draw(chance),
            false => Settings::draw(chance).like(&common.0),
        };
        let (one, other) = (layer(), layer());
        let other = if chance.percent(40) { other } else { one };
        Self {
            layers: [one, other],
            wrappers: Wrappers::like(&common.1, chance),
        }
    }
}
