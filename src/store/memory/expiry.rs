//! When to look at which key again.

use std::{
    collections::{
        BTreeMap,
        btree_map::{Entry, OccupiedEntry},
    },
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::clock::Second;

/// Which keys to look at in which second. A key stands here by its hash alone, and is not
/// moved when its deadline changes: whoever looks decides.
pub(super) struct Agenda {
    stripes: Box<[Mutex<Stripe>]>,
}

/// One look at one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Item {
    pub(super) hash: u64,
    pub(super) second: Second,
    pub(super) reason: Reason,
}

/// Why to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    /// A lease may have lapsed, or its key may be gone.
    Lease,
    /// The retention of a record ends.
    Record,
}

impl Agenda {
    /// Enough that threads seldom meet in one.
    pub(super) const STRIPES: usize = 16;

    pub(super) fn new() -> Self {
        Self {
            stripes: (0..Self::STRIPES).map(|_| Mutex::default()).collect(),
        }
    }

    /// The stripe where a key with this hash stands.
    pub(super) fn stripe_of(hash: u64) -> usize {
        // Neither the bits a shard nor those a place in it is chosen by.
        (hash >> 24) as usize % Self::STRIPES
    }

    pub(super) fn push(&self, item: Item) {
        self.lock(Self::stripe_of(item.hash)).push(item);
    }

    /// Takes the look at a lease back, if it was queued lately; an older one stays, and
    /// whoever looks finds nothing.
    pub(super) fn withdraw(&self, hash: u64, second: Second) {
        self.lock(Self::stripe_of(hash)).withdraw(hash, second);
    }

    /// Takes one item of a stripe that is due.
    pub(super) fn pop_due(&self, stripe: usize, now: Second) -> Option<Item> {
        self.lock(stripe).pop_due(now)
    }

    /// Takes the item of the record that expires first.
    pub(super) fn pop_first_record(&self) -> Option<Item> {
        let first = |stripe: &usize| {
            self.lock(*stripe)
                .records
                .first_key_value()
                .map(|(s, _)| *s)
        };
        let stripe = (0..Self::STRIPES)
            .filter_map(|stripe| Some((first(&stripe)?, stripe)))
            .min()?
            .1;
        self.lock(stripe).pop(Reason::Record, None)
    }

    fn lock(&self, stripe: usize) -> MutexGuard<'_, Stripe> {
        let stripe = self.stripes[stripe].lock();
        stripe.unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        let len = |stripe| self.lock(stripe).len();
        (0..Self::STRIPES).map(len).sum()
    }
}

/// Items in lists, one for each second and reason.
#[derive(Default)]
struct Stripe {
    leases: BTreeMap<Second, u32>,
    records: BTreeMap<Second, u32>,
    pool: Pool,
}

impl Stripe {
    fn push(&mut self, item: Item) {
        let lists = match item.reason {
            Reason::Lease => &mut self.leases,
            Reason::Record => &mut self.records,
        };
        let first = lists.entry(item.second).or_insert(END);
        *first = self.pool.link(item.hash, *first);
    }

    fn withdraw(&mut self, hash: u64, second: Second) {
        let Entry::Occupied(first) = self.leases.entry(second) else {
            return;
        };
        // The first node goes, and its item takes the place of the one withdrawn.
        if let Some(place) = self.pool.find(hash, *first.get()) {
            let moved = self.pool.take_first(first);
            self.pool.node_mut(place).hash = moved.to_ne_bytes();
        }
    }

    fn pop_due(&mut self, now: Second) -> Option<Item> {
        let lease = self.pop(Reason::Lease, Some(now));
        lease.or_else(|| self.pop(Reason::Record, Some(now)))
    }

    /// Takes an item of the first second, if that is no later than `until`.
    fn pop(&mut self, reason: Reason, until: Option<Second>) -> Option<Item> {
        let lists = match reason {
            Reason::Lease => &mut self.leases,
            Reason::Record => &mut self.records,
        };
        let first = lists.first_entry()?;
        let second = *first.key();
        if until.is_some_and(|until| second > until) {
            return None;
        }
        let hash = self.pool.take_first(first);
        Some(Item {
            hash,
            second,
            reason,
        })
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        let next = |index: &u32| Some(self.pool.node(*index).next).filter(|next| *next != END);
        let lists = self.leases.values().chain(self.records.values());
        lists
            .map(|first| std::iter::successors(Some(*first), next).count())
            .sum()
    }
}

/// The nodes of all lists, so that a second with one key costs no more than one with a
/// million, and a node freed by one list serves any other.
struct Pool {
    chunks: Vec<Box<[Node]>>,
    free: u32,
}

/// The hash is in bytes, so that a node takes 12 of them and not 16.
struct Node {
    hash: [u8; 8],
    next: u32,
}

/// How many nodes the pool grows by: few, so that growing never takes long.
const CHUNK: usize = 256;
/// How far a node is searched for: as far as those reach that are busy at the same time.
const SEARCHED: usize = 16;
/// Behind the last node of a list.
const END: u32 = u32::MAX;

impl Default for Pool {
    fn default() -> Self {
        Self {
            chunks: Vec::new(),
            free: END,
        }
    }
}

impl Pool {
    /// A node for `hash`, before `next`.
    fn link(&mut self, hash: u64, next: u32) -> u32 {
        if self.free == END {
            self.grow();
        }
        let index = self.free;
        self.free = self.node(index).next;
        let hash = hash.to_ne_bytes();
        *self.node_mut(index) = Node { hash, next };
        index
    }

    /// Takes the first item of a list, and the list with its last.
    fn take_first(&mut self, mut first: OccupiedEntry<'_, Second, u32>) -> u64 {
        let (hash, next) = self.unlink(*first.get());
        if next == END {
            first.remove();
        } else {
            first.insert(next);
        }
        hash
    }

    /// The node that holds `hash`, if it is among the first of a list.
    fn find(&self, hash: u64, first: u32) -> Option<u32> {
        let next = |index: &u32| Some(self.node(*index).next).filter(|next| *next != END);
        std::iter::successors(Some(first), next)
            .take(SEARCHED)
            .find(|index| self.node(*index).hash == hash.to_ne_bytes())
    }

    fn unlink(&mut self, index: u32) -> (u64, u32) {
        let free = self.free;
        let node = self.node_mut(index);
        let next = std::mem::replace(&mut node.next, free);
        let hash = u64::from_ne_bytes(node.hash);
        self.free = index;
        (hash, next)
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "four billion nodes in one stripe of sixteen are out of reach"
    )]
    fn grow(&mut self) {
        let start = self.chunks.len() * CHUNK;
        let last = start + CHUNK - 1;
        let node = |index| Node {
            hash: [0; 8],
            next: if index == last { END } else { index as u32 + 1 },
        };
        self.chunks.push((start..=last).map(node).collect());
        self.free = start as u32;
    }

    fn node(&self, index: u32) -> &Node {
        &self.chunks[index as usize / CHUNK][index as usize % CHUNK]
    }

    fn node_mut(&mut self, index: u32) -> &mut Node {
        &mut self.chunks[index as usize / CHUNK][index as usize % CHUNK]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::memory::clock::Clock;
    use std::time::Duration;

    fn item(hash: u64, seconds: u64, reason: Reason) -> Item {
        let second = Clock::start().now().plus(Duration::from_secs(seconds));
        Item {
            hash,
            second: second.second(),
            reason,
        }
    }

    fn drain(agenda: &Agenda, now: Second) -> Vec<Item> {
        let stripes = 0..Agenda::STRIPES;
        let pop = |stripe| std::iter::from_fn(move || agenda.pop_due(stripe, now));
        stripes.flat_map(pop).collect()
    }

    #[test]
    fn items_come_back_whole_when_due_and_not_before() {
        let agenda = Agenda::new();
        let items: Vec<_> = (0..10_000)
            .map(|i| {
                item(
                    u64::wrapping_mul(i, 0x9E37_79B9_7F4A_7C15),
                    i % 7,
                    Reason::Lease,
                )
            })
            .collect();
        items.iter().for_each(|item| agenda.push(*item));
        let mut seen = Vec::new();
        for second in 0..7 {
            let now = item(0, second, Reason::Lease).second;
            let due = drain(&agenda, now);
            assert!(due.iter().all(|item| item.second == now));
            seen.extend(due);
        }
        let key = |item: &Item| item.hash;
        seen.sort_unstable_by_key(key);
        let mut items = items;
        items.sort_unstable_by_key(key);
        assert_eq!(seen, items);
        assert_eq!(agenda.len(), 0);
    }

    #[test]
    fn freed_nodes_are_used_again() {
        let agenda = Agenda::new();
        for _ in 0..10 {
            for i in 0..CHUNK as u64 {
                agenda.push(item(i, 0, Reason::Record));
            }
            let now = item(0, 0, Reason::Record).second;
            assert_eq!(drain(&agenda, now).len(), CHUNK);
        }
        assert_eq!(agenda.lock(0).pool.chunks.len(), 1);
    }

    #[test]
    fn a_withdrawn_look_is_gone_and_no_other() {
        let agenda = Agenda::new();
        for hash in 0..10 {
            agenda.push(item(hash, 0, Reason::Lease));
        }
        let now = item(0, 0, Reason::Lease).second;
        for hash in [9, 4, 0, 4, 77] {
            agenda.withdraw(hash, now);
        }
        let mut left: Vec<_> = drain(&agenda, now).iter().map(|item| item.hash).collect();
        left.sort_unstable();
        assert_eq!(left, [1, 2, 3, 5, 6, 7, 8]);
    }

    #[test]
    fn the_record_that_expires_first_is_found() {
        let agenda = Agenda::new();
        for (hash, seconds) in [(1 << 24, 5), (2 << 24, 3), (3 << 24, 9)] {
            agenda.push(item(hash, seconds, Reason::Record));
        }
        agenda.push(item(4 << 24, 1, Reason::Lease));
        let order: Vec<_> = std::iter::from_fn(|| agenda.pop_first_record())
            .map(|item| item.hash >> 24)
            .collect();
        assert_eq!(order, [2, 1, 3]);
    }
}
