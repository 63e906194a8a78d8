//! The client's name for an operation, and where a request carries it.

mod header;
mod json_field;

use std::{
    fmt,
    hash::{Hash, Hasher},
    ops::Range,
};

use http::{HeaderValue, request::Parts};

pub use self::{header::HeaderKey, json_field::JsonField};
use crate::frames::Frames;

/// The longest key, in bytes after unescaping.
pub const MAX_KEY_LEN: usize = 255;

/// The client's name for one operation: what `Idempotency-Key` carries.
///
/// 1 to 255 bytes of printable ASCII, not all blank, compared byte for byte and
/// case-sensitively. Cheap to clone. `Debug` shows only the length: a key may be a secret
/// of the client, and never appears in logs.
#[derive(Clone)]
pub struct Key {
    /// The header value the key stands in, so that keeping a key copies nothing.
    value: HeaderValue,
    span: Range<u32>,
}

impl Key {
    /// Checks and keeps `key`.
    ///
    /// # Errors
    ///
    /// [`InvalidKey`] if it is empty, blank, longer than [`MAX_KEY_LEN`] or holds anything
    /// but printable ASCII.
    ///
    /// ```
    /// use tower_idempotency::Key;
    ///
    /// assert_eq!(Key::new("order-42").unwrap().as_str(), "order-42");
    /// assert!(Key::new("").is_err());
    /// ```
    pub fn new(key: impl AsRef<str>) -> Result<Self, InvalidKey> {
        let key = key.as_ref();
        check(key.as_bytes())?;
        let value = HeaderValue::from_str(key).map_err(|_| InvalidKey::BadChar)?;
        Ok(Self::within(&value, 0..key.len()))
    }

    /// The key that stands at `span` of a value already checked.
    fn within(value: &HeaderValue, span: Range<usize>) -> Self {
        // A field value beyond 4 GiB has never been received.
        let border = |at| u32::try_from(at).unwrap_or(u32::MAX);
        Self {
            value: value.clone(),
            span: border(span.start)..border(span.end),
        }
    }

    /// The key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_ref()).unwrap_or_default()
    }
}

/// What every key must be, however it arrived.
fn check(key: &[u8]) -> Result<(), InvalidKey> {
    if key.is_empty() {
        return Err(InvalidKey::EmptyKey);
    }
    if key.iter().any(|byte| !matches!(byte, 0x20..=0x7e)) {
        return Err(InvalidKey::BadChar);
    }
    if key.len() > MAX_KEY_LEN {
        return Err(InvalidKey::TooLong);
    }
    if key.iter().all(|&byte| byte == b' ') {
        return Err(InvalidKey::BlankKey);
    }
    Ok(())
}

impl AsRef<[u8]> for Key {
    fn as_ref(&self) -> &[u8] {
        let span = self.span.start as usize..self.span.end as usize;
        &self.value.as_bytes()[span]
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.as_ref() == other.as_ref()
    }
}

impl Eq for Key {}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_ref().hash(state);
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({} bytes)", self.span.len())
    }
}

/// Why a key was refused. It never holds the key itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidKey {
    /// The field value is empty.
    #[error("the field is empty")]
    Empty,
    /// The key is the empty string.
    #[error("the key is empty")]
    EmptyKey,
    /// The key is only spaces.
    #[error("the key is blank")]
    BlankKey,
    /// The key is longer than [`MAX_KEY_LEN`] bytes.
    #[error("the key is longer than 255 bytes")]
    TooLong,
    /// The key is shorter than the configured minimum.
    #[error("the key is shorter than this service accepts")]
    TooShort,
    /// The key is not a UUID, and this service wants one.
    #[error("the key is not a UUID")]
    NotUuid,
    /// More than one field line carries a key.
    #[error("there is more than one key")]
    MultipleLines,
    /// Not a Structured Field String (a quoted value), and the parser is strict.
    #[error("the field is not a quoted string")]
    NotString,
    /// A bare key holds a byte that only a quoted one may hold.
    #[error("an unquoted key holds a character it must not hold")]
    BadBareChar,
    /// A quoted key holds a byte outside printable ASCII.
    #[error("the key holds a character outside printable ASCII")]
    BadChar,
    /// A backslash precedes something other than `"` or `\`.
    #[error("the key holds an invalid escape")]
    BadEscape,
    /// The closing quote is missing.
    #[error("the closing quote is missing")]
    Unterminated,
    /// Something follows the quoted key that is not a parameter.
    #[error("something follows the quoted key")]
    Trailing,
    /// The field of the body holds something else than a string.
    #[error("the field in the body does not hold a string")]
    FieldNotString,
    /// The field of the body is there more than once.
    #[error("the field is in the body more than once")]
    RepeatedField,
    /// The body is not JSON though its type says so, and cannot be searched for a key.
    #[error("the body is not JSON")]
    BodyNotJson,
    /// The header and the body carry different keys.
    #[error("the header and the body carry different keys")]
    Disagreement,
}

impl InvalidKey {
    /// A stable, machine-readable name: the `reason` of the rejection.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::EmptyKey => "empty_key",
            Self::BlankKey => "blank_key",
            Self::TooLong => "too_long",
            Self::TooShort => "too_short",
            Self::NotUuid => "not_uuid",
            Self::MultipleLines => "multiple_lines",
            Self::NotString => "not_string",
            Self::BadBareChar => "bad_bare_char",
            Self::BadChar => "bad_char",
            Self::BadEscape => "bad_escape",
            Self::Unterminated => "unterminated",
            Self::Trailing => "trailing",
            Self::FieldNotString => "field_not_string",
            Self::RepeatedField => "repeated_field",
            Self::BodyNotJson => "body_not_json",
            Self::Disagreement => "disagreement",
        }
    }
}

/// Finds the key of a request.
///
/// [`HeaderKey`] is the default, and [`JsonField`] reads the body.
///
/// ```
/// use http::request::Parts;
/// use tower_idempotency::{InvalidKey, Key, KeyPlace, KeySource};
///
/// /// The key is the last segment of the path: `PUT /transfers/{key}`.
/// struct PathKey;
///
/// impl KeySource for PathKey {
///     fn key(&self, parts: &Parts) -> Result<KeyPlace, InvalidKey> {
///         let last = parts.uri.path().rsplit('/').next();
///         let key = last.map(Key::new).transpose()?;
///         Ok(key.into())
///     }
/// }
/// ```
pub trait KeySource: Send + Sync + 'static {
    /// The key of the request with this head, or that it may be in the body.
    ///
    /// # Errors
    ///
    /// [`InvalidKey`] if there is a key and it is malformed: the request is refused with 400.
    fn key(&self, parts: &Parts) -> Result<KeyPlace, InvalidKey>;
}

/// Where a key is, as far as the head of a request tells.
#[non_exhaustive]
pub enum KeyPlace {
    /// There is none.
    Nowhere,
    /// In the head: it is this.
    Head(Key),
    /// In the body, if there is one: **the whole body is read before this can tell.**
    Body(Box<dyn BodyKey>),
}

impl From<Option<Key>> for KeyPlace {
    fn from(key: Option<Key>) -> Self {
        key.map_or(Self::Nowhere, Self::Head)
    }
}

impl fmt::Debug for KeyPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nowhere => f.write_str("Nowhere"),
            Self::Head(key) => f.debug_tuple("Head").field(key).finish(),
            Self::Body(_) => f.debug_tuple("Body").finish_non_exhaustive(),
        }
    }
}

/// Finds the key in a body: the second half of a [`KeySource`] of your own.
///
/// ```
/// use http::request::Parts;
/// use tower_idempotency::{BodyKey, Frames, InvalidKey, Key, KeyPlace, KeySource};
///
/// /// The key is the first line of the body.
/// struct FirstLine;
///
/// impl KeySource for FirstLine {
///     fn key(&self, _: &Parts) -> Result<KeyPlace, InvalidKey> {
///         Ok(KeyPlace::Body(Box::new(FirstLine)))
///     }
/// }
///
/// impl BodyKey for FirstLine {
///     fn key(self: Box<Self>, body: &Frames) -> Result<Option<Key>, InvalidKey> {
///         let text = String::from_utf8(body.as_slice().concat());
///         let text = text.map_err(|_| InvalidKey::BadChar)?;
///         text.lines().next().map(Key::new).transpose()
///     }
/// }
/// ```
pub trait BodyKey: Send {
    /// The key in the body, which is all there.
    ///
    /// # Errors
    ///
    /// [`InvalidKey`] if there is a key and it is malformed: the request is refused with 400.
    fn key(self: Box<Self>, body: &Frames) -> Result<Option<Key>, InvalidKey>;
}
