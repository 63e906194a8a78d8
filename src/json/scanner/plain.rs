//! Passing over what needs no looking into: names and values that are spelled shortest, and
//! are all there.

use super::{Kind, Scanner, State};
use crate::json::{
    frame::{self, Frame},
    members::Member,
    number,
    selection::Place,
};

impl Scanner {
    /// Passes over members, or elements, that need no looking into. It changes nothing but
    /// the time it takes, and that by much.
    pub(super) fn pass_plain(&mut self, frame: &mut Frame<'_>) {
        let named = match self.open.last() {
            Some(open) if open.place.is_whole() => open.kind == Kind::Object,
            _ => return,
        };
        self.place = Some(Place::WHOLE);
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
            self.state = State::Value;
            if named {
                let end = self.position(frame);
                if let Some(member) = self.members.last_mut() {
                    member.end = end;
                }
                self.state = State::Name;
            }
            frame.at += 1;
        }
    }

    /// Passes over a name that is plain, and what is before the value.
    #[inline]
    fn plain_name(&mut self, frame: &mut Frame<'_>) -> bool {
        let Some(end) = name_end(frame.bytes, frame.at) else {
            return false;
        };
        let text = frame.rest();
        let mut member = Member::begin(self.position(frame));
        frame.at = end;
        member.end_name(self.position(frame), text);
        self.members.push(member);
        self.state = State::Value;
        frame.at += 1;
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
fn value_end(bytes: &[u8], at: usize) -> Option<usize> {
    let word: &[u8] = match bytes.get(at)? {
        b'"' => return string_end(bytes, at),
        b't' => b"true",
        b'f' => b"false",
        b'n' => b"null",
        _ => return number::shortest_end(bytes, at),
    };
    bytes[at..].starts_with(word).then_some(at + word.len())
}

fn string_end(bytes: &[u8], at: usize) -> Option<usize> {
    if bytes.get(at) != Some(&b'"') {
        return None;
    }
    let end = frame::text_end(bytes, at + 1);
    (bytes.get(end) == Some(&b'"')).then_some(end + 1)
}
