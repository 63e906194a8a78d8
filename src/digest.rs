//! SHA-256 over length-prefixed parts: no two different part lists feed the same bytes.

use sha2::{Digest as _, Sha256, block_api::compress256};

/// The digest of a list of parts. Each use starts with a domain tag of its own, so that
/// digests made for different purposes never agree by accident.
///
/// The parts are gathered on the stack, where [`short`] digests them: each update has its price.
#[derive(Clone)]
pub(crate) struct PartDigest {
    /// All zero behind what is filled, unless something was fed before.
    gathered: [[u8; BLOCK]; BLOCKS],
    filled: usize,
    /// What was fed before, if there was more than there is room for.
    fed: Option<Sha256>,
}

/// What SHA-256 compresses at a time, in bytes.
const BLOCK: usize = 64;

/// Enough for the parts of a usual request.
const BLOCKS: usize = 4;

impl PartDigest {
    /// The digest of what `add` adds in `domain`.
    #[inline]
    pub(crate) fn of(domain: &str, add: impl FnOnce(&mut Self)) -> [u8; 32] {
        let mut digest = Self::empty();
        digest.part(domain);
        add(&mut digest);
        digest.end()
    }

    /// Starts a digest in `domain`, to be kept while it grows.
    #[cfg(any(feature = "derive", feature = "grpc"))]
    pub(crate) fn new(domain: &str) -> Self {
        let mut digest = Self::empty();
        digest.part(domain);
        digest
    }

    #[inline]
    fn empty() -> Self {
        Self {
            gathered: [[0; BLOCK]; BLOCKS],
            filled: 0,
            fed: None,
        }
    }

    /// Adds one part, preceded by its length as eight big-endian bytes.
    #[inline]
    pub(crate) fn part(&mut self, part: impl AsRef<[u8]>) -> &mut Self {
        let part = part.as_ref();
        self.gather([&(part.len() as u64).to_be_bytes(), part])
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
    #[cfg(any(feature = "derive", feature = "grpc"))]
    pub(crate) fn finish(mut self) -> [u8; 32] {
        self.end()
    }

    /// The digest of everything added; nothing may be added behind that.
    #[inline]
    fn end(&mut self) -> [u8; 32] {
        match &self.fed {
            None if self.filled <= SHORT => short(&mut self.gathered, self.filled),
            _ => self.long(),
        }
    }

    #[cold]
    fn long(&mut self) -> [u8; 32] {
        self.feed().finalize().into()
    }

    /// Adds bytes without their length: only where that is always the same.
    #[inline]
    pub(crate) fn fixed(&mut self, bytes: &[u8]) -> &mut Self {
        self.gather([bytes])
    }

    #[inline]
    fn gather<const N: usize>(&mut self, runs: [&[u8]; N]) -> &mut Self {
        let end = self.filled + runs.iter().map(|run| run.len()).sum::<usize>();
        if let Some(mut space) = self.gathered.as_flattened_mut().get_mut(self.filled..end) {
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
        digest.update(&self.gathered.as_flattened()[..self.filled]);
        self.filled = 0;
        digest
    }
}

/// The most that [`short`] can digest: behind it come one byte and the length.
const SHORT: usize = BLOCKS * BLOCK - 9;

/// SHA-256 of the first `length` bytes of `blocks`, which are zero from there on: padded where
/// they stand, and compressed in one go.
fn short(blocks: &mut [[u8; BLOCK]; BLOCKS], length: usize) -> [u8; 32] {
    /// The initial hash value: FIPS 180-4, section 5.3.3.
    const INITIAL: [u32; 8] = [
        0x6a09_e667,
        0xbb67_ae85,
        0x3c6e_f372,
        0xa54f_f53a,
        0x510e_527f,
        0x9b05_688c,
        0x1f83_d9ab,
        0x5be0_cd19,
    ];
    blocks.as_flattened_mut()[length] = 0x80;
    let blocks = &mut blocks[..=(length + 8) / BLOCK];
    if let Some(bits) = blocks.as_flattened_mut().last_chunk_mut() {
        *bits = (length as u64 * 8).to_be_bytes();
    }
    let mut state = INITIAL;
    compress256(&mut state, blocks);
    let mut digest = [0; 32];
    for (bytes, word) in digest.chunks_exact_mut(4).zip(state) {
        bytes.copy_from_slice(&word.to_be_bytes());
    }
    digest
}

/// A digest whose last part arrives in pieces, so that its length comes behind it.
#[derive(Clone)]
pub(crate) struct PieceDigest {
    digest: Sha256,
    length: u64,
}

impl PieceDigest {
    /// A digest of pieces behind what `add` adds in `domain`.
    #[inline]
    pub(crate) fn behind(domain: &str, add: impl FnOnce(&mut PartDigest)) -> Self {
        let mut head = PartDigest::empty();
        head.part(domain);
        add(&mut head);
        let digest = head.feed();
        Self { digest, length: 0 }
    }

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
        PartDigest::of("test", |digest| {
            parts.iter().fold(digest, PartDigest::part);
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
    fn whatever_the_length_it_is_sha_256() {
        for length in 0..3 * BLOCK * BLOCKS {
            let bytes: Vec<u8> = (1..=u8::MAX).cycle().take(length).collect();
            for cut in [0, length / 2, length] {
                let (begin, end) = bytes.split_at(cut);
                let digest = PartDigest::empty().fixed(begin).fixed(end).end();
                assert_eq!(digest, *Sha256::digest(&bytes), "{length} cut at {cut}");
            }
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
