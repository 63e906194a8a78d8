//! What keeps calls from a store that is down.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::horizon::after;

/// Counts failures in a row. After so many it is open; after a while one call is let through,
/// and tells whether it closes again.
pub(super) struct Breaker(Mutex<Inner>);

struct Inner {
    state: State,
    /// How often it has opened.
    opened: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Closed {
        failures: u32,
    },
    Open {
        until: Instant,
    },
    /// One call is under way to find out.
    Probing,
}

/// Leave to make one call. Dropped without a word, the call was cut short and says nothing.
pub(super) struct Leave<'a> {
    breaker: &'a Breaker,
    is_probe: bool,
    /// How often the breaker had opened by then.
    opened: u64,
}

/// What a change of state means to the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    None,
    Opened,
    Closed,
}

impl Breaker {
    pub(super) fn new() -> Self {
        let state = State::Closed { failures: 0 };
        Self(Mutex::new(Inner { state, opened: 0 }))
    }

    /// Leave to make a call, unless calls are kept from the store.
    pub(super) fn enter(&self) -> Option<Leave<'_>> {
        let mut inner = self.inner();
        let is_probe = match inner.state {
            State::Closed { .. } => false,
            State::Open { until } if Instant::now() >= until => true,
            State::Open { .. } | State::Probing => return None,
        };
        if is_probe {
            inner.state = State::Probing;
        }
        Some(Leave {
            breaker: self,
            is_probe,
            opened: inner.opened,
        })
    }

    pub(super) fn is_open(&self) -> bool {
        !matches!(self.inner().state, State::Closed { .. })
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Leave<'_> {
    /// The store answered.
    pub(super) fn succeeded(self) -> Change {
        let mut inner = self.breaker.inner();
        if self.is_stale(&inner) {
            return Change::None;
        }
        let change = match self.is_probe {
            true => Change::Closed,
            false => Change::None,
        };
        inner.state = State::Closed { failures: 0 };
        change
    }

    /// It did not. After `threshold` failures in a row calls are kept from it for `pause`.
    pub(super) fn failed(self, threshold: u32, pause: Duration) -> Change {
        let until = after(Instant::now(), pause);
        let mut inner = self.breaker.inner();
        if self.is_stale(&inner) {
            return Change::None;
        }
        match inner.state {
            State::Closed { failures } if failures + 1 < threshold => {
                let failures = failures + 1;
                inner.state = State::Closed { failures };
                Change::None
            }
            State::Closed { .. } => {
                inner.state = State::Open { until };
                inner.opened += 1;
                Change::Opened
            }
            State::Open { .. } | State::Probing => {
                inner.state = State::Open { until };
                Change::None
            }
        }
    }

    /// Whether the call is from before the breaker opened: it says nothing of now.
    fn is_stale(&self, inner: &Inner) -> bool {
        self.opened != inner.opened
    }
}

/// A probe that was cut short lets the next call be one.
impl Drop for Leave<'_> {
    fn drop(&mut self) {
        let mut inner = self.breaker.inner();
        if self.is_probe && inner.state == State::Probing && !self.is_stale(&inner) {
            inner.state = State::Open {
                until: Instant::now(),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::advance;

    const SECOND: Duration = Duration::from_secs(1);

    fn fail(breaker: &Breaker) -> Change {
        breaker.enter().unwrap().failed(3, SECOND)
    }

    #[tokio::test(start_paused = true)]
    async fn it_opens_after_so_many_failures_in_a_row() {
        let breaker = Breaker::new();
        for _ in 0..3 {
            assert_eq!([fail(&breaker), fail(&breaker)], [Change::None; 2]);
            assert_eq!(breaker.enter().unwrap().succeeded(), Change::None);
        }
        assert_eq!([fail(&breaker), fail(&breaker)], [Change::None; 2]);
        assert_eq!(fail(&breaker), Change::Opened);
        assert!(breaker.is_open());
        assert!(breaker.enter().is_none());
    }

    async fn opened() -> Breaker {
        let breaker = Breaker::new();
        for _ in 0..3 {
            fail(&breaker);
        }
        advance(SECOND - Duration::from_millis(1)).await;
        assert!(breaker.enter().is_none());
        advance(Duration::from_millis(1)).await;
        breaker
    }

    #[tokio::test(start_paused = true)]
    async fn one_call_finds_out_whether_it_closes() {
        let breaker = opened().await;
        let probe = breaker.enter().unwrap();
        assert!(breaker.enter().is_none());
        assert_eq!(probe.succeeded(), Change::Closed);
        assert!(!breaker.is_open());
        breaker.enter().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_that_fails_keeps_it_open() {
        let breaker = opened().await;
        assert_eq!(fail(&breaker), Change::None);
        assert!(breaker.enter().is_none());
        advance(SECOND).await;
        assert!(breaker.enter().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_that_is_dropped_lets_the_next_one_through() {
        let breaker = opened().await;
        drop(breaker.enter());
        assert_eq!(breaker.enter().unwrap().succeeded(), Change::Closed);
    }

    #[tokio::test(start_paused = true)]
    async fn calls_from_before_it_opened_change_nothing() {
        let breaker = Breaker::new();
        let [late, later] = [(); 2].map(|()| breaker.enter().unwrap());
        for _ in 0..3 {
            fail(&breaker);
        }
        advance(SECOND / 2).await;
        assert_eq!(late.succeeded(), Change::None);
        assert_eq!(later.failed(3, SECOND), Change::None);
        assert!(breaker.enter().is_none());
        advance(SECOND / 2).await;
        assert!(breaker.enter().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn calls_from_before_it_opened_do_not_open_it_again() {
        let breaker = Breaker::new();
        let late = [(); 4].map(|()| breaker.enter().unwrap());
        for _ in 0..3 {
            fail(&breaker);
        }
        advance(SECOND).await;
        assert_eq!(breaker.enter().unwrap().succeeded(), Change::Closed);
        let late = late.map(|leave| leave.failed(3, SECOND));
        assert_eq!(late, [Change::None; 4]);
        assert!(!breaker.is_open());
    }
}
