//! How long to wait where the server does not say.

use std::time::Duration;

/// Doubles from `first` to `longest`; of each wait up to half is left out by chance, so that
/// clients that failed together do not come back together.
#[derive(Debug, Clone, Copy)]
pub(super) struct Backoff {
    pub(super) first: Duration,
    pub(super) longest: Duration,
}

impl Backoff {
    /// The wait after `failed` attempts, with `chance` as the part of 2^64 left out.
    pub(super) fn wait(self, failed: u32, chance: u64) -> Duration {
        let doubled = 2_u32.saturating_pow(failed.saturating_sub(1));
        let whole = self.first.saturating_mul(doubled).min(self.longest);
        let half = u64::try_from((whole / 2).as_nanos()).unwrap_or(u64::MAX);
        let left_out = (u128::from(half) * u128::from(chance)) >> 64;
        whole - Duration::from_nanos(u64::try_from(left_out).unwrap_or(half))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLI: Duration = Duration::from_millis(1);

    #[test]
    fn doubles_up_to_the_longest() {
        let backoff = Backoff {
            first: 100 * MILLI,
            longest: 1000 * MILLI,
        };
        let waits = [1, 2, 3, 4, 5, 1000, u32::MAX].map(|failed| backoff.wait(failed, 0));
        assert_eq!(
            waits,
            [100, 200, 400, 800, 1000, 1000, 1000].map(|n| n * MILLI)
        );
    }

    #[test]
    fn at_most_half_is_left_out() {
        let backoff = Backoff {
            first: 100 * MILLI,
            longest: Duration::MAX,
        };
        assert_eq!(backoff.wait(1, u64::MAX / 2 + 1), 75 * MILLI);
        let least = backoff.wait(1, u64::MAX);
        assert!(50 * MILLI <= least && least < 51 * MILLI);
        assert!(backoff.wait(u32::MAX, u64::MAX) > Duration::from_secs(1 << 27));
    }
}
