//! A lease that this process holds, and its end.

use std::{cmp, num::NonZeroU64, pin::Pin, sync::Arc, thread, time::Duration};

use tokio::{
    runtime::Handle,
    time::{self, Instant},
};

use super::{
    call::{Call, call},
    flight::Flight,
    insist::{release, release_in_the_end},
    leaders::Stage,
    node::Node,
    pauses::Pauses,
    recording::LiveAnswer,
    turn::Turn,
};
use crate::{
    event::{Cause, Event, Verb},
    fingerprint::Fingerprint,
    record::Record,
    record_key::RecordKey,
    store::{Completion, Standing, Store, StoreError, StoreErrorKind},
    verdict::{self, Verdict},
};

/// How an operation ended in the store.
#[derive(Debug)]
pub(super) enum Settled {
    /// As intended, or as good as: a release that is still being asked for changes nothing
    /// for the answer.
    Kept,
    /// The lease was lost; this stands there now.
    Lost(Standing),
    /// The store did not answer while the lease lived.
    Unrecorded,
    /// Nor that the handler's transaction was committed: the answer must not be given.
    Unconfirmed,
    /// The handler's transaction was rolled back: what the answer tells of never happened.
    RolledBack,
}

/// A lease that this process holds and renews, until it is completed, released or dropped.
pub(super) struct Held<S: Store> {
    node: Arc<Node<S>>,
    flight: Arc<Flight>,
    /// Among the leaders; `None` once it has ended.
    id: Option<NonZeroU64>,
}

impl<S: Store> Held<S> {
    /// Begins to look after `flight`, which `turn` has come to.
    pub(super) fn new(turn: Turn<S>, flight: Arc<Flight>) -> Self {
        turn.reach(Stage::Executing(Arc::clone(&flight)));
        turn.node().look_after(&flight);
        let (node, id) = turn.hand_on();
        Self { node, flight, id }
    }

    /// The answer is there, and still grows.
    pub(super) fn go_live(&self, answer: LiveAnswer) {
        let flight = Arc::clone(&self.flight);
        if let Some(id) = self.id {
            let stage = Stage::Live(flight, Arc::new(answer));
            self.node.leaders.set(self.key(), id, stage);
        }
    }

    /// Tells the followers what it came to.
    fn end(&mut self, verdict: impl FnOnce() -> Option<Verdict>) {
        if let Some(id) = self.id.take() {
            self.node.leaders.remove(self.key(), id, verdict);
        }
    }

    pub(super) fn flight(&self) -> &Arc<Flight> {
        &self.flight
    }

    pub(super) fn key(&self) -> &RecordKey {
        self.flight.lease.key()
    }

    /// Ends the lease with `record`; sent again for as long as the lease lives, or would
    /// without renewals. A sealed record has a cause.
    pub(super) async fn complete(
        &mut self,
        record: &Record,
        retention: Duration,
        sealed: Option<Cause>,
    ) -> Settled {
        self.flight.settle();
        let settled = match self.heed_completion(self.send_once(record, retention).await) {
            Some(settled) => settled,
            None => Box::pin(self.send_again(record, retention)).await,
        };
        match settled {
            Settled::Kept => {
                self.end(|| Some(verdict::of_record(record.clone())));
                let (key, bytes) = (self.key(), record.bytes());
                self.flight.config.emit(&match sealed {
                    Some(cause) => Event::Sealed { key, cause },
                    None => Event::Recorded { key, bytes },
                });
            }
            Settled::RolledBack => self.free().await,
            Settled::Lost(_) | Settled::Unrecorded | Settled::Unconfirmed => {}
        }
        settled
    }

    /// The first attempt has failed. Apart and boxed, as it is rare.
    async fn send_again(&self, record: &Record, retention: Duration) -> Settled {
        let (began, mut attempts) = (Instant::now(), 1_u32);
        let mut pauses = Pauses::resending();
        loop {
            let lives = self.pause(pauses.next()).await;
            let completed = self.send_once(record, retention).await;
            if let Some(settled) = self.heed_completion(completed) {
                return settled;
            }
            attempts = attempts.saturating_add(1);
            // A store may renew and yet never record: that must not hold the key for ever.
            let over = attempts >= self.flight.config.store_attempts
                && began.elapsed() >= self.flight.lease.duration();
            // Asked once more when the lease had lapsed: somebody else may have answered.
            if over || !lives {
                return self.unrecorded();
            }
        }
    }

    fn send_once<'a>(
        &'a self,
        record: &'a Record,
        retention: Duration,
    ) -> Call<'a, impl Future<Output = Result<Completion, StoreError>>> {
        let (lease, store) = (&self.flight.lease, &self.node.store);
        let sent = store.complete(lease, record, retention);
        call(&self.flight.config, Verb::Complete, lease.key(), sent)
    }

    fn unrecorded(&self) -> Settled {
        self.flight.settled();
        let key = self.flight.lease.key();
        let (event, settled) = match self.flight.lease.has_attachment() {
            true => (Event::Abandoned { key }, Settled::Unconfirmed),
            false => (Event::Unrecorded { key }, Settled::Unrecorded),
        };
        self.flight.config.emit(&event);
        settled
    }

    /// Gives the key of an operation back that was rolled back. Boxed, as it is rare.
    fn free(&mut self) -> Pin<Box<impl Future<Output = ()>>> {
        Box::pin(async move {
            self.send_release(Cause::RolledBack).await;
        })
    }

    /// Seals the key: done, nothing to replay. Boxed, as it is rare.
    pub(super) fn seal(
        &mut self,
        fingerprint: Fingerprint,
        retention: Duration,
        cause: Cause,
    ) -> Pin<Box<impl Future<Output = Settled>>> {
        Box::pin(async move {
            let record = Record::sealed(fingerprint);
            self.complete(&record, retention, Some(cause)).await
        })
    }

    /// Gives the key back. A store that does not answer is asked on in the background, for
    /// as long as that can free the key. Boxed, as it is rare.
    pub(super) fn release(mut self, cause: Cause) -> Pin<Box<impl Future<Output = Settled>>> {
        Box::pin(async move {
            self.flight.settle();
            self.send_release(cause).await
        })
    }

    async fn send_release(&mut self, cause: Cause) -> Settled {
        let mut pauses = Pauses::resending();
        for _ in 0..self.flight.config.store_attempts {
            let (node, flight) = (&self.node, &self.flight);
            let released = release(node, &flight.config, &flight.lease, cause).await;
            let is_corrupt =
                matches!(&released, Err(error) if error.kind() == StoreErrorKind::Corrupt);
            if let Some(settled) = self.heed(released) {
                return settled;
            }
            if is_corrupt || !self.pause(pauses.next()).await {
                break;
            }
        }
        // Not renewed any more.
        self.end(|| None);
        self.flight.settled();
        let node = &self.node;
        let insisting = release_in_the_end(Arc::clone(node), Arc::clone(&self.flight), cause);
        node.tasks.spawn(insisting);
        Settled::Kept
    }

    /// As [`heed`](Self::heed). What stands there and cannot be read never takes a record.
    fn heed_completion(&self, answer: Result<Completion, StoreError>) -> Option<Settled> {
        match answer {
            Err(error) if error.kind() == StoreErrorKind::Corrupt => Some(self.unrecorded()),
            answer => self.heed(answer),
        }
    }

    /// What an answer of the store means; `None` if it is worth sending again.
    fn heed(&self, answer: Result<Completion, StoreError>) -> Option<Settled> {
        let settled = match answer {
            Ok(Completion::Applied | Completion::AlreadyApplied) => Settled::Kept,
            Ok(Completion::Lost(standing)) => {
                self.flight.tell_lost();
                Settled::Lost(standing)
            }
            // The key is still held.
            Ok(Completion::RolledBack) => return Some(Settled::RolledBack),
            Err(_) => return None,
        };
        self.flight.settled();
        Some(settled)
    }

    /// Waits before the next resend; `false` if the lease has lapsed.
    async fn pause(&self, pause: Duration) -> bool {
        let remaining = self.flight.remaining(&self.node.clock);
        Box::pin(time::sleep(cmp::min(pause, remaining))).await;
        remaining > Duration::ZERO
    }
}

/// Not settled, it was cut off with its runtime; or by a panic, as of a handler's future that is
/// dropped. After that the key is given back, as after any panic.
impl<S: Store> Drop for Held<S> {
    fn drop(&mut self) {
        if !self.flight.is_settling() && thread::panicking() && Handle::try_current().is_ok() {
            self.flight.settle();
            let (node, flight) = (Arc::clone(&self.node), Arc::clone(&self.flight));
            let id = self.id.take();
            let held = Self { node, flight, id };
            self.node.tasks.spawn(held.release(Cause::Panic));
            return;
        }
        if !self.flight.is_settled() {
            let key = self.flight.lease.key();
            self.flight.config.emit(&Event::Abandoned { key });
        }
        self.end(|| None);
    }
}
