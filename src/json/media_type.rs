//! Which bodies are JSON, by their `Content-Type`.

use http::{
    HeaderMap, HeaderValue,
    header::{CONTENT_TYPE, ValueIter},
};

use crate::{digest::PartDigest, protocol::after_grpc};

/// The media type of a body that is JSON: `application/json`, or one that ends in `+json`.
/// Of several lines the first says so.
#[derive(Debug)]
pub(crate) struct MediaType<'a> {
    essence: &'a [u8],
    parameters: &'a [u8],
    /// What other lines say: it takes no part in what the body is.
    others: ValueIter<'a, HeaderValue>,
}

impl<'a> MediaType<'a> {
    /// That of a message with these headers, if its body is JSON.
    pub(crate) fn json(headers: &'a HeaderMap) -> Option<Self> {
        let mut others = headers.get_all(CONTENT_TYPE).iter();
        let value = others.next()?.as_bytes();
        if value == JSON {
            // As nearly all of them are.
            return Some(Self {
                essence: JSON,
                parameters: &[],
                others,
            });
        }
        let border = value.iter().position(|byte| *byte == b';');
        let (essence, parameters) = value.split_at(border.unwrap_or(value.len()));
        let essence = essence.trim_ascii();
        let is_json = essence.eq_ignore_ascii_case(JSON) || has_suffix(essence);
        is_json.then_some(Self {
            essence,
            parameters,
            others,
        })
    }

    /// Adds it to a digest, in one spelling: `charset=utf-8` says nothing about JSON.
    pub(crate) fn add_to(self, digest: &mut PartDigest) {
        match self.essence {
            JSON => digest.part(JSON),
            other => digest.part(other.to_ascii_lowercase()),
        };
        let parameters = self.parameters.split(semicolon()).skip(1);
        let parameters = parameters.map(<[u8]>::trim_ascii);
        let says_something = |parameter: &&[u8]| {
            let mut nothing = NOTHING.iter();
            !nothing.any(|nothing| parameter.eq_ignore_ascii_case(nothing))
        };
        digest
            .pairs("parameter", parameters.filter(says_something))
            .pairs("content-type", self.others);
    }
}

const JSON: &[u8] = b"application/json";

const NOTHING: [&[u8]; 3] = [b"", b"charset=utf-8", b"charset=\"utf-8\""];

/// Tells, byte by byte, where a parameter begins: one that is quoted may hold semicolons.
fn semicolon() -> impl FnMut(&u8) -> bool {
    let (mut quoted, mut escaped) = (false, false);
    move |byte| {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = quoted,
            b'"' => quoted = !quoted,
            _ => {}
        }
        *byte == b';' && !quoted
    }
}

/// The messages of a gRPC call may be JSON, its body is not.
fn has_suffix(essence: &[u8]) -> bool {
    const SUFFIX: &[u8] = b"+json";
    let suffix = essence
        .len()
        .checked_sub(SUFFIX.len())
        .map(|at| &essence[at..]);
    suffix.is_some_and(|suffix| suffix.eq_ignore_ascii_case(SUFFIX))
        && after_grpc(essence).is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(value: &str) -> Option<[u8; 32]> {
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, value.parse().unwrap())]);
        let media_type = MediaType::json(&headers)?;
        Some(PartDigest::of("test", |digest| media_type.add_to(digest)))
    }

    #[test]
    fn what_is_json() {
        for json in [
            "application/json",
            "APPLICATION/JSON ;x",
            "a/b+json",
            "+JSON;q",
        ] {
            assert!(digest(json).is_some(), "{json}");
        }
        let others = [
            "application/grpc+json",
            "application/jsonl",
            "text/json",
            "json",
            "",
            "a/json",
        ];
        for other in others {
            assert!(digest(other).is_none(), "{other}");
        }
        assert!(MediaType::json(&HeaderMap::new()).is_none());
    }

    #[test]
    fn what_says_nothing_does_not_count() {
        let plain = digest("application/json");
        for same in [
            "application/JSON",
            "application/json;charset=UTF-8",
            "application/json ; Charset=\"utf-8\";",
        ] {
            assert_eq!(digest(same), plain, "{same}");
        }
        let different = [
            "a/b+json",
            "application/json;charset=latin1",
            "application/json;v=2",
        ];
        for other in different {
            assert_ne!(digest(other), plain, "{other}");
        }
        assert_ne!(digest("a/b+json;v=1"), digest("a/b+json;v=2"));
    }

    #[test]
    fn what_is_quoted_counts_as_it_is() {
        let plain = digest(r#"a/b+json;p="a;b";q"#);
        assert_eq!(digest(r#"a/b+json ; p="a;b";charset=utf-8;;q"#), plain);
        for other in [
            r#"a/b+json;p="a;charset=utf-8;b";q"#,
            r#"a/b+json;p="a ;b";q"#,
            r#"a/b+json;p="a;;b";q"#,
        ] {
            assert_ne!(digest(other), plain, "{other}");
        }
        let escaped = |inside: &str| digest(&format!(r#"a/b+json;p="\"{inside}\\";q"#));
        assert_ne!(escaped(";;"), escaped(";"));
    }
}
