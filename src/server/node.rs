//! What all services of one layer share in this process.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{runtime::Handle, sync::Notify, time};
use tokio_util::task::TaskTracker;

use super::{
    flight::{Clock, Flight},
    insist::Insisting,
    leaders::Leaders,
    lease::Shift,
};
use crate::store::Store;

/// The store, the requests under way, and the tasks that outlive a request.
#[derive(Debug)]
pub(super) struct Node<S> {
    pub(super) store: S,
    pub(super) leaders: Leaders,
    /// How many duplicates wait for another request.
    pub(super) waiting: AtomicUsize,
    pub(super) clock: Clock,
    pub(super) tasks: TaskTracker,
    pub(super) keeper: Keeper,
    /// Held by each request that runs unprotected.
    pub(super) unprotected: Arc<()>,
    pub(super) insisting: Arc<Insisting>,
}

/// The task that renews leases; it runs while there are flights, and a while longer.
#[derive(Debug, Default)]
pub(super) struct Keeper {
    running: AtomicBool,
    /// When it will look again, as [`Clock`] counts.
    planned: AtomicU64,
    look: Notify,
}

/// How [`IdempotencyLayer::drain`](super::IdempotencyLayer::drain) ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Drained {
    /// Everything ran to its end.
    Complete,
    /// At the deadline at least this many operations still ran, or were still to be given back
    /// to a store that does not answer.
    DeadlinePassed(usize),
}

impl<S> Node<S> {
    pub(super) fn new(store: S) -> Self {
        Self {
            store,
            leaders: Leaders::new(),
            waiting: AtomicUsize::new(0),
            clock: Clock::start(),
            tasks: TaskTracker::new(),
            keeper: Keeper::default(),
            unprotected: Arc::new(()),
            insisting: Insisting::new(),
        }
    }

    pub(super) fn store(&self) -> &S {
        &self.store
    }

    /// How many requests run to their end, whoever waits for them.
    fn under_way(&self) -> usize {
        self.leaders.under_way() + Arc::strong_count(&self.unprotected) - 1
    }

    pub(super) async fn drain(&self, deadline: Duration) -> Drained {
        self.tasks.close();
        self.insisting.hurry();
        let drained = async {
            self.tasks.wait().await;
            // A connection that was closed just now may not have dropped its request yet, which
            // then goes on as a task.
            while self.under_way() > 0 {
                time::sleep(LOOK).await;
                self.tasks.wait().await;
            }
        };
        match time::timeout(deadline, drained).await {
            Ok(()) => Drained::Complete,
            Err(_) => Drained::DeadlinePassed(self.tasks.len().max(self.under_way())),
        }
    }
}

/// How often a drain looks whether requests are still under way.
const LOOK: Duration = Duration::from_millis(10);

impl<S: Store> Node<S> {
    /// Has the lease of `flight`, which a leader has reached, renewed until that is over.
    pub(super) fn look_after(self: &Arc<Self>, flight: &Arc<Flight>) {
        if self.keeper.start() {
            let (shift, runtime) = (Shift::new(Arc::clone(self)), Handle::current());
            // Also directly: the threads for what blocks may all be busy.
            runtime.spawn(Arc::clone(&shift).keep());
            from_outside(move || drop(runtime.spawn(shift.keep())));
        } else if flight.renew_at() < self.keeper.planned.load(Ordering::SeqCst) {
            let node = Arc::clone(self);
            from_outside(move || node.keeper.look.notify_one());
        }
    }
}

/// Wakes or spawns a task from a thread that is no worker of the runtime. What a worker
/// wakes waits in a place from which no other worker takes it: were the handler to block
/// that worker, the task would starve with it.
fn from_outside(wake: impl FnOnce() + Send + 'static) {
    drop(tokio::task::spawn_blocking(wake));
}

impl Keeper {
    /// Whether the caller is to start it.
    fn start(&self) -> bool {
        let starts = !self.running.swap(true, Ordering::SeqCst);
        if starts {
            // It looks before it sleeps: until then nobody needs to wake it.
            self.planned.store(0, Ordering::SeqCst);
        }
        starts
    }

    /// About to look at all flights: one that is entered from here on must wake it.
    pub(super) fn looking(&self) {
        self.planned.store(u64::MAX, Ordering::SeqCst);
    }

    /// Sleeps until `millis` on `clock`, or until a flight needs an earlier look.
    pub(super) async fn sleep(&self, clock: &Clock, millis: u64) {
        self.planned.store(millis, Ordering::SeqCst);
        let _ = time::timeout_at(clock.moment(millis), self.look.notified()).await;
    }

    /// Ends it if there is nothing left to look after; whether it did.
    pub(super) fn retire(&self, leaders: &Leaders) -> bool {
        self.running.store(false, Ordering::SeqCst);
        // A flight entered just before saw it running.
        leaders.has_no_flight() || !self.start()
    }

    /// However the task ends, the next flight starts another: also after the runtime it
    /// ran on was shut down.
    pub(super) fn stopped(&self) {
        self.running.store(false, Ordering::SeqCst);
    }
}

#[cfg(all(test, feature = "memory"))]
mod tests {
    use super::*;
    use crate::{
        fingerprint::Fingerprint,
        key::Key,
        record_key::RecordKey,
        server::{
            config::Config,
            leaders::Stage,
            turn::{Entered, Turn},
        },
        store::{Claim, Fence, MemoryStore},
    };
    use tokio::time::Instant;

    /// Nobody else would renew its lease.
    #[tokio::test]
    async fn a_keeper_does_not_retire_from_a_flight_that_came_meanwhile() {
        let node = Arc::new(Node::new(MemoryStore::new()));
        assert!(node.keeper.start());
        let key = RecordKey::from_bytes([0; 32]);
        let fingerprint = Fingerprint::from_parts(1, [0; 32]);
        let Entered::Leads(turn) = Turn::enter(&node, &key, fingerprint) else {
            panic!("nobody else leads");
        };
        let lease = Claim::new(&key, fingerprint).won(Fence::new(1), 1);
        let (name, config) = (Key::new("k").unwrap(), Arc::new(Config::default()));
        let flight = Flight::new(name, lease, config, &node.clock, Instant::now());
        turn.reach(Stage::Executing(Arc::new(flight)));
        assert!(!node.keeper.retire(&node.leaders));
        assert!(!node.keeper.start(), "it goes on");
        drop(turn);
        assert!(node.keeper.retire(&node.leaders));
        assert!(node.keeper.start(), "the next flight has another");
    }
}
