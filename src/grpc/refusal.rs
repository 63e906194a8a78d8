//! A refusal as an answer of gRPC: *Trailers-Only*, one block of header fields and no body.

use std::{fmt::Write as _, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header::CONTENT_TYPE};

use super::{details::Details, status::Code};
use crate::{protocol::GRPC_STATUS, rejection::RejectionKind};

/// The answer that refuses a call. `status` is what the refusal has over plain HTTP; `wait`
/// is how long the reason may last.
pub(crate) fn refuse(
    kind: RejectionKind,
    status: StatusCode,
    wait: Option<Duration>,
) -> Response<Bytes> {
    let (code, wait) = (Code::of(kind, status), wait.map(within_reason));
    let mut response = Response::new(Bytes::new());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(GRPC_STATUS, HeaderValue::from(u16::from(code.number())));
    insert(headers, "grpc-message", &percent_encoded(&kind.detail()));
    insert(
        headers,
        "grpc-status-details-bin",
        &details(kind, code, wait),
    );
    if let Some(pushback) = pushback(kind, wait) {
        headers.insert("grpc-retry-pushback-ms", pushback);
    }
    response
}

fn insert(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// When to try again: 100 ms to 60 s.
fn within_reason(wait: Duration) -> Duration {
    wait.clamp(Duration::from_millis(100), Duration::from_secs(60))
}

fn details(kind: RejectionKind, code: Code, retry_delay: Option<Duration>) -> String {
    let metadata = match kind {
        RejectionKind::KeyInvalid(reason) => Some(("reason", reason.as_str())),
        _ => None,
    };
    let details = Details {
        code,
        message: &kind.detail(),
        reason: &kind.code().to_ascii_uppercase(),
        metadata,
        retry_delay,
    };
    STANDARD_NO_PAD.encode(details.encode())
}

/// What gRPC clients with a retry policy obey: milliseconds, or never.
fn pushback(kind: RejectionKind, wait: Option<Duration>) -> Option<HeaderValue> {
    match wait {
        _ if !kind.is_retryable() => Some(HeaderValue::from_static("-1")),
        Some(wait) => u64::try_from(wait.as_millis()).ok().map(HeaderValue::from),
        None => None,
    }
}

/// Everything but visible ASCII, space and `%` stands as it is.
fn percent_encoded(message: &str) -> String {
    message
        .bytes()
        .fold(String::with_capacity(message.len()), |mut out, byte| {
            match byte {
                b' '..=b'~' if byte != b'%' => out.push(char::from(byte)),
                _ => drop(write!(out, "%{byte:02X}")),
            }
            out
        })
}

#[cfg(test)]
mod tests {
    use http_body_util::Full;
    use tonic::Status;
    use tonic_types::StatusExt as _;

    use super::*;
    use crate::{contract::WireContract, key::InvalidKey};

    fn refused(kind: RejectionKind, wait: Option<Duration>) -> (HeaderMap, Status) {
        let status = WireContract::default().status(kind);
        let response = refuse(kind, status, wait);
        assert_eq!(response.status(), StatusCode::OK);
        assert!(response.body().is_empty());
        assert!(http_body::Body::is_end_stream(&Full::new(
            response.body().clone()
        )));
        let headers = response.into_parts().0.headers;
        let status = Status::from_header_map(&headers).unwrap();
        (headers, status)
    }

    #[test]
    fn a_client_reads_all_of_it() {
        let wait = Some(Duration::from_millis(29_250));
        let (headers, status) = refused(RejectionKind::InFlight, wait);
        assert_eq!(headers["content-type"], "application/grpc");
        assert_eq!(headers["grpc-retry-pushback-ms"], "29250");
        assert!(
            !headers["grpc-status-details-bin"]
                .as_bytes()
                .contains(&b'=')
        );
        assert_eq!(status.code(), tonic::Code::Aborted);
        assert_eq!(status.message(), RejectionKind::InFlight.detail());
        let info = status.get_details_error_info().unwrap();
        assert_eq!(info.reason, "IDEMPOTENCY_IN_FLIGHT");
        assert_eq!(info.domain, "tower-idempotency");
        assert_eq!(status.get_details_retry_info().unwrap().retry_delay, wait);
    }

    #[test]
    fn only_what_may_succeed_later_may_be_retried() {
        let second = Some(Duration::from_secs(1));
        let table = [
            (RejectionKind::KeyRequired, None, Some("-1")),
            (
                RejectionKind::KeyInvalid(InvalidKey::Empty),
                None,
                Some("-1"),
            ),
            (RejectionKind::Conflict, None, Some("-1")),
            (RejectionKind::InFlight, second, Some("1000")),
            (RejectionKind::ResultUnavailable, None, Some("-1")),
            (RejectionKind::OutcomeUnknown, None, Some("-1")),
            (RejectionKind::PayloadTooLarge, None, Some("-1")),
            (RejectionKind::BodyUnreadable, None, None),
            (RejectionKind::BodyTimeout, None, None),
            (RejectionKind::ScopeMissing, None, Some("-1")),
            (RejectionKind::StoreUnavailable, second, Some("1000")),
            (RejectionKind::Unconfirmed, second, Some("1000")),
        ];
        for (kind, wait, expected) in table {
            let (headers, status) = refused(kind, wait);
            let pushback = headers.get("grpc-retry-pushback-ms");
            let pushback = pushback.map(|value| value.to_str().unwrap());
            assert_eq!(pushback, expected, "{kind:?}");
            let retry = status.get_details_retry_info();
            assert_eq!(retry.is_some(), wait.is_some(), "{kind:?}");
        }
    }

    #[test]
    fn the_wait_is_within_reason() {
        for (millis, told) in [(0, "100"), (1_999, "1999"), (90_000, "60000")] {
            let wait = Some(Duration::from_millis(millis));
            let (headers, _) = refused(RejectionKind::InFlight, wait);
            assert_eq!(headers["grpc-retry-pushback-ms"], told);
        }
    }

    #[test]
    fn the_reason_of_an_invalid_key_is_told_and_the_key_is_not() {
        let kind = RejectionKind::KeyInvalid(InvalidKey::TooLong);
        let info = refused(kind, None).1.get_details_error_info().unwrap();
        assert_eq!(info.metadata["reason"], "too_long");
        assert_eq!(info.metadata.len(), 1);
    }

    #[test]
    fn messages_are_percent_encoded() {
        let message = "100 % of an \u{e9}clair\n";
        let encoded = percent_encoded(message);
        assert_eq!(encoded, "100 %25 of an %C3%A9clair%0A");
        let decoded = percent_encoding::percent_decode_str(&encoded);
        assert_eq!(decoded.decode_utf8().unwrap(), message);
    }
}
