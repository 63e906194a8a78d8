//! The key in a header field.

use std::{borrow::Cow, convert::Infallible, ops::Range};

use http::{HeaderMap, HeaderName, HeaderValue, request::Parts};
use sfv::{
    BareItemFromInput, Parser,
    visitor::{Ignored, ItemVisitor, ParameterVisitor},
};

use super::{InvalidKey, Key, KeyPlace, KeySource, MAX_KEY_LEN, check};

/// The key in a header field: `Idempotency-Key`, or a name of your own.
///
/// Exactly one field line may carry it. *Tolerant* (the default) takes a quoted string
/// ([RFC 9651 section 3.3.3], parameters ignored) or a bare value of visible ASCII without
/// `"`, `,`, `;` and `\`: `abc` and `"abc"` are one key. *Strict* takes only the quoted
/// form, as [draft-ietf-httpapi-idempotency-key-header] asks.
///
/// [RFC 9651 section 3.3.3]: https://www.rfc-editor.org/rfc/rfc9651#section-3.3.3
/// [draft-ietf-httpapi-idempotency-key-header]: https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderKey {
    name: HeaderName,
    syntax: Syntax,
    min_len: usize,
    shape: Shape,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Syntax {
    Tolerant,
    Strict,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    Any,
    Uuid,
}

impl HeaderKey {
    /// `Idempotency-Key`, tolerant, any key of 1 to 255 bytes.
    #[must_use]
    pub fn new() -> Self {
        Self {
            name: HeaderName::from_static("idempotency-key"),
            syntax: Syntax::Tolerant,
            min_len: 1,
            shape: Shape::Any,
        }
    }

    /// Reads another field. Default: `Idempotency-Key`.
    #[must_use]
    pub fn name(mut self, name: HeaderName) -> Self {
        self.name = name;
        self
    }

    /// Takes only the quoted form. Default: tolerant.
    #[must_use]
    pub fn strict(mut self) -> Self {
        self.syntax = Syntax::Strict;
        self
    }

    /// The least number of bytes a key must have, after unescaping. Default: 1.
    #[must_use]
    pub fn min_len(mut self, bytes: usize) -> Self {
        self.min_len = bytes;
        self
    }

    /// Takes only UUIDs in their hyphenated form, of any version and case; they are still
    /// compared byte for byte. Default: any key.
    #[must_use]
    pub fn uuid_only(mut self) -> Self {
        self.shape = Shape::Uuid;
        self
    }

    /// The key among `headers`.
    ///
    /// # Errors
    ///
    /// [`InvalidKey`] if the field is there and malformed.
    pub fn find(&self, headers: &HeaderMap) -> Result<Option<Key>, InvalidKey> {
        self.read(headers, self.position(headers))
    }

    /// Which of the names of `headers` is that of the field. They are compared sooner than this
    /// one is hashed.
    pub(crate) fn position(&self, headers: &HeaderMap) -> Option<usize> {
        headers.keys().position(|name| *name == self.name)
    }

    /// The key in the field that was found at [`position`](Self::position), or was not.
    pub(crate) fn read(
        &self,
        headers: &HeaderMap,
        position: Option<usize>,
    ) -> Result<Option<Key>, InvalidKey> {
        let Some(position) = position else {
            return Ok(None);
        };
        // Most heads have no field twice.
        let line = if headers.len() == headers.keys_len() {
            headers.values().nth(position)
        } else {
            let mut lines = headers.get_all(&self.name).iter();
            lines.next().filter(|_| lines.next().is_none())
        };
        self.parse(line.ok_or(InvalidKey::MultipleLines)?).map(Some)
    }

    /// The field's name.
    pub(crate) fn field(&self) -> &HeaderName {
        &self.name
    }

    fn parse(&self, line: &HeaderValue) -> Result<Key, InvalidKey> {
        let bytes = line.as_bytes();
        let span = trimmed(bytes);
        let key = match (bytes[span.clone()].first(), self.syntax) {
            (None, _) => return Err(InvalidKey::Empty),
            (Some(b'"'), _) => quoted(line, span)?,
            (Some(_), Syntax::Strict) => return Err(InvalidKey::NotString),
            (Some(_), Syntax::Tolerant) => bare(line, span)?,
        };
        self.check(key)
    }

    fn check(&self, key: Key) -> Result<Key, InvalidKey> {
        if key.span.len() < self.min_len {
            return Err(InvalidKey::TooShort);
        }
        match self.shape {
            Shape::Uuid if !is_uuid(key.as_ref()) => Err(InvalidKey::NotUuid),
            Shape::Uuid | Shape::Any => Ok(key),
        }
    }
}

impl Default for HeaderKey {
    fn default() -> Self {
        Self::new()
    }
}

impl KeySource for HeaderKey {
    fn key(&self, parts: &Parts) -> Result<KeyPlace, InvalidKey> {
        self.find(&parts.headers).map(KeyPlace::from)
    }
}

/// The span of `bytes` without optional white space at its ends.
fn trimmed(bytes: &[u8]) -> Range<usize> {
    let is_text = |byte: &u8| !matches!(byte, b' ' | b'\t');
    match bytes.iter().position(is_text) {
        Some(start) => start..bytes.iter().rposition(is_text).map_or(start, |end| end + 1),
        None => 0..0,
    }
}

fn bare(line: &HeaderValue, span: Range<usize>) -> Result<Key, InvalidKey> {
    let bytes = &line.as_bytes()[span.clone()];
    // Not `all`: without a way out it is done many bytes at a time.
    if !bytes.iter().fold(true, |bare, &byte| bare & is_bare(byte)) {
        return Err(InvalidKey::BadBareChar);
    }
    if bytes.len() > MAX_KEY_LEN {
        return Err(InvalidKey::TooLong);
    }
    Ok(Key::within(line, span))
}

/// Whether a bare key may hold it: visible ASCII without `"`, `,`, `;` and `\`.
const fn is_bare(byte: u8) -> bool {
    (byte > b' ')
        & (byte <= b'~')
        & (byte != b'"')
        & (byte != b',')
        & (byte != b';')
        & (byte != b'\\')
}

fn quoted(line: &HeaderValue, span: Range<usize>) -> Result<Key, InvalidKey> {
    let field = &line.as_bytes()[span.clone()];
    let mut found = None;
    Parser::new(field)
        .parse_item_with_visitor(StringItem(&mut found))
        .map_err(|_| why_not_a_string(field))?;
    let text = found.ok_or(InvalidKey::NotString)?;
    check(text.as_bytes())?;
    match text {
        Cow::Borrowed(text) => {
            let start = span.start + 1;
            Ok(Key::within(line, start..start + text.len()))
        }
        Cow::Owned(text) => Key::new(text),
    }
}

/// Takes the string out of an item and ignores its parameters.
struct StringItem<'a, 'de>(&'a mut Option<Cow<'de, str>>);

impl<'de> ItemVisitor<'de> for StringItem<'_, 'de> {
    type Error = Infallible;

    fn bare_item(
        self,
        item: BareItemFromInput<'de>,
    ) -> Result<impl ParameterVisitor<'de>, Self::Error> {
        if let BareItemFromInput::String(text) = item {
            *self.0 = Some(match text {
                Cow::Borrowed(text) => Cow::Borrowed(text.as_str()),
                Cow::Owned(text) => Cow::Owned(text.into()),
            });
        }
        Ok(Ignored)
    }
}

/// Names the fault of a field that begins with a quote and did not parse; the parser says
/// only where it stopped.
fn why_not_a_string(field: &[u8]) -> InvalidKey {
    let mut bytes = field.iter().skip(1);
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => return InvalidKey::Trailing,
            b'\\' => match bytes.next() {
                Some(b'"' | b'\\') => {}
                Some(_) => return InvalidKey::BadEscape,
                None => return InvalidKey::Unterminated,
            },
            0x20..=0x7e => {}
            _ => return InvalidKey::BadChar,
        }
    }
    InvalidKey::Unterminated
}

/// Whether `key` is a UUID in its hyphenated form (RFC 9562 section 4).
fn is_uuid(key: &[u8]) -> bool {
    key.len() == 36
        && key.iter().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[&[u8]]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            let value = HeaderValue::from_bytes(line).unwrap();
            headers.append("idempotency-key", value);
        }
        headers
    }

    fn find(source: &HeaderKey, line: &str) -> Result<Key, InvalidKey> {
        let found = source.find(&headers(&[line.as_bytes()]));
        found.map(|key| key.expect("the header is there"))
    }

    /// The vectors hold three values that `HeaderValue` itself refuses; for these no key can
    /// ever arrive, and that is the result.
    fn vector_result(source: &HeaderKey, lines: &[String]) -> Option<Result<String, &'static str>> {
        let mut headers = HeaderMap::new();
        for line in lines {
            let value = HeaderValue::from_bytes(line.as_bytes()).ok()?;
            headers.append("idempotency-key", value);
        }
        Some(match source.find(&headers) {
            Ok(key) => Ok(key.expect("the header is there").as_str().to_owned()),
            Err(reason) => Err(reason.as_str()),
        })
    }

    #[test]
    fn all_vectors() {
        let text = include_str!("../../tests/data/key_header.json");
        let vectors: Vec<serde_json::Value> = serde_json::from_str(text).unwrap();
        assert_eq!(vectors.len(), 66);
        let mut refused_by_http = 0;
        for vector in &vectors {
            let lines: Vec<String> = serde_json::from_value(vector["lines"].clone()).unwrap();
            for (column, source) in [
                ("tolerant", HeaderKey::new()),
                ("strict", HeaderKey::new().strict()),
            ] {
                let value = vector[column]["value"].as_str().unwrap();
                let expected = match vector[column]["result"].as_str().unwrap() {
                    "key" => Ok(value.to_owned()),
                    _ => Err(value),
                };
                match vector_result(&source, &lines) {
                    Some(result) => assert_eq!(result, expected, "{column} of {vector}"),
                    None => {
                        assert!(expected.is_err(), "{vector}");
                        refused_by_http += 1;
                    }
                }
            }
        }
        assert_eq!(refused_by_http, 6, "DEL, NUL and LF, in both columns");
    }

    #[test]
    fn no_field_is_no_key() {
        assert_eq!(HeaderKey::new().find(&HeaderMap::new()), Ok(None));
    }

    #[test]
    fn high_bytes_are_refused_and_never_panic() {
        for byte in 0x80..=0xff {
            let bare = headers(&[&[b'a', byte]]);
            assert_eq!(HeaderKey::new().find(&bare), Err(InvalidKey::BadBareChar));
            let quoted = headers(&[&[b'"', byte, b'"']]);
            assert_eq!(HeaderKey::new().find(&quoted), Err(InvalidKey::BadChar));
        }
    }

    #[test]
    fn bare_and_quoted_are_one_key() {
        let source = HeaderKey::new();
        assert_eq!(find(&source, "abc"), find(&source, "\"abc\""));
        assert_ne!(find(&source, "abc"), find(&source, "ABC"));
    }

    #[test]
    fn minimum_length_counts_unescaped_bytes() {
        let source = HeaderKey::new().min_len(3);
        assert_eq!(find(&source, r#""\"\"""#), Err(InvalidKey::TooShort));
        assert!(find(&source, r#""\"\"\"""#).is_ok());
    }

    #[test]
    fn a_key_far_into_its_field_is_read_whole() {
        for padding in [0, 65_533, 65_534, 65_535, 70_000] {
            for field in ["abc", "\"abc\"", "\"a\\\"c\""] {
                let line = " ".repeat(padding) + field;
                assert_eq!(find(&HeaderKey::new(), &line).unwrap().as_ref().len(), 3);
            }
        }
    }

    #[test]
    fn uuid_only() {
        let source = HeaderKey::new().uuid_only();
        assert!(find(&source, "8e03978e-40d5-43e8-bc93-6894a57f9324").is_ok());
        assert!(find(&source, "\"8E03978E-40D5-43E8-BC93-6894A57F9324\"").is_ok());
        for not in [
            "k1",
            "8e03978e40d543e8bc936894a57f9324",
            "8e03978e-40d5-43e8-bc93-6894a57f932g",
        ] {
            assert_eq!(find(&source, not), Err(InvalidKey::NotUuid));
        }
    }

    #[test]
    fn debug_hides_the_key() {
        let key = Key::new("secret").unwrap();
        assert_eq!(format!("{key:?}"), "Key(6 bytes)");
    }
}
