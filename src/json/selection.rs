//! Which parts of a document count, by JSON Pointers.

use std::borrow::Cow;

/// JSON Pointers (RFC 6901) to what does not count, and to what alone does.
#[derive(Debug, Clone)]
pub(crate) struct Selection {
    /// A tree by the names of members; the first is the document.
    nodes: Vec<Node>,
}

#[derive(Debug, Clone, Default)]
struct Node {
    children: Vec<(Box<[u8]>, usize)>,
    mark: Option<Mark>,
    /// Something that alone counts is here or below.
    leads: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mark {
    Ignored,
    Only,
}

/// Where in the tree a value of the document is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    /// Pointers lead to here or below.
    node: Option<usize>,
    /// What no pointer leads to counts, too.
    rest_counts: bool,
}

impl Selection {
    /// Leaves out what `pointer` leads to.
    pub(crate) fn ignore(&mut self, pointer: &str) {
        let end = self.path(pointer).last().copied();
        self.nodes[end.unwrap_or_default()].mark = Some(Mark::Ignored);
    }

    /// Leaves out what no such pointer leads to.
    pub(crate) fn only(&mut self, pointer: &str) {
        let path = self.path(pointer);
        let end = path.last().copied().unwrap_or_default();
        self.nodes[end].mark.get_or_insert(Mark::Only);
        for at in path {
            self.nodes[at].leads = true;
        }
    }

    /// The nodes `pointer` leads along, from the document on.
    fn path(&mut self, pointer: &str) -> Vec<usize> {
        let mut path = vec![0];
        for name in names(pointer) {
            let parent = path[path.len() - 1];
            let known = self.child(parent, &name);
            path.push(known.unwrap_or_else(|| self.add_child(parent, &name)));
        }
        path
    }

    fn add_child(&mut self, parent: usize, name: &[u8]) -> usize {
        let child = self.nodes.len();
        self.nodes.push(Node::default());
        self.nodes[parent].children.push((Box::from(name), child));
        child
    }

    fn child(&self, at: usize, name: &[u8]) -> Option<usize> {
        let mut children = self.nodes[at].children.iter();
        let (_, child) = children.find(|(of, _)| **of == *name)?;
        Some(*child)
    }

    /// The document; `None` if it does not count.
    pub(super) fn root(&self) -> Option<Place> {
        let around = Place {
            node: None,
            rest_counts: !self.nodes[0].leads,
        };
        self.marked(around, 0)
    }

    /// The member of that name, spelled as in a [`Scanner`](super::Scanner), of the object
    /// at `place`; `None` if it does not count.
    pub(super) fn member(&self, place: Place, name: &[u8]) -> Option<Place> {
        let child = place.node.and_then(|node| self.child(node, name));
        match child {
            Some(child) => self.marked(place, child),
            None => place.rest_counts.then_some(Place::WHOLE),
        }
    }

    /// As [`member`](Self::member), for an element of an array.
    pub(super) fn element(&self, place: Place, index: u64) -> Option<Place> {
        self.member(place, index.to_string().as_bytes())
    }

    /// Whether pointers lead to elements of an array at `place`; it counts as a whole if
    /// they lead elsewhere.
    pub(super) fn picks_elements(&self, place: Place) -> bool {
        place.node.is_some_and(|node| {
            let mut children = self.nodes[node].children.iter();
            children.any(|(name, _)| is_index(name))
        })
    }

    fn marked(&self, around: Place, at: usize) -> Option<Place> {
        let node = &self.nodes[at];
        let rest_counts = match node.mark {
            Some(Mark::Ignored) => return None,
            Some(Mark::Only) => true,
            None if node.leads => around.rest_counts,
            None => around.rest_counts.then_some(true)?,
        };
        Some(Place {
            node: (!node.children.is_empty()).then_some(at),
            rest_counts,
        })
    }
}

impl Place {
    /// One that no pointer leads to.
    pub(super) const WHOLE: Self = Self {
        node: None,
        rest_counts: true,
    };

    /// Whether all of this value counts.
    pub(super) fn is_whole(self) -> bool {
        self.node.is_none()
    }
}

impl Default for Selection {
    fn default() -> Self {
        Self {
            nodes: vec![Node::default()],
        }
    }
}

fn is_index(name: &[u8]) -> bool {
    match name {
        [b'0'] => true,
        [b'1'..=b'9', rest @ ..] => rest.iter().all(u8::is_ascii_digit),
        _ => false,
    }
}

/// The names a pointer goes by, spelled as in a [`Scanner`](super::Scanner).
///
/// # Panics
///
/// If it is not a JSON Pointer.
fn names(pointer: &str) -> impl Iterator<Item = Cow<'_, [u8]>> {
    let mut names = pointer.split('/');
    assert!(
        names.next() == Some(""),
        "a JSON Pointer is empty or begins with a slash: {pointer:?}"
    );
    names.map(name)
}

fn name(token: &str) -> Cow<'_, [u8]> {
    let mut rest = token.split('~').skip(1);
    assert!(
        rest.all(|rest| rest.starts_with(['0', '1'])),
        "in a JSON Pointer `~` is followed by 0 or 1: {token:?}"
    );
    if !token.contains(['~', '"', '\\']) {
        return Cow::Borrowed(token.as_bytes());
    }
    let name = token.replace("~1", "/").replace("~0", "~");
    let spelled = name.replace('\\', "\\\\").replace('"', "\\\"");
    Cow::Owned(spelled.into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_a_pointer() {
        let names =
            |pointer| names(pointer).map(|name| String::from_utf8_lossy(&name).into_owned());
        for (pointer, expected) in [
            ("", &[][..]),
            ("/", &[""]),
            ("/a/b", &["a", "b"]),
            ("/a~1b/m~0n", &["a/b", "m~n"]),
            ("/~01", &["~1"]),
            ("/k\"l/g\\h", &["k\\\"l", "g\\\\h"]),
        ] {
            assert_eq!(names(pointer).collect::<Vec<_>>(), expected, "{pointer}");
        }
    }

    #[test]
    fn what_is_no_pointer_panics() {
        for pointer in ["a", "a/b", "#/a", "/~", "/a~", "/~2", "/a~~0"] {
            let named = std::panic::catch_unwind(|| names(pointer).count());
            assert!(named.is_err(), "{pointer}");
        }
    }
}
