//! What clients see: statuses, header names, problem documents.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, Uri, header};

use crate::{
    key::HeaderKey,
    policy::{ByStatus, RecordPolicy},
    record_key::KeySpace,
    rejection::{ProblemJson, Rejection, RejectionKind, Render, StripeJson},
};

const DEFAULT_TYPE_BASE: &str =
    "https://docs.rs/tower-idempotency/latest/tower_idempotency/rejection/index.html#";

/// What clients see of the layer: statuses, header names, the form of refusals. Three
/// presets, each open to change:
///
/// | | [`default`](Self::default) | [`ietf`](Self::ietf) | [`stripe`](Self::stripe) |
/// |---|---|---|---|
/// | key syntax | tolerant | strict (quoted) | tolerant |
/// | same key, other payload | 409 | 422 | 400 |
/// | same key in flight | 409 | 409 | 409 |
/// | a key reaches | one route | one route | the whole service |
/// | recorded | 2xx, 3xx, most 4xx | the same | also 5xx |
/// | form of refusals | problem+json | problem+json | `{"error":{…}}` |
///
/// `ietf` is [draft-ietf-httpapi-idempotency-key-header]; `stripe` is [Stripe's API].
///
/// [draft-ietf-httpapi-idempotency-key-header]: https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/
/// [Stripe's API]: https://docs.stripe.com/api/idempotent_requests
#[derive(Clone)]
pub struct WireContract {
    pub(crate) key: HeaderKey,
    pub(crate) key_space: KeySpace,
    pub(crate) policy: Arc<dyn RecordPolicy>,
    pub(crate) replay_header: HeaderName,
    pub(crate) status_header: HeaderName,
    conflict: StatusCode,
    in_flight: StatusCode,
    type_base: String,
    docs: Option<HeaderValue>,
    pub(crate) render: Arc<dyn Render>,
}

impl Default for WireContract {
    fn default() -> Self {
        Self {
            key: HeaderKey::new(),
            key_space: KeySpace::PerRoute,
            policy: Arc::new(ByStatus::new()),
            replay_header: HeaderName::from_static("idempotent-replayed"),
            status_header: HeaderName::from_static("idempotency-status"),
            conflict: StatusCode::CONFLICT,
            in_flight: StatusCode::CONFLICT,
            type_base: DEFAULT_TYPE_BASE.to_owned(),
            docs: None,
            render: Arc::new(ProblemJson::new()),
        }
    }
}

impl WireContract {
    /// As [draft-ietf-httpapi-idempotency-key-header] has it: the key is a quoted string,
    /// and a mismatch is 422, which client libraries do not retry.
    ///
    /// [draft-ietf-httpapi-idempotency-key-header]: https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/
    #[must_use]
    pub fn ietf() -> Self {
        Self {
            key: HeaderKey::new().strict(),
            conflict: StatusCode::UNPROCESSABLE_ENTITY,
            ..Self::default()
        }
    }

    /// As Stripe's API has it: one key space for all routes, 5xx recorded, a mismatch is
    /// 400, and refusals are `{"error":{…}}`.
    #[must_use]
    pub fn stripe() -> Self {
        Self {
            key_space: KeySpace::Shared,
            policy: Arc::new(ByStatus::new().record_server_errors()),
            conflict: StatusCode::BAD_REQUEST,
            render: Arc::new(StripeJson::new()),
            ..Self::default()
        }
    }

    /// The status of a mismatch. Default: 409. Over gRPC, 409 is `ALREADY_EXISTS` and any
    /// other is `FAILED_PRECONDITION`.
    #[must_use]
    pub fn conflict_status(mut self, status: StatusCode) -> Self {
        self.conflict = status;
        self
    }

    /// The status of a duplicate of a request still in flight. Default: 409.
    #[must_use]
    pub fn in_flight_status(mut self, status: StatusCode) -> Self {
        self.in_flight = status;
        self
    }

    /// The header that marks a replay, with the value `true`. Default:
    /// `Idempotent-Replayed`.
    #[must_use]
    pub fn replay_header(mut self, name: HeaderName) -> Self {
        self.replay_header = name;
        self
    }

    /// The header that marks an answer that could not be protected: `unrecorded` or
    /// `unprotected`; on the answer of a handler it is dropped, as only the layer knows. Default:
    /// `Idempotency-Status`.
    #[must_use]
    pub fn status_header(mut self, name: HeaderName) -> Self {
        self.status_header = name;
        self
    }

    /// What the `type` of a problem document begins with; the code follows. Should be an
    /// absolute URI. Default: the headings of the [`rejection`](crate::rejection) module.
    #[must_use]
    pub fn problem_type_base(mut self, base: impl Into<String>) -> Self {
        self.type_base = base.into();
        self
    }

    /// Where people read about idempotency in your API: sent with each refusal as
    /// `Link: <docs>; rel="describedby"`. Default: none.
    #[must_use]
    pub fn docs(mut self, docs: &Uri) -> Self {
        self.docs = HeaderValue::try_from(format!("<{docs}>; rel=\"describedby\"")).ok();
        self
    }

    /// Turns refusals into responses. Default: [`ProblemJson`].
    #[must_use]
    pub fn render(mut self, render: impl Render) -> Self {
        self.render = Arc::new(render);
        self
    }

    /// Turns refusals into responses by a function.
    #[must_use]
    pub fn render_fn<F>(self, render: F) -> Self
    where
        F: Fn(&Rejection) -> Response<Bytes> + Send + Sync + 'static,
    {
        self.render(RenderFn(render))
    }

    pub(crate) fn status(&self, kind: RejectionKind) -> StatusCode {
        match kind {
            RejectionKind::KeyRequired
            | RejectionKind::KeyInvalid(_)
            | RejectionKind::BodyUnreadable => StatusCode::BAD_REQUEST,
            RejectionKind::Conflict => self.conflict,
            RejectionKind::InFlight => self.in_flight,
            RejectionKind::ResultUnavailable | RejectionKind::OutcomeUnknown => {
                StatusCode::CONFLICT
            }
            RejectionKind::PayloadTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            RejectionKind::BodyTimeout => StatusCode::REQUEST_TIMEOUT,
            RejectionKind::ScopeMissing => StatusCode::FORBIDDEN,
            RejectionKind::StoreUnavailable | RejectionKind::Unconfirmed => {
                StatusCode::SERVICE_UNAVAILABLE
            }
        }
    }

    /// The refusal that a [`Render`] is given, for tests of one: with `wait`, how long the
    /// reason may last, as [`retry_after`](Rejection::retry_after).
    ///
    /// ```
    /// use std::time::Duration;
    /// use bytes::Bytes;
    /// use http::Response;
    /// use tower_idempotency::{Rejection, RejectionKind, WireContract};
    ///
    /// fn render(rejection: &Rejection) -> Response<Bytes> {
    ///     let body = format!(r#"{{"error":"{}"}}"#, rejection.kind().code());
    ///     let response = Response::builder().status(rejection.status());
    ///     response.body(body.into()).unwrap()
    /// }
    ///
    /// let contract = WireContract::ietf();
    /// let response = render(&contract.rejection(RejectionKind::Conflict, None));
    /// assert_eq!(response.status(), 422);
    /// assert_eq!(response.body(), r#"{"error":"idempotency_conflict"}"#);
    ///
    /// let wait = Some(Duration::from_millis(2_500));
    /// let in_flight = contract.rejection(RejectionKind::InFlight, wait);
    /// assert_eq!(in_flight.retry_after(), Some(Duration::from_secs(2)));
    /// ```
    #[must_use]
    pub fn rejection(&self, kind: RejectionKind, wait: Option<Duration>) -> Rejection {
        Rejection {
            kind,
            status: self.status(kind),
            retry_after: wait.map(whole_seconds),
            type_uri: format!("{}{}", self.type_base, kind.code()),
        }
    }

    /// The response that refuses a request, as `render` has it.
    pub(crate) fn refuse(&self, rejection: &Rejection, render: &dyn Render) -> Response<Bytes> {
        let mut response = render.render(rejection);
        self.add_missing(rejection, response.headers_mut());
        response
    }

    fn add_missing(&self, rejection: &Rejection, headers: &mut HeaderMap) {
        let mut add = |name: HeaderName, value: HeaderValue| {
            if !headers.contains_key(&name) {
                // A map that is full has no room for it.
                let _ = headers.try_insert(name, value);
            }
        };
        add(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(wait) = rejection.retry_after {
            add(header::RETRY_AFTER, HeaderValue::from(wait.as_secs()));
        }
        if rejection.kind.forbids_retry() {
            let never = HeaderValue::from_static("false");
            add(HeaderName::from_static("x-should-retry"), never.clone());
            add(HeaderName::from_static("stripe-should-retry"), never);
        }
        if let Some(docs) = &self.docs {
            add(header::LINK, docs.clone());
        }
    }
}

/// Whole seconds, at least 1, at most 60, and no longer than `wait` where that is possible.
fn whole_seconds(wait: Duration) -> Duration {
    Duration::from_secs(wait.as_secs().clamp(1, 60))
}

impl fmt::Debug for WireContract {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WireContract")
            .field("key", &self.key)
            .field("key_space", &self.key_space)
            .field("conflict", &self.conflict)
            .field("in_flight", &self.in_flight)
            .field("replay_header", &self.replay_header)
            .field("status_header", &self.status_header)
            .field("docs", &self.docs)
            .finish_non_exhaustive()
    }
}

struct RenderFn<F>(F);

impl<F> Render for RenderFn<F>
where
    F: Fn(&Rejection) -> Response<Bytes> + Send + Sync + 'static,
{
    fn render(&self, rejection: &Rejection) -> Response<Bytes> {
        (self.0)(rejection)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::InvalidKey;

    fn refuse(
        contract: &WireContract,
        kind: RejectionKind,
        wait: Option<Duration>,
    ) -> Response<Bytes> {
        contract.refuse(&contract.rejection(kind, wait), &*contract.render)
    }

    fn reject(contract: &WireContract, kind: RejectionKind) -> (u16, HeaderMap, serde_json::Value) {
        let wait = kind.is_retryable().then_some(Duration::from_secs(7));
        let (parts, body) = refuse(contract, kind, wait).into_parts();
        let body = serde_json::from_slice(&body).unwrap();
        (parts.status.as_u16(), parts.headers, body)
    }

    const ALL: [(RejectionKind, u16, u16); 12] = [
        (RejectionKind::KeyRequired, 400, 400),
        (RejectionKind::KeyInvalid(InvalidKey::Empty), 400, 400),
        (RejectionKind::Conflict, 409, 422),
        (RejectionKind::InFlight, 409, 409),
        (RejectionKind::ResultUnavailable, 409, 409),
        (RejectionKind::OutcomeUnknown, 409, 409),
        (RejectionKind::PayloadTooLarge, 413, 413),
        (RejectionKind::BodyUnreadable, 400, 400),
        (RejectionKind::BodyTimeout, 408, 408),
        (RejectionKind::ScopeMissing, 403, 403),
        (RejectionKind::StoreUnavailable, 503, 503),
        (RejectionKind::Unconfirmed, 503, 503),
    ];

    #[test]
    fn statuses_and_problem_documents() {
        for (kind, default, ietf) in ALL {
            let (status, headers, problem) = reject(&WireContract::default(), kind);
            assert_eq!(status, default, "{kind:?}");
            assert_eq!(reject(&WireContract::ietf(), kind).0, ietf, "{kind:?}");
            assert_eq!(headers["content-type"], "application/problem+json");
            assert_eq!(headers["cache-control"], "no-store");
            assert_eq!(problem["status"], status);
            assert_eq!(problem["code"], kind.code());
            assert_eq!(problem["retryable"], kind.is_retryable());
            assert!(problem["type"].as_str().unwrap().ends_with(kind.code()));
            assert!(problem["title"].is_string() && problem["detail"].is_string());
        }
    }

    #[test]
    fn types_are_distinct() {
        let types = |kind| reject(&WireContract::default(), kind).2["type"].to_string();
        let distinct: std::collections::HashSet<_> =
            ALL.iter().map(|(kind, ..)| types(*kind)).collect();
        // Too slow and broken off are one problem with two statuses.
        assert_eq!(distinct.len(), ALL.len() - 1);
    }

    #[test]
    fn only_final_refusals_forbid_retries() {
        for (kind, ..) in ALL {
            let (_, headers, _) = reject(&WireContract::default(), kind);
            let expected = kind.forbids_retry().then_some("false");
            for name in ["x-should-retry", "stripe-should-retry"] {
                let value = headers.get(name).map(|value| value.to_str().unwrap());
                assert_eq!(value, expected, "{kind:?}");
            }
        }
        assert!(RejectionKind::Conflict.title().contains("conflict"));
    }

    #[test]
    fn retry_after_is_whole_seconds_between_1_and_60() {
        let cases = [(0, 1), (400, 1), (1_999, 1), (30_500, 30), (90_000, 60)];
        for (millis, seconds) in cases {
            let waited = whole_seconds(Duration::from_millis(millis));
            assert_eq!(waited, Duration::from_secs(seconds));
        }
    }

    #[test]
    fn a_renderer_keeps_its_own_headers_and_gets_the_rest() {
        let contract = WireContract::stripe()
            .docs(&Uri::from_static("https://example.com/docs"))
            .render_fn(|rejection| {
                let response = Response::builder().status(rejection.status());
                response
                    .header("cache-control", "private")
                    .body(Bytes::new())
                    .unwrap()
            });
        let response = refuse(&contract, RejectionKind::Conflict, None);
        assert_eq!(response.status(), 400);
        assert_eq!(response.headers()["cache-control"], "private");
        assert_eq!(response.headers()["x-should-retry"], "false");
        assert_eq!(
            response.headers()["link"],
            "<https://example.com/docs>; rel=\"describedby\""
        );
    }

    #[test]
    fn a_renderer_may_leave_no_room_for_header_fields() {
        let contract = WireContract::default().render_fn(|_| {
            let mut response = Response::default();
            let names = (0..).map(|number| HeaderName::try_from(format!("x-{number}")).unwrap());
            for name in names {
                let value = HeaderValue::from_static("full");
                if response.headers_mut().try_insert(name, value).is_err() {
                    break;
                }
            }
            response
        });
        let response = refuse(&contract, RejectionKind::Conflict, None);
        assert!(!response.headers().contains_key("cache-control"));
        assert!(response.headers().contains_key("x-0"));
    }

    #[test]
    fn the_reason_of_an_invalid_key_is_told_and_the_key_is_not() {
        let kind = RejectionKind::KeyInvalid(InvalidKey::TooLong);
        let (_, _, problem) = reject(&WireContract::default(), kind);
        assert_eq!(problem["reason"], "too_long");
    }
}
