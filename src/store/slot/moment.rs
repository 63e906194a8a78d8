//! Time as a store counts it.

use std::time::Duration;

/// Nanoseconds on the store's own clock; the last one is never reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::store) struct Moment(pub(in crate::store) u64);

impl Moment {
    /// So long after the store's epoch.
    pub(in crate::store) fn at(since_epoch: Duration) -> Self {
        Self(nanos(since_epoch))
    }

    pub(in crate::store) fn since_epoch(self) -> Duration {
        Duration::from_nanos(self.0)
    }

    pub(in crate::store) fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(nanos(duration)))
    }

    pub(in crate::store) fn until(self, later: Self) -> Duration {
        Duration::from_nanos(later.0.saturating_sub(self.0))
    }
}

/// Saturates after 584 years.
pub(in crate::store) fn nanos(duration: Duration) -> u64 {
    let seconds = duration.as_secs().saturating_mul(1_000_000_000);
    seconds.saturating_add(duration.subsec_nanos().into())
}
