//! How far ahead this crate looks.

use std::time::Duration;

use tokio::time::Instant;

/// Thirty years, which stand for all that is longer. The clocks of some systems end within a
/// hundred.
pub(crate) const HORIZON: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);

/// So long after `instant`.
pub(crate) fn after(instant: Instant, time: Duration) -> Instant {
    instant + time.min(HORIZON)
}
