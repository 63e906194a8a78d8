//! Reading a JSON text as it arrives.

mod containers;
mod plain;

use std::sync::Arc;

use self::containers::{Kind, Open};
use super::{
    escape::Escape,
    frame::{Frame, is_white},
    members::{Member, offset},
    number::{self, Decimal},
    reordered::Reordered,
    selection::{Place, Selection},
};

/// The text has no one meaning: it is no JSON, or says a name twice in one object, or holds
/// half a pair of surrogates, or is nested too deeply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unfit;

/// A longer text is unfit, in however many pieces it is sent. No spelling is more than five
/// times as long as what was sent, as that of `1e19` is: all places in it are a `u32`.
const LONGEST: usize = u32::MAX as usize / 5;

/// Reads one JSON text and keeps it in its shortest spelling.
pub(crate) struct Scanner {
    selection: Arc<Selection>,
    /// How much was sent.
    length: usize,
    /// What has been read: without white space, each string and number in its one spelling,
    /// the members still in the order they came in.
    text: Vec<u8>,
    state: State,
    escape: Escape,
    /// What is left of `true`, `false` or `null`.
    word: &'static [u8],
    /// Where in `text` the number began that is arriving.
    number: u32,
    /// Where the next value is, unless all counts that is around it; `None` if it does not
    /// count itself.
    place: Option<Place>,
    open: Vec<Open>,
    /// Those of all containers that are open.
    members: Vec<Member>,
    reordered: Reordered,
}

/// What is arriving, or comes next.
#[derive(Debug, Clone, Copy)]
enum State {
    Value,
    Element,
    ElementOrEnd,
    Name,
    NameOrEnd,
    Colon,
    CommaOrEnd,
    End,
    InString(Role),
    InEscape(Role),
    InNumber,
    InWord,
}

/// What a string is.
#[derive(Debug, Clone, Copy)]
enum Role {
    Name,
    Value,
}

impl Scanner {
    pub(crate) fn new(selection: Arc<Selection>) -> Self {
        Self {
            place: selection.root(),
            selection,
            length: 0,
            text: Vec::new(),
            state: State::Value,
            escape: Escape::default(),
            word: &[],
            number: 0,
            open: Vec::with_capacity(8),
            members: Vec::with_capacity(32),
            reordered: Reordered::default(),
        }
    }

    /// Reads the next piece of the text.
    pub(crate) fn feed(&mut self, piece: &[u8]) -> Result<(), Unfit> {
        self.length = self.length.saturating_add(piece.len());
        if self.length > LONGEST {
            return Err(Unfit);
        }
        self.text.reserve(piece.len());
        let frame = &mut Frame::new(piece);
        while let Some(byte) = frame.peek() {
            match self.state {
                State::InString(role) => self.string(frame, role)?,
                State::InEscape(role) => self.escape(frame, byte, role)?,
                State::InNumber => self.number(frame)?,
                State::InWord => self.word(frame)?,
                _ if is_white(byte) => self.white(frame),
                _ => {
                    self.step(frame, byte)?;
                    self.pass_plain(frame);
                }
            }
        }
        self.keep(frame);
        Ok(())
    }

    /// The text is at its end.
    pub(crate) fn finish(&mut self) -> Result<(), Unfit> {
        if let State::InNumber = self.state {
            self.end_number(&mut Frame::new(&[]))?;
        }
        let is_text = || self.text.is_ascii() || std::str::from_utf8(&self.text).is_ok();
        match self.state {
            State::End if is_text() => Ok(()),
            _ => Err(Unfit),
        }
    }

    /// Hands out the text that is [finished](Self::finish) piece by piece, in its one
    /// spelling. Only what was selected is in it, and nothing at all if nothing counts.
    pub(crate) fn read(&mut self, each: impl FnMut(&[u8])) {
        if self.selection.root().is_some() {
            self.reordered.read(&self.text, each);
        }
    }

    /// What stands between strings, numbers and words, or begins one.
    fn step(&mut self, frame: &mut Frame<'_>, byte: u8) -> Result<(), Unfit> {
        let at = self.position(frame);
        frame.at += 1;
        match (self.state, byte) {
            (State::Name | State::NameOrEnd, b'"') => self.begin_name(frame, at),
            (State::Colon, b':') => {
                self.state = State::Value;
                Ok(())
            }
            (State::CommaOrEnd, b',') => {
                self.comma(at);
                Ok(())
            }
            (State::NameOrEnd | State::CommaOrEnd, b'}')
            | (State::ElementOrEnd | State::CommaOrEnd, b']') => self.close(frame, at, byte),
            (State::Value | State::Element | State::ElementOrEnd, _) => {
                self.begin_value(frame, at, byte)
            }
            _ => Err(Unfit),
        }
    }

    fn begin_value(&mut self, frame: &mut Frame<'_>, at: u32, byte: u8) -> Result<(), Unfit> {
        match byte {
            b'"' => return self.string(frame, Role::Value),
            b'-' | b'0'..=b'9' => return self.begin_number(frame, at),
            b'{' => return self.open(Kind::Object, at),
            b'[' => return self.open(Kind::Array, at),
            b't' => self.word = b"rue",
            b'f' => self.word = b"alse",
            b'n' => self.word = b"ull",
            _ => return Err(Unfit),
        }
        self.word(frame)
    }

    fn end_value(&mut self) {
        self.state = match self.open.is_empty() {
            true => State::End,
            false => State::CommaOrEnd,
        };
    }

    fn string(&mut self, frame: &mut Frame<'_>, role: Role) -> Result<(), Unfit> {
        frame.pass_text();
        self.state = State::InString(role);
        match frame.rest() {
            [] => {}
            [b'"', ..] => {
                frame.at += 1;
                match role {
                    Role::Name => self.end_name(frame),
                    Role::Value => self.end_value(),
                }
            }
            // These two are spelled so.
            [b'\\', b'"' | b'\\', ..] => frame.at += 2,
            [b'\\', ..] => {
                self.keep(frame);
                frame.at += 1;
                frame.leave_out();
                self.escape = Escape::default();
                self.state = State::InEscape(role);
            }
            _ => return Err(Unfit),
        }
        Ok(())
    }

    fn escape(&mut self, frame: &mut Frame<'_>, byte: u8, role: Role) -> Result<(), Unfit> {
        frame.at += 1;
        frame.leave_out();
        let Some(character) = self.escape.take(byte)? else {
            return Ok(());
        };
        if matches!(character, '"' | '\\') {
            self.text.push(b'\\');
        }
        let mut utf8 = [0; 4];
        self.text
            .extend_from_slice(character.encode_utf8(&mut utf8).as_bytes());
        self.state = State::InString(role);
        Ok(())
    }

    fn begin_number(&mut self, frame: &mut Frame<'_>, at: u32) -> Result<(), Unfit> {
        if let Some(end) = number::shortest_end(frame.bytes, frame.at - 1) {
            frame.at = end;
            self.end_value();
            return Ok(());
        }
        self.number = at;
        self.number(frame)
    }

    fn number(&mut self, frame: &mut Frame<'_>) -> Result<(), Unfit> {
        frame.pass(number::belongs);
        match frame.rest() {
            // It may go on.
            [] => self.state = State::InNumber,
            _ => self.end_number(frame)?,
        }
        Ok(())
    }

    fn end_number(&mut self, frame: &mut Frame<'_>) -> Result<(), Unfit> {
        self.keep(frame);
        let written = self.text.split_off(self.number as usize);
        Decimal::parse(&written)?.write(&mut self.text);
        self.end_value();
        Ok(())
    }

    fn word(&mut self, frame: &mut Frame<'_>) -> Result<(), Unfit> {
        let both = self.word.iter().zip(frame.rest());
        let same = both.take_while(|(expected, byte)| expected == byte).count();
        frame.at += same;
        self.word = &self.word[same..];
        match (self.word, frame.rest()) {
            ([], _) => self.end_value(),
            (_, []) => self.state = State::InWord,
            _ => return Err(Unfit),
        }
        Ok(())
    }

    /// Leaves out white space, if that comes next.
    #[inline]
    fn white(&mut self, frame: &mut Frame<'_>) {
        if frame.peek().is_some_and(is_white) {
            self.keep(frame);
            frame.pass_white();
            frame.leave_out();
        }
    }

    /// Where in the text the next byte of the frame will be.
    fn position(&self, frame: &Frame<'_>) -> u32 {
        offset(self.text.len() + frame.at - frame.kept)
    }

    /// Keeps what has been read of the frame as it stands.
    fn keep(&mut self, frame: &mut Frame<'_>) {
        self.text.extend_from_slice(frame.take_read());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_long_a_text_may_be_does_not_depend_on_its_pieces() {
        let mut scanner = Scanner::new(Arc::default());
        scanner.length = LONGEST - 2;
        assert_eq!(scanner.feed(b" "), Ok(()));
        assert_eq!(scanner.feed(b" "), Ok(()));
        assert_eq!(scanner.feed(b"1"), Err(Unfit));
    }

    #[test]
    fn elements_that_count_alike_are_one_member() {
        let mut selection = Selection::default();
        selection.ignore("/3");
        selection.ignore("/7/a");
        let mut scanner = Scanner::new(Arc::new(selection));
        let elements: Vec<_> = (0..1000).map(|nth| format!("{{\"a\":{nth}}}")).collect();
        let text = format!("[{}]", elements.join(","));
        let (all, bracket) = text.split_at(text.len() - 1);
        scanner.feed(all.as_bytes()).unwrap();
        assert_eq!(scanner.members.len(), 3);
        scanner.feed(bracket.as_bytes()).unwrap();
        scanner.finish().unwrap();
        let mut read = Vec::new();
        scanner.read(|piece| read.extend_from_slice(piece));
        let expected = text.replace("{\"a\":3},", "").replace("\"a\":7}", "}");
        assert_eq!(String::from_utf8(read).unwrap(), expected);
    }
}
