//! From parts to a key.

use std::{
    fmt,
    time::{Duration, SystemTime},
};

use http::Method;

use super::{form, json::meaning, window::window};
use crate::{digest::GrowingDigest, key::Key};

/// Parts that become a key.
///
/// The digest is SHA-256 over the kind, the length and the bytes of each part, in order, and
/// the number of parts: no two different lists of parts feed it the same bytes. A part may
/// hold any bytes. The key is always a legal header value.
///
/// ```
/// use tower_idempotency::derive::Derivation;
///
/// let key = |parts: &[&str]| Derivation::v1().parts(parts).hex();
/// assert_eq!(key(&["a", "b"]), key(&["a", "b"]));
/// assert_ne!(key(&["a", "b"]), key(&["ab"]));
/// assert_ne!(key(&["a"]), key(&["a", ""]));
/// ```
#[derive(Clone)]
pub struct Derivation {
    digest: GrowingDigest,
    count: u64,
}

impl Derivation {
    /// No parts yet. What version 1 derives never changes.
    #[must_use]
    pub fn v1() -> Self {
        Self {
            digest: GrowingDigest::behind("derive:v1", |_| {}),
            count: 0,
        }
    }

    /// Adds whose operation it is: a tenant or user, for example.
    #[must_use]
    pub fn scope(self, scope: impl AsRef<[u8]>) -> Self {
        self.kind("scope", scope)
    }

    /// Adds the method.
    #[must_use]
    pub fn method(self, method: &Method) -> Self {
        self.kind("method", method.as_str())
    }

    /// Adds the path, as it is: `/a` and `/a/` are different.
    #[must_use]
    pub fn path(self, path: impl AsRef<[u8]>) -> Self {
        self.kind("path", path)
    }

    /// Adds a part of the content: a body, an order number.
    #[must_use]
    pub fn part(self, part: impl AsRef<[u8]>) -> Self {
        self.kind("part", part)
    }

    /// Adds several parts of the content. One by one they make the same key.
    #[must_use]
    pub fn parts<P: AsRef<[u8]>>(self, parts: impl IntoIterator<Item = P>) -> Self {
        parts.into_iter().fold(self, Self::part)
    }

    /// Adds JSON by its meaning: the order of members, white space, and how a number or a
    /// string is spelled do not count. Numbers are exact decimals; `null` is not absence.
    ///
    /// A text without one clear meaning (it is not JSON, says a name twice in one object, holds
    /// half a surrogate pair, is nested deeper than 128, or is longer than 858,993,459 bytes) is
    /// added byte for byte, and meets no other.
    ///
    /// ```
    /// use tower_idempotency::derive::Derivation;
    ///
    /// let key = |text| Derivation::v1().json(text).short();
    /// assert_eq!(key(r#"{"a":1,"b":2}"#), key(r#"{ "b": 2.0, "a": 1 }"#));
    /// assert_ne!(key(r#"{"a":1,"b":null}"#), key(r#"{"a":1}"#));
    /// ```
    #[must_use]
    pub fn json(self, text: impl AsRef<[u8]>) -> Self {
        let text = text.as_ref();
        match meaning(text) {
            Some(meaning) => self.kind("json", meaning),
            None => self.kind("json as it is", text),
        }
    }

    /// Adds the stretch of time that `now` lies in, so that the same content has another key
    /// in the next one. Stretches are `length` long and are counted from 1970-01-01 UTC: with
    /// 24 hours they are days of UTC.
    ///
    /// **Two attempts to either side of an edge have different keys, and run twice,** however
    /// close they are. Give the time of the operation (when the order was placed, when the job
    /// was due), kept with it, and not the time of the attempt.
    ///
    /// ```
    /// use std::time::{Duration, SystemTime};
    /// use tower_idempotency::derive::Derivation;
    ///
    /// let hour = Duration::from_secs(3600);
    /// let key = |at| Derivation::v1().part("report").window(at, hour).short();
    /// let noon = SystemTime::UNIX_EPOCH + 12 * hour;
    ///
    /// assert_eq!(key(noon), key(noon + Duration::from_secs(3599)));
    /// assert_ne!(key(noon), key(noon - Duration::from_secs(1)));
    /// ```
    ///
    /// # Panics
    ///
    /// If `length` is zero.
    #[must_use]
    pub fn window(self, now: SystemTime, length: Duration) -> Self {
        assert!(!length.is_zero(), "a window of no time holds nothing");
        self.kind("window", window(now, length))
    }

    /// The key as 64 hexadecimal digits: the whole digest.
    #[must_use]
    pub fn hex(self) -> Key {
        form::hex(&self.finish())
    }

    /// The key as `ik_` and 32 hexadecimal digits: 128 bits of the digest.
    #[must_use]
    pub fn short(self) -> Key {
        form::short(&self.finish())
    }

    /// The key as a UUID of version 8 ([RFC 9562]): 122 bits of the digest, for services that
    /// take only UUIDs.
    ///
    /// [RFC 9562]: https://www.rfc-editor.org/rfc/rfc9562#section-5.8
    #[must_use]
    pub fn uuid(self) -> Key {
        form::uuid8(&self.finish())
    }

    fn kind(mut self, kind: &str, part: impl AsRef<[u8]>) -> Self {
        self.digest.part(kind).part(part);
        self.count += 1;
        self
    }

    fn finish(mut self) -> [u8; 32] {
        self.digest.number(self.count);
        self.digest.finish()
    }
}

/// The parts are not shown.
impl fmt::Debug for Derivation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Derivation({} parts)", self.count)
    }
}
