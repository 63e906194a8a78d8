//! The task that renews the leases of this process.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    runtime::Handle,
    sync::Notify,
    time::{self, Instant},
};

use super::{
    call::call_within,
    flight::{Clock, Flight, Renewal},
    leaders::Leaders,
    node::Node,
};
use crate::{
    event::Verb,
    store::{Completion, Store},
};

/// The task that renews leases; it runs while there are flights, and a while longer.
#[derive(Debug, Default)]
pub(super) struct Keeper {
    running: AtomicBool,
    /// When it will look again, as [`Clock`] counts.
    planned: AtomicU64,
    look: Notify,
}

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
    fn looking(&self) {
        self.planned.store(u64::MAX, Ordering::SeqCst);
    }

    /// Sleeps until `millis` on `clock`, or until a flight needs an earlier look.
    async fn sleep(&self, clock: &Clock, millis: u64) {
        self.planned.store(millis, Ordering::SeqCst);
        let _ = time::timeout_at(clock.moment(millis), self.look.notified()).await;
    }

    /// Ends it if there is nothing left to look after; whether it did.
    fn retire(&self, leaders: &Leaders) -> bool {
        self.running.store(false, Ordering::SeqCst);
        // A flight entered just before saw it running.
        leaders.has_no_flight() || !self.start()
    }

    /// However the task ends, the next flight starts another: also after the runtime it
    /// ran on was shut down.
    fn stopped(&self) {
        self.running.store(false, Ordering::SeqCst);
    }
}

/// A shift of the keeper, for which several tasks may turn up: the first to come keeps it.
struct Shift<S> {
    node: Arc<Node<S>>,
    begun: AtomicBool,
    retired: AtomicBool,
}

impl<S: Store> Shift<S> {
    fn new(node: Arc<Node<S>>) -> Arc<Self> {
        Arc::new(Self {
            node,
            begun: AtomicBool::new(false),
            retired: AtomicBool::new(false),
        })
    }

    /// Renews the lease of every flight at each third of it. A task of its own, so that a
    /// handler that blocks its thread cannot starve it.
    async fn keep(self: Arc<Self>) {
        if self.begun.swap(true, Ordering::SeqCst) {
            return;
        }
        let (node, mut idle) = (&self.node, false);
        loop {
            node.keeper.looking();
            let flights = node.leaders.flights().into_iter();
            // None of them is held while it sleeps: what a handler left with its lease goes
            // with that.
            match flights.map(|flight| look_at(node, &flight)).min() {
                Some(next) => {
                    idle = false;
                    node.keeper.sleep(&node.clock, next).await;
                }
                // Stays a while: starting another one for each request costs more.
                None if !idle => {
                    idle = true;
                    let next = node.clock.at(Instant::now() + IDLE);
                    node.keeper.sleep(&node.clock, next).await;
                }
                None if node.keeper.retire(&node.leaders) => break,
                None => {}
            }
        }
        self.retired.store(true, Ordering::SeqCst);
    }
}

/// How long the keeper stays with nothing to look after.
const IDLE: Duration = Duration::from_secs(1);

/// Cut off with its runtime, begun or not, it has the next flight start another.
impl<S> Drop for Shift<S> {
    fn drop(&mut self) {
        if !*self.retired.get_mut() {
            self.node.keeper.stopped();
        }
    }
}

/// Renews the lease of a flight if it is due, and tells it if it has lapsed; when to look
/// again.
fn look_at<S: Store>(node: &Arc<Node<S>>, flight: &Arc<Flight>) -> u64 {
    let now = Instant::now();
    if flight.is_due(&node.clock, now) {
        flight.postpone(&node.clock);
        if let Some(renewal) = flight.begin_renewal() {
            tokio::spawn(renew(Arc::clone(node), renewal, now));
        }
    }
    if flight.lapses(&node.clock, now) {
        flight.lapse();
    }
    flight.look_at(&node.clock, now)
}

async fn renew<S: Store>(node: Arc<Node<S>>, flight: Renewal, sent: Instant) {
    let (key, renewed) = (flight.lease.key(), node.store.renew(&flight.lease));
    // One that hangs leaves time for another.
    let limit = flight.config.store_deadline.min(flight.renew_after());
    match call_within(&flight.config, limit, Verb::Renew, key, renewed).await {
        Ok(Completion::Applied | Completion::AlreadyApplied) => flight.renewed(&node.clock, sent),
        Ok(Completion::Lost(_) | Completion::RolledBack) => flight.lose(),
        Err(_) => {}
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
