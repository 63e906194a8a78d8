//! What an answer says about sending the request again.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};

use super::retry_after::retry_after;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Advice {
    /// Another attempt would have the same end, or none is needed.
    Final,
    /// Another attempt may have another end, if it comes no sooner than this.
    Again { after: Duration },
}

impl Advice {
    pub(super) const AT_ONCE: Self = Self::Again {
        after: Duration::ZERO,
    };

    /// A replay has the field `replay`. `now` is asked for only if the answer does not tell its
    /// own time.
    pub(super) fn of<R>(
        response: &Response<R>,
        replay: &HeaderName,
        now: impl Fn() -> SystemTime,
    ) -> Self {
        let (status, headers) = (response.status(), response.headers());
        // What is on record will not change.
        if !is_failure(status) || says(headers, replay, "true") {
            return Self::Final;
        }
        let after = retry_after(headers, now);
        let again = match ShouldRetry::of(headers) {
            ShouldRetry::Yes => true,
            ShouldRetry::No => false,
            ShouldRetry::Unsaid => may_pass(status, after),
        };
        if again {
            let after = after.unwrap_or_default();
            Self::Again { after }
        } else {
            Self::Final
        }
    }
}

fn is_failure(status: StatusCode) -> bool {
    status.is_client_error() || status.is_server_error()
}

/// Whether what this status says may be over by itself. A conflict that tells when is a
/// request in flight; any other one stays.
fn may_pass(status: StatusCode, after: Option<Duration>) -> bool {
    match status.as_u16() {
        408 | 425 | 429 | 500..=599 => true,
        409 => after.is_some(),
        _ => false,
    }
}

enum ShouldRetry {
    Yes,
    No,
    Unsaid,
}

impl ShouldRetry {
    fn of(headers: &HeaderMap) -> Self {
        let say = |word| {
            let names = ["x-should-retry", "stripe-should-retry"].map(HeaderName::from_static);
            names.iter().any(|name| says(headers, name, word))
        };
        if say("false") {
            Self::No
        } else if say("true") {
            Self::Yes
        } else {
            Self::Unsaid
        }
    }
}

/// Whether a line of the field is this word, in any case.
fn says(headers: &HeaderMap, name: &HeaderName, word: &str) -> bool {
    let is_word = |line: &HeaderValue| line.as_bytes().eq_ignore_ascii_case(word.as_bytes());
    headers.get_all(name).iter().any(is_word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn advice(status: u16, fields: &[(&str, &str)]) -> Advice {
        let response = Response::builder().status(status);
        let response = fields.iter().fold(response, |response, (name, value)| {
            response.header(*name, *value)
        });
        let replay = HeaderName::from_static("idempotent-replayed");
        Advice::of(&response.body(()).unwrap(), &replay, || {
            SystemTime::UNIX_EPOCH
        })
    }

    #[test]
    fn by_status() {
        let again = |status: &u16| advice(*status, &[]) == Advice::AT_ONCE;
        let again: Vec<_> = (200..600).filter(again).collect();
        let expected: Vec<_> = [408, 425, 429].into_iter().chain(500..600).collect();
        assert_eq!(again, expected);
    }

    #[test]
    fn a_conflict_that_tells_when_is_in_flight() {
        let after = Duration::from_secs(2);
        let when = ("retry-after", "2");
        assert_eq!(advice(409, &[when]), Advice::Again { after });
        assert_eq!(advice(409, &[("x-should-retry", "false")]), Advice::Final);
        let both = [when, ("x-should-retry", "false")];
        assert_eq!(advice(409, &both), Advice::Final);
    }

    #[test]
    fn the_word_of_the_server_is_stronger_than_the_status() {
        for name in ["x-should-retry", "Stripe-Should-Retry"] {
            assert_eq!(advice(503, &[(name, "False")]), Advice::Final);
            assert_eq!(advice(409, &[(name, "true")]), Advice::AT_ONCE);
            assert_eq!(advice(400, &[(name, "true")]), Advice::AT_ONCE);
            assert_eq!(advice(400, &[(name, "perhaps")]), Advice::Final);
            assert_eq!(advice(201, &[(name, "true")]), Advice::Final);
        }
        let split = [("x-should-retry", "true"), ("stripe-should-retry", "false")];
        assert_eq!(advice(503, &split), Advice::Final);
        let lines = [("x-should-retry", "true"), ("x-should-retry", "false")];
        assert_eq!(advice(503, &lines), Advice::Final);
    }

    #[test]
    fn a_recorded_failure_does_not_change() {
        let replayed = ("idempotent-replayed", "true");
        assert_eq!(advice(503, &[replayed]), Advice::Final);
        let lines = [("idempotent-replayed", "false"), replayed];
        assert_eq!(advice(503, &lines), Advice::Final);
        assert_eq!(
            advice(429, &[replayed, ("retry-after", "1")]),
            Advice::Final
        );
    }
}
