//! The key in a member of a JSON body.

use std::{
    fmt,
    io::{self, BufReader, Read},
    slice,
    sync::Arc,
};

use bytes::Bytes;
use http::{HeaderMap, request::Parts};
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::error::Category;

use super::{BodyKey, HeaderKey, InvalidKey, Key, KeyPlace, KeySource};
use crate::{frames::Frames, json::MediaType};

/// The key in a JSON body: `{"idempotency_key":"…", …}`.
///
/// The body is an object, and its member of that name holds the key as a string. If the member
/// is `null` or absent, there is no key. Anything else is refused with 400: another type, an
/// empty or illegal key, the member there twice, or a body that is not JSON though its
/// `Content-Type` says so. A compressed body is not JSON: what unpacks bodies belongs outside
/// of the layer.
/// Requests of other types have no such field.
///
/// The field does not count when a retry is compared with the first attempt: a
/// [`JsonFingerprint`](crate::JsonFingerprint) is the default then, and any `JsonFingerprint`
/// leaves the field out. Another [`fingerprint`](crate::IdempotencyLayer::fingerprint) compares
/// the body with the field in it.
///
/// **Every JSON body on an enabled method is read to its end before it is known whether it
/// has a key,** within [`max_request_body`](crate::IdempotencyLayer::max_request_body) and
/// [`body_deadline`](crate::IdempotencyLayer::body_deadline). One without a key is then
/// passed on as it came.
///
/// ```
/// # #[cfg(feature = "memory")] {
/// use tower_idempotency::{HeaderKey, IdempotencyLayer, JsonField, MemoryStore};
///
/// let layer = IdempotencyLayer::new(MemoryStore::new())
///     .key_source(JsonField::new("idempotency_key").header(HeaderKey::new()));
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct JsonField {
    name: Arc<str>,
    header: Option<HeaderKey>,
}

impl JsonField {
    /// The key in the member `name`.
    #[must_use]
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self {
            name: name.into(),
            header: None,
        }
    }

    /// Also takes the key from a header. A request that has both must have the same key in
    /// both, or is refused with 400. Default: only from the body.
    #[must_use]
    pub fn header(mut self, header: HeaderKey) -> Self {
        self.header = Some(header);
        self
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Whether a request with these headers may carry a key.
    pub(crate) fn may_be_with(&self, headers: &HeaderMap) -> bool {
        let header = self.header.as_ref();
        let in_header = header.is_some_and(|header| headers.contains_key(header.field()));
        in_header || MediaType::json(headers).is_some()
    }
}

impl KeySource for JsonField {
    fn key(&self, parts: &Parts) -> Result<KeyPlace, InvalidKey> {
        let header = self.header.as_ref();
        let in_header = header.map_or(Ok(None), |header| header.find(&parts.headers))?;
        if MediaType::json(&parts.headers).is_none() {
            return Ok(in_header.into());
        }
        let name = Arc::clone(&self.name);
        Ok(KeyPlace::Body(Box::new(InField { name, in_header })))
    }
}

/// A key that may be in a field, and must be that of the header if there is one.
struct InField {
    name: Arc<str>,
    in_header: Option<Key>,
}

impl BodyKey for InField {
    fn key(self: Box<Self>, body: &Frames) -> Result<Option<Key>, InvalidKey> {
        let text = match body.as_slice() {
            [] => None,
            [frame] => field(&mut serde_json::Deserializer::from_slice(frame), &self.name)?,
            frames => {
                let reader = BufReader::new(Reader::new(frames));
                field(
                    &mut serde_json::Deserializer::from_reader(reader),
                    &self.name,
                )?
            }
        };
        let in_field = text.map(Key::new).transpose()?;
        match (self.in_header, in_field) {
            (Some(header), Some(field)) if header != field => Err(InvalidKey::Disagreement),
            (header, field) => Ok(header.or(field)),
        }
    }
}

/// The string in the member `name`.
fn field<'de, R: serde_json::de::Read<'de>>(
    body: &mut serde_json::Deserializer<R>,
    name: &str,
) -> Result<Option<String>, InvalidKey> {
    let mut found = Found::NoObject;
    let search = Search {
        name,
        found: &mut found,
    };
    let read = body.deserialize_map(search).and_then(|()| body.end());
    match (read.map_err(|error| error.classify()), found) {
        (Ok(()), Found::Member(text)) => Ok(text),
        (Ok(()), Found::Twice) => Err(InvalidKey::RepeatedField),
        (Ok(()), _) | (Err(Category::Data), Found::NoObject) => Ok(None),
        (Err(Category::Data), _) => Err(InvalidKey::FieldNotString),
        (Err(_), _) => Err(InvalidKey::BodyNotJson),
    }
}

/// What a body has.
enum Found {
    NoObject,
    NoMember,
    Member(Option<String>),
    Twice,
}

/// Looks for the member `name` of an object.
struct Search<'a> {
    name: &'a str,
    found: &'a mut Found,
}

impl<'de> Visitor<'de> for Search<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        *self.found = Found::NoMember;
        while let Some(is_it) = members.next_key_seed(Is(self.name))? {
            if !is_it {
                members.next_value::<IgnoredAny>()?;
                continue;
            }
            let text = members.next_value()?;
            *self.found = match self.found {
                Found::NoMember => Found::Member(text),
                _ => Found::Twice,
            };
        }
        Ok(())
    }
}

/// Whether a name is this one.
struct Is<'a>(&'a str);

impl<'de> DeserializeSeed<'de> for Is<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, name: D) -> Result<bool, D::Error> {
        name.deserialize_str(self)
    }
}

impl Visitor<'_> for Is<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<bool, E> {
        Ok(name == self.0)
    }
}

/// Frames, read one after the other.
struct Reader<'a> {
    frame: &'a [u8],
    next: slice::Iter<'a, Bytes>,
}

impl<'a> Reader<'a> {
    fn new(frames: &'a [Bytes]) -> Self {
        Self {
            frame: &[],
            next: frames.iter(),
        }
    }
}

impl Read for Reader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.frame.is_empty() {
            self.frame = self.next.next().map_or(&[], |frame| frame);
        }
        self.frame.read(buffer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(pieces: &[&str]) -> Result<Option<String>, InvalidKey> {
        let pieces = pieces.iter().map(|piece| Bytes::from((*piece).to_owned()));
        let body: Frames = pieces.collect();
        let expected = InField {
            name: Arc::from("k"),
            in_header: None,
        };
        let key = Box::new(expected).key(&body)?;
        Ok(key.map(|key| key.as_str().to_owned()))
    }

    #[test]
    fn what_a_body_says() {
        let (long, longer) = ("x".repeat(255), "x".repeat(1 << 20));
        for (body, expected) in [
            (r#"{"k":"a"}"#, Ok(Some("a"))),
            (
                r#" { "b" : {"k":"no"}, "\u006b" : "\u0061" , "c":[1] } "#,
                Ok(Some("a")),
            ),
            (&*format!(r#"{{"k":"{long}"}}"#), Ok(Some(&*long))),
            (r#"{"k":null}"#, Ok(None)),
            (r#"{"K":"a","b":{"k":"a"}}"#, Ok(None)),
            ("{}", Ok(None)),
            ("", Ok(None)),
            (r#"["k","a"]"#, Ok(None)),
            (r#""k""#, Ok(None)),
            ("null", Ok(None)),
            ("17", Ok(None)),
            (r#"{"k":""}"#, Err(InvalidKey::EmptyKey)),
            (r#"{"k":"é"}"#, Err(InvalidKey::BadChar)),
            (&*format!(r#"{{"k":"{longer}"}}"#), Err(InvalidKey::TooLong)),
            (r#"{"k":1}"#, Err(InvalidKey::FieldNotString)),
            (r#"{"k":true}"#, Err(InvalidKey::FieldNotString)),
            (r#"{"k":["a"]}"#, Err(InvalidKey::FieldNotString)),
            (r#"{"k":{"k":"a"}}"#, Err(InvalidKey::FieldNotString)),
            (r#"{"k":"a","k":"a"}"#, Err(InvalidKey::RepeatedField)),
            (
                r#"{"k":null,"b":1,"k":"a"}"#,
                Err(InvalidKey::RepeatedField),
            ),
            (r#"{"k":"a""#, Err(InvalidKey::BodyNotJson)),
            (r#"{"k":"a",}"#, Err(InvalidKey::BodyNotJson)),
            (r#"{"k":"a"} x"#, Err(InvalidKey::BodyNotJson)),
            ("k=a", Err(InvalidKey::BodyNotJson)),
            (" ", Err(InvalidKey::BodyNotJson)),
            // What the fingerprint compares byte for byte may have a key all the same.
            (r#"{"a":1,"a":"\ud800","k":"a"}"#, Ok(Some("a"))),
            (
                &*format!(r#"{{"a":{}{},"k":"a"}}"#, "[".repeat(999), "]".repeat(999)),
                Ok(Some("a")),
            ),
        ] {
            let expected = expected.map(|key| key.map(str::to_owned));
            assert_eq!(key(&[body]), expected, "{body:.60}");
            for cut in 1..body.len().min(40) {
                if let Some((one, other)) = body.split_at_checked(cut) {
                    assert_eq!(key(&[one, other]), expected, "{body:.60} cut at {cut}");
                }
            }
        }
    }
}
