//! What is to be read in another order than it came in.

use std::ops::Range;

use super::members::{Member, offset};

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
