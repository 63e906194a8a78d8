//! What makes two calls the same.

use bytes::Bytes;
use http::{HeaderValue, header::CONTENT_TYPE, request::Parts};

use super::{frame::Messages, unpack::Encoding};
use crate::{
    digest::GrowingDigest,
    fingerprint::{Accumulate, Fingerprint, FingerprintState, Fingerprinter},
    protocol::after_grpc,
    target::target,
};

/// Compares the path, the kind of messages, and the messages themselves: how they are
/// compressed, and which frames they arrive in, does not count. The default for gRPC calls.
///
/// `application/grpc` and `application/grpc+proto` are one kind; a further line of
/// `Content-Type` counts as it is. Messages compressed as
/// gzip or deflate are unpacked for the comparison; others, and bodies that are not messages
/// at all, are compared as they were sent, and equal nothing else.
#[derive(Debug, Clone)]
pub struct MessageFingerprint {
    max_unpacked: u64,
}

impl MessageFingerprint {
    /// With every setting at its default.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many bytes the messages of one call may have, once unpacked, and still be
    /// compared that way; a larger call is compared as it was sent. A compressed message
    /// counts for 256 bytes at least. They are never held. Default: 2 MiB; the layer's
    /// [`max_request_body`](crate::IdempotencyLayer::max_request_body) if it was not told
    /// any fingerprint.
    #[must_use]
    pub fn max_unpacked(mut self, bytes: u64) -> Self {
        self.max_unpacked = bytes;
        self
    }
}

impl Default for MessageFingerprint {
    fn default() -> Self {
        Self {
            max_unpacked: 2 * 1024 * 1024,
        }
    }
}

impl Fingerprinter for MessageFingerprint {
    fn begin(&self, parts: &Parts) -> FingerprintState {
        let digest = GrowingDigest::behind("fingerprint:grpc", |head| {
            let mut types = parts.headers.get_all(CONTENT_TYPE).iter();
            head.part(target(parts).path())
                .part(message_kind(types.next()))
                .pairs("content-type", types);
        });
        let encoding = Encoding::of(&parts.headers);
        FingerprintState::custom(Arriving(Messages::new(digest, encoding, self.max_unpacked)))
    }
}

/// The suffix of the media type: `proto` unless it says otherwise.
fn message_kind(media_type: Option<&HeaderValue>) -> Vec<u8> {
    let media_type = media_type.map(AsRef::as_ref);
    let rest = media_type.and_then(after_grpc).unwrap_or_default();
    let suffix = rest.split(|&byte| byte == b';').next().unwrap_or_default();
    match suffix.trim_ascii().to_ascii_lowercase() {
        none if none.is_empty() => b"+proto".to_vec(),
        kind => kind,
    }
}

struct Arriving(Messages);

/// The version of these fingerprints.
const VERSION: u8 = 3;

impl Accumulate for Arriving {
    fn update(&mut self, piece: &Bytes) {
        self.0.update(piece.clone());
    }

    fn finish(self: Box<Self>) -> Fingerprint {
        Fingerprint::from_parts(VERSION, self.0.finish())
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    const BODY: &[u8] = b"\0\0\0\0\x02ab";

    fn fingerprint(path: &str, media_type: &str) -> Fingerprint {
        of(Request::post(path)
            .header("content-type", media_type)
            .header("x-attempt", media_type))
    }

    fn of(request: http::request::Builder) -> Fingerprint {
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let mut state = MessageFingerprint::new().begin(&parts);
        state.update(&Bytes::from_static(BODY));
        state.finish()
    }

    #[test]
    fn path_and_kind_count() {
        let plain = fingerprint("/a/B", "application/grpc");
        for same in ["application/grpc+proto", "Application/gRPC;x=y"] {
            assert_eq!(fingerprint("/a/B", same), plain, "{same}");
        }
        assert_ne!(fingerprint("/a/C", "application/grpc"), plain);
        assert_ne!(fingerprint("/a/B", "application/grpc+json"), plain);
    }

    #[test]
    fn each_further_line_of_the_content_type_counts() {
        let typed = |lines: &[&str]| {
            let request = Request::post("/a/B");
            of(lines.iter().fold(request, |request, line| {
                request.header("content-type", *line)
            }))
        };
        let all = [
            typed(&["application/grpc"]),
            typed(&["application/grpc", "c/d"]),
            typed(&["application/grpc", "e/f"]),
            typed(&["application/grpc", "c/d", "e/f"]),
            typed(&["application/grpc", "c/de/f"]),
            typed(&["application/grpc", "application/grpc"]),
        ];
        for (i, a) in all.iter().enumerate() {
            for (j, b) in all.iter().enumerate() {
                assert_eq!(i == j, a == b, "{i} and {j}");
            }
        }
    }

    /// It is kept for as long as records are.
    #[test]
    fn with_one_content_type_it_is_what_it_was() {
        let plain = fingerprint("/a/B", "application/grpc");
        assert_eq!(format!("{plain:?}"), "Fingerprint(v3 81cae7d5…)");
    }
}
