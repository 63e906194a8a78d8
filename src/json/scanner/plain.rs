//! Passing over what needs no looking into: names and values that are spelled shortest, and
//! are all there.

use super::{Kind, Scanner, State};
use crate::json::{
    frame::{self, Frame},
    members::{Member, offset},
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
        let ahead = self.text.len().wrapping_sub(frame.kept);
        let position = |at: usize| offset(ahead.wrapping_add(at));
        let (bytes, mut at) = (frame.bytes, frame.at);
        loop {
            let mut member = Member::begin(position(at));
            if named {
                let Some(end) = name_end(bytes, at) else {
                    break;
                };
                member.end_name(position(end), &bytes[at..end]);
                at = end + 1;
                self.members.push(member);
                self.state = State::Value;
            }
            let Some(end) = value_end(bytes, at) else {
                break;
            };
            at = end;
            self.state = State::CommaOrEnd;
            if bytes.get(at) != Some(&b',') {
                break;
            }
            if named {
                if let Some(member) = self.members.last_mut() {
                    member.end = position(at);
                }
            }
            at += 1;
            self.state = if named { State::Name } else { State::Value };
        }
        frame.at = at;
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
