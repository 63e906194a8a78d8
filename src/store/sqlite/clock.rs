//! The clock of the file.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant, SystemTime},
};

/// The wall clock of this machine, which never goes back here: it is never behind what the
/// file has seen, and goes on if somebody sets the wall clock back.
///
/// Not tokio's clock: the file outlives the process, and other processes read it.
pub(super) struct Clock(Mutex<Known>);

/// What time it was, and when.
struct Known {
    time: Duration,
    at: Instant,
}

impl Clock {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Known {
            time: Duration::ZERO,
            at: instant(),
        }))
    }

    /// The time since 1970, at least `seen`.
    pub(super) fn now(&self, seen: Duration) -> Duration {
        self.look(seen, wall, instant)
    }

    fn look(
        &self,
        seen: Duration,
        wall: impl FnOnce() -> Duration,
        instant: impl FnOnce() -> Instant,
    ) -> Duration {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let wall = wall();
        // Last: a thread held up before it is behind until it looks again. The other way round it
        // would be ahead from then on.
        let at = instant();
        let gone_on = known.time.saturating_add(at - known.at);
        let time = gone_on.max(seen).max(wall);
        *known = Known { time, at };
        time
    }
}

/// The time of a clock that nobody sets.
#[expect(clippy::disallowed_methods, reason = "this is a clock")]
pub(super) fn instant() -> Instant {
    Instant::now()
}

/// A wall clock before 1970 counts as 1970.
#[expect(clippy::disallowed_methods, reason = "this is a clock")]
fn wall() -> Duration {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

    #[test]
    fn it_is_the_wall_clock() {
        let before = wall();
        let now = Clock::new().now(Duration::ZERO);
        assert!(before <= now && now <= wall());
    }

    #[test]
    fn it_is_never_behind_what_the_file_has_seen_and_goes_on_from_there() {
        let (clock, ahead) = (Clock::new(), wall() + YEAR);
        let first = clock.now(ahead);
        assert_eq!(first, ahead);
        let mut last = first;
        while last == first {
            last = clock.now(Duration::ZERO);
            assert!(last >= first);
        }
        assert!(last < ahead + YEAR, "it goes on as time does");
    }

    #[test]
    fn a_thread_held_up_between_two_looks_does_not_set_it_ahead() {
        let (clock, start) = (Clock::new(), instant());
        let passed = Cell::new(Duration::ZERO);
        let held_up = || passed.replace(passed.get() + YEAR);
        clock.look(Duration::ZERO, || YEAR + held_up(), || start + held_up());
        let wall = YEAR + passed.get();
        let now = clock.look(Duration::ZERO, || wall, || start + passed.get());
        assert_eq!(now, wall);
    }
}
