//! What becomes of a fresh answer.

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, StatusCode, header::RETRY_AFTER, response::Parts};

use crate::protocol::GRPC_STATUS;

/// What becomes of a fresh answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// Keep it: every retry is answered with it.
    Record,
    /// Give the key back: a retry runs again.
    Release,
    /// Keep only that it was done: a retry is refused with `idempotency_result_unavailable`.
    Seal,
}

/// An [`Outcome`], and for how long.
///
/// A [`RecordPolicy`] returns one; a handler that knows better puts one into the
/// extensions of its response, where it wins over the policy:
///
/// ```
/// use http::Response;
/// use tower_idempotency::Directive;
///
/// // Nothing was charged: let the client try again under the same key.
/// let mut response = Response::new("card declined, try another");
/// response.extensions_mut().insert(Directive::release());
/// ```
///
/// An axum handler returns it as `axum::Extension(Directive::release())` beside the rest.
///
/// It stays among the extensions: an idempotency layer around this one, in the same process,
/// goes by it too. This layer's own refusals that may succeed later, such as
/// `idempotency_in_flight`, carry one that releases the key of such a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Directive {
    outcome: Outcome,
    retention: Option<Duration>,
}

impl Directive {
    /// Keep the answer, for the layer's retention. A 1xx (a protocol switch), which cannot be
    /// replayed, is sealed instead.
    #[must_use]
    pub const fn record() -> Self {
        Self::new(Outcome::Record)
    }

    /// Give the key back, so that a retry runs again.
    #[must_use]
    pub const fn release() -> Self {
        Self::new(Outcome::Release)
    }

    /// Keep only that it was done, for the layer's retention.
    #[must_use]
    pub const fn seal() -> Self {
        Self::new(Outcome::Seal)
    }

    const fn new(outcome: Outcome) -> Self {
        Self {
            outcome,
            retention: None,
        }
    }

    /// How long the record may be replayed, counted from completion. Default: the layer's.
    /// Without effect on a release.
    #[must_use]
    pub const fn retention(mut self, retention: Duration) -> Self {
        self.retention = Some(retention);
        self
    }

    /// What becomes of the answer.
    #[must_use]
    pub const fn outcome(&self) -> Outcome {
        self.outcome
    }

    /// The retention asked for, or `default` if none was.
    #[must_use]
    pub const fn retention_or(&self, default: Duration) -> Duration {
        match self.retention {
            Some(retention) => retention,
            None => default,
        }
    }
}

/// Decides what becomes of a fresh answer from its head. [`ByStatus`] is the default.
///
/// ```
/// use http::response::Parts;
/// use tower_idempotency::{Directive, RecordPolicy};
///
/// /// Only success is worth keeping.
/// struct OnlySuccess;
///
/// impl RecordPolicy for OnlySuccess {
///     fn directive(&self, parts: &Parts) -> Directive {
///         if parts.status.is_success() {
///             Directive::record()
///         } else {
///             Directive::release()
///         }
///     }
/// }
/// ```
pub trait RecordPolicy: Send + Sync + 'static {
    /// What becomes of the answer with this head.
    fn directive(&self, parts: &Parts) -> Directive;
}

impl<P: RecordPolicy + ?Sized> RecordPolicy for Arc<P> {
    fn directive(&self, parts: &Parts) -> Directive {
        (**self).directive(parts)
    }
}

/// The default policy: records 2xx, 3xx and 4xx, except those that say the request was not
/// even looked at, or may succeed unchanged later: 401, 403, 407, 408, 421, 425 and 429, and a
/// 409 with `Retry-After`, by which another service says that the operation is in flight there.
/// These and 5xx release the key. A 1xx (a protocol switch) is sealed: it was done and
/// cannot be replayed.
#[derive(Debug, Clone, Default)]
pub struct ByStatus {
    server_errors: ServerErrors,
}

#[derive(Debug, Clone, Copy, Default)]
enum ServerErrors {
    #[default]
    Release,
    Record,
}

impl ByStatus {
    /// The default policy.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Also records 5xx, as Stripe does: a failed attempt is never run again under its key.
    /// Default: released.
    #[must_use]
    pub fn record_server_errors(mut self) -> Self {
        self.server_errors = ServerErrors::Record;
        self
    }
}

impl RecordPolicy for ByStatus {
    fn directive(&self, parts: &Parts) -> Directive {
        match (parts.status, self.server_errors) {
            (status, _) if status.is_informational() => Directive::seal(),
            (
                StatusCode::UNAUTHORIZED
                | StatusCode::FORBIDDEN
                | StatusCode::PROXY_AUTHENTICATION_REQUIRED
                | StatusCode::REQUEST_TIMEOUT
                | StatusCode::MISDIRECTED_REQUEST
                | StatusCode::TOO_EARLY
                | StatusCode::TOO_MANY_REQUESTS,
                _,
            ) => Directive::release(),
            (StatusCode::CONFLICT, _) if parts.headers.contains_key(RETRY_AFTER) => {
                Directive::release()
            }
            (status, ServerErrors::Release) if status.as_u16() >= 500 => Directive::release(),
            _ => Directive::record(),
        }
    }
}

/// What becomes of the answer to a gRPC call with these header fields or trailers; `None`
/// if they do not say how the call ended.
pub(crate) fn by_grpc_status(fields: &HeaderMap) -> Option<Directive> {
    let status = fields.get(GRPC_STATUS)?;
    Some(match status.as_bytes() {
        // OK, INVALID_ARGUMENT, NOT_FOUND, ALREADY_EXISTS, FAILED_PRECONDITION,
        // OUT_OF_RANGE, UNIMPLEMENTED: the same call would end the same way again.
        b"0" | b"3" | b"5" | b"6" | b"9" | b"11" | b"12" => Directive::record(),
        _ => Directive::release(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Response;

    fn outcome(policy: &ByStatus, status: u16) -> Outcome {
        let (parts, ()) = Response::builder()
            .status(status)
            .body(())
            .unwrap()
            .into_parts();
        policy.directive(&parts).outcome()
    }

    #[test]
    fn by_status() {
        let table = [
            (Outcome::Seal, &[101][..]),
            (
                Outcome::Record,
                &[200, 201, 204, 302, 304, 400, 402, 404, 409, 410, 422],
            ),
            (
                Outcome::Release,
                &[401, 403, 407, 408, 421, 425, 429, 500, 502, 503, 504, 599],
            ),
        ];
        for (expected, statuses) in table {
            for &status in statuses {
                assert_eq!(outcome(&ByStatus::new(), status), expected, "{status}");
            }
        }
        let stripe = ByStatus::new().record_server_errors();
        assert_eq!(outcome(&stripe, 500), Outcome::Record);
        assert_eq!(outcome(&stripe, 429), Outcome::Release);
    }

    #[test]
    fn a_conflict_that_tells_when_is_released() {
        for (status, outcome) in [(409, Outcome::Release), (422, Outcome::Record)] {
            let response = Response::builder().status(status).header(RETRY_AFTER, "1");
            let (parts, ()) = response.body(()).unwrap().into_parts();
            for policy in [ByStatus::new(), ByStatus::new().record_server_errors()] {
                assert_eq!(policy.directive(&parts).outcome(), outcome, "{status}");
            }
        }
    }

    #[test]
    fn retention_falls_back_to_the_layers() {
        let (hour, day) = (Duration::from_secs(3600), Duration::from_secs(86400));
        assert_eq!(Directive::record().retention_or(day), day);
        assert_eq!(Directive::seal().retention(hour).retention_or(day), hour);
    }

    #[test]
    fn by_the_status_of_a_call() {
        let outcome = |status: &str| {
            let fields = [("grpc-status".parse().unwrap(), status.parse().unwrap())];
            by_grpc_status(&HeaderMap::from_iter(fields)).map(|directive| directive.outcome())
        };
        for code in 0..=17 {
            let recorded = [0, 3, 5, 6, 9, 11, 12].contains(&code);
            let expected = if recorded {
                Outcome::Record
            } else {
                Outcome::Release
            };
            assert_eq!(outcome(&code.to_string()), Some(expected), "{code}");
        }
        for nonsense in ["", "x", "00", "-1", "0 "] {
            assert_ne!(outcome(nonsense), None);
        }
        assert_eq!(outcome(""), Some(Outcome::Release));
        assert_eq!(by_grpc_status(&HeaderMap::new()), None);
    }
}
