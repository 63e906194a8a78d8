//! Passing over what needs no looking into: names and values that are spelled shortest, and
//! are all there.

use super::{Scanner, State};
use crate::json::{
    frame::{self, Frame},
    members::Member,
    number,
};

impl Scanner {
    /// Passes over members, or elements, that need no looking into. It changes nothing but
    /// the time it takes, and that by much.
    #[inline]
    pub(super) fn pass_plain(&mut self, frame: &mut Frame<'_>) {
        let named = match self.state {
            State::Name | State::NameOrEnd => true,
            State::Element | State::ElementOrEnd => false,
            _ => return,
        };
        if !self.is_in_whole() {
            return;
        }
        loop {
            self.white(frame);
            if named && !self.plain_name(frame) {
                return;
            }
            let Some(end) = value_end(frame.bytes, frame.at) else {
                return;
            };
            frame.at = end;
            self.state = State::CommaOrEnd;
            if frame.peek() != Some(b',') {
                return;
            }
            frame.at += 1;
            self.state = match named {
                true => State::Name,
                false => State::Element,
            };
        }
    }

    /// Passes over a name that is plain, and what is before the value.
    #[inline]
    fn plain_name(&mut self, frame: &mut Frame<'_>) -> bool {
        let Some(end) = name_end(frame.bytes, frame.at) else {
            return false;
        };
        let name = &frame.bytes[frame.at..];
        let start = self.position(frame);
        self.members
            .push(Member::named(start, name, end - frame.at));
        frame.at = end + 1;
        self.state = State::Value;
        self.white(frame);
        true
    }
}

/// The end of the name that begins at `at`, if a colon follows it.
fn name_end(bytes: &[u8], at: usize) -> Option<usize> {
    let end = string_end(bytes, at)?;
    (bytes.get(end) == Some(&b':')).then_some(end)
}

/// The end of the value that begins at `at`, if it is no container.
#[inline]
fn value_end(bytes: &[u8], at: usize) -> Option<usize> {
    let word: &[u8] = match bytes.get(at)? {
        b'"' => return string_end(bytes, at),
        b't' => b"true",
        b'f' => b"false",
        b'n' => b"null",
        b'-' | b'0'..=b'9' => return number::shortest_end(bytes, at),
        _ => return None,
    };
    bytes[at..].starts_with(word).then_some(at + word.len())
}

#[inline(always)]
fn string_end(bytes: &[u8], at: usize) -> Option<usize> {
    if bytes.get(at) != Some(&b'"') {
        return None;
    }
    let end = frame::text_end(bytes, at + 1);
    (bytes.get(end) == Some(&b'"')).then_some(end + 1)
}
