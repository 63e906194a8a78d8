//! The header field that carries a key.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::make_key::KeyError;
use crate::key::{HeaderKey, Key};

/// Which field it is, and how keys are written there.
#[derive(Debug, Clone)]
pub(super) struct Field {
    name: HeaderName,
    syntax: Syntax,
}

#[derive(Debug, Clone, Copy)]
enum Syntax {
    BareIfPossible,
    Quoted,
}

impl Field {
    /// `Idempotency-Key`, bare if possible.
    pub(super) fn new() -> Self {
        Self {
            name: HeaderName::from_static("idempotency-key"),
            syntax: Syntax::BareIfPossible,
        }
    }

    pub(super) fn name(self, name: HeaderName) -> Self {
        Self { name, ..self }
    }

    pub(super) fn quoted(self) -> Self {
        let syntax = Syntax::Quoted;
        Self { syntax, ..self }
    }

    pub(super) fn is_in(&self, headers: &HeaderMap) -> bool {
        headers.contains_key(&self.name)
    }

    /// The key that the field carries, if it is one.
    pub(super) fn read(&self, headers: &HeaderMap) -> Option<Key> {
        let tolerant = HeaderKey::new().name(self.name.clone());
        tolerant.find(headers).ok().flatten()
    }

    pub(super) fn write(&self, key: &Key, headers: &mut HeaderMap) -> Result<(), KeyError> {
        let text = match self.syntax {
            Syntax::BareIfPossible if is_bare(key) => HeaderValue::from_str(key.as_str()),
            Syntax::BareIfPossible | Syntax::Quoted => HeaderValue::try_from(quoted(key)),
        };
        let mut value = text.map_err(KeyError::new)?;
        // Not shown by `Debug`, and kept out of the tables of HTTP/2: it never comes again.
        value.set_sensitive(true);
        let replaced = headers.try_insert(&self.name, value);
        replaced.map(drop).map_err(KeyError::new)
    }
}

fn is_bare(key: &Key) -> bool {
    let is_bare = |byte| u8::is_ascii_graphic(byte) && !br#"",;\"#.contains(byte);
    key.as_ref().iter().all(is_bare)
}

/// As a string of RFC 9651.
fn quoted(key: &Key) -> String {
    let escaped = key.as_str().replace('\\', r"\\").replace('"', r#"\""#);
    format!(r#""{escaped}""#)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(field: &Field, key: &Key) -> HeaderMap {
        let mut headers = HeaderMap::new();
        field.write(key, &mut headers).unwrap();
        headers
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(key in "[ -~]{0,20}[!-~]") {
            let key = Key::new(key).unwrap();
            for field in [Field::new(), Field::new().quoted()] {
                let read = field.read(&written(&field, &key));
                prop_assert_eq!(read, Some(key.clone()));
            }
            let strict = HeaderKey::new().strict().find(&written(&Field::new().quoted(), &key));
            prop_assert_eq!(strict, Ok(Some(key)));
        }
    }

    #[test]
    fn only_what_must_be_is_quoted() {
        for (key, field) in [
            ("order-42", "order-42"),
            ("a b", r#""a b""#),
            (r#"a"b\c"#, r#""a\"b\\c""#),
            ("a,b;c", r#""a,b;c""#),
        ] {
            let headers = written(&Field::new(), &Key::new(key).unwrap());
            assert_eq!(headers["idempotency-key"], field);
        }
    }

    #[test]
    fn a_written_key_is_not_shown() {
        let headers = written(&Field::new(), &Key::new("order-42").unwrap());
        assert!(!format!("{headers:?}").contains("order-42"));
    }

    #[test]
    fn a_full_map_is_an_error() {
        let mut headers = HeaderMap::new();
        for number in 0.. {
            let name = HeaderName::try_from(format!("x-{number}")).unwrap();
            if headers
                .try_insert(name, HeaderValue::from_static(""))
                .is_err()
            {
                break;
            }
        }
        let key = Key::new("order-42").unwrap();
        assert!(Field::new().write(&key, &mut headers).is_err());
    }
}
