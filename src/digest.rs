//! SHA-256 over length-prefixed parts: no two different part lists feed the same bytes.

use sha2::{
    block_api::compress256,
    digest::{array::Array, consts::U64},
};

/// The digest of a list of parts. Each use starts with a domain tag of its own, so that
/// digests made for different purposes never agree by accident.
///
/// The parts are gathered on the stack, to be compressed in one go: each call has its price.
pub(crate) struct PartDigest<'a> {
    blocks: &'a mut Blocks<4>,
    filled: usize,
}

impl PartDigest<'_> {
    /// The digest of what `add` adds in `domain`.
    #[inline]
    pub(crate) fn of(domain: &str, add: impl FnOnce(&mut PartDigest<'_>)) -> [u8; 32] {
        let mut blocks = Blocks::new();
        let filled = blocks.fill(domain, add);
        blocks.end(filled)
    }

    /// Adds one part, preceded by its length as eight big-endian bytes.
    #[inline]
    pub(crate) fn part(&mut self, part: impl AsRef<[u8]>) -> &mut Self {
        self.filled = self.blocks.part(self.filled, part.as_ref());
        self
    }

    /// Adds a part that may be absent: absent and empty are different.
    #[inline]
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
    #[inline]
    pub(crate) fn number(&mut self, number: u64) -> &mut Self {
        self.fixed(&number.to_be_bytes())
    }

    /// Adds bytes without their length: it is always the same.
    #[inline]
    fn fixed<const LENGTH: usize>(&mut self, bytes: &[u8; LENGTH]) -> &mut Self {
        self.filled = self.blocks.fixed(self.filled, bytes);
        self
    }
}

/// A digest to be kept while it grows.
#[derive(Clone)]
pub(crate) struct GrowingDigest {
    blocks: Blocks<1>,
    filled: usize,
}

impl GrowingDigest {
    /// A digest that begins with what `add` adds in `domain`.
    #[inline]
    pub(crate) fn behind(domain: &str, add: impl FnOnce(&mut PartDigest<'_>)) -> Self {
        let mut blocks = Blocks::new();
        let filled = blocks.fill(domain, add);
        blocks.shrunk(filled)
    }

    /// Adds one part, preceded by its length as eight big-endian bytes.
    pub(crate) fn part(&mut self, part: impl AsRef<[u8]>) -> &mut Self {
        self.filled = self.blocks.part(self.filled, part.as_ref());
        self
    }

    /// Adds a number as eight big-endian bytes.
    pub(crate) fn number(&mut self, number: u64) -> &mut Self {
        self.fixed(&number.to_be_bytes())
    }

    /// Adds bytes without their length: it is always the same.
    pub(crate) fn fixed<const LENGTH: usize>(&mut self, bytes: &[u8; LENGTH]) -> &mut Self {
        self.filled = self.blocks.fixed(self.filled, bytes);
        self
    }

    /// The digest of everything added; nothing may be added behind that.
    pub(crate) fn finish(&mut self) -> [u8; 32] {
        self.blocks.end(self.filled)
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
    pub(crate) fn behind(domain: &str, add: impl FnOnce(&mut PartDigest<'_>)) -> Self {
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
        let digest = &mut self.digest;
        digest.filled = digest.blocks.feed(digest.filled, piece);
        self.length += piece.len() as u64;
    }

    /// How long the pieces are together.
    #[cfg(feature = "grpc")]
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// The digest of everything added; only once.
    pub(crate) fn finish(&mut self) -> [u8; 32] {
        self.digest.number(self.length).finish()
    }
}

/// SHA-256, and the next `N` blocks that it is to compress. How much of them is filled is
/// told to each method, and what it returns: it stays in a register while parts are gathered.
#[derive(Clone)]
struct Blocks<const N: usize> {
    /// All zero behind what is filled.
    blocks: [[u8; BLOCK]; N],
    /// How many bytes were compressed.
    fed: u64,
    state: [u32; 8],
}

/// What SHA-256 compresses at a time, in bytes.
const BLOCK: usize = 64;

impl Blocks<4> {
    /// Fills them with what `add` adds in `domain`.
    #[inline]
    fn fill(&mut self, domain: &str, add: impl FnOnce(&mut PartDigest<'_>)) -> usize {
        let mut digest = PartDigest {
            blocks: self,
            filled: 0,
        };
        digest.part(domain);
        add(&mut digest);
        digest.filled
    }

    /// Compresses all of them but the last that is not full.
    #[inline]
    fn shrunk(&mut self, filled: usize) -> GrowingDigest {
        let (full, rest) = self.blocks.split_at(filled / BLOCK);
        compress256(&mut self.state, full);
        let blocks = Blocks {
            blocks: [rest.first().copied().unwrap_or([0; BLOCK])],
            fed: self.fed + (full.len() * BLOCK) as u64,
            state: self.state,
        };
        let filled = filled % BLOCK;
        GrowingDigest { blocks, filled }
    }
}

impl<const N: usize> Blocks<N> {
    #[inline]
    const fn new() -> Self {
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
        Self {
            blocks: [[0; BLOCK]; N],
            fed: 0,
            state: INITIAL,
        }
    }

    #[inline]
    fn bytes(&mut self) -> &mut [u8] {
        self.blocks.as_flattened_mut()
    }

    /// Adds the length of `part`, and then `part`.
    #[inline]
    fn part(&mut self, filled: usize, part: &[u8]) -> usize {
        let length = (part.len() as u64).to_be_bytes();
        let end = filled + length.len() + part.len();
        let Some(room) = self.bytes().get_mut(filled..end) else {
            return self.feed_part(filled, part);
        };
        let (begin, rest) = room.split_at_mut(length.len());
        begin.copy_from_slice(&length);
        rest.copy_from_slice(part);
        end
    }

    #[cold]
    fn feed_part(&mut self, filled: usize, part: &[u8]) -> usize {
        let filled = self.fixed(filled, &(part.len() as u64).to_be_bytes());
        self.feed(filled, part)
    }

    /// Adds `bytes`, a few.
    #[inline]
    fn fixed<const LENGTH: usize>(&mut self, filled: usize, bytes: &[u8; LENGTH]) -> usize {
        let end = filled + LENGTH;
        let Some(room) = self.bytes().get_mut(filled..end) else {
            return self.feed(filled, bytes);
        };
        room.copy_from_slice(bytes);
        end
    }

    /// Adds `bytes`, however many.
    #[inline(never)]
    fn feed(&mut self, filled: usize, bytes: &[u8]) -> usize {
        let room = &mut self.bytes()[filled..];
        let Some((begin, rest)) = bytes.split_at_checked(room.len()) else {
            room[..bytes.len()].copy_from_slice(bytes);
            return filled + bytes.len();
        };
        room.copy_from_slice(begin);
        self.compress();
        let (blocks, rest) = Array::<_, U64>::slice_as_chunks(rest);
        compress256(&mut self.state, Array::cast_slice_to_core(blocks));
        self.fed += (blocks.len() * BLOCK) as u64;
        self.bytes()[..rest.len()].copy_from_slice(rest);
        rest.len()
    }

    /// Compresses all of them, full as they are.
    fn compress(&mut self) {
        compress256(&mut self.state, &self.blocks);
        self.fed += (N * BLOCK) as u64;
        self.blocks = [[0; BLOCK]; N];
    }

    /// The digest of everything added; nothing may be added behind that.
    ///
    /// Inlined, where it is known what the state is, and that there is room.
    #[inline(always)]
    fn end(&mut self, filled: usize) -> [u8; 32] {
        let bits = ((self.fed + filled as u64) * 8).to_be_bytes();
        let mut end = self.fixed(filled, &[0x80]) + bits.len();
        if end > N * BLOCK {
            self.compress();
            end = bits.len();
        }
        let blocks = &mut self.blocks[..end.div_ceil(BLOCK)];
        if let Some(end) = blocks.as_flattened_mut().last_chunk_mut() {
            *end = bits;
        }
        compress256(&mut self.state, blocks);
        let mut digest = [0; 32];
        for (bytes, word) in digest.chunks_exact_mut(4).zip(self.state) {
            bytes.copy_from_slice(&word.to_be_bytes());
        }
        digest
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
    use sha2::{Digest as _, Sha256};

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
    fn whatever_the_length_it_is_sha_256() {
        fn fed<const N: usize>(runs: [&[u8]; 2]) -> (Blocks<N>, usize) {
            let mut blocks = Blocks::new();
            let filled = runs.iter().fold(0, |filled, run| blocks.feed(filled, run));
            (blocks, filled)
        }
        for length in 0..12 * BLOCK {
            let bytes: Vec<u8> = (1..=u8::MAX).cycle().take(length).collect();
            for cut in [0, length / 3, length / 2, length] {
                let (begin, end) = bytes.split_at(cut);
                let (mut one, filled) = fed::<1>([begin, end]);
                let one = one.end(filled);
                let (mut four, filled) = fed::<4>([begin, end]);
                let shrunk = four.clone().shrunk(filled).finish();
                let four = four.end(filled);
                let expected: [u8; 32] = Sha256::digest(&bytes).into();
                assert_eq!([one, four, shrunk], [expected; 3], "{length} cut at {cut}");
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
