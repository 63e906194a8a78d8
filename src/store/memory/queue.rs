//! When to look at which key again.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
};

use super::{clock::Second, place::Hash};

/// Looks at keys, the first of them in front.
///
/// What is kept for the same time comes in the order in which it goes, so that it is added and
/// taken in constant time: seconds stand behind each other, and the looks of each second
/// together. Whatever comes before the last of them takes the logarithm of its like.
#[derive(Default)]
pub(super) struct Queue {
    line: VecDeque<Look>,
    strays: BinaryHeap<Reverse<Look>>,
}

/// One look at one key, which stands here by its hash alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Look {
    pub(super) second: Second,
    pub(super) hash: Hash,
}

impl Queue {
    pub(super) fn reserve(&mut self, looks: usize) {
        self.line.reserve(looks);
    }

    #[inline]
    pub(super) fn push(&mut self, look: Look) {
        match self.line.back() {
            Some(last) if last.second > look.second => self.push_before(look),
            _ => self.line.push_back(look),
        }
    }

    #[cold]
    fn push_before(&mut self, look: Look) {
        // One that is kept for longer than the others goes out of their way.
        self.strays.extend(self.line.pop_back().map(Reverse));
        match self.line.back() {
            Some(last) if last.second > look.second => self.strays.push(Reverse(look)),
            _ => self.line.push_back(look),
        }
    }

    /// The second of the first look.
    pub(super) fn first(&self) -> Option<Second> {
        let stray = self.strays.peek().map(|Reverse(stray)| stray.second);
        let first = self.line.front().map(|first| first.second);
        first.into_iter().chain(stray).min()
    }

    /// Takes the first look.
    pub(super) fn pop(&mut self) -> Option<Look> {
        let first = self.first()?;
        let in_line = self.line.front().is_some_and(|look| look.second == first);
        match in_line {
            true => self.line.pop_front(),
            false => self.strays.pop().map(|Reverse(stray)| stray),
        }
    }

    /// Takes the first look if it is due.
    pub(super) fn pop_due(&mut self, now: Second) -> Option<Look> {
        self.is_due(now).then(|| self.pop()).flatten()
    }

    pub(super) fn is_due(&self, now: Second) -> bool {
        self.first().is_some_and(|first| first <= now)
    }

    pub(super) fn clear(&mut self) {
        self.line.clear();
        self.strays.clear();
    }

    pub(super) fn len(&self) -> usize {
        self.line.len() + self.strays.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::slot::Moment;
    use proptest::prelude::*;
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

    proptest! {
        /// As of a list that is sorted.
        #[test]
        fn the_first_is_found_whatever_came_first(
            steps in proptest::collection::vec(proptest::option::weighted(0.6, 0..20_u64), 1..200),
        ) {
            let (mut queue, mut meant) = (Queue::default(), Vec::new());
            for step in steps {
                match step.map(second) {
                    Some(second) => {
                        queue.push(Look { second, hash: Hash(0) });
                        meant.push(second);
                        meant.sort_unstable_by(|a, b| b.cmp(a));
                    }
                    None => prop_assert_eq!(queue.pop().map(|look| look.second), meant.pop()),
                }
                prop_assert_eq!(queue.first(), meant.last().copied());
                prop_assert_eq!(queue.len(), meant.len());
            }
        }
    }

    #[test]
    fn what_is_kept_longest_is_in_nobodys_way() {
        let mut queue = Queue::default();
        for number in 0..1_000 {
            let kept_for = if number % 100 == 5 { 1_000_000 } else { 10 };
            let (second, hash) = (second(number / 2 + kept_for), Hash(0));
            queue.push(Look { second, hash });
        }
        assert_eq!(queue.strays.len(), 10);
    }
}
