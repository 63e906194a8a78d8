//! Giving a key back to a store that does not answer.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{self, Instant},
};

use super::{config::Config, node::Node};
use crate::{horizon::after, store::AfterCrash};

/// Asks again and again for as long as that can free the key: until its lease lapses; or,
/// where nobody may take over what lapsed, until its retention ends.
pub(super) struct Insistence {
    pause: Duration,
    lapses: Instant,
    until: Instant,
    places: Arc<Semaphore>,
    /// Among those that go on after the lease.
    place: Option<OwnedSemaphorePermit>,
}

/// How many keys of a node are insisted on after their leases: an outage may leave any number.
pub(super) const PLACES: usize = 1_000;

const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE_LAPSED: Duration = Duration::from_secs(30);

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
            places: Arc::clone(&node.insisting),
            place: None,
        }
    }

    /// Waits before the next attempt; `false` if there is none.
    pub(super) async fn again(&mut self) -> bool {
        let now = Instant::now();
        if now >= self.until || !self.has_place(now) {
            return false;
        }
        time::sleep(self.pause.min(self.until - now)).await;
        let longest = match now < self.lapses {
            true => LONGEST_PAUSE,
            false => LONGEST_PAUSE_LAPSED,
        };
        self.pause = (self.pause * 2).min(longest);
        true
    }

    fn has_place(&mut self, now: Instant) -> bool {
        if now >= self.lapses && self.place.is_none() {
            self.place = Arc::clone(&self.places).try_acquire_owned().ok();
            return self.place.is_some();
        }
        true
    }
}
