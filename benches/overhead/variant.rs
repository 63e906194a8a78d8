//! The requests that are measured, as a server delivers them: every header value and the
//! path are slices of one shared buffer.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, header};
use http_body_util::Full;

pub const KIB: usize = 1024;

/// What is asked of the layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variant {
    /// A POST without a key.
    Unkeyed,
    /// A GET.
    Get,
    /// A key never seen.
    First,
    /// A key that was answered.
    Replay,
    /// A key that was answered, with another body.
    Mismatch,
}

impl Variant {
    pub const ALL: [Self; 5] = [
        Self::Unkeyed,
        Self::Get,
        Self::First,
        Self::Replay,
        Self::Mismatch,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Unkeyed => "unkeyed",
            Self::Get => "get",
            Self::First => "first",
            Self::Replay => "replay",
            Self::Mismatch => "mismatch",
        }
    }

    /// A request of this kind; `nonce` makes the key of a first one.
    pub fn request(self, nonce: u64) -> Request<Full<Bytes>> {
        match self {
            Self::Unkeyed => request(Method::POST, None, b'a'),
            Self::Get => request(Method::GET, None, b'a'),
            Self::First => request(Method::POST, Some(nonce), b'a'),
            Self::Replay => request(Method::POST, Some(0), b'a'),
            Self::Mismatch => request(Method::POST, Some(0), b'b'),
        }
    }

    /// The request that must be answered before one of this kind means what it says.
    pub fn prelude() -> Request<Full<Bytes>> {
        Self::Replay.request(0)
    }
}

const FIELDS: [(HeaderName, &str); 6] = [
    (header::HOST, "api.example.com"),
    (header::USER_AGENT, "example-client/1.4.2 (linux; x86_64)"),
    (header::ACCEPT, "application/json"),
    (header::CONTENT_TYPE, "application/json"),
    (header::CONTENT_LENGTH, "1024"),
    (
        header::AUTHORIZATION,
        "Bearer sk_test_4eC39HqLyjWDarjtT1zdp7dc",
    ),
];

fn request(method: Method, key: Option<u64>, byte: u8) -> Request<Full<Bytes>> {
    let body = shared(vec![byte; KIB]);
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = method;
    *request.uri_mut() = Uri::from_maybe_shared(shared("/payments")).expect("a path");
    *request.headers_mut() = headers(key);
    request
}

fn headers(key: Option<u64>) -> HeaderMap {
    let key = key.map(|nonce| format!("8e03978e-40d5-43e8-bc93-{nonce:012x}"));
    let key = key.map(|key| (HeaderName::from_static("idempotency-key"), key));
    let usual = FIELDS.map(|(name, value)| (name, value.to_owned()));
    let mut headers = HeaderMap::with_capacity(16);
    for (name, value) in usual.into_iter().chain(key) {
        let value = HeaderValue::from_maybe_shared(shared(value)).expect("a value");
        headers.insert(name, value);
    }
    headers
}

/// Bytes that cost no allocation when they are cloned, as those of a connection's buffer.
fn shared(bytes: impl Into<Vec<u8>>) -> Bytes {
    let bytes = Bytes::from(bytes.into());
    drop(bytes.clone());
    bytes
}
