//! The store's own clock.

use tokio::time::Instant;

use crate::store::slot::Moment;

/// Counts from the creation of the store.
pub(super) struct Clock(Instant);

impl Clock {
    pub(super) fn start() -> Self {
        Self(Instant::now())
    }

    pub(super) fn now(&self) -> Moment {
        Moment::at(self.0.elapsed())
    }
}

impl Moment {
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
