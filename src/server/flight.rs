//! One operation while it executes.

use std::{
    fmt,
    ops::Deref,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

use super::config::Config;
use crate::{event::Event, key::Key, store::Lease};

/// One operation while it executes.
pub(super) struct Flight {
    pub(super) key: Key,
    pub(super) lease: Lease,
    pub(super) config: Arc<Config>,
    stage: AtomicU8,
    /// When the lease lapses and when it is to be renewed, as [`Clock`] counts.
    deadline: AtomicU64,
    renew_at: AtomicU64,
    /// Whether the lease was lost, once and for all: whoever works under it should stop.
    lost: AtomicBool,
    losing: Notify,
    /// A renewal is under way.
    renewing: AtomicBool,
}

/// The stages of a flight, in order; it never goes back.
const HELD: u8 = 0;
/// The lease is gone.
const LOST: u8 = 1;
/// The outcome is on its way to the store; what a renewal finds means nothing any more.
const SETTLING: u8 = 2;
/// The store has spoken, or will not speak any more.
const SETTLED: u8 = 3;

impl Flight {
    /// A flight under `lease`, won by a claim that was sent at `sent`.
    pub(super) fn new(
        key: Key,
        lease: Lease,
        config: Arc<Config>,
        clock: &Clock,
        sent: Instant,
    ) -> Self {
        let (deadline, renew_at) = terms(&lease, clock, sent);
        Self {
            key,
            lease,
            config,
            stage: AtomicU8::new(HELD),
            deadline: AtomicU64::new(deadline),
            renew_at: AtomicU64::new(renew_at),
            lost: AtomicBool::new(false),
            losing: Notify::new(),
            renewing: AtomicBool::new(false),
        }
    }

    /// The lease counts anew from the moment the call that renewed it was sent.
    pub(super) fn renewed(&self, clock: &Clock, sent: Instant) {
        let (deadline, renew_at) = terms(&self.lease, clock, sent);
        self.deadline.store(deadline, Ordering::Relaxed);
        self.renew_at.store(renew_at, Ordering::Relaxed);
    }

    /// How long after it was renewed a lease is renewed again, and how long that may take.
    pub(super) fn renew_after(&self) -> Duration {
        (self.lease.duration() / 3).max(Duration::from_millis(1))
    }

    pub(super) fn renew_at(&self) -> u64 {
        self.renew_at.load(Ordering::Relaxed)
    }

    /// Whether it is to be renewed in this look, and not in one of its own soon after: each
    /// goes over all flights.
    pub(super) fn is_due(&self, clock: &Clock, now: Instant) -> bool {
        self.renew_at() <= self.soon(clock, now)
    }

    /// Whether it lapses in this look, or would in one of its own soon after.
    pub(super) fn lapses(&self, clock: &Clock, now: Instant) -> bool {
        self.deadline.load(Ordering::Relaxed) <= self.soon(clock, now)
    }

    /// Until when a look sees to what would need another.
    fn soon(&self, clock: &Clock, now: Instant) -> u64 {
        let soon = millis(self.lease.duration()) / LOOKS_IN_A_LEASE;
        clock.at(now).saturating_add(soon)
    }

    /// Begins a renewal, unless one is under way or the lease is gone. It is over when what this
    /// returns is dropped.
    pub(super) fn begin_renewal(self: &Arc<Self>) -> Option<Renewal> {
        if self.is_gone() {
            return None;
        }
        let begins = !self.renewing.swap(true, Ordering::SeqCst);
        begins.then(|| Renewal(Arc::clone(self)))
    }

    /// When to look at it again after a look at `now`: to renew it, or because it lapses before.
    pub(super) fn look_at(&self, clock: &Clock, now: Instant) -> u64 {
        match self.lapses(clock, now) {
            true => self.renew_at(),
            false => self.renew_at().min(self.deadline.load(Ordering::Relaxed)),
        }
    }

    /// Puts the next renewal off: one is under way now, or has failed.
    pub(super) fn postpone(&self, clock: &Clock) {
        let pause = (self.lease.duration() / 12).max(Duration::from_millis(1));
        let next = clock.at(Instant::now() + pause);
        self.renew_at.store(next, Ordering::Relaxed);
    }

    /// How long the lease lives without another renewal.
    pub(super) fn remaining(&self, clock: &Clock) -> Duration {
        let deadline = self.deadline.load(Ordering::Relaxed);
        Duration::from_millis(deadline.saturating_sub(clock.at(Instant::now())))
    }

    /// Tells whoever works under the lease that it lapsed. If nobody has taken the key over, the
    /// next renewal gets it back.
    pub(super) fn lapse(&self) {
        if self.stage.load(Ordering::SeqCst) == HELD {
            self.tell_lost();
        }
    }

    /// Tells whoever works under the lease that it is gone. Only the first call has an
    /// effect, and none while the flight settles.
    pub(super) fn lose(&self) {
        let first = self
            .stage
            .compare_exchange(HELD, LOST, Ordering::SeqCst, Ordering::SeqCst);
        if first.is_ok() {
            self.tell_lost();
        }
    }

    /// Tells the handler and the observers, once, that the lease was lost.
    pub(super) fn tell_lost(&self) {
        if !self.lost.swap(true, Ordering::SeqCst) {
            self.losing.notify_waiters();
            self.config.emit(&Event::LeaseLost {
                key: self.lease.key(),
                fence: self.lease.fence(),
            });
        }
    }

    /// Whether somebody else may hold the key by now.
    pub(super) fn is_stale(&self, clock: &Clock) -> bool {
        self.is_gone() || self.remaining(clock).is_zero()
    }

    /// Whether the store has said that somebody else holds the key, or nobody.
    fn is_gone(&self) -> bool {
        self.stage.load(Ordering::SeqCst) == LOST
    }

    pub(super) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::SeqCst)
    }

    /// Returns once the lease is lost.
    pub(super) async fn lost(&self) {
        let notified = self.losing.notified();
        tokio::pin!(notified);
        notified.as_mut().enable();
        if !self.is_lost() {
            notified.await;
        }
    }

    /// The outcome is known, and goes to the store.
    pub(super) fn settle(&self) {
        self.stage.store(SETTLING, Ordering::SeqCst);
    }

    /// The outcome is known to the store, or never will be.
    pub(super) fn settled(&self) {
        self.stage.store(SETTLED, Ordering::SeqCst);
    }

    pub(super) fn is_settling(&self) -> bool {
        self.stage.load(Ordering::SeqCst) >= SETTLING
    }

    pub(super) fn is_settled(&self) -> bool {
        self.stage.load(Ordering::SeqCst) == SETTLED
    }
}

/// In how many looks of a lease flights are renewed or lapse, however many there are.
const LOOKS_IN_A_LEASE: u64 = 100;

/// When a lease lapses that counts from `sent`, and when it is to be renewed.
fn terms(lease: &Lease, clock: &Clock, sent: Instant) -> (u64, u64) {
    let (sent, lease) = (clock.at(sent), millis(lease.duration()));
    (sent.saturating_add(lease), sent.saturating_add(lease / 3))
}

impl fmt::Debug for Flight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flight")
            .field("key", self.lease.key())
            .field("fence", &self.lease.fence())
            .field("attempt", &self.lease.attempt())
            .finish_non_exhaustive()
    }
}

/// A renewal under way: a flight has one at a time.
pub(super) struct Renewal(Arc<Flight>);

impl Deref for Renewal {
    type Target = Flight;

    fn deref(&self) -> &Flight {
        &self.0
    }
}

impl Drop for Renewal {
    fn drop(&mut self) {
        self.renewing.store(false, Ordering::SeqCst);
    }
}

/// Milliseconds since the node began: a moment that fits an atomic.
#[derive(Debug)]
pub(super) struct Clock(Instant);

impl Clock {
    pub(super) fn start() -> Self {
        Self(Instant::now())
    }

    pub(super) fn at(&self, moment: Instant) -> u64 {
        millis(moment.saturating_duration_since(self.0))
    }

    pub(super) fn moment(&self, millis: u64) -> Instant {
        self.0 + Duration::from_millis(millis)
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
