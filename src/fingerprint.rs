//! A digest of what was asked: tells a retry from a reuse.

mod json;

use std::fmt;

use bytes::Bytes;
use http::{header::CONTENT_TYPE, request::Parts};

pub use self::json::JsonFingerprint;
use crate::{
    digest::{PieceDigest, hex},
    target::target,
};

/// A digest of what was asked. Two requests with the same key and different fingerprints
/// are two operations, and the second is refused.
///
/// Carries the version of the method that made it: fingerprints of different versions are
/// different.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint {
    version: u8,
    digest: [u8; 32],
}

impl Fingerprint {
    /// The version of fingerprints made outside this crate. Lower ones are reserved.
    pub const CUSTOM: u8 = 0x80;

    /// A fingerprint of your own making, with [`CUSTOM`](Self::CUSTOM) as its version.
    #[must_use]
    pub const fn custom(digest: [u8; 32]) -> Self {
        Self::from_parts(Self::CUSTOM, digest)
    }

    /// A fingerprint from what a store kept of it.
    #[must_use]
    pub const fn from_parts(version: u8, digest: [u8; 32]) -> Self {
        Self { version, digest }
    }

    /// The version of the method that made it.
    #[must_use]
    pub const fn version(&self) -> u8 {
        self.version
    }

    /// The digest, for a store to keep.
    #[must_use]
    pub const fn digest(&self) -> &[u8; 32] {
        &self.digest
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Fingerprint(v{} {}…)",
            self.version,
            hex(&self.digest[..4])
        )
    }
}

/// Decides what makes two requests the same.
///
/// [`ExactFingerprint`] is the default, and [`JsonFingerprint`] compares JSON by its meaning.
/// Called once the head of a keyed request is there;
/// the body then goes through the returned [`FingerprintState`] as it arrives.
///
/// ```
/// use http::request::Parts;
/// use tower_idempotency::{FingerprintState, Fingerprinter};
///
/// /// Everything the default compares, and the region header.
/// struct WithRegion;
///
/// impl Fingerprinter for WithRegion {
///     fn begin(&self, parts: &Parts) -> FingerprintState {
///         let region = parts.headers.get("x-region").map(|value| value.as_bytes());
///         FingerprintState::exact(parts).and(region.unwrap_or_default())
///     }
/// }
/// ```
pub trait Fingerprinter: Send + Sync + 'static {
    /// Begins the fingerprint of the request with this head.
    fn begin(&self, parts: &Parts) -> FingerprintState;
}

/// Compares method, path, query, `Content-Type` (each line of it) and the body, byte for byte.
///
/// No other header enters, nor do trailers: client libraries change headers from attempt to
/// attempt.
///
/// **A form of type `multipart/form-data` is another request each time it is built:** its
/// boundary is random, and stands in its type and its body. A retry must send the bytes
/// of the first attempt, or build the form with the same boundary.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct ExactFingerprint;

impl ExactFingerprint {
    /// The default fingerprint.
    #[must_use]
    pub fn new() -> Self {
        Self
    }
}

impl Fingerprinter for ExactFingerprint {
    fn begin(&self, parts: &Parts) -> FingerprintState {
        FingerprintState::exact(parts)
    }
}

/// A fingerprint whose body is still arriving.
pub struct FingerprintState(State);

enum State {
    Exact(PieceDigest),
    /// Boxed, to take no room in each request that is compared exactly.
    Json(Box<json::Arriving>),
    Custom(Option<Box<dyn Accumulate>>),
}

/// The body half of a fingerprint of your own.
///
/// ```
/// use bytes::Bytes;
/// use http::request::Parts;
/// use tower_idempotency::{Accumulate, Fingerprint, FingerprintState, Fingerprinter};
///
/// /// Everything the default compares, but for white space in the body.
/// struct Unspaced;
///
/// impl Fingerprinter for Unspaced {
///     fn begin(&self, parts: &Parts) -> FingerprintState {
///         FingerprintState::custom(Letters(FingerprintState::exact(parts)))
///     }
/// }
///
/// /// Hands what counts to the fingerprint inside.
/// struct Letters(FingerprintState);
///
/// impl Accumulate for Letters {
///     fn update(&mut self, piece: &Bytes) {
///         let letters = piece.iter().filter(|byte| !byte.is_ascii_whitespace());
///         self.0.update(&letters.copied().collect());
///     }
///
///     fn finish(self: Box<Self>) -> Fingerprint {
///         self.0.finish()
///     }
/// }
/// # let fingerprint = |body: [&'static str; 2]| {
/// #     let (parts, ()) = http::Request::post("/").body(()).unwrap().into_parts();
/// #     let mut state = Unspaced.begin(&parts);
/// #     body.map(|piece| state.update(&piece.into()));
/// #     state.finish()
/// # };
/// # assert_eq!(fingerprint(["a b", " c"]), fingerprint(["a", "bc"]));
/// # assert_ne!(fingerprint(["a b", " c"]), fingerprint(["a", "bd"]));
/// ```
pub trait Accumulate: Send {
    /// Takes the next piece of the body. Where one piece ends and the next begins says
    /// nothing: the same body may arrive in other pieces next time.
    fn update(&mut self, piece: &Bytes);

    /// The whole body has arrived.
    fn finish(self: Box<Self>) -> Fingerprint;
}

impl FingerprintState {
    /// What [`ExactFingerprint`] compares.
    #[must_use]
    pub fn exact(parts: &Parts) -> Self {
        let target = target(parts);
        let headers = &parts.headers;
        let digest = PieceDigest::behind("fingerprint:exact", |head| {
            head.part(parts.method.as_str())
                .part(target.path())
                .optional(target.query().map(str::as_bytes))
                .optional(headers.get(CONTENT_TYPE).map(AsRef::as_ref));
            // Most heads have no field twice.
            if headers.len() > headers.keys_len() {
                let others = headers.get_all(CONTENT_TYPE).iter().skip(1);
                head.pairs("content-type", others);
            }
        });
        Self(State::Exact(digest))
    }

    fn json(arriving: json::Arriving) -> Self {
        Self(State::Json(Box::new(arriving)))
    }

    /// A fingerprint that is computed another way.
    #[must_use]
    pub fn custom(accumulate: impl Accumulate + 'static) -> Self {
        Self(State::Custom(Some(Box::new(accumulate))))
    }

    /// Also compares `part`. Call it before the body arrives; it has no effect on a
    /// [`custom`](Self::custom) state, which holds its own parts.
    #[must_use]
    pub fn and(mut self, part: impl AsRef<[u8]>) -> Self {
        let digest = match &mut self.0 {
            State::Exact(digest) => digest,
            State::Json(arriving) => arriving.head(),
            State::Custom(_) => return self,
        };
        digest.part("and").part(part);
        self
    }

    /// Takes the next piece of the body; where one piece ends and the next begins says
    /// nothing. The layer does this, and so may a fingerprint of your own that has another
    /// one inside.
    pub fn update(&mut self, piece: &Bytes) {
        match &mut self.0 {
            State::Exact(digest) => digest.piece(piece),
            State::Json(arriving) => arriving.update(piece),
            State::Custom(accumulate) => {
                if let Some(accumulate) = accumulate {
                    accumulate.update(piece);
                }
            }
        }
    }

    /// The whole body has arrived.
    #[must_use]
    pub fn finish(mut self) -> Fingerprint {
        self.close()
    }

    /// As [`finish`](Self::finish), where it lies; only once.
    pub(crate) fn close(&mut self) -> Fingerprint {
        match &mut self.0 {
            State::Exact(digest) => Fingerprint::from_parts(1, digest.finish()),
            State::Json(arriving) => arriving.finish(),
            State::Custom(accumulate) => accumulate
                .take()
                .unwrap_or_else(|| unreachable!("finished once"))
                .finish(),
        }
    }
}

impl fmt::Debug for FingerprintState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FingerprintState").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    fn fingerprint(request: Request<&[&'static str]>) -> Fingerprint {
        let (parts, body) = request.into_parts();
        let mut state = ExactFingerprint::new().begin(&parts);
        for piece in body {
            state.update(&Bytes::from_static(piece.as_bytes()));
        }
        state.finish()
    }

    fn post(uri: &str) -> http::request::Builder {
        Request::post(uri).header("content-type", "text/plain")
    }

    #[test]
    fn each_part_counts() {
        let all = [
            fingerprint(post("/a").body(&["xy"] as &[_]).unwrap()),
            fingerprint(post("/b").body(&["xy"] as &[_]).unwrap()),
            fingerprint(post("/a?").body(&["xy"] as &[_]).unwrap()),
            fingerprint(post("/a?q").body(&["xy"] as &[_]).unwrap()),
            fingerprint(post("/a").body(&["xz"] as &[_]).unwrap()),
            fingerprint(post("/a").body(&[] as &[_]).unwrap()),
            fingerprint(Request::post("/a").body(&["xy"] as &[_]).unwrap()),
            fingerprint(post("/a").method("PATCH").body(&["xy"] as &[_]).unwrap()),
        ];
        for (i, a) in all.iter().enumerate() {
            for (j, b) in all.iter().enumerate() {
                assert_eq!(i == j, a == b, "{i} and {j}");
            }
        }
    }

    /// These are kept for as long as records are.
    #[test]
    fn with_one_content_type_or_none_it_is_what_it_was() {
        let none = Request::post("/a?q").body(&["xy"] as &[_]).unwrap();
        let one = post("/a?q").body(&["xy"] as &[_]).unwrap();
        let shown = [none, one].map(|request| format!("{:?}", fingerprint(request)));
        assert_eq!(
            shown,
            ["Fingerprint(v1 32ebfd65…)", "Fingerprint(v1 7a116179…)"]
        );
    }

    #[test]
    fn each_line_of_the_content_type_counts() {
        let typed = |lines: &[&str], and: Option<&str>| {
            let request = lines.iter().fold(Request::post("/a"), |request, line| {
                request.header("content-type", *line)
            });
            let (parts, ()) = request.body(()).unwrap().into_parts();
            let state = FingerprintState::exact(&parts);
            and.map_or(FingerprintState::exact(&parts), |and| state.and(and))
                .finish()
        };
        let all = [
            typed(&["a/b"], None),
            typed(&["a/b", "c/d"], None),
            typed(&["a/b", "e/f"], None),
            typed(&["c/d", "a/b"], None),
            typed(&["a/b", "a/b"], None),
            typed(&["a/b", ""], None),
            typed(&["a/b, c/d"], None),
            typed(&["a/b", "c/d", "e/f"], None),
            typed(&["a/b", "c/de/f"], None),
            typed(&["a/b"], Some("c/d")),
            typed(&["a/b", "and", "c/d"], None),
            typed(&["a/b", "c/d"], Some("c/d")),
        ];
        for (i, a) in all.iter().enumerate() {
            for (j, b) in all.iter().enumerate() {
                assert_eq!(i == j, a == b, "{i} and {j}");
            }
        }
    }

    #[test]
    fn pieces_and_other_headers_do_not_count() {
        let whole = fingerprint(post("/a").body(&["xyz"] as &[_]).unwrap());
        let pieces = fingerprint(post("/a").body(&["x", "", "yz"] as &[_]).unwrap());
        let header = post("/a").header("x-attempt", "2");
        assert_eq!(whole, pieces);
        assert_eq!(whole, fingerprint(header.body(&["xyz"] as &[_]).unwrap()));
    }

    #[test]
    fn an_added_part_counts() {
        let (parts, ()) = Request::new(()).into_parts();
        let plain = FingerprintState::exact(&parts).finish();
        let with = |part: &str| FingerprintState::exact(&parts).and(part).finish();
        assert_ne!(plain, with(""));
        assert_ne!(with("a"), with("b"));
    }

    #[test]
    fn versions_are_different() {
        assert_ne!(
            Fingerprint::from_parts(1, [0; 32]),
            Fingerprint::custom([0; 32])
        );
    }
}
