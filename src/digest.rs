//! SHA-256 over length-prefixed parts: no two different part lists feed the same bytes.

use sha2::{Digest as _, Sha256};

/// The digest of a list of parts. Each use starts with a domain tag of its own, so that
/// digests made for different purposes never agree by accident.
///
/// The parts are gathered on the stack and fed together: each update has its price.
#[derive(Clone)]
pub(crate) struct PartDigest {
    gathered: [u8; ROOM],
    filled: usize,
    /// What was fed before, if there was more than there is room for.
    fed: Option<Sha256>,
}

/// Enough for the parts of a usual request.
const ROOM: usize = 256;

impl PartDigest {
    /// Starts a digest in `domain`.
    #[inline]
    pub(crate) fn new(domain: &str) -> Self {
        let mut digest = Self {
            gathered: [0; ROOM],
            filled: 0,
            fed: None,
        };
        digest.part(domain);
        digest
    }

    /// Adds one part, preceded by its length as eight big-endian bytes.
    #[inline]
    pub(crate) fn part(&mut self, part: impl AsRef<[u8]>) -> &mut Self {
        let part = part.as_ref();
        self.number(part.len() as u64).fixed(part)
    }

    /// Adds a part that may be absent: absent and empty are different.
    pub(crate) fn optional(&mut self, part: Option<&[u8]>) -> &mut Self {
        self.fixed(&[u8::from(part.is_some())]);
        match part {
            Some(part) => self.part(part),
            None => self,
        }
    }

    /// Adds each of `parts` behind a part `what`, and no count: the list ends where the next
    /// part is not `what`. So it must be followed by a part that never equals `what`, by a list
    /// under another name, by pieces (their length ends everything), or by nothing. Two lists
    /// then never feed the same bytes, as neither can end where the other goes on.
    #[inline]
    pub(crate) fn pairs<P: AsRef<[u8]>>(
        &mut self,
        what: &str,
        parts: impl Iterator<Item = P>,
    ) -> &mut Self {
        for part in parts {
            self.part(what).part(part);
        }
        self
    }

    /// Adds a number as eight big-endian bytes.
    pub(crate) fn number(&mut self, number: u64) -> &mut Self {
        self.fixed(&number.to_be_bytes())
    }

    /// The digest of everything added.
    pub(crate) fn finish(&mut self) -> [u8; 32] {
        self.feed().finalize().into()
    }

    /// Goes on with a last part that arrives in pieces.
    pub(crate) fn then_pieces(&mut self) -> PieceDigest {
        let digest = self.feed();
        PieceDigest { digest, length: 0 }
    }

    /// Adds bytes without their length: only where that is always the same.
    #[inline]
    pub(crate) fn fixed(&mut self, bytes: &[u8]) -> &mut Self {
        let end = self.filled + bytes.len();
        if let Some(space) = self.gathered.get_mut(self.filled..end) {
            space.copy_from_slice(bytes);
            self.filled = end;
        } else {
            self.spill(bytes);
        }
        self
    }

    #[cold]
    fn spill(&mut self, bytes: &[u8]) {
        let mut fed = self.feed();
        fed.update(bytes);
        self.fed = Some(fed);
    }

    /// Feeds what was gathered, and begins anew.
    #[inline]
    fn feed(&mut self) -> Sha256 {
        let mut digest = self.fed.take().unwrap_or_default();
        digest.update(&self.gathered[..self.filled]);
        self.filled = 0;
        digest
    }
}

/// A digest whose last part arrives in pieces, so that its length comes behind it.
#[derive(Clone)]
pub(crate) struct PieceDigest {
    digest: Sha256,
    length: u64,
}

impl PieceDigest {
    /// Adds a part before the pieces.
    pub(crate) fn part(&mut self, part: impl AsRef<[u8]>) -> &mut Self {
        let part = part.as_ref();
        self.digest.update((part.len() as u64).to_be_bytes());
        self.digest.update(part);
        self
    }

    /// Adds a piece. Where one ends and the next begins says nothing.
    pub(crate) fn piece(&mut self, piece: &[u8]) {
        self.digest.update(piece);
        self.length += piece.len() as u64;
    }

    /// How long the pieces are together.
    #[cfg(feature = "grpc")]
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// The digest of everything added.
    pub(crate) fn finish(&mut self) -> [u8; 32] {
        self.digest.update(self.length.to_be_bytes());
        self.digest.finalize_reset().into()
    }
}

/// Lower-case hexadecimal of `bytes`.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    push_hex(&mut text, bytes);
    text
}

/// Adds `bytes` in lower-case hexadecimal.
pub(crate) fn push_hex(text: &mut String, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for bytes in bytes.chunks(32) {
        let mut digits = [0; 64];
        for (pair, byte) in digits.chunks_exact_mut(2).zip(bytes) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 0xF)];
        }
        let digits = std::str::from_utf8(&digits[..bytes.len() * 2]);
        text.push_str(digits.unwrap_or_else(|_| unreachable!("digits are ASCII")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn digest(parts: &[Vec<u8>]) -> [u8; 32] {
        let mut digest = PartDigest::new("test");
        for part in parts {
            digest.part(part);
        }
        digest.finish()
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
    fn more_than_there_is_room_for_counts_to_the_last_byte() {
        let long = |last: u8| [vec![1; 3 * ROOM], vec![last]].concat();
        let parts = |a, b| vec![vec![0; ROOM - 8], long(a), vec![2, b]];
        assert_ne!(digest(&parts(0, 0)), digest(&parts(1, 0)));
        assert_ne!(digest(&parts(0, 0)), digest(&parts(0, 1)));
        assert_ne!(digest(&parts(0, 0)), digest(&parts(0, 0)[1..]));
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
        let bytes: Vec<u8> = (0..70).collect();
        let each: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex(&bytes), each);
    }
}
