//! SHA-256 over length-prefixed parts: no two different part lists feed the same bytes.

use sha2::{Digest as _, Sha256};

/// The digest of a list of parts. Each use starts with a domain tag of its own, so that
/// digests made for different purposes never agree by accident.
///
/// The parts are gathered on the stack, and fed together: each update has its price.
pub(crate) struct PartDigest {
    gathered: [u8; ROOM],
    filled: usize,
    /// What was fed before, if there was more than there is room for.
    fed: Option<Sha256>,
}

/// Enough for the parts of a usual request.
const ROOM: usize = 256;

impl PartDigest {
    /// The digest of what `add` adds in `domain`.
    #[inline]
    pub(crate) fn of(domain: &str, add: impl FnOnce(&mut Self)) -> [u8; 32] {
        Self::head(domain, add).finalize().into()
    }

    #[inline]
    fn head(domain: &str, add: impl FnOnce(&mut Self)) -> Sha256 {
        let mut digest = Self {
            gathered: [0; ROOM],
            filled: 0,
            fed: None,
        };
        digest.part(domain);
        add(&mut digest);
        digest.feed()
    }

    /// Adds one part, preceded by its length as eight big-endian bytes.
    #[inline]
    pub(crate) fn part(&mut self, part: impl AsRef<[u8]>) -> &mut Self {
        let part = part.as_ref();
        self.gather([&(part.len() as u64).to_be_bytes(), part])
    }

    /// Adds a part that may be absent: absent and empty are different.
    pub(crate) fn optional(&mut self, part: Option<&[u8]>) -> &mut Self {
        self.gather([&[u8::from(part.is_some())]]);
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
    #[inline]
    pub(crate) fn number(&mut self, number: u64) -> &mut Self {
        self.gather([&number.to_be_bytes()])
    }

    /// Adds bytes without their length.
    #[inline]
    fn gather<const N: usize>(&mut self, runs: [&[u8]; N]) -> &mut Self {
        let end = self.filled + runs.iter().map(|run| run.len()).sum::<usize>();
        if let Some(mut space) = self.gathered.get_mut(self.filled..end) {
            for run in runs {
                let (begin, rest) = space.split_at_mut(run.len());
                begin.copy_from_slice(run);
                space = rest;
            }
            self.filled = end;
        } else {
            self.spill(&runs);
        }
        self
    }

    #[cold]
    fn spill(&mut self, runs: &[&[u8]]) {
        let mut fed = self.feed();
        runs.iter().for_each(|run| fed.update(run));
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

/// A digest to be kept while it grows.
#[derive(Clone)]
pub(crate) struct GrowingDigest(Sha256);

impl GrowingDigest {
    /// A digest that begins with what `add` adds in `domain`.
    #[inline]
    pub(crate) fn behind(domain: &str, add: impl FnOnce(&mut PartDigest)) -> Self {
        Self(PartDigest::head(domain, add))
    }

    /// Adds one part, preceded by its length as eight big-endian bytes.
    pub(crate) fn part(&mut self, part: impl AsRef<[u8]>) -> &mut Self {
        let part = part.as_ref();
        self.number(part.len() as u64).fixed(part)
    }

    /// Adds a number as eight big-endian bytes.
    pub(crate) fn number(&mut self, number: u64) -> &mut Self {
        self.fixed(&number.to_be_bytes())
    }

    /// Adds bytes without their length: only where that is always the same, or told elsewhere.
    pub(crate) fn fixed(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.update(bytes);
        self
    }

    /// The digest of everything added, which is then forgotten.
    pub(crate) fn finish(&mut self) -> [u8; 32] {
        self.0.finalize_reset().into()
    }
}

/// A digest whose last part arrives in pieces, so that its length comes behind it.
#[derive(Clone)]
pub(crate) struct PieceDigest {
    digest: GrowingDigest,
    length: u64,
}

impl PieceDigest {
    /// A digest of pieces behind what `add` adds in `domain`.
    #[inline]
    pub(crate) fn behind(domain: &str, add: impl FnOnce(&mut PartDigest)) -> Self {
        let digest = GrowingDigest::behind(domain, add);
        Self { digest, length: 0 }
    }

    /// Adds a part before the pieces.
    pub(crate) fn part(&mut self, part: impl AsRef<[u8]>) -> &mut Self {
        self.digest.part(part);
        self
    }

    /// Adds a piece. Where one ends and the next begins says nothing.
    pub(crate) fn piece(&mut self, piece: &[u8]) {
        self.digest.fixed(piece);
        self.length += piece.len() as u64;
    }

    /// How long the pieces are together.
    #[cfg(feature = "grpc")]
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// The digest of everything added, which is then forgotten.
    pub(crate) fn finish(&mut self) -> [u8; 32] {
        self.digest.number(self.length).finish()
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
        PartDigest::of("test", |digest| {
            for part in parts {
                digest.part(part);
            }
        })
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
    fn whatever_there_is_room_for_it_is_sha_256() {
        for length in 0..3 * ROOM {
            let part: Vec<u8> = (1..=u8::MAX).cycle().take(length).collect();
            let mut expected = Sha256::new();
            for part in [b"test", &*part, &*part, b"end"] {
                expected.update((part.len() as u64).to_be_bytes());
                expected.update(part);
            }
            let expected: [u8; 32] = expected.finalize().into();
            let parts = [part.clone(), part, b"end".to_vec()];
            assert_eq!(digest(&parts), expected, "{length}");
        }
    }

    #[test]
    fn absent_is_not_empty() {
        let digest = |part| {
            PartDigest::of("test", |digest| {
                digest.optional(part);
            })
        };
        assert_ne!(digest(None), digest(Some(b"".as_slice())));
    }

    #[test]
    fn hexadecimal_is_lower_case_and_padded() {
        assert_eq!(hex(&[0x00, 0x0f, 0xff]), "000fff");
        let bytes: Vec<u8> = (0..70).collect();
        let each: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex(&bytes), each);
    }
}
