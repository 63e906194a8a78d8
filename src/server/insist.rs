//! Giving a key back, also to a store that does not answer.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    time::{self, Instant},
};
use tokio_util::task::TaskTracker;

use super::{call::call, config::Config, flight::Flight, node::Node};
use crate::{
    event::{Cause, Event, Verb},
    horizon::after,
    record_key::RecordKey,
    store::{AfterCrash, Completion, Lease, Store, StoreError, StoreErrorKind},
};

/// Asks once for the release of a key.
pub(super) async fn release<S: Store>(
    node: &Node<S>,
    config: &Config,
    lease: &Lease,
    cause: Cause,
) -> Result<Completion, StoreError> {
    let key = lease.key();
    let released = call(config, Verb::Release, key, node.store.release(lease)).await;
    if let Ok(Completion::Applied | Completion::AlreadyApplied) = released {
        config.emit(&Event::Released { key, cause });
    }
    released
}

/// Goes on asking for a release that the store has not confirmed.
pub(super) fn release_in_the_end<S: Store>(
    node: Arc<Node<S>>,
    flight: Arc<Flight>,
    cause: Cause,
) -> impl Future<Output = ()> {
    // Made now: the task may be dropped without having begun.
    let owed = Owed::new(&flight.config, flight.lease.key());
    async move {
        let insisting = insist(&node, &flight.config, &flight.lease, cause);
        let Some(completion) = insisting.await else {
            return;
        };
        owed.given();
        if let Completion::Lost(_) = completion {
            flight.tell_lost();
        }
    }
}

/// Asks for the release of a key until the store has spoken, for as long as that can free it.
pub(super) async fn insist<S: Store>(
    node: &Node<S>,
    config: &Config,
    lease: &Lease,
    cause: Cause,
) -> Option<Completion> {
    let mut insistence = Insistence::new(node, config);
    while insistence.again().await {
        match release(node, config, lease, cause).await {
            Err(error) if error.kind() == StoreErrorKind::Corrupt => break,
            Err(_) => {}
            Ok(completion) => return Some(completion),
        }
    }
    None
}

/// A key that is to be given back. Dropped, it is told to be left behind: given up, or cut short
/// with its runtime.
pub(super) struct Owed {
    config: Arc<Config>,
    key: Option<RecordKey>,
}

impl Owed {
    pub(super) fn new(config: &Arc<Config>, key: &RecordKey) -> Self {
        Self {
            config: Arc::clone(config),
            key: Some(*key),
        }
    }

    /// It was given back, or was not ours.
    pub(super) fn given(mut self) {
        self.key = None;
    }
}

impl Drop for Owed {
    fn drop(&mut self) {
        if let Some(key) = &self.key {
            self.config.emit(&Event::Abandoned { key });
        }
    }
}

/// Asks again and again for as long as that can free the key: until its lease lapses; or,
/// where nobody may take over what lapsed, until its retention ends.
pub(super) struct Insistence {
    pause: Duration,
    lapses: Instant,
    until: Instant,
    tasks: TaskTracker,
    insisting: Arc<Insisting>,
    /// Among those that go on after the lease.
    place: Option<OwnedSemaphorePermit>,
}

/// What those that insist on a node share.
#[derive(Debug)]
pub(super) struct Insisting {
    /// For those that go on after the lease: an outage may leave any number of keys.
    places: Arc<Semaphore>,
    hurry: Notify,
}

const PLACES: usize = 1_000;

const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE_LAPSED: Duration = Duration::from_secs(30);

impl Insisting {
    pub(super) fn new() -> Arc<Self> {
        Self::with_places(PLACES)
    }

    fn with_places(places: usize) -> Arc<Self> {
        Arc::new(Self {
            places: Arc::new(Semaphore::new(places)),
            hurry: Notify::new(),
        })
    }

    /// The tasks of the node were closed: whoever pauses asks at once.
    pub(super) fn hurry(&self) {
        self.hurry.notify_waiters();
    }
}

impl Insistence {
    pub(super) fn new<S>(node: &Node<S>, config: &Config) -> Self {
        let lapses = after(Instant::now(), config.lease);
        let until = match config.after_crash {
            AfterCrash::Hold => after(lapses, config.retention),
            AfterCrash::Takeover => lapses,
        };
        Self {
            pause: FIRST_PAUSE,
            lapses,
            until,
            tasks: node.tasks.clone(),
            insisting: Arc::clone(&node.insisting),
            place: None,
        }
    }

    /// Waits before the next attempt; `false` if there is none.
    pub(super) async fn again(&mut self) -> bool {
        let now = Instant::now();
        if now >= self.until || !self.has_place(now) {
            return false;
        }
        let pause = match now < self.lapses || self.tasks.is_closed() {
            true => self.pause.min(LONGEST_PAUSE),
            false => self.pause.min(LONGEST_PAUSE_LAPSED),
        };
        let hurry = self.insisting.hurry.notified();
        let _ = time::timeout(pause.min(self.until - now), hurry).await;
        self.pause = pause * 2;
        true
    }

    fn has_place(&mut self, now: Instant) -> bool {
        if now >= self.lapses && self.place.is_none() {
            let places = Arc::clone(&self.insisting.places);
            self.place = places.try_acquire_owned().ok();
            return self.place.is_some();
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn insistence(insisting: &Arc<Insisting>, tasks: &TaskTracker) -> Insistence {
        let (lease, retention) = (Duration::from_secs(30), Duration::from_secs(3600));
        let lapses = Instant::now() + lease;
        Insistence {
            pause: FIRST_PAUSE,
            lapses,
            until: lapses + retention,
            tasks: tasks.clone(),
            insisting: Arc::clone(insisting),
            place: None,
        }
    }

    /// How often it asks, and for how long.
    async fn exhaust(mut insistence: Insistence) -> (u32, Duration) {
        let (began, mut attempts) = (Instant::now(), 0);
        while insistence.again().await {
            attempts += 1;
        }
        (attempts, began.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn it_ends_with_the_retention_and_asks_ever_less() {
        let insistence = insistence(&Insisting::new(), &TaskTracker::new());
        let (attempts, time) = exhaust(insistence).await;
        assert_eq!(time.as_secs(), 3630);
        // Each second of the lease, and then twice a minute.
        assert!((140..170).contains(&attempts), "{attempts}");
    }

    #[tokio::test(start_paused = true)]
    async fn few_go_on_after_their_lease() {
        let (insisting, tasks) = (Insisting::with_places(1), TaskTracker::new());
        let both = [(); 2].map(|()| exhaust(insistence(&insisting, &tasks)));
        let [one, two] = both;
        let (one, two) = tokio::join!(one, two);
        let mut times = [one.1.as_secs(), two.1.as_secs()];
        times.sort_unstable();
        assert_eq!(times[1], 3630);
        assert!((30..=31).contains(&times[0]), "{times:?}");
        let next = exhaust(insistence(&insisting, &tasks)).await;
        assert_eq!(next.1.as_secs(), 3630, "a place is given back");
    }

    #[tokio::test(start_paused = true)]
    async fn a_drain_has_it_hurry() {
        let (insisting, tasks) = (Insisting::new(), TaskTracker::new());
        let mut insistence = insistence(&insisting, &tasks);
        while Instant::now() < insistence.lapses + Duration::from_secs(120) {
            insistence.again().await;
        }
        let asked = Instant::now();
        tasks.close();
        let hurry = async {
            tokio::task::yield_now().await;
            insisting.hurry();
        };
        tokio::join!(insistence.again(), hurry);
        assert_eq!(asked.elapsed(), Duration::ZERO);
        insistence.again().await;
        assert!(asked.elapsed() <= 2 * LONGEST_PAUSE);
    }
}
