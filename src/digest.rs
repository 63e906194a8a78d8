//! SHA-256 over length-prefixed parts: no two different part lists feed the same bytes.

use sha2::{Digest as _, Sha256};

/// A running digest. Each use starts with a domain tag of its own, so that digests made
/// for different purposes never agree by accident.
#[derive(Clone)]
pub(crate) struct PartDigest(Sha256);

/// The longest part that is worth a copy.
const SHORT: usize = 64;

impl PartDigest {
    /// Starts a digest in `domain`.
    pub(crate) fn new(domain: &str) -> Self {
        Self(Sha256::new()).part(domain)
    }

    /// Adds one part, preceded by its length as eight big-endian bytes.
    pub(crate) fn part(mut self, part: impl AsRef<[u8]>) -> Self {
        let part = part.as_ref();
        let length = (part.len() as u64).to_be_bytes();
        // Each update has its price: a short part goes in one with its length.
        let mut short = [0; 8 + SHORT];
        if let Some(space) = short.get_mut(..8 + part.len()) {
            space[..8].copy_from_slice(&length);
            space[8..].copy_from_slice(part);
            self.0.update(space);
        } else {
            self.0.update(length);
            self.0.update(part);
        }
        self
    }

    /// Adds a part that may be absent: absent and empty are different.
    pub(crate) fn optional(mut self, part: Option<&[u8]>) -> Self {
        self.0.update([u8::from(part.is_some())]);
        match part {
            Some(part) => self.part(part),
            None => self,
        }
    }

    /// Adds bytes with no length: only for a last part that arrives in pieces, whose
    /// length the caller adds behind it with [`length`](Self::length).
    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Adds the length of a part fed through [`raw`](Self::raw).
    pub(crate) fn length(mut self, length: u64) -> Self {
        self.0.update(length.to_be_bytes());
        self
    }

    /// The digest of everything added.
    pub(crate) fn finish(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}

/// Lower-case hexadecimal of `bytes`.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
            let _ = write!(out, "{byte:02x}");
            out
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn digest(parts: &[Vec<u8>]) -> [u8; 32] {
        parts
            .iter()
            .fold(PartDigest::new("test"), |digest, part| digest.part(part))
            .finish()
    }

    proptest! {
        #[test]
        fn different_part_lists_never_agree(
            a in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..6), 0..5),
            b in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..6), 0..5),
        ) {
            prop_assert_eq!(a == b, digest(&a) == digest(&b));
        }

        #[test]
        fn moving_a_border_changes_the_digest(
            bytes in proptest::collection::vec(any::<u8>(), 2..40),
            cut in any::<(prop::sample::Index, prop::sample::Index)>(),
        ) {
            let (i, j) = (cut.0.index(bytes.len()), cut.1.index(bytes.len()));
            let split = |at: usize| vec![bytes[..at].to_vec(), bytes[at..].to_vec()];
            prop_assert_eq!(i == j, digest(&split(i)) == digest(&split(j)));
        }
    }

    #[test]
    fn absent_is_not_empty() {
        let absent = PartDigest::new("test").optional(None).finish();
        let empty = PartDigest::new("test").optional(Some(b"")).finish();
        assert_ne!(absent, empty);
    }

    #[test]
    fn hexadecimal_is_lower_case_and_padded() {
        assert_eq!(hex(&[0x00, 0x0f, 0xff]), "000fff");
    }
}
