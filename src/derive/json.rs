//! JSON by its meaning.

use std::sync::Arc;

use crate::json::{Scanner, Selection};

/// What `text` means, in its one spelling; `None` if it has no one meaning.
///
/// The spelling is a part of version 1: it must not change.
pub(super) fn meaning(text: &[u8]) -> Option<Vec<u8>> {
    let mut scanner = Scanner::new(Arc::new(Selection::default()));
    let mut spelled = Vec::with_capacity(text.len());
    scanner.feed(text).ok()?;
    scanner.finish().ok()?;
    scanner.read(|piece| spelled.extend_from_slice(piece));
    Some(spelled)
}
