//! One frame while it is being read.

/// A frame, how far it has been read, and how much of that has been taken care of: what is
/// between is to be kept as it stands.
pub(super) struct Frame<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) at: usize,
    pub(super) kept: usize,
}

impl<'a> Frame<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        let (at, kept) = (0, 0);
        Self { bytes, at, kept }
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    pub(super) fn rest(&self) -> &'a [u8] {
        &self.bytes[self.at..]
    }

    /// Passes over what belongs to the content of a string and stands for itself.
    pub(super) fn pass_text(&mut self) {
        self.at = text_end(self.bytes, self.at);
    }

    /// Passes over white space.
    #[inline]
    pub(super) fn pass_white(&mut self) {
        loop {
            self.at += spaces(self.bytes, self.at);
            match self.peek() {
                Some(byte) if is_white(byte) => self.at += 1,
                _ => return,
            }
        }
    }

    pub(super) fn pass(&mut self, belongs: impl Fn(u8) -> bool) {
        while self.peek().is_some_and(&belongs) {
            self.at += 1;
        }
    }

    /// What has been read and not been taken care of.
    pub(super) fn take_read(&mut self) -> &'a [u8] {
        let read = &self.bytes[self.kept..self.at];
        self.kept = self.at;
        read
    }

    /// Leaves out what has been read and not been taken care of.
    pub(super) fn leave_out(&mut self) {
        self.kept = self.at;
    }
}

pub(super) fn is_white(byte: u8) -> bool {
    matches!(byte, b' ' | b'\n' | b'\r' | b'\t')
}

/// How many spaces are at `at`; if they are near the end, it may say none.
#[inline]
fn spaces(bytes: &[u8], at: usize) -> usize {
    const SPACES: u64 = u64::from_ne_bytes([b' '; 8]);
    let mut end = at;
    while let Some(word) = bytes.get(end..).and_then(<[u8]>::first_chunk) {
        let others = u64::from_le_bytes(*word) ^ SPACES;
        end += others.trailing_zeros() as usize / 8;
        if others != 0 {
            break;
        }
    }
    end - at
}

/// The first byte from `at` on that is not the content of a string, or does not stand for
/// itself.
pub(super) fn text_end(bytes: &[u8], mut at: usize) -> usize {
    while let Some(word) = bytes.get(at..).and_then(<[u8]>::first_chunk) {
        match ends_of_text(u64::from_le_bytes(*word)) {
            0 => at += size_of::<u64>(),
            ends => return at + ends.trailing_zeros() as usize / 8,
        }
    }
    let rest = bytes.get(at..).unwrap_or_default().iter();
    at + rest
        .take_while(|byte| !matches!(byte, b'"' | b'\\' | 0..0x20))
        .count()
}

/// The high bits of those bytes of a word that end a run of text: quotes, backslashes and
/// control characters. Only the lowest is to be relied on.
fn ends_of_text(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x80 * ONES;
    // A byte below `limit` borrows from its high bit, which it did not have itself.
    let below = |word: u64, limit: u64| word.wrapping_sub(limit * ONES) & !word;
    let is = |byte: u8| below(word ^ (u64::from(byte) * ONES), 1);
    (below(word, 0x20) | is(b'"') | is(b'\\')) & HIGHS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_ends_at_the_same_byte_however_it_is_looked_at() {
        for byte in 0..=u8::MAX {
            let ends = matches!(byte, b'"' | b'\\' | 0..0x20);
            for before in 0..20 {
                for around in [b'a', b' ', 0x7f, 0x80, 0xff] {
                    let mut text = vec![around; 24];
                    text[before] = byte;
                    let mut frame = Frame::new(&text);
                    frame.pass_text();
                    let expected = if ends { before } else { text.len() };
                    assert_eq!(frame.at, expected, "{byte} after {before} times {around}");
                }
            }
        }
    }
}
