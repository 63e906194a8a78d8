//! The store's own clock.

use std::time::Duration;

use tokio::time::Instant;

/// Counts from the creation of the store.
pub(super) struct Clock(Instant);

impl Clock {
    pub(super) fn start() -> Self {
        Self(Instant::now())
    }

    pub(super) fn now(&self) -> Moment {
        Moment(nanos(self.0.elapsed()))
    }
}

/// Nanoseconds since the creation of the store; the last one is never reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment(u64);

impl Moment {
    pub(super) fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(nanos(duration)))
    }

    pub(super) fn until(self, later: Self) -> Duration {
        Duration::from_nanos(later.0.saturating_sub(self.0))
    }

    /// The second this moment lies in.
    pub(super) fn second(self) -> Second {
        Second(self.0 / NANOS_PER_SECOND)
    }

    /// The first second in which this moment is over from beginning to end.
    pub(super) fn over_in(self) -> Second {
        Second(self.0 / NANOS_PER_SECOND + 1)
    }
}

/// Seconds since the creation of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Second(u64);

const NANOS_PER_SECOND: u64 = 1_000_000_000;

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
