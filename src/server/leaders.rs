//! The requests this process is at, by record key: who leads, and who follows.
//!
//! The first request with a key *leads*: it alone asks the store, and executes if it may.
//! Requests with the same key that come meanwhile *follow* it. So a storm of duplicates
//! costs the store no more than one request does.

use std::{
    collections::{HashMap, hash_map::Entry},
    fmt,
    num::NonZeroU64,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::{sync::watch, time::Instant};

use super::{
    flight::{Clock, Flight},
    recording::LiveAnswer,
};
use crate::{
    fingerprint::Fingerprint, hasher::DigestHasher, record_key::RecordKey, store::LeaseToken,
    verdict::Verdict,
};

/// How far the leader has come.
#[derive(Debug, Clone)]
pub(super) enum Stage {
    /// It asks the store.
    Claiming,
    /// Another node executes the same request, at least until then unless it ends.
    Elsewhere(Instant),
    /// It executes.
    Executing(Arc<Flight>),
    /// It has answered, and its answer still grows.
    Live(Arc<Flight>, Arc<LiveAnswer>),
    /// It is done. Without a verdict the others have to see for themselves.
    Over(Option<Verdict>),
}

impl Stage {
    fn flight(&self) -> Option<&Arc<Flight>> {
        match self {
            Self::Executing(flight) | Self::Live(flight, _) => Some(flight),
            Self::Claiming | Self::Elsewhere(_) | Self::Over(_) => None,
        }
    }
}

/// What a follower sees of its leader.
#[derive(Debug)]
pub(super) struct Leader {
    pub(super) fingerprint: Fingerprint,
    pub(super) stage: watch::Receiver<Stage>,
    /// How many follow it, this one included.
    pub(super) followers: usize,
}

struct Slot {
    id: u64,
    fingerprint: Fingerprint,
    stage: Stage,
    /// Made for the first follower; nearly no request has one.
    watched: Option<watch::Sender<Stage>>,
}

/// All leaders of this process.
pub(super) struct Leaders {
    shards: Box<[Mutex<Shard>]>,
    next: AtomicU64,
    /// What still runs, and was replaced when its lease had lapsed: the store may know that
    /// lease all the same.
    replaced: Mutex<HashMap<u64, Arc<Flight>>>,
}

type Shard = HashMap<RecordKey, Slot, DigestHasher>;

const SHARDS: usize = 64;

impl Leaders {
    pub(super) fn new() -> Self {
        let hasher = DigestHasher::with_secret(*LeaseToken::random().as_bytes());
        let shard = |_| Mutex::new(Shard::with_hasher(hasher.clone()));
        let shards = (0..SHARDS).map(shard).collect();
        Self {
            shards,
            next: AtomicU64::new(1),
            replaced: Mutex::default(),
        }
    }

    /// The flights whose leases are to be kept.
    pub(super) fn flights(&self) -> Vec<Arc<Flight>> {
        let flights = |shard: &Mutex<Shard>| {
            let shard = lock(shard);
            let flights = shard
                .values()
                .filter_map(|slot| slot.stage.flight().cloned());
            flights.collect::<Vec<_>>()
        };
        let mut flights: Vec<_> = self.shards.iter().flat_map(flights).collect();
        flights.extend(lock(&self.replaced).values().cloned());
        flights
    }

    /// Whether no lease is to be kept.
    pub(super) fn has_no_flight(&self) -> bool {
        let none = |shard: &Mutex<Shard>| {
            lock(shard)
                .values()
                .all(|slot| slot.stage.flight().is_none())
        };
        self.shards.iter().all(none) && lock(&self.replaced).is_empty()
    }

    /// How many requests run to their end, whoever waits for them.
    pub(super) fn under_way(&self) -> usize {
        let runs = |slot: &&Slot| !matches!(slot.stage, Stage::Elsewhere(_));
        let count = |shard: &Mutex<Shard>| lock(shard).values().filter(runs).count();
        let leading: usize = self.shards.iter().map(count).sum();
        leading + lock(&self.replaced).len()
    }

    /// The number of the new leader, or the one to follow.
    pub(super) fn lead(
        &self,
        key: &RecordKey,
        fingerprint: Fingerprint,
        clock: &Clock,
    ) -> Result<u64, Leader> {
        let stale;
        let mut shard = self.shard(key);
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let slot = Slot {
            id,
            fingerprint,
            stage: Stage::Claiming,
            watched: None,
        };
        match shard.entry(*key) {
            Entry::Vacant(vacant) => {
                vacant.insert(slot);
                return Ok(id);
            }
            Entry::Occupied(mut stands) => match stands.get().stage.flight() {
                // Following one whose lease lapsed would wedge the key on this node.
                Some(flight) if flight.is_stale(clock) => stale = stands.insert(slot),
                _ => return Err(stands.get_mut().follow()),
            },
        }
        if let Some(flight) = stale.stage.flight() {
            lock(&self.replaced).insert(stale.id, Arc::clone(flight));
            // Observers are told, and may come back here: not under the lock.
            drop(shard);
            flight.lapse();
        }
        Ok(id)
    }

    /// Replaces the stage of the leader `id`.
    pub(super) fn set(&self, key: &RecordKey, id: NonZeroU64, stage: Stage) {
        let mut shard = self.shard(key);
        let Some(slot) = shard.get_mut(key).filter(|slot| slot.id == id.get()) else {
            return;
        };
        let told = slot.watched.clone().map(|watched| (watched, stage.clone()));
        slot.stage = stage;
        drop(shard);
        // Who is woken may come back here: not under the lock.
        if let Some((watched, stage)) = told {
            watched.send_replace(stage);
        }
    }

    /// Removes the leader `id`, which came to this.
    pub(super) fn remove(
        &self,
        key: &RecordKey,
        id: NonZeroU64,
        verdict: impl FnOnce() -> Option<Verdict>,
    ) {
        let mut shard = self.shard(key);
        match shard.entry(*key) {
            Entry::Occupied(stands) if stands.get().id == id.get() => {
                let slot = stands.remove();
                drop(shard);
                slot.tell(|| Stage::Over(verdict()));
            }
            _ => {
                lock(&self.replaced).remove(&id.get());
            }
        }
    }

    fn shard(&self, key: &RecordKey) -> MutexGuard<'_, Shard> {
        lock(&self.shards[usize::from(key.as_bytes()[31]) % SHARDS])
    }
}

/// A panic between lock and unlock cannot leave a map half changed.
fn lock<T>(map: &Mutex<T>) -> MutexGuard<'_, T> {
    map.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Slot {
    fn follow(&mut self) -> Leader {
        let stage = &self.stage;
        let watched = self
            .watched
            .get_or_insert_with(|| watch::channel(stage.clone()).0);
        Leader {
            fingerprint: self.fingerprint,
            stage: watched.subscribe(),
            followers: watched.receiver_count(),
        }
    }

    fn tell(&self, stage: impl FnOnce() -> Stage) {
        if let Some(watched) = &self.watched {
            watched.send_replace(stage());
        }
    }
}

impl fmt::Debug for Leaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leaders").finish_non_exhaustive()
    }
}

#[cfg(all(test, feature = "memory"))]
mod tests {
    use super::*;
    use crate::{
        key::Key,
        server::{
            config::Config,
            node::Node,
            turn::{Entered, Turn},
        },
        store::{Claim, Fence, MemoryStore},
    };
    use std::{
        sync::atomic::AtomicBool,
        task::{Context, Wake},
        time::Duration,
    };

    fn enter(node: &Arc<Node<MemoryStore>>, key: &RecordKey) -> Option<Turn<MemoryStore>> {
        match Turn::enter(node, key, Fingerprint::from_parts(1, [0; 32])) {
            Entered::Leads(turn) => Some(turn),
            Entered::Follows(_) => None,
        }
    }

    /// Or nobody would renew the lease of who leads now, nor wait for it.
    #[tokio::test]
    async fn who_was_replaced_changes_nothing_for_who_leads_now() {
        let node = Arc::new(Node::new(MemoryStore::new()));
        let key = RecordKey::from_bytes([0; 32]);
        let mut first = enter(&node, &key).unwrap();
        let claim = Claim::new(&key, Fingerprint::from_parts(1, [0; 32]));
        let lapsed = claim.lease_for(Duration::ZERO).won(Fence::new(1), 1);
        let (name, config) = (Key::new("k").unwrap(), Arc::new(Config::default()));
        let flight = Flight::new(name, lapsed, config, &node.clock, Instant::now());
        let flight = Arc::new(flight);
        first.reach(Stage::Executing(Arc::clone(&flight)));
        let second = enter(&node, &key).unwrap();
        assert!(flight.is_lost(), "nobody else would tell its handler");
        first.reach(Stage::Elsewhere(Instant::now()));
        assert_eq!(node.leaders.under_way(), 2);
        first.end(|| None);
        assert_eq!(node.leaders.under_way(), 1);
        assert!(enter(&node, &key).is_none(), "the second leads");
        drop(second);
        assert!(enter(&node, &key).is_some());
    }

    /// They may come back at once: a waker is code of others.
    #[tokio::test]
    async fn followers_are_told_when_the_lock_is_free() {
        struct Woken(Arc<Node<MemoryStore>>, AtomicBool);
        impl Wake for Woken {
            fn wake(self: Arc<Self>) {
                let is_free = self.0.leaders.shards.iter().all(|s| s.try_lock().is_ok());
                self.1.store(is_free, Ordering::SeqCst);
            }
        }
        let node = Arc::new(Node::new(MemoryStore::new()));
        let key = RecordKey::from_bytes([0; 32]);
        let mut first = enter(&node, &key).unwrap();
        let fingerprint = Fingerprint::from_parts(1, [0; 32]);
        let Entered::Follows(mut leader) = Turn::enter(&node, &key, fingerprint) else {
            panic!("the first leads");
        };
        let mut told = |tell: &mut dyn FnMut()| {
            let woken = Arc::new(Woken(Arc::clone(&node), AtomicBool::new(false)));
            let waker = Arc::clone(&woken).into();
            leader.stage.mark_unchanged();
            let mut changed = std::pin::pin!(leader.stage.changed());
            let polled = changed.as_mut().poll(&mut Context::from_waker(&waker));
            assert!(polled.is_pending());
            tell();
            woken.1.load(Ordering::SeqCst)
        };
        assert!(told(&mut || first.reach(Stage::Elsewhere(Instant::now()))));
        assert!(told(&mut || first.end(|| None)));
    }
}
