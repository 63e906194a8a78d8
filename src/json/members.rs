//! Members, and the order in which they are read in the end.

use std::{cmp::Ordering, ops::Range};

use super::scanner::Unfit;

/// A member of an object, or an element of an array, in the text of a
/// [`Scanner`](super::Scanner).
#[derive(Debug, Clone, Copy)]
pub(super) struct Member {
    /// What its name begins with, to compare names by.
    prefix: u64,
    pub(super) start: u32,
    /// Where its name ends; that of an element is empty.
    pub(super) name_end: u32,
    /// Where its value ends; its start, if it does not count.
    pub(super) end: u32,
    /// A container that is [`Reordered`] is in its value.
    pub(super) nested: bool,
}

impl Member {
    pub(super) fn begin(start: u32) -> Self {
        Self {
            prefix: 0,
            start,
            name_end: start,
            end: start,
            nested: false,
        }
    }

    /// Its name ends at `end`; `text` begins with it, and its quote.
    #[inline]
    pub(super) fn end_name(&mut self, end: u32, text: &[u8]) {
        self.name_end = end;
        self.prefix = prefix(text, (end - self.start) as usize);
    }

    pub(super) fn name<'a>(&self, text: &'a [u8]) -> &'a [u8] {
        &text[self.start as usize..self.name_end as usize]
    }
}

/// Sorts the members of an object by their names.
pub(super) fn sort(members: &mut [Member], text: &[u8]) -> Result<Order, Unfit> {
    let by_name = |a: &Member, b: &Member| {
        let by_prefix = a.prefix.cmp(&b.prefix);
        by_prefix.then_with(|| a.name(text).cmp(b.name(text)))
    };
    let mut pairs = members.windows(2);
    if pairs.all(|pair| by_name(&pair[0], &pair[1]) == Ordering::Less) {
        return Ok(Order::Kept);
    }
    members.sort_unstable_by(by_name);
    let mut pairs = members.windows(2);
    match pairs.all(|pair| by_name(&pair[0], &pair[1]) == Ordering::Less) {
        true => Ok(Order::Changed),
        false => Err(Unfit),
    }
}

/// The first eight bytes behind its quote of the name that `text` begins with, as a number.
/// Names whose prefixes differ are in the order of these: a name ends with a quote, and
/// what follows it is taken as zeros.
#[inline]
fn prefix(text: &[u8], length: usize) -> u64 {
    let kept = length.clamp(2, 9) - 1;
    match text.get(1..).and_then(<[u8]>::first_chunk) {
        Some(first) => u64::from_be_bytes(*first) & u64::MAX << (8 * (8 - kept)),
        None => {
            let mut first = [0; 8];
            let short = text.get(1..=kept).unwrap_or_default();
            first[..short.len()].copy_from_slice(short);
            u64::from_be_bytes(first)
        }
    }
}

/// Whether members are to be read in the order they stand in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Kept,
    Changed,
}

/// The containers that are to be read otherwise than they stand: in another order, or with
/// something left out.
#[derive(Debug, Default)]
pub(super) struct Reordered {
    containers: Vec<Container>,
    members: Vec<Member>,
}

#[derive(Debug)]
struct Container {
    span: Range<u32>,
    members: Range<usize>,
}

impl Reordered {
    /// Has the container at `span` read as these members.
    pub(super) fn add(&mut self, span: Range<u32>, members: &[Member]) {
        if self.containers.is_empty() {
            self.containers.reserve(8);
            self.members.reserve(32);
        }
        let begin = self.members.len();
        let counts = |member: &&Member| member.end > member.start;
        match members.iter().all(|member| counts(&member)) {
            true => self.members.extend_from_slice(members),
            false => self.members.extend(members.iter().filter(counts)),
        }
        self.containers.push(Container {
            span,
            members: begin..self.members.len(),
        });
    }

    /// Whether one of the containers begins at `start` or behind it.
    pub(super) fn any_from(&self, start: u32) -> bool {
        // Of two that are one inside the other the inner one was added first, and any other
        // in the order of the text.
        let last = self.containers.last();
        last.is_some_and(|last| last.span.start >= start)
    }

    /// Reads all of `text` in the order that was found.
    pub(super) fn read(&mut self, text: &[u8], mut each: impl FnMut(&[u8])) {
        if self.containers.is_empty() {
            return each(text);
        }
        self.containers
            .sort_unstable_by_key(|container| container.span.start);
        let mut crumbs = Crumbs::new(each);
        self.read_span(text, 0..offset(text.len()), &mut crumbs);
        crumbs.flush();
    }

    fn read_span(&self, text: &[u8], span: Range<u32>, into: &mut Crumbs<impl FnMut(&[u8])>) {
        let mut at = span.start;
        while let Some(container) = self.first_within(at..span.end) {
            // With its bracket.
            into.push(&text[at as usize..=container.span.start as usize]);
            for (nth, member) in self.members[container.members.clone()].iter().enumerate() {
                if nth > 0 {
                    into.push(b",");
                }
                match member.nested {
                    true => self.read_span(text, member.start..member.end, into),
                    false => into.push(&text[member.start as usize..member.end as usize]),
                }
            }
            at = container.span.end - 1;
        }
        into.push(&text[at as usize..span.end as usize]);
    }

    fn first_within(&self, span: Range<u32>) -> Option<&Container> {
        let starts_before = |container: &Container| container.span.start < span.start;
        let first = self.containers.partition_point(starts_before);
        let first = self.containers.get(first)?;
        (first.span.start < span.end).then_some(first)
    }
}

/// Pieces on their way, of which small ones go together.
struct Crumbs<F> {
    gathered: [u8; 1024],
    filled: usize,
    each: F,
}

impl<F: FnMut(&[u8])> Crumbs<F> {
    fn new(each: F) -> Self {
        let (gathered, filled) = ([0; 1024], 0);
        Self {
            gathered,
            filled,
            each,
        }
    }

    #[inline]
    fn push(&mut self, piece: &[u8]) {
        let end = self.filled + piece.len();
        if let Some(space) = self.gathered.get_mut(self.filled..end) {
            space.copy_from_slice(piece);
            self.filled = end;
        } else {
            self.spill(piece);
        }
    }

    #[cold]
    fn spill(&mut self, piece: &[u8]) {
        self.flush();
        match piece.len() > self.gathered.len() / 4 {
            true => (self.each)(piece),
            false => self.push(piece),
        }
    }

    fn flush(&mut self) {
        (self.each)(&self.gathered[..self.filled]);
        self.filled = 0;
    }
}

/// A place in a text, which is never so long that this is not one.
pub(super) fn offset(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}
