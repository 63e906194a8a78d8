//! A duplicate of a request that this process, or another, is at.

use std::{
    cmp,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::time::{self, Instant};

use super::{
    config::{Config, InFlight, StoreFailure},
    flight::Clock,
    leaders::{Leader, Stage},
    node::Node,
    pauses::Pauses,
    recording::LiveAnswer,
    shared::Shared,
};
use crate::{
    event::Event,
    fingerprint::Fingerprint,
    record_key::RecordKey,
    rejection::RejectionKind,
    store::{Fence, Store},
    verdict::Verdict,
};

/// What following came to.
pub(super) enum Followed {
    /// The leader is gone: see again who leads.
    Alone,
    /// Its result is this one's too.
    Verdict(Verdict),
    /// Its answer is there, and still grows.
    Join(Arc<LiveAnswer>),
    /// The store cannot be reached, and this route chose to run all the same.
    Unprotected,
}

/// What a stage of the leader means to a follower.
enum Step {
    Done(Followed),
    /// Look again when the stage has changed, at the latest then.
    Wait(Option<Instant>),
}

impl<S: Store> Shared<S> {
    /// Follows `leader` until it is clear what becomes of a request with this fingerprint.
    pub(super) async fn follow(
        &self,
        key: &RecordKey,
        mut leader: Leader,
        fingerprint: Fingerprint,
        patience: &mut Patience<S>,
    ) -> Followed {
        let same = leader.fingerprint == fingerprint;
        let crowded = leader.followers > self.config.max_waiters_per_key;
        loop {
            let stage = leader.stage.borrow_and_update().clone();
            let waits = !crowded && patience.may_wait();
            let joins = waits && patience.may_join;
            let limit = match step(&stage, same, waits, joins, &self.node.clock) {
                Step::Done(Followed::Verdict(verdict)) => return self.take_over(verdict),
                Step::Done(followed) => return followed,
                Step::Wait(limit) => limit,
            };
            // Without patience there is no deadline, which would be over: it stays until the
            // leader has claimed, as where duplicates are refused.
            let deadline = waits.then(|| patience.begin(&self.config, key)).flatten();
            if waits && deadline.is_none() {
                continue;
            }
            let limit = [limit, deadline].into_iter().flatten().min();
            let changed = leader.stage.changed();
            let changed = match limit {
                Some(limit) => time::timeout_at(limit, changed).await,
                None => Ok(changed.await),
            };
            if let Ok(Err(_)) = changed {
                return Followed::Alone;
            }
        }
    }

    /// Its leader's verdict; unless only the route of the leader refuses without a store.
    fn take_over(&self, verdict: Verdict) -> Followed {
        match verdict {
            Verdict::Reject(RejectionKind::StoreUnavailable, _)
                if self.config.store_failure == StoreFailure::DangerProceed =>
            {
                Followed::Unprotected
            }
            verdict => Followed::Verdict(verdict),
        }
    }

    /// Waits while another node executes the request.
    pub(super) async fn wait_elsewhere(
        &self,
        key: &RecordKey,
        fence: Fence,
        remaining: Duration,
        patience: &mut Patience<S>,
    ) {
        let Some(deadline) = patience.begin(&self.config, key) else {
            return;
        };
        let limit = cmp::min(remaining, deadline - Instant::now());
        let settled = self.node.store.settled(key, fence, limit);
        // It may return early, or fail; the pause keeps that from becoming a tight poll.
        let _ = time::timeout(limit, settled).await;
        time::sleep(cmp::min(patience.pauses.next(), deadline - Instant::now())).await;
    }
}

fn step(stage: &Stage, same: bool, waits: bool, joins: bool, clock: &Clock) -> Step {
    let reject = |kind, wait| Step::Done(Followed::Verdict(Verdict::Reject(kind, wait)));
    let now = Instant::now();
    match stage {
        Stage::Claiming => Step::Wait(None),
        Stage::Over(None) => Step::Done(Followed::Alone),
        Stage::Over(Some(Verdict::Reject(RejectionKind::InFlight, _))) if waits => {
            Step::Done(Followed::Alone)
        }
        Stage::Over(Some(verdict)) if same => Step::Done(Followed::Verdict(verdict.clone())),
        Stage::Over(Some(_)) => Step::Done(Followed::Alone),
        Stage::Executing(flight) | Stage::Live(flight, _) if flight.is_stale(clock) => {
            Step::Done(Followed::Alone)
        }
        _ if !same => reject(RejectionKind::Conflict, None),
        Stage::Live(_, answer) if joins => Step::Done(Followed::Join(Arc::clone(answer))),
        // When that lease lapses, the leader sees to it.
        Stage::Elsewhere(_) if waits => Step::Wait(None),
        Stage::Elsewhere(until) => reject(RejectionKind::InFlight, Some(*until - now)),
        Stage::Executing(flight) | Stage::Live(flight, _) if waits => {
            Step::Wait(Some(now + flight.remaining(clock)))
        }
        Stage::Executing(flight) | Stage::Live(flight, _) => {
            reject(RejectionKind::InFlight, Some(flight.remaining(clock)))
        }
    }
}

/// How long a duplicate may wait, and a place among those that do.
pub(super) struct Patience<S> {
    node: Arc<Node<S>>,
    budget: Option<Duration>,
    /// Since it began to wait.
    deadline: Option<Instant>,
    pauses: Pauses,
    /// Whether it need not wait for the end of an answer that still grows.
    may_join: bool,
}

impl<S> Patience<S> {
    pub(super) fn new(node: &Arc<Node<S>>, config: &Config, may_join: bool) -> Self {
        let budget = match config.in_flight {
            InFlight::Wait(budget) => Some(budget),
            InFlight::Reject => None,
        };
        Self {
            node: Arc::clone(node),
            budget,
            deadline: None,
            pauses: Pauses::from(Duration::from_millis(10)),
            may_join,
        }
    }

    /// Whether there is any left.
    pub(super) fn may_wait(&self) -> bool {
        match (self.budget, self.deadline) {
            (None, _) => false,
            (Some(_), None) => true,
            (Some(_), Some(deadline)) => Instant::now() < deadline,
        }
    }

    /// When it must end; `None` if it has not begun.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Begins to wait, if it has not; when it must end.
    fn begin(&mut self, config: &Config, key: &RecordKey) -> Option<Instant> {
        let budget = self.budget?;
        if self.deadline.is_none() {
            if self.node.waiting.fetch_add(1, Ordering::Relaxed) >= config.max_waiters {
                self.node.waiting.fetch_sub(1, Ordering::Relaxed);
                self.budget = None;
                return None;
            }
            config.emit(&Event::Waiting { key });
            self.deadline = Some(Instant::now() + budget);
        }
        self.deadline
    }

    /// Gives the place up: it executes now.
    pub(super) fn end(&mut self) {
        if self.deadline.take().is_some() {
            self.node.waiting.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl<S> Drop for Patience<S> {
    fn drop(&mut self) {
        self.end();
    }
}
