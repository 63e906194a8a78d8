//! The store's own clock.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

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
        Second::numbered(self.0 / NANOS_PER_SECOND)
    }

    /// The first second in which this moment is over from beginning to end.
    pub(super) fn over_in(self) -> Second {
        Second::numbered(self.0 / NANOS_PER_SECOND + 1)
    }
}

/// Seconds since the creation of the store; the last ones, 136 years later, are one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Second(u32);

impl Second {
    const LAST: Self = Self(u32::MAX - 1);

    fn numbered(number: u64) -> Self {
        u32::try_from(number)
            .map_or(Self::LAST, Self)
            .min(Self::LAST)
    }
}

/// A second that is read without a lock, or none.
pub(super) struct SharedSecond(AtomicU32);

impl SharedSecond {
    pub(super) fn none() -> Self {
        Self(AtomicU32::new(NONE))
    }

    pub(super) fn set(&self, second: Option<Second>) {
        self.0
            .store(second.map_or(NONE, |Second(number)| number), Relaxed);
    }

    pub(super) fn get(&self) -> Option<Second> {
        Some(Second(self.0.load(Relaxed))).filter(|second| *second <= Second::LAST)
    }
}

const NONE: u32 = u32::MAX;
const NANOS_PER_SECOND: u64 = 1_000_000_000;
