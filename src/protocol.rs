//! What protocol a request speaks.

use http::{HeaderMap, header::CONTENT_TYPE};

/// What protocol a request speaks, by its `Content-Type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http,
    /// gRPC, or a dialect of it such as gRPC-Web.
    Grpc,
}

impl Protocol {
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        match headers.get(CONTENT_TYPE) {
            Some(value) if after_grpc(value.as_bytes()).is_some() => Self::Grpc,
            _ => Self::Http,
        }
    }
}

/// The header field, or trailer, that says how a gRPC call ended.
pub(crate) const GRPC_STATUS: &str = "grpc-status";

/// What follows `application/grpc` in a media type that begins with it.
pub(crate) fn after_grpc(media_type: &[u8]) -> Option<&[u8]> {
    const GRPC: &[u8] = b"application/grpc";
    let (begin, rest) = media_type.split_at_checked(GRPC.len())?;
    begin.eq_ignore_ascii_case(GRPC).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_content_type() {
        let table = [
            ("application/grpc", Protocol::Grpc),
            ("application/grpc+proto", Protocol::Grpc),
            ("Application/GRPC;charset=utf-8", Protocol::Grpc),
            ("application/grpc-web+proto", Protocol::Grpc),
            ("application/grp", Protocol::Http),
            ("application/json", Protocol::Http),
        ];
        for (media_type, expected) in table {
            let headers = [(CONTENT_TYPE, media_type.parse().unwrap())];
            let headers = HeaderMap::from_iter(headers);
            assert_eq!(Protocol::of(&headers), expected, "{media_type}");
        }
        assert_eq!(Protocol::of(&HeaderMap::new()), Protocol::Http);
    }
}
