//! The pauses between the attempts of one call.

use std::{cmp, time::Duration};

/// Each twice as long as the one before, up to a second.
#[derive(Debug)]
pub(super) struct Pauses(Duration);

impl Pauses {
    pub(super) const fn from(first: Duration) -> Self {
        Self(first)
    }

    /// For a call that is sent again.
    pub(super) const fn resending() -> Self {
        Self::from(Duration::from_millis(20))
    }

    pub(super) fn next(&mut self) -> Duration {
        let pause = self.0;
        self.0 = cmp::min(pause * 2, LONGEST);
        pause
    }
}

const LONGEST: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_twice_the_last_and_never_above_a_second() {
        let mut pauses = Pauses::from(Duration::from_millis(300));
        let millis = [300, 600, 1000, 1000];
        assert_eq!(millis.map(|_| pauses.next().as_millis()), millis);
    }
}
