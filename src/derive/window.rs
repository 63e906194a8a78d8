//! The stretch of time that a moment lies in.

use std::time::{Duration, SystemTime};

/// The number of the stretch, counted from 1970, and its length.
pub(super) fn window(now: SystemTime, length: Duration) -> [u8; 32] {
    let length = signed(length);
    let number = since_1970(now).div_euclid(length);
    let mut part = [0; 32];
    part[..16].copy_from_slice(&number.to_be_bytes());
    part[16..].copy_from_slice(&length.to_be_bytes());
    part
}

/// Nanoseconds, below zero for what was before.
fn since_1970(now: SystemTime) -> i128 {
    match now.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => signed(since),
        Err(before) => -signed(before.duration()),
    }
}

/// The longest duration has less than 2^94 nanoseconds.
fn signed(duration: Duration) -> i128 {
    i128::try_from(duration.as_nanos()).unwrap_or(i128::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);
    const NANO: Duration = Duration::from_nanos(1);

    #[test]
    fn an_edge_belongs_to_what_follows() {
        let edge = SystemTime::UNIX_EPOCH + 100 * MINUTE;
        assert_eq!(window(edge, MINUTE), window(edge + MINUTE - NANO, MINUTE));
        assert_ne!(window(edge, MINUTE), window(edge - NANO, MINUTE));
        assert_ne!(window(edge, MINUTE), window(edge + MINUTE, MINUTE));
    }

    #[test]
    fn before_1970_stretches_are_as_long() {
        let epoch = SystemTime::UNIX_EPOCH;
        assert_ne!(window(epoch, MINUTE), window(epoch - NANO, MINUTE));
        assert_eq!(window(epoch - NANO, MINUTE), window(epoch - MINUTE, MINUTE));
    }

    #[test]
    fn stretches_of_other_lengths_are_others() {
        let epoch = SystemTime::UNIX_EPOCH;
        assert_ne!(window(epoch, MINUTE), window(epoch, 2 * MINUTE));
    }
}
