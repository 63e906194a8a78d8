//! A bounded number of copies, of which those used last stay.

use std::{collections::HashMap, mem, time::Duration};

use tokio::time::Instant;

use crate::{hasher::DigestHasher, record::Record, record_key::RecordKey, store::LeaseToken};

/// Two generations. What is used moves to the young one; when that is full it becomes the old
/// one, and the old one is dropped as a whole. Each step is short, and there is no list to keep.
pub(super) struct Shelf {
    pub(super) max_entries: usize,
    pub(super) max_bytes: u64,
    /// How often a copy was forgotten.
    pub(super) forgets: u64,
    hasher: DigestHasher,
    young: Generation,
    old: Generation,
}

/// The copy of a record.
#[derive(Clone)]
pub(super) struct Copied {
    pub(super) record: Record,
    /// The store keeps it at least until then.
    pub(super) kept_until: Instant,
    /// From then on the store is asked again.
    pub(super) used_until: Instant,
}

/// Dropping one may take long; so that is done outside the lock.
pub(super) struct Generation {
    copies: HashMap<RecordKey, Copied, DigestHasher>,
    bytes: u64,
}

/// What a copy takes beside its payload.
const ENTRY_BYTES: u64 = 200;

impl Shelf {
    pub(super) fn new(max_entries: usize, max_bytes: u64) -> Self {
        let hasher = DigestHasher::with_secret(*LeaseToken::random().as_bytes());
        Self {
            max_entries,
            max_bytes,
            forgets: 0,
            young: Generation::new(&hasher),
            old: Generation::new(&hasher),
            hasher,
        }
    }

    /// The copy of `key` if it may be used, and what had to go for it.
    pub(super) fn find(
        &mut self,
        key: &RecordKey,
        now: Instant,
    ) -> Option<(Copied, Option<Generation>)> {
        if let Some(copied) = self
            .young
            .copies
            .get(key)
            .filter(|copied| copied.is_good(now))
        {
            return Some((copied.clone(), None));
        }
        let copied = self.remove(key).filter(|copied| copied.is_good(now))?;
        let dropped = self.put(*key, copied.clone());
        Some((copied, dropped))
    }

    /// Puts a copy there, and returns what had to go for it.
    pub(super) fn put(&mut self, key: RecordKey, copied: Copied) -> Option<Generation> {
        self.remove(&key);
        let bytes = copied.bytes();
        if self.max_entries < 2 || bytes > self.max_bytes / 2 {
            return None;
        }
        let is_full = self.young.copies.len() >= self.max_entries / 2
            || self.young.bytes + bytes > self.max_bytes / 2;
        let dropped = is_full.then(|| self.turn());
        self.young.bytes += bytes;
        self.young.copies.insert(key, copied);
        dropped
    }

    fn turn(&mut self) -> Generation {
        let young = mem::replace(&mut self.young, Generation::new(&self.hasher));
        mem::replace(&mut self.old, young)
    }

    /// Removes the copy of `key`. What the store was asked before is not to be put there.
    pub(super) fn forget(&mut self, key: &RecordKey) -> Option<Copied> {
        self.forgets += 1;
        self.remove(key)
    }

    fn remove(&mut self, key: &RecordKey) -> Option<Copied> {
        self.young.remove(key).or_else(|| self.old.remove(key))
    }
}

impl Copied {
    fn is_good(&self, now: Instant) -> bool {
        now < self.used_until && now < self.kept_until
    }

    pub(super) fn remaining(&self, now: Instant) -> Duration {
        self.kept_until.saturating_duration_since(now)
    }

    fn bytes(&self) -> u64 {
        self.record.bytes() + ENTRY_BYTES
    }
}

impl Generation {
    fn new(hasher: &DigestHasher) -> Self {
        Self {
            copies: HashMap::with_hasher(hasher.clone()),
            bytes: 0,
        }
    }

    fn remove(&mut self, key: &RecordKey) -> Option<Copied> {
        let copied = self.copies.remove(key)?;
        self.bytes -= copied.bytes();
        Some(copied)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fingerprint::Fingerprint;
    use http::Response;
    use proptest::{collection::vec, prelude::*};

    const HOUR: Duration = Duration::from_secs(3600);

    fn key(number: u8) -> RecordKey {
        RecordKey::from_bytes([number; 32])
    }

    fn copied(bytes: usize) -> Copied {
        let response = Response::new(vec![0; bytes].into());
        Copied {
            record: Record::answer(Fingerprint::custom([1; 32]), &response),
            kept_until: Instant::now() + HOUR,
            used_until: Instant::now() + HOUR,
        }
    }

    fn has(shelf: &mut Shelf, number: u8) -> bool {
        shelf.find(&key(number), Instant::now()).is_some()
    }

    #[test]
    fn what_is_used_stays() {
        let mut shelf = Shelf::new(8, 1 << 20);
        shelf.put(key(0), copied(1));
        for number in 1..100 {
            shelf.put(key(number), copied(1));
            assert!(has(&mut shelf, 0), "after {number}");
        }
        assert!(!has(&mut shelf, 50));
        assert!(has(&mut shelf, 99));
    }

    #[test]
    fn what_is_over_goes() {
        let mut shelf = Shelf::new(8, 1 << 20);
        let now = Instant::now();
        let (mut expired, mut aged) = (copied(1), copied(1));
        expired.kept_until = now;
        aged.used_until = now;
        for over in [expired, aged] {
            shelf.put(key(1), over);
            assert!(!has(&mut shelf, 1));
            assert!(shelf.young.copies.is_empty());
        }
    }

    #[test]
    fn what_is_too_large_is_not_copied() {
        let mut shelf = Shelf::new(8, 2_000);
        shelf.put(key(1), copied(801));
        assert!(!has(&mut shelf, 1));
        shelf.put(key(1), copied(800));
        assert!(has(&mut shelf, 1));
        let mut none = Shelf::new(0, 1 << 20);
        none.put(key(1), copied(1));
        assert!(!has(&mut none, 1));
    }

    proptest! {
        #[test]
        fn bounds_hold_and_bytes_are_those_held(
            steps in vec((0..3_u8, 0..20_u8, 0..600_usize), 0..200),
        ) {
            let mut shelf = Shelf::new(10, 5_000);
            for (step, number, bytes) in steps {
                match step {
                    0 => drop(shelf.put(key(number), copied(bytes))),
                    1 => drop(shelf.remove(&key(number))),
                    _ => drop(shelf.find(&key(number), Instant::now())),
                }
                let generations = [&shelf.young, &shelf.old];
                let entries: usize = generations.map(|held| held.copies.len()).iter().sum();
                let bytes: u64 = generations.map(|held| held.bytes).iter().sum();
                let counted: [u64; 2] =
                    generations.map(|held| held.copies.values().map(Copied::bytes).sum());
                prop_assert!(entries <= 10 && bytes <= 5_000);
                prop_assert_eq!(generations.map(|held| held.bytes), counted);
                prop_assert!(!shelf.young.copies.keys().any(|key| shelf.old.copies.contains_key(key)));
            }
        }
    }
}
