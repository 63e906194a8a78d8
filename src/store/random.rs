//! Random bytes for lease tokens.

use std::{cell::RefCell, mem};

use tokio::time::Instant;

/// Sixteen bytes that nobody can guess and nobody else gets, asked for at `now`.
///
/// A call of the system costs more than all else that a claim does here, so each thread
/// asks for the bytes of many tokens at once.
///
/// # Panics
///
/// If the operating system has no randomness to give.
pub(super) fn sixteen(now: Instant) -> [u8; 16] {
    SUPPLY.with_borrow_mut(|supply| supply.take(now))
}

/// Together they have as many bytes as Linux gives without interruption.
const BOUGHT: usize = 16;

thread_local! {
    static SUPPLY: RefCell<Supply> = const { RefCell::new(Supply::EMPTY) };
}

struct Supply {
    tokens: [[u8; 16]; BOUGHT],
    /// How many of them, from the front, are still nobody's.
    left: usize,
    bought: Option<Instant>,
}

impl Supply {
    const EMPTY: Self = Self {
        tokens: [[0; 16]; BOUGHT],
        left: 0,
        bought: None,
    };

    fn take(&mut self, now: Instant) -> [u8; 16] {
        let bought = match self.bought {
            Some(bought) if self.left > 0 => bought,
            _ => self.buy(),
        };
        self.left -= 1;
        let token = mem::take(&mut self.tokens[self.left]);
        // A process that is forked has the same supply as its parent: time sets them apart.
        let mixed = u128::from_ne_bytes(token) ^ (now - bought).as_nanos();
        mixed.to_ne_bytes()
    }

    #[cold]
    #[expect(clippy::expect_used, reason = "without randomness no lease is safe")]
    fn buy(&mut self) -> Instant {
        getrandom::fill(self.tokens.as_flattened_mut())
            .expect("the operating system has no randomness");
        self.left = BOUGHT;
        *self.bought.insert(Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{collections::HashSet, thread};

    #[test]
    fn no_two_are_alike_on_any_thread() {
        let some = || {
            (0..200)
                .map(|_| sixteen(Instant::now()))
                .collect::<Vec<_>>()
        };
        let others: Vec<_> = (0..3).map(|_| thread::spawn(some)).collect();
        let mut all = some();
        all.extend(others.into_iter().flat_map(|other| other.join().unwrap()));
        assert_eq!(all.iter().collect::<HashSet<_>>().len(), all.len());
        // Each byte is: a constant one is random once in 256^800.
        for at in 0..16 {
            let seen: HashSet<_> = all.iter().map(|bytes| bytes[at]).collect();
            assert!(seen.len() > 128, "byte {at} has {} values", seen.len());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_forked_supply_gives_other_bytes() {
        let mut parent = Supply::EMPTY;
        parent.take(Instant::now());
        let mut child = Supply { ..parent };
        let of_the_parent = parent.take(Instant::now());
        tokio::time::advance(std::time::Duration::from_nanos(1)).await;
        assert_ne!(child.take(Instant::now()), of_the_parent);
    }

    #[test]
    fn what_was_taken_is_kept_nowhere() {
        let mut supply = Supply::EMPTY;
        supply.take(Instant::now());
        assert_eq!(supply.tokens[supply.left..], [[0; 16]]);
    }
}
