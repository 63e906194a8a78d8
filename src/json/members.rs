//! Members, and the order in which they are read in the end.

use std::ops::Range;

use super::{frame, scanner::Unfit};

/// A member of an object, or an element of an array, in the text of a
/// [`Scanner`](super::Scanner).
#[derive(Debug, Clone, Copy)]
pub(super) struct Member {
    /// What its name begins with, to compare names by.
    prefix: u64,
    pub(super) start: u32,
    /// Where its value ends; known once [all are there](end_all).
    end: u32,
}

impl Member {
    /// It begins at `start`.
    #[inline]
    pub(super) fn begin(start: u32) -> Self {
        let (prefix, end) = (0, start);
        Self { prefix, start, end }
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

    fn counts(&self) -> bool {
        self.end > self.start
    }

    /// Its name and its value.
    #[inline]
    fn text<'a>(&self, text: &'a [u8]) -> &'a [u8] {
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

/// The containers that are to be read otherwise than they stand: in another order, or with
/// something left out.
#[derive(Debug, Default)]
pub(super) struct Reordered {
    containers: Vec<Container>,
    members: Vec<Member>,
    /// Where the members of one container are put in order.
    scratch: Vec<u8>,
}

#[derive(Debug)]
struct Container {
    span: Range<u32>,
    members: Range<usize>,
}

/// A container no longer than this is put in order at once: that is within what a processor
/// has at hand, and moves no byte oftener than containers can be nested.
const SHORT: usize = 4096;

impl Reordered {
    /// Has the container that begins at `start` of the text read as these members. It ends
    /// with the `text` when `run` has been added, which this does.
    pub(super) fn add(&mut self, text: &mut Vec<u8>, run: &[u8], start: u32, members: &[Member]) {
        let counting = members.iter().filter(|member| member.counts());
        if text.len() + run.len() - start as usize <= SHORT {
            return self.rewrite(text, run, start, counting);
        }
        text.extend_from_slice(run);
        let begin = self.members.len();
        self.members.extend(counting);
        self.containers.push(Container {
            span: start..offset(text.len()),
            members: begin..self.members.len(),
        });
    }

    /// Writes a container anew, from `start` to the end of the text.
    fn rewrite<'a>(
        &mut self,
        text: &mut Vec<u8>,
        run: &[u8],
        start: u32,
        members: impl Iterator<Item = &'a Member>,
    ) {
        let inside = start as usize + 1;
        let content = match inside.checked_sub(text.len()) {
            // All of it is still to be added.
            Some(before) => {
                text.extend_from_slice(&run[..before]);
                &run[before..]
            }
            None => {
                self.scratch.clear();
                self.scratch.reserve(text.capacity().min(SHORT));
                self.scratch.extend_from_slice(&text[inside..]);
                self.scratch.extend_from_slice(run);
                text.truncate(inside);
                &self.scratch
            }
        };
        for member in members {
            // With what is behind it, be it the bracket: all have a comma there but the last.
            let (from, end) = (member.start as usize, member.end as usize);
            text.extend_from_slice(&content[from - inside..=end - inside]);
            if let Some(behind) = text.last_mut() {
                *behind = b',';
            }
        }
        if text.len() > inside {
            text.pop();
        }
        text.extend(content.last());
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
                self.read_span(text, member.start..member.end, into);
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
