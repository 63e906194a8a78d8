//! Header fields and trailers as a record keeps them, and which of them it keeps.

use std::{fmt, sync::Arc};

use bytes::{BufMut as _, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::protocol::Protocol;

/// More lines are not kept: a `HeaderMap` holds fewer names, but any number of lines with one
/// name, and a line takes ten times the room there that it takes packed.
const MOST_LINES: usize = 32_768;

/// An ordered list of header fields, duplicates and bytes beyond ASCII included, packed
/// into one buffer: per field the length of the name (two bytes) and of the value (four),
/// then both.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Fields(Bytes);

impl Fields {
    /// Packs the fields of `headers` that `keep` admits.
    pub(crate) fn pack(headers: &HeaderMap, keep: impl Fn(&HeaderName) -> bool) -> Self {
        let kept = || {
            let kept = headers.iter().filter(|(name, _)| keep(name));
            kept.take(MOST_LINES)
        };
        let size = kept()
            .map(|(name, value)| 6 + name.as_str().len() + value.len())
            .sum();
        if size == 0 {
            return Self::default();
        }
        let mut block = BytesMut::with_capacity(size);
        for (name, value) in kept() {
            pack_one(&mut block, name.as_str().as_bytes(), value.as_bytes());
        }
        Self(block.freeze())
    }

    /// Takes a block from outside, if every field in it is a legal one and a map holds
    /// them all: a `HeaderMap` has an end.
    pub(crate) fn from_block(block: Bytes) -> Option<Self> {
        let mut headers = HeaderMap::new();
        let mut rest = &*block;
        while !rest.is_empty() {
            if headers.len() == MOST_LINES {
                return None;
            }
            let (name, value) = split_one(&mut rest)?;
            let name = HeaderName::from_lowercase(name).ok()?;
            let value = HeaderValue::from_maybe_shared(block.slice_ref(value)).ok()?;
            headers.try_append(name, value).ok()?;
        }
        Some(Self(block))
    }

    /// The packed form.
    pub(crate) fn as_block(&self) -> &Bytes {
        &self.0
    }

    /// How many bytes the packed form takes.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Appends the fields to `headers`, in order, as far as the map holds them. The values
    /// share this buffer.
    pub(crate) fn append_to(&self, headers: &mut HeaderMap) {
        let mut rest = &*self.0;
        while let Some((name, value)) = split_one(&mut rest) {
            let name = HeaderName::from_bytes(name);
            let value = HeaderValue::from_maybe_shared(self.0.slice_ref(value));
            if let (Ok(name), Ok(value)) = (name, value) {
                let _ = headers.try_append(name, value);
            }
        }
    }

    /// The fields as a map.
    pub(crate) fn to_map(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        self.append_to(&mut headers);
        headers
    }
}

fn pack_one(block: &mut BytesMut, name: &[u8], value: &[u8]) {
    // `http` holds names below 64 KiB; a value beyond 4 GiB has never been received.
    let (Ok(name_len), Ok(value_len)) = (u16::try_from(name.len()), u32::try_from(value.len()))
    else {
        return;
    };
    block.put_u16(name_len);
    block.put_u32(value_len);
    block.put_slice(name);
    block.put_slice(value);
}

/// Takes a field from the beginning of `rest`.
fn split_one<'a>(rest: &mut &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
    let (name_len, field) = rest.split_first_chunk()?;
    let (value_len, field) = field.split_first_chunk()?;
    let (name, field) = field.split_at_checked(u16::from_be_bytes(*name_len).into())?;
    let value_len = usize::try_from(u32::from_be_bytes(*value_len)).ok()?;
    let (value, behind) = field.split_at_checked(value_len)?;
    *rest = behind;
    Some((name, value))
}

impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.to_map();
        f.debug_list().entries(names.keys()).finish()
    }
}

/// Which header fields of an answer are kept and replayed.
///
/// The default keeps every field but those that belong to one connection, one moment or
/// one caller:
///
/// * hop-by-hop fields: `Connection` and all it names, `Keep-Alive`, `Proxy-*`, `TE`,
///   `Trailer`, `Transfer-Encoding`, `Upgrade` ([RFC 9110 section 7.6.1]);
/// * `Content-Length`, which is computed anew from the recorded body;
/// * `Date`, `Age`, `Server-Timing`, `Alt-Svc`;
/// * `Set-Cookie`, `WWW-Authenticate`, `Authentication-Info`, `Clear-Site-Data`;
/// * `DPoP-Nonce`, `Replay-Nonce`;
/// * `Access-Control-*`, rate-limit fields and trace fields (`Traceparent`, `X-Request-Id` and
///   the like), which the layers outside add to a replay as they do to any response.
///
/// The same goes for trailers. Of more than 32,768 lines the first are kept.
///
/// `Content-Encoding`, all `grpc-…` fields, and the `Content-Type` of a gRPC answer are kept
/// whatever is chosen: nobody could read the rest without them.
///
/// [RFC 9110 section 7.6.1]: https://www.rfc-editor.org/rfc/rfc9110#section-7.6.1
#[derive(Debug, Clone, Default)]
pub struct RecordedHeaders {
    mode: Mode,
}

#[derive(Debug, Clone, Default)]
enum Mode {
    #[default]
    Usual,
    Also(Arc<[HeaderName]>),
    Only(Arc<[HeaderName]>),
}

impl RecordedHeaders {
    /// The default list.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Also keeps `names`, for example `set-cookie`. Hop-by-hop fields and
    /// `Content-Length` are never kept.
    #[must_use]
    pub fn also(names: impl IntoIterator<Item = HeaderName>) -> Self {
        let names = names.into_iter().collect();
        Self {
            mode: Mode::Also(names),
        }
    }

    /// Keeps nothing but `names`, and what is [needed to read the rest](Self). Hop-by-hop fields
    /// and `Content-Length` are never kept.
    #[must_use]
    pub fn only(names: impl IntoIterator<Item = HeaderName>) -> Self {
        let names = names.into_iter().collect();
        Self {
            mode: Mode::Only(names),
        }
    }

    pub(crate) fn pack(&self, headers: &HeaderMap) -> Fields {
        Fields::pack(headers, |name| {
            !is_hop_by_hop(name)
                && !is_named_by_connection(name, headers)
                && (self.wants(name) || tells_how_to_read(name, headers))
        })
    }

    /// Packs what is kept of trailers; `None` if all of them are left out.
    pub(crate) fn pack_trailers(&self, trailers: &HeaderMap) -> Option<Fields> {
        let kept = self.pack(trailers);
        (kept.len() > 0 || trailers.is_empty()).then_some(kept)
    }

    fn wants(&self, name: &HeaderName) -> bool {
        match &self.mode {
            Mode::Usual => !is_momentary(name),
            Mode::Also(names) => names.contains(name) || !is_momentary(name),
            Mode::Only(names) => names.contains(name),
        }
    }
}

/// Fields of one connection or one message framing.
fn is_hop_by_hop(name: &HeaderName) -> bool {
    matches!(
        *name,
        header::CONNECTION
            | header::CONTENT_LENGTH
            | header::TE
            | header::TRAILER
            | header::TRANSFER_ENCODING
            | header::UPGRADE
    ) || name == "keep-alive"
        || name.as_str().starts_with("proxy-")
}

fn is_named_by_connection(name: &HeaderName, headers: &HeaderMap) -> bool {
    let lines = headers.get_all(header::CONNECTION).iter();
    lines
        .flat_map(|line| line.as_bytes().split(|&byte| byte == b','))
        .any(|option| {
            option
                .trim_ascii()
                .eq_ignore_ascii_case(name.as_str().as_bytes())
        })
}

/// Fields without which the rest of an answer is not to be understood.
fn tells_how_to_read(name: &HeaderName, headers: &HeaderMap) -> bool {
    name == header::CONTENT_ENCODING
        || name.as_str().starts_with("grpc-")
        || (name == header::CONTENT_TYPE && Protocol::of(headers) == Protocol::Grpc)
}

/// Fields of one moment or one caller.
fn is_momentary(name: &HeaderName) -> bool {
    const PREFIXES: [&str; 5] = [
        "access-control-",
        "ratelimit",
        "x-ratelimit-",
        "x-rate-limit-",
        "x-b3-",
    ];
    const NAMES: [&str; 15] = [
        "authentication-info",
        "b3",
        "clear-site-data",
        "dpop-nonce",
        "replay-nonce",
        "request-id",
        "server-timing",
        "traceparent",
        "traceresponse",
        "tracestate",
        "x-amzn-trace-id",
        "x-cloud-trace-context",
        "x-correlation-id",
        "x-request-id",
        "x-trace-id",
    ];
    matches!(
        *name,
        header::AGE
            | header::ALT_SVC
            | header::DATE
            | header::SET_COOKIE
            | header::WWW_AUTHENTICATE
    ) || NAMES.contains(&name.as_str())
        || PREFIXES
            .iter()
            .any(|prefix| name.as_str().starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(fields: &[(&'static str, &[u8])]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_bytes(value).unwrap());
        }
        headers
    }

    fn kept(policy: &RecordedHeaders, headers: &HeaderMap) -> Vec<String> {
        let packed = policy.pack(headers).to_map();
        packed.keys().map(ToString::to_string).collect()
    }

    #[test]
    fn order_duplicates_and_high_bytes_survive() {
        let headers = map(&[
            ("x-a", b"1"),
            ("x-b", b"caf\xc3\xa9 \xff"),
            ("x-a", b"2"),
            ("x-e", b""),
        ]);
        let packed = RecordedHeaders::new().pack(&headers);
        assert_eq!(packed.to_map(), headers);
        assert_eq!(Fields::from_block(packed.as_block().clone()), Some(packed));
    }

    #[test]
    fn what_belongs_to_one_moment_is_left_out() {
        let headers = map(&[
            ("connection", b"close, X-Hop"),
            ("x-hop", b"1"),
            ("keep-alive", b"timeout=5"),
            ("proxy-authenticate", b"Basic"),
            ("te", b"trailers"),
            ("trailer", b"x"),
            ("transfer-encoding", b"chunked"),
            ("upgrade", b"websocket"),
            ("content-length", b"999"),
            ("date", b"now"),
            ("age", b"1"),
            ("set-cookie", b"sid=1"),
            ("www-authenticate", b"Basic"),
            ("authentication-info", b"x"),
            ("clear-site-data", b"*"),
            ("server-timing", b"db;dur=1"),
            ("alt-svc", b"h3"),
            ("ratelimit", b"1"),
            ("ratelimit-policy", b"1"),
            ("x-ratelimit-remaining", b"1"),
            ("traceparent", b"00"),
            ("traceresponse", b"00"),
            ("x-request-id", b"1"),
            ("request-id", b"1"),
            ("dpop-nonce", b"1"),
            ("replay-nonce", b"1"),
            ("access-control-allow-origin", b"*"),
            ("content-type", b"text/plain"),
            ("etag", b"\"1\""),
            ("location", b"/payments/1"),
        ]);
        let kept = kept(&RecordedHeaders::new(), &headers);
        assert_eq!(kept, ["content-type", "etag", "location"]);
    }

    #[test]
    fn also_and_only() {
        let headers = map(&[
            ("set-cookie", b"a"),
            ("content-length", b"9"),
            ("etag", b"1"),
        ]);
        let names = || [header::SET_COOKIE, header::CONTENT_LENGTH];
        assert_eq!(
            kept(&RecordedHeaders::also(names()), &headers),
            ["set-cookie", "etag"]
        );
        assert_eq!(
            kept(&RecordedHeaders::only(names()), &headers),
            ["set-cookie"]
        );
    }

    #[test]
    fn enough_is_kept_to_read_the_answer_by() {
        let none = RecordedHeaders::only([]);
        let answer = |media_type: &'static [u8]| {
            map(&[
                ("content-type", media_type),
                ("grpc-status", b"0"),
                ("x-a", b"1"),
            ])
        };
        let call = kept(&none, &answer(b"application/grpc+proto"));
        assert_eq!(call, ["content-type", "grpc-status"]);
        assert_eq!(kept(&none, &answer(b"text/plain")), ["grpc-status"]);
        let packed = map(&[("content-encoding", b"gzip"), ("etag", b"1")]);
        assert_eq!(kept(&none, &packed), ["content-encoding"]);
    }

    #[test]
    fn of_very_many_lines_the_first_are_kept() {
        let line = (header::ETAG, HeaderValue::from_static(""));
        let map = |lines| -> HeaderMap { std::iter::repeat_n(line.clone(), lines).collect() };
        let most = RecordedHeaders::new().pack(&map(MOST_LINES));
        assert_eq!(RecordedHeaders::new().pack(&map(MOST_LINES + 1)), most);
        let block = most.as_block();
        assert_eq!(Fields::from_block(block.clone()), Some(most.clone()));
        let more = [block, &block[..block.len() / MOST_LINES]].concat();
        assert_eq!(Fields::from_block(more.into()), None);
    }

    #[test]
    fn hostile_blocks_are_refused() {
        let refused: [&[u8]; 5] = [
            b"\0",
            b"\0\x01\0\0\0\x01x",
            b"\0\x01\xff\xff\xff\xffx",
            b"\0\x01\0\0\0\x01X1",
            b"\0\x01\0\0\0\x01x\n",
        ];
        for block in refused {
            assert_eq!(Fields::from_block(Bytes::copy_from_slice(block)), None);
        }
    }
}
