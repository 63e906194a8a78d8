//! Hashing what is a digest already.

use std::hash::{BuildHasher, Hasher};

/// Hashes record keys. They are digests, so their first half, mixed by a multiplication,
/// does; the secret keeps apart keys that somebody searched for because they would meet.
#[derive(Debug, Clone)]
pub(super) struct Mixer {
    secret: [u64; 2],
    hash: u64,
}

impl Mixer {
    pub(super) fn with_secret(secret: [u8; 16]) -> Self {
        let (secret, hash) = (words(secret), 0);
        Self { secret, hash }
    }
}

impl BuildHasher for Mixer {
    type Hasher = Self;

    fn build_hasher(&self) -> Self {
        self.clone()
    }
}

impl Hasher for Mixer {
    fn write(&mut self, digest: &[u8]) {
        if let Some(half) = digest.first_chunk() {
            let [a, b] = words(*half);
            let product = u128::from(a ^ self.secret[0]) * u128::from(b ^ self.secret[1]);
            let [low, high] = words(product.to_ne_bytes());
            self.hash = low ^ high;
        }
    }

    /// The length, which is always the same.
    fn write_usize(&mut self, _: usize) {}

    fn finish(&self) -> u64 {
        self.hash
    }
}

fn words(bytes: [u8; 16]) -> [u64; 2] {
    let word = |at| u64::from_ne_bytes(std::array::from_fn(|i| bytes[at + i]));
    [word(0), word(8)]
}
