//! When to look at which key again.

use std::{cmp::Reverse, collections::BinaryHeap};

use super::{clock::Second, place::Hash};

/// Looks at keys, the first of them in front. Most are added behind all others, which takes
/// one comparison.
#[derive(Default)]
pub(super) struct Queue(BinaryHeap<Reverse<Look>>);

/// One look at one key, which stands here by its hash alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Look {
    pub(super) second: Second,
    pub(super) hash: Hash,
}

impl Queue {
    pub(super) fn reserve(&mut self, looks: usize) {
        self.0.reserve(looks);
    }

    pub(super) fn push(&mut self, look: Look) {
        self.0.push(Reverse(look));
    }

    /// The second of the first look.
    pub(super) fn first(&self) -> Option<Second> {
        self.0.peek().map(|Reverse(look)| look.second)
    }

    /// Takes the first look.
    pub(super) fn pop(&mut self) -> Option<Look> {
        self.0.pop().map(|Reverse(look)| look)
    }

    /// Takes the first look if it is due.
    pub(super) fn pop_due(&mut self, now: Second) -> Option<Look> {
        self.is_due(now).then(|| self.pop()).flatten()
    }

    pub(super) fn is_due(&self, now: Second) -> bool {
        self.first().is_some_and(|first| first <= now)
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::slot::Moment;
    use std::{iter::from_fn, time::Duration};

    fn second(number: u64) -> Second {
        Moment::at(Duration::from_secs(number)).second()
    }

    #[test]
    fn a_look_stays_small() {
        assert_eq!(size_of::<Look>(), 8);
    }

    #[test]
    fn looks_come_back_whole_when_due_and_not_before() {
        let mut queue = Queue::default();
        let look = |i: u32| Look {
            second: second(u64::from(i) % 7),
            hash: Hash(i.wrapping_mul(0x9E37_79B9)),
        };
        (0..10_000).for_each(|i| queue.push(look(i)));
        for now in 0..7 {
            let mut due: Vec<_> = from_fn(|| queue.pop_due(second(now))).collect();
            due.sort_unstable();
            let all = (0..10_000).map(look);
            let mut meant: Vec<_> = all.filter(|look| look.second == second(now)).collect();
            meant.sort_unstable();
            assert_eq!(due, meant);
        }
        assert_eq!(queue.len(), 0);
    }

    #[test]
    fn the_first_is_found_whatever_came_first() {
        let mut queue = Queue::default();
        for number in [5, 3, 9, 4] {
            let (second, hash) = (second(number), Hash(0));
            queue.push(Look { second, hash });
        }
        let order: Vec<_> = from_fn(|| queue.pop()).map(|look| look.second).collect();
        assert_eq!(order, [3, 4, 5, 9].map(second));
    }
}
