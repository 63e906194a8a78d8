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
}

impl Member {
    pub(super) fn begin(start: u32) -> Self {
        Self {
            prefix: 0,
            start,
            name_end: start,
            end: start,
        }
    }

    /// Its name ends at `end`, and is spelled as `name`, with its quotes.
    pub(super) fn end_name(&mut self, end: u32, name: &[u8]) {
        self.name_end = end;
        self.prefix = prefix(name);
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

/// The first eight bytes of `name` behind its quote, as a number. Names whose prefixes
/// differ are in the order of these: a name ends with a quote, and what follows it is
/// taken as zeros.
fn prefix(name: &[u8]) -> u64 {
    match name.get(1..).and_then(<[u8]>::first_chunk) {
        Some(first) => u64::from_be_bytes(*first),
        None => {
            let mut first = [0; 8];
            let short = name.get(1..).unwrap_or_default();
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
    /// There is another one inside.
    nested: bool,
}

impl Reordered {
    /// Has the container at `span` read as these members.
    pub(super) fn add(&mut self, span: Range<u32>, members: &[Member]) {
        if self.containers.is_empty() {
            self.containers.reserve(8);
            self.members.reserve(32);
        }
        let begin = self.members.len();
        let counted = members.iter().filter(|member| member.end > member.start);
        self.members.extend(counted);
        let last = self.containers.last();
        self.containers.push(Container {
            nested: last.is_some_and(|last| last.span.start > span.start),
            span,
            members: begin..self.members.len(),
        });
    }

    /// Reads all of `text` in the order that was found.
    pub(super) fn read(&mut self, text: &[u8], mut each: impl FnMut(&[u8])) {
        if self.containers.is_empty() {
            return each(text);
        }
        self.containers
            .sort_unstable_by_key(|container| container.span.start);
        let mut crumbs = Crumbs::new(text.len(), each);
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
                let span = member.start..member.end;
                match container.nested {
                    true => self.read_span(text, span, into),
                    false => into.push(&text[span.start as usize..span.end as usize]),
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
    gathered: Vec<u8>,
    each: F,
}

impl<F: FnMut(&[u8])> Crumbs<F> {
    const MANY: usize = 4096;

    fn new(length: usize, each: F) -> Self {
        let gathered = Vec::with_capacity(length.min(Self::MANY));
        Self { gathered, each }
    }

    fn push(&mut self, piece: &[u8]) {
        if self.gathered.len() + piece.len() > Self::MANY {
            self.flush();
            if piece.len() > Self::MANY / 4 {
                return (self.each)(piece);
            }
        }
        self.gathered.extend_from_slice(piece);
    }

    fn flush(&mut self) {
        (self.each)(&self.gathered);
        self.gathered.clear();
    }
}

/// A place in a text, which is never so long that this is not one.
pub(super) fn offset(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}
