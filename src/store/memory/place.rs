//! Where a key stands.

use std::hash::BuildHasher as _;

use dashmap::DashMap;

use super::slot::Slot;
use crate::{
    hasher::{DigestHasher, tagged},
    record_key::RecordKey,
};

pub(super) type Map = DashMap<RecordKey, Slot, DigestHasher>;

/// In which shard of the map a key stands, and by which hash: where the map itself would look.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) shard: usize,
    pub(super) hash: u64,
}

impl Place {
    pub(super) fn of(key: &RecordKey, map: &Map) -> Self {
        let hash = map.hasher().hash_one(key);
        #[expect(clippy::cast_possible_truncation, reason = "as the map does")]
        let shard = map.determine_shard(hash as usize);
        Self { shard, hash }
    }
}

/// Stands for a key within its shard. Half of what a table wants, so that a look at a key
/// takes 8 bytes and not 16.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Hash(pub(super) u32);

impl Hash {
    #[expect(clippy::cast_possible_truncation, reason = "the half is meant")]
    pub(super) fn half(hash: u64) -> Self {
        Self(hash as u32)
    }

    /// As good as the hash it was half of, within a table.
    pub(super) fn whole(self) -> u64 {
        tagged(self.0.into())
    }
}
