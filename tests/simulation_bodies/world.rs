//! What the parts of one world share.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use http::Method;
use tokio::time::Instant;
use tower_idempotency::{Key, MemoryStore, RecordKey, Scope, store::Lease};

use crate::{chance::Chance, leases::Term, ledger::Ledger, settings::Settings};

pub const KEYS: usize = 3;

pub struct World {
    pub seed: u64,
    pub settings: Settings,
    pub memory: MemoryStore,
    began: Instant,
    ledger: Mutex<Ledger>,
    well: AtomicBool,
    keys: HashMap<RecordKey, usize>,
}

impl World {
    pub fn new(seed: u64, trace: bool) -> Arc<Self> {
        let settings = Settings::draw(&mut Chance::of(seed, &[1]));
        let keys = (0..KEYS).map(|key| {
            let name = Key::new(format!("k{key}")).unwrap();
            let of = RecordKey::per_route("", &Scope::global(), &Method::POST, "/", &name);
            (of, key)
        });
        Arc::new(Self {
            seed,
            memory: MemoryStore::new().shards(2),
            began: Instant::now(),
            ledger: Mutex::new(Ledger::new(trace)),
            well: AtomicBool::new(settings.healthy),
            keys: keys.collect(),
            settings,
        })
    }

    /// Draws of their own for what is numbered so: no order of events changes them.
    pub fn chance(&self, what: &[u64]) -> Chance {
        Chance::of(self.seed, what)
    }

    /// In milliseconds since the beginning.
    pub fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap()
    }

    pub fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells what happens, to who asked for it.
    pub fn say(&self, what: impl FnOnce() -> String) {
        self.ledger().say(self.now(), what);
    }

    pub fn key(&self, key: &RecordKey) -> usize {
        self.keys[key]
    }

    pub fn term(&self, lease: &Lease) -> Term {
        (self.key(lease.key()), lease.fence().get())
    }

    /// Whether the store answers.
    pub fn is_well(&self) -> bool {
        self.well.load(Ordering::Relaxed)
    }

    pub fn get_well(&self) {
        self.well.store(true, Ordering::Relaxed);
    }
}
