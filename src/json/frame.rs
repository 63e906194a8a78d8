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
#[inline(always)]
pub(super) fn text_end(bytes: &[u8], at: usize) -> usize {
    at + text_length(bytes.get(at..).unwrap_or_default())
}

/// How many bytes in front are the content of a string, and stand for themselves.
#[inline(always)]
fn text_length(text: &[u8]) -> usize {
    // Most strings end in here, and of the others some are long.
    let Some((near, far)) = text.split_first_chunk::<16>() else {
        return long_text_length(text);
    };
    let [first, second] = halves(u128::from_le_bytes(*near));
    match ends_of_text(first) {
        0 => {}
        ends => return ends.trailing_zeros() as usize / 8,
    }
    match ends_of_text(second) {
        0 => near.len() + long_text_length(far),
        ends => 8 + ends.trailing_zeros() as usize / 8,
    }
}

/// The lower and the upper half.
#[allow(clippy::cast_possible_truncation, reason = "that is what halves are")]
fn halves(both: u128) -> [u64; 2] {
    [both as u64, (both >> 64) as u64]
}

#[inline(never)]
fn long_text_length(text: &[u8]) -> usize {
    let mut rest = text;
    while let Some((block, behind)) = rest.split_first_chunk::<32>() {
        if block.iter().fold(false, |any, byte| any | ends_text(*byte)) {
            break;
        }
        rest = behind;
    }
    while let Some((word, behind)) = rest.split_first_chunk() {
        let ends = ends_of_text(u64::from_le_bytes(*word));
        if ends != 0 {
            return text.len() - rest.len() + ends.trailing_zeros() as usize / 8;
        }
        rest = behind;
    }
    let length = rest.iter().take_while(|byte| !ends_text(**byte)).count();
    text.len() - rest.len() + length
}

/// Whether this byte ends a run of text: a quote, a backslash or a control character.
#[inline]
fn ends_text(byte: u8) -> bool {
    // With its second bit turned, a quote is just above the control characters.
    (byte ^ 2 < 0x21) | (byte == b'\\')
}

/// The high bits of those bytes of a word that end a run of text: quotes, backslashes and
/// control characters. Only the lowest is to be relied on.
fn ends_of_text(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    // A byte below `limit` borrows from its high bit, which it did not have itself. With its
    // second bit turned, a quote is just above the control characters.
    let below = |word: u64, limit: u64| word.wrapping_sub(limit * ONES);
    let control_or_quote = below(word ^ (2 * ONES), 0x21);
    let backslash = below(word ^ (u64::from(b'\\') * ONES), 1);
    (control_or_quote | backslash) & !word & (0x80 * ONES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_ends_at_the_same_byte_however_it_is_looked_at() {
        for byte in 0..=u8::MAX {
            let ends = matches!(byte, b'"' | b'\\' | 0..0x20);
            for before in 0..76 {
                for around in [b'a', b' ', 0x7f, 0x80, 0xff] {
                    let mut text = vec![around; 80];
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
