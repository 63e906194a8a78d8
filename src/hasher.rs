//! Hashing what is a digest already.

use std::hash::{BuildHasher, Hasher};

/// Hashes record keys. They are digests, so a multiplication for each half does; the secret
/// keeps apart keys that somebody searched for because they would meet.
///
/// Of such a hash the lowest 32 bits are all that a table goes by: see [`tagged`].
#[derive(Clone)]
pub(crate) struct DigestHasher {
    secret: u128,
    hash: u64,
}

impl DigestHasher {
    /// A hasher with a secret of its own.
    pub(crate) fn with_secret(secret: [u8; 16]) -> Self {
        Self {
            secret: u128::from_ne_bytes(secret),
            hash: 0,
        }
    }
}

impl BuildHasher for DigestHasher {
    type Hasher = Self;

    fn build_hasher(&self) -> Self {
        self.clone()
    }
}

impl Hasher for DigestHasher {
    fn write(&mut self, mut digest: &[u8]) {
        while let Some((half, rest)) = digest.split_first_chunk() {
            let (high, low) = halves(u128::from_ne_bytes(*half) ^ self.secret);
            self.hash = self.hash.rotate_left(32) ^ folded_product(high, low);
            digest = rest;
        }
    }

    /// The length, which is always the same.
    fn write_usize(&mut self, _: usize) {}

    fn finish(&self) -> u64 {
        // Spreads keys that are no digests, as tests make them.
        tagged(folded_product(self.hash, 0x9E37_79B9_7F4A_7C15))
    }
}

/// Makes the bits 25 to 31 the highest seven too. A table finds a place by the lowest bits, and
/// tells keys that share it apart by the highest seven.
pub(crate) fn tagged(hash: u64) -> u64 {
    (hash << 7 >> 7) | (hash >> 25 << 57)
}

fn folded_product(a: u64, b: u64) -> u64 {
    let (high, low) = halves(u128::from(a) * u128::from(b));
    high ^ low
}

#[expect(clippy::cast_possible_truncation, reason = "halves are meant")]
fn halves(whole: u128) -> (u64, u64) {
    ((whole >> 64) as u64, whole as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record_key::RecordKey;
    use std::collections::HashSet;

    fn hashes(hasher: &DigestHasher, byte: usize) -> HashSet<u64> {
        let key = |value| {
            let mut digest = [7; 32];
            digest[byte] = value;
            RecordKey::from_bytes(digest)
        };
        (0..=255).map(|value| hasher.hash_one(key(value))).collect()
    }

    #[test]
    fn keys_that_share_most_bytes_spread_over_shards_and_places() {
        let hasher = DigestHasher::with_secret(*b"sixteen secrets!");
        for byte in 0..32 {
            let hashes = hashes(&hasher, byte);
            let low: HashSet<_> = hashes.iter().map(|hash| hash & 0xFFF).collect();
            let high: HashSet<_> = hashes.iter().map(|hash| hash << 7 >> 52).collect();
            assert!(low.len() > 200 && high.len() > 200, "byte {byte}");
            let tags: HashSet<_> = hashes.iter().map(|hash| hash >> 57).collect();
            assert!(tags.len() > 90, "byte {byte} has {} tags", tags.len());
        }
    }

    #[test]
    fn another_secret_hashes_otherwise() {
        let one = DigestHasher::with_secret([3; 16]);
        let other = DigestHasher::with_secret([5; 16]);
        assert!(hashes(&one, 3).is_disjoint(&hashes(&other, 3)));
    }
}
