//! Objects and arrays, and what they hold.

use super::{Role, Scanner, State, Unfit};
use crate::json::{
    frame::Frame,
    members::{self, Member},
    selection::{Place, Selection},
};

/// Containers nested deeper make a text unfit.
const MAX_DEPTH: usize = 128;

/// A container whose end has not come.
pub(super) struct Open {
    kind: Kind,
    /// Where in the text it begins.
    start: u32,
    /// Its first in the list of members. The elements of an array are there only if some may
    /// not count.
    first: usize,
    /// How many of its elements have begun, if some may not count.
    elements: u64,
    /// Whether the last of these counts.
    counts: bool,
    place: Place,
    /// All of its members count so far.
    whole: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Object,
    Array,
}

impl Scanner {
    pub(super) fn open(&mut self, kind: Kind, start: u32) -> Result<(), Unfit> {
        if self.open.len() == MAX_DEPTH {
            return Err(Unfit);
        }
        let mut place = Place::WHOLE;
        if !self.is_in_whole() {
            place = self.place.unwrap_or(place);
            if kind == Kind::Array && !self.selection.picks_elements(place) {
                place = Place::WHOLE;
            }
        }
        self.open.push(Open {
            kind,
            start,
            first: self.members.len(),
            elements: 0,
            counts: true,
            place,
            whole: true,
        });
        self.state = match kind {
            Kind::Object => State::NameOrEnd,
            Kind::Array => State::ElementOrEnd,
        };
        self.begin_element(start + 1);
        Ok(())
    }

    pub(super) fn comma(&mut self, at: u32) {
        self.state = match self.open.last() {
            Some(open) if open.kind == Kind::Object => State::Name,
            _ => State::Element,
        };
        self.begin_element(at + 1);
    }

    pub(super) fn begin_name(&mut self, frame: &mut Frame<'_>, start: u32) -> Result<(), Unfit> {
        self.members.push(Member::begin(start));
        self.string(frame, Role::Name)
    }

    pub(super) fn end_name(&mut self, frame: &mut Frame<'_>) {
        self.keep(frame);
        if let Some(member) = self.members.last_mut() {
            member.end_name(&self.text);
        }
        self.begin_member();
        self.state = State::Colon;
    }

    /// The value of the last member comes next.
    fn begin_member(&mut self) {
        let (Some(open), Some(member)) = (self.open.last_mut(), self.members.last()) else {
            return;
        };
        if !open.place.is_whole() {
            self.place = open.place_of(member, &self.text, &self.selection);
            open.whole &= self.place.is_some();
        }
    }

    /// Whether all counts that the last container holds.
    pub(super) fn is_in_whole(&self) -> bool {
        self.open.last().is_some_and(|open| open.place.is_whole())
    }

    /// What the last container holds next begins here, if that is an array.
    #[inline]
    fn begin_element(&mut self, start: u32) {
        let is_element = matches!(self.state, State::Element | State::ElementOrEnd);
        if is_element && !self.is_in_whole() {
            self.begin_picked(start);
        }
    }

    /// What begins here is an element of an array of which some may not count. Those that count
    /// as the one before are one with it: an array may be very long.
    fn begin_picked(&mut self, start: u32) {
        let Some(open) = self.open.last_mut() else {
            return;
        };
        self.place = self.selection.element(open.place, open.elements);
        let counts = self.place.is_some();
        if open.elements == 0 || open.counts != counts {
            self.members.push(Member::elements(start, open.elements));
        }
        open.elements += 1;
        open.counts = counts;
        open.whole &= counts;
    }

    /// Closes the last container; its bracket is at `at`.
    pub(super) fn close(
        &mut self,
        frame: &mut Frame<'_>,
        at: u32,
        bracket: u8,
    ) -> Result<(), Unfit> {
        let open = self.open.last().ok_or(Unfit)?;
        if (bracket == b'}') != (open.kind == Kind::Object) {
            return Err(Unfit);
        }
        let first = open.first;
        if !open.whole || !members::ascend(&self.members[first..]) {
            self.rearrange(frame, at)?;
        }
        self.members.truncate(first);
        self.open.pop();
        self.end_value();
        Ok(())
    }

    /// Puts the last container in order, and leaves out what does not count. It ends behind
    /// `end`.
    fn rearrange(&mut self, frame: &mut Frame<'_>, end: u32) -> Result<(), Unfit> {
        let open = self.open.last().ok_or(Unfit)?;
        let members = &mut self.members[open.first..];
        members::end_all(members, end);
        if open.kind == Kind::Object {
            members::sort(members);
        }
        if !open.whole || !members::ascend(members) {
            // The names have to be looked at.
            self.text.extend_from_slice(frame.take_read());
            if open.kind == Kind::Object {
                members::sort_alike(members, &self.text)?;
            }
            if open.whole && members::as_they_came(members) {
                return Ok(());
            }
        }
        if !open.whole {
            for member in members.iter_mut() {
                let place = open.place_of(member, &self.text, &self.selection);
                if place.is_none() {
                    // Nobody sees it again.
                    std::str::from_utf8(member.text(&self.text)).map_err(|_| Unfit)?;
                    member.leave_out();
                }
            }
        }
        let run = frame.take_read();
        self.reordered.add(&mut self.text, run, open.start, members);
        Ok(())
    }
}

impl Open {
    /// Where the value of a member is; `None` if it does not count.
    fn place_of(&self, member: &Member, text: &[u8], selection: &Selection) -> Option<Place> {
        match self.kind {
            Kind::Object => selection.member(self.place, member.name(text)),
            Kind::Array => selection.element(self.place, member.nth()),
        }
    }
}
