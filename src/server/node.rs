//! What all services of one layer share in this process.

use std::{
    sync::{Arc, atomic::AtomicUsize},
    time::Duration,
};

use tokio::time;
use tokio_util::task::TaskTracker;

use super::{flight::Clock, insist::Insisting, keeper::Keeper, leaders::Leaders};

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
