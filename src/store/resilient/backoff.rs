//! How long to pause before a call is sent again.

use std::{iter::successors, time::Duration};

#[derive(Debug, Clone, Copy)]
pub(super) struct Backoff {
    pub(super) retries: u32,
    pub(super) first: Duration,
    pub(super) longest: Duration,
}

impl Backoff {
    /// A pause for each retry.
    pub(super) fn pauses(self) -> impl Iterator<Item = Duration> {
        let twice = move |pause: &Duration| Some(pause.saturating_mul(2).min(self.longest));
        let pauses = successors(Some(self.first.min(self.longest)), twice);
        let retries = usize::try_from(self.retries).unwrap_or(usize::MAX);
        pauses.take(retries).map(jittered)
    }
}

/// Less up to half of it, so that those who failed together do not come back together.
fn jittered(pause: Duration) -> Duration {
    // Without randomness it is the whole pause.
    let random = getrandom::u32().unwrap_or(0);
    pause - pause.mul_f64(f64::from(random) / f64::from(u32::MAX) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    const MILLI: Duration = Duration::from_millis(1);

    #[test]
    fn pauses_double_up_to_the_longest_and_are_never_the_same() {
        let backoff = Backoff {
            retries: 100,
            first: MILLI * 20,
            longest: MILLI * 100,
        };
        let pauses: Vec<_> = backoff.pauses().collect();
        assert_eq!(pauses.len(), 100);
        let whole = [20, 40, 80].into_iter().chain(std::iter::repeat(100));
        for (pause, whole) in pauses.iter().zip(whole) {
            let whole = MILLI * whole;
            assert!(
                *pause <= whole && *pause >= whole / 2,
                "{pause:?} of {whole:?}"
            );
        }
        assert!(pauses.iter().collect::<HashSet<_>>().len() > 50);
    }

    #[test]
    fn a_pause_may_be_as_long_as_can_be() {
        let (retries, first, longest) = (3, Duration::MAX, Duration::MAX);
        let backoff = Backoff {
            retries,
            first,
            longest,
        };
        assert!(backoff.pauses().all(|pause| pause >= Duration::MAX / 3));
    }

    #[test]
    fn without_retries_there_is_no_pause() {
        let (retries, first, longest) = (0, MILLI, Duration::MAX);
        let backoff = Backoff {
            retries,
            first,
            longest,
        };
        assert_eq!(backoff.pauses().count(), 0);
    }
}
