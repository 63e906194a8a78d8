//! Where a key stands.

use std::hash::BuildHasher as _;

use crate::{hasher::DigestHasher, record_key::RecordKey};

/// In which shard a key stands, and by which hash.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) shard: usize,
    pub(super) hash: Hash,
}

impl Place {
    /// Among so many shards, a power of two.
    pub(super) fn of(key: &RecordKey, hasher: &DigestHasher, shards: usize) -> Self {
        let (high, low) = halves(hasher.hash_one(key));
        Self {
            shard: high as usize & (shards - 1),
            hash: Hash(low),
        }
    }
}

/// Stands for a key within its shard. Half of what a table wants, so that a look at a key
/// takes 8 bytes and not 16.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Hash(pub(super) u32);

impl Hash {
    pub(super) fn of(key: &RecordKey, hasher: &DigestHasher) -> Self {
        Self(halves(hasher.hash_one(key)).1)
    }

    /// A table finds a place by the lowest bits, and tells keys apart by the highest seven.
    pub(super) fn whole(self) -> u64 {
        u64::from(self.0) << 32 | u64::from(self.0)
    }
}

#[expect(clippy::cast_possible_truncation, reason = "halves are meant")]
fn halves(hash: u64) -> (u32, u32) {
    ((hash >> 32) as u32, hash as u32)
}
