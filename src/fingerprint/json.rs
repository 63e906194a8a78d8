//! JSON compared by what it means.

use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;

use super::{ExactFingerprint, Fingerprint, FingerprintState, Fingerprinter};
use crate::{
    digest::PieceDigest,
    frames::Frames,
    json::{MediaType, Scanner, Selection, Unfit},
    target::target,
};

/// Compares method, path, query, and a JSON body by its meaning.
///
/// A retry may order the members of an object otherwise, indent, or spell a number or a
/// string in another way, and is still the same request:
///
/// | | |
/// |---|---|
/// | equal | `{"a":1,"b":2}` and `{ "b": 2, "a": 1 }`; `1`, `1.0` and `1e0`; `0` and `-0`; `"\u00e9"` and `"é"` |
/// | different | `[1,2]` and `[2,1]`; `1` and `"1"`; `{"a":null}` and `{}`; `"a"` and `"A"`; `"é"` composed and decomposed |
///
/// Numbers are exact decimals of any length: 9007199254740992 and 9007199254740993 are
/// different, though many programs read both as one. A false *equal* would answer a request
/// with what belongs to another.
///
/// A body without one clear meaning is compared byte for byte, and equals no other: one that is
/// not JSON, says a name twice in one object, holds half a surrogate pair, is nested deeper
/// than 128, or is longer than 858,993,459 bytes. It is never refused for that.
///
/// It is read as it arrives. Until its end that takes about its length of memory once more,
/// and at the worst, for a body of nothing but tiny members or of numbers like `1e19`, some ten
/// times that.
///
/// This is for `application/json` and types that end in `+json`; `charset=utf-8` and the
/// case of the type do not count, and other parameters do. All other bodies are compared
/// as [`ExactFingerprint`] does.
///
/// ```
/// # #[cfg(feature = "memory")] {
/// use tower_idempotency::{IdempotencyLayer, JsonFingerprint, MemoryStore};
///
/// let layer = IdempotencyLayer::new(MemoryStore::new())
///     .fingerprint(JsonFingerprint::new().ignore("/metadata/trace_id"));
/// # }
/// ```
#[derive(Debug, Clone, Default)]
pub struct JsonFingerprint {
    selection: Arc<Selection>,
}

impl JsonFingerprint {
    /// Compares the whole body.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Leaves out what this [JSON Pointer] leads to, as if it were not there. May be called
    /// again.
    ///
    /// **Requests that differ only there get the answer of the first.** Fit for what changes
    /// between the attempts of one operation, as a trace or the time it was sent.
    ///
    /// # Panics
    ///
    /// If `pointer` is not a JSON Pointer: it is neither empty nor begins with a slash, or
    /// holds a `~` that no `0` or `1` follows.
    ///
    /// [JSON Pointer]: https://www.rfc-editor.org/rfc/rfc6901
    #[must_use]
    pub fn ignore(mut self, pointer: &str) -> Self {
        Arc::make_mut(&mut self.selection).ignore(pointer);
        self
    }

    /// Leaves out the member `name` of the document.
    pub(crate) fn ignore_member(self, name: &str) -> Self {
        let token = name.replace('~', "~0").replace('/', "~1");
        self.ignore(&format!("/{token}"))
    }

    /// Leaves out all that none of these [JSON Pointers] lead to. May be called again, which
    /// adds; what is [ignored](Self::ignore) stays so.
    ///
    /// **Requests that differ only elsewhere get the answer of the first.** A value on the way
    /// that has no members of such names counts: `only(["/a/b"])` tells `{"a":1}` from
    /// `{"a":2}`.
    ///
    /// ```
    /// use tower_idempotency::JsonFingerprint;
    ///
    /// let fingerprint = JsonFingerprint::new().only(["/amount", "/currency"]);
    /// ```
    ///
    /// # Panics
    ///
    /// If one of `pointers` is not a JSON Pointer, or there are none: then all bodies would
    /// be equal.
    ///
    /// [JSON Pointers]: https://www.rfc-editor.org/rfc/rfc6901
    #[must_use]
    pub fn only<'a>(mut self, pointers: impl IntoIterator<Item = &'a str>) -> Self {
        let mut pointers = pointers.into_iter().peekable();
        assert!(pointers.peek().is_some(), "nothing would be compared");
        let selection = Arc::make_mut(&mut self.selection);
        pointers.for_each(|pointer| selection.only(pointer));
        self
    }
}

impl Fingerprinter for JsonFingerprint {
    fn begin(&self, parts: &Parts) -> FingerprintState {
        let Some(media_type) = MediaType::json(&parts.headers) else {
            return ExactFingerprint::new().begin(parts);
        };
        let target = target(parts);
        let digest = PieceDigest::behind("fingerprint:json", |head| {
            head.part(parts.method.as_str())
                .part(target.path())
                .optional(target.query().map(str::as_bytes));
            media_type.add_to(head);
        });
        FingerprintState::json(Arriving::new(digest, Arc::clone(&self.selection)))
    }
}

/// A JSON body that is arriving.
pub(super) struct Arriving {
    digest: PieceDigest,
    /// What it means so far, and its frames, in case it turns out to mean nothing. If it does,
    /// it is in the digest as it comes.
    meant: Option<(Scanner, Frames)>,
}

/// The version of these fingerprints.
const VERSION: u8 = 2;

impl Arriving {
    fn new(digest: PieceDigest, selection: Arc<Selection>) -> Self {
        let meant = Some((Scanner::new(selection), Frames::new()));
        Self { digest, meant }
    }

    /// What is compared besides the body, which has not begun.
    pub(super) fn head(&mut self) -> &mut PieceDigest {
        &mut self.digest
    }

    pub(super) fn update(&mut self, piece: &Bytes) {
        let Some((scanner, frames)) = &mut self.meant else {
            return self.digest.piece(piece);
        };
        frames.push(piece.clone());
        if scanner.feed(piece) == Err(Unfit) {
            digest_raw(&mut self.digest, frames);
            self.meant = None;
        }
    }

    pub(super) fn finish(&mut self) -> Fingerprint {
        let digest = &mut self.digest;
        if let Some((scanner, frames)) = &mut self.meant {
            match scanner.finish() {
                Ok(()) => {
                    digest.part("meaning");
                    scanner.read(|piece| digest.piece(piece));
                }
                Err(Unfit) => digest_raw(digest, frames),
            }
        }
        Fingerprint::from_parts(VERSION, digest.finish())
    }
}

fn digest_raw(digest: &mut PieceDigest, frames: &Frames) {
    digest.part("raw");
    for frame in frames.as_slice() {
        digest.piece(frame);
    }
}
