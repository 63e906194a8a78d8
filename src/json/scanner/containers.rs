//! Objects and arrays, and what they hold.

use super::{Role, Scanner, State, Unfit};
use crate::json::{
    frame::Frame,
    members::{self, Member, Order},
    selection::Place,
};

/// Containers nested deeper make a text unfit.
const MAX_DEPTH: usize = 128;

/// A container whose end has not come.
pub(super) struct Open {
    pub(super) kind: Kind,
    /// Where in the text it begins.
    start: u32,
    /// Its first in the list of members.
    first: usize,
    pub(super) place: Place,
    /// Its last member counts.
    counts: bool,
    /// All of its members count so far.
    whole: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Object,
    /// Its elements are not noted.
    Array,
    /// An array that pointers lead into.
    PickedArray,
}

impl Scanner {
    pub(super) fn open(
        &mut self,
        frame: &mut Frame<'_>,
        kind: Kind,
        start: u32,
    ) -> Result<(), Unfit> {
        if self.open.len() == MAX_DEPTH {
            return Err(Unfit);
        }
        let place = self.place.unwrap_or(Place::WHOLE);
        let kind = match kind {
            Kind::Array if self.selection.picks_elements(place) => Kind::PickedArray,
            kind => kind,
        };
        self.open.push(Open {
            kind,
            start,
            first: self.members.len(),
            place,
            counts: true,
            whole: true,
        });
        self.state = match kind {
            Kind::Object => State::NameOrEnd,
            Kind::Array | Kind::PickedArray => State::ValueOrEnd,
        };
        self.begin_element(start + 1);
        self.pass_plain(frame);
        Ok(())
    }

    pub(super) fn begin_name(&mut self, frame: &mut Frame<'_>, start: u32) -> Result<(), Unfit> {
        self.members.push(Member::begin(start));
        self.string(frame, Role::Name)
    }

    pub(super) fn end_name(&mut self, frame: &mut Frame<'_>) {
        let end = self.position(frame);
        self.state = State::Colon;
        let (Some(open), Some(member)) = (self.open.last_mut(), self.members.last_mut()) else {
            return;
        };
        self.text.extend_from_slice(frame.take_read());
        let name = &self.text[member.start as usize..end as usize];
        member.end_name(end, name);
        self.place = Some(Place::WHOLE);
        if !open.place.is_whole() {
            self.place = self.selection.member(open.place, &name[1..name.len() - 1]);
            open.counts = self.place.is_some();
        }
    }

    /// What the last container holds next begins here, if that is an array.
    fn begin_element(&mut self, start: u32) {
        let Some(open) = self.open.last_mut() else {
            return;
        };
        match open.kind {
            Kind::Object => {}
            Kind::Array => self.place = Some(Place::WHOLE),
            Kind::PickedArray => {
                let index = self.members.len() - open.first;
                self.place = self.selection.element(open.place, index);
                open.counts = self.place.is_some();
                self.members.push(Member::begin(start));
            }
        }
    }

    /// The last member, or element, ends here.
    fn end_member(&mut self, end: u32) -> Option<Kind> {
        let open = self.open.last_mut()?;
        if open.kind != Kind::Array {
            let member = self.members.last_mut()?;
            member.nested = self.reordered.any_from(member.start);
            match open.counts {
                true => member.end = end,
                false => open.whole = false,
            }
        }
        Some(open.kind)
    }

    pub(super) fn comma(&mut self, frame: &mut Frame<'_>, at: u32) {
        self.state = match self.end_member(at) {
            Some(Kind::Object) => State::Name,
            _ => State::Value,
        };
        self.begin_element(at + 1);
        self.pass_plain(frame);
    }

    /// Closes the last container; its bracket is at `at`.
    pub(super) fn close(
        &mut self,
        frame: &mut Frame<'_>,
        at: u32,
        bracket: u8,
    ) -> Result<(), Unfit> {
        if let State::CommaOrEnd = self.state {
            self.end_member(at);
        }
        self.keep(frame);
        let open = self.open.pop().ok_or(Unfit)?;
        let members = &mut self.members[open.first..];
        let order = match (open.kind, bracket) {
            (Kind::Object, b'}') => members::sort(members, &self.text)?,
            (Kind::Array | Kind::PickedArray, b']') => Order::Kept,
            _ => return Err(Unfit),
        };
        if order == Order::Changed || !open.whole {
            self.reordered.add(open.start..at + 1, members);
        }
        self.members.truncate(open.first);
        self.end_value();
        Ok(())
    }
}
