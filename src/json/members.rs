//! The members of a container, and their order.

use super::{frame, scanner::Unfit};

/// A member of an object, or elements of an array that all count or all do not, in the text
/// of a [`Scanner`](super::Scanner).
#[derive(Debug, Clone, Copy)]
pub(super) struct Member {
    /// What its name begins with, to compare names by; of elements, which is the first.
    prefix: u64,
    pub(super) start: u32,
    /// Where its value ends; known once [all are there](end_all).
    pub(super) end: u32,
}

impl Member {
    /// It begins at `start`.
    #[inline]
    pub(super) fn begin(start: u32) -> Self {
        let (prefix, end) = (0, start);
        Self { prefix, start, end }
    }

    /// Elements from the `nth` on, which begins at `start`.
    pub(super) fn elements(start: u32, nth: u64) -> Self {
        let (prefix, end) = (nth, start);
        Self { prefix, start, end }
    }

    /// Which is the first of these elements.
    pub(super) fn nth(&self) -> u64 {
        self.prefix
    }

    /// It begins at `start`, with a name that is the first `length` bytes of `text`, quotes
    /// included.
    #[inline]
    pub(super) fn named(start: u32, text: &[u8], length: usize) -> Self {
        let (prefix, end) = (prefix(text, length), start);
        Self { prefix, start, end }
    }

    /// The `text` ends with its name.
    pub(super) fn end_name(&mut self, text: &[u8]) {
        let name = &text[self.start as usize..];
        *self = Self::named(self.start, name, name.len());
    }

    /// Has it not read.
    pub(super) fn leave_out(&mut self) {
        self.end = self.start;
    }

    pub(super) fn counts(&self) -> bool {
        self.end > self.start
    }

    /// Its name and its value.
    #[inline]
    pub(super) fn text<'a>(&self, text: &'a [u8]) -> &'a [u8] {
        &text[self.start as usize..self.end as usize]
    }

    /// Its name, in quotes.
    pub(super) fn quoted<'a>(&self, text: &'a [u8]) -> &'a [u8] {
        let text = &text[self.start as usize..];
        let mut end = 1;
        loop {
            end = frame::text_end(text, end) + 1;
            match text.get(end - 1) {
                Some(b'"') => return &text[..end],
                // It is not the quote behind this that ends the name.
                Some(b'\\') => end += 1,
                Some(_) => {}
                None => return text,
            }
        }
    }

    pub(super) fn name<'a>(&self, text: &'a [u8]) -> &'a [u8] {
        let quoted = self.quoted(text);
        &quoted[1..quoted.len() - 1]
    }
}

/// Whether what the names of these members begin with is in order, and no two of that are
/// the same. Then their names are in order, too.
#[inline]
pub(super) fn ascend(members: &[Member]) -> bool {
    let mut pairs = members.windows(2);
    pairs.all(|pair| pair[0].prefix < pair[1].prefix)
}

/// Each of the members, as they came, ends where the comma before the next one is, and the
/// last at `end`.
pub(super) fn end_all(members: &mut [Member], mut end: u32) {
    for member in members.iter_mut().rev() {
        member.end = end;
        end = member.start - 1;
    }
}

/// Sorts members by what their names begin with.
pub(super) fn sort(members: &mut [Member]) {
    members.sort_unstable_by_key(|member| member.prefix);
}

/// Sorts those of the sorted members whose names begin the same by all of the name. No two
/// may have the same.
pub(super) fn sort_alike(members: &mut [Member], text: &[u8]) -> Result<(), Unfit> {
    for alike in members.chunk_by_mut(|a, b| a.prefix == b.prefix) {
        // Where their names differ, their texts do.
        alike.sort_unstable_by(|a, b| a.text(text).cmp(b.text(text)));
        let mut pairs = alike.windows(2);
        if !pairs.all(|pair| pair[0].quoted(text) < pair[1].quoted(text)) {
            return Err(Unfit);
        }
    }
    Ok(())
}

/// Whether they stand in the order in which they came.
pub(super) fn as_they_came(members: &[Member]) -> bool {
    members.is_sorted_by_key(|member| member.start)
}

/// The first eight bytes behind its quote of the name that `text` begins with, as a number.
/// Names whose prefixes differ are in the order of these: a name ends with a quote, and
/// what follows it is taken as zeros.
#[inline]
fn prefix(text: &[u8], length: usize) -> u64 {
    match text.get(1..).and_then(<[u8]>::first_chunk) {
        Some(first) => {
            u64::from_be_bytes(*first) & u64::MAX << (8 * 9_usize.saturating_sub(length))
        }
        None => {
            let mut first = [0; 8];
            let short = text.get(1..length.min(9)).unwrap_or_default();
            first[..short.len()].copy_from_slice(short);
            u64::from_be_bytes(first)
        }
    }
}

/// A place in a text, which is never so long that this is not one.
pub(super) fn offset(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}
