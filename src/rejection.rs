//! Refusals, as values that become responses.
//!
//! The `type` of each problem document leads to its heading here.
//!
//! ## idempotency_key_required
//! The route wants an `Idempotency-Key` and the request has none. Send one.
//! ## idempotency_key_invalid
//! The key is malformed; `reason` says how. Send a legal one.
//! ## idempotency_conflict
//! The key was used before, with another request. Use a new key for a new operation; do
//! not retry this one.
//! ## idempotency_in_flight
//! The first request with this key still runs. Retry after `Retry-After`, which grows with the
//! time it has run.
//! ## idempotency_result_unavailable
//! The operation was carried out, and its answer was not kept. Do not retry; look the
//! result up.
//! ## idempotency_outcome_unknown
//! The node that ran the operation was lost, or could not record its answer, and nobody knows
//! how far it came. Do not retry; ask the operator.
//! ## idempotency_payload_too_large
//! The body is larger than a keyed request may have here.
//! ## idempotency_body_unreadable
//! The body broke off, or arrived too slowly.
//! ## idempotency_scope_missing
//! It could not be told whose key it is: authentication is missing.
//! ## idempotency_store_unavailable
//! The store of keys cannot be reached, is full, or holds a record that it cannot read. This
//! request was not executed; retry after `Retry-After`.
//! ## idempotency_unconfirmed
//! The operation's own transaction was rolled back, or its end is not known. Retry after
//! `Retry-After`: the operation is carried out once.

use std::{borrow::Cow, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};

use crate::key::InvalidKey;

/// Why a request was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RejectionKind {
    /// The route wants a key and the request has none.
    KeyRequired,
    /// The key is malformed.
    KeyInvalid(InvalidKey),
    /// The key was used before, with another request.
    Conflict,
    /// The first request with this key still runs.
    InFlight,
    /// The operation was carried out, and its answer was not kept.
    ResultUnavailable,
    /// The lease of the operation lapsed before it was completed
    /// ([`AfterCrash::Hold`](crate::AfterCrash::Hold)).
    OutcomeUnknown,
    /// The body is over the limit.
    PayloadTooLarge,
    /// The body broke off.
    BodyUnreadable,
    /// The body did not arrive in time.
    BodyTimeout,
    /// The scope source refused.
    ScopeMissing,
    /// The store cannot be reached, is full, or holds a record that it cannot read.
    StoreUnavailable,
    /// The handler's own transaction was rolled back, or its end is not known.
    Unconfirmed,
}

impl RejectionKind {
    /// The stable, machine-readable name: the `code` of the problem document.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::KeyRequired => "idempotency_key_required",
            Self::KeyInvalid(_) => "idempotency_key_invalid",
            Self::Conflict => "idempotency_conflict",
            Self::InFlight => "idempotency_in_flight",
            Self::ResultUnavailable => "idempotency_result_unavailable",
            Self::OutcomeUnknown => "idempotency_outcome_unknown",
            Self::PayloadTooLarge => "idempotency_payload_too_large",
            Self::BodyUnreadable | Self::BodyTimeout => "idempotency_body_unreadable",
            Self::ScopeMissing => "idempotency_scope_missing",
            Self::StoreUnavailable => "idempotency_store_unavailable",
            Self::Unconfirmed => "idempotency_unconfirmed",
        }
    }

    /// A short title for people.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::KeyRequired => "Idempotency key required",
            Self::KeyInvalid(_) => "Idempotency key invalid",
            Self::Conflict => "Idempotency key conflict",
            Self::InFlight => "Request still in flight",
            Self::ResultUnavailable => "Result unavailable",
            Self::OutcomeUnknown => "Outcome unknown",
            Self::PayloadTooLarge => "Payload too large",
            Self::BodyUnreadable => "Request body unreadable",
            Self::BodyTimeout => "Request body too slow",
            Self::ScopeMissing => "Scope missing",
            Self::StoreUnavailable => "Idempotency store unavailable",
            Self::Unconfirmed => "Operation unconfirmed",
        }
    }

    /// A sentence for people. It never holds anything the client sent.
    #[must_use]
    pub fn detail(self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::KeyRequired => "This operation must be sent with an idempotency key.",
            Self::KeyInvalid(reason) => {
                return format!("The idempotency key is invalid: {reason}.").into();
            }
            Self::Conflict => {
                "The idempotency key was used before with a different request. \
                 Use a new key for a new operation."
            }
            Self::InFlight => "A request with this idempotency key is still running.",
            Self::ResultUnavailable => {
                "The operation was carried out, but its answer was not kept."
            }
            Self::OutcomeUnknown => "This operation was begun, and nobody knows how it ended.",
            Self::PayloadTooLarge => "The request body is larger than this operation accepts.",
            Self::BodyUnreadable => "The request body could not be read to its end.",
            Self::BodyTimeout => "The request body did not arrive in time.",
            Self::ScopeMissing => "It could not be told whose idempotency key this is.",
            Self::StoreUnavailable => {
                "The store of idempotency keys is unavailable. This request was not executed."
            }
            Self::Unconfirmed => {
                "The operation was not confirmed. Retry it with the same idempotency key: it is \
                 carried out once."
            }
        })
    }

    /// Whether the same request may succeed later under the same key.
    #[must_use]
    pub fn is_retryable(self) -> bool {
        matches!(
            self,
            Self::InFlight
                | Self::StoreUnavailable
                | Self::Unconfirmed
                | Self::BodyUnreadable
                | Self::BodyTimeout
        )
    }

    /// Whether the same request may have another end later: by itself, or once an operator has
    /// told how it ended.
    pub(crate) fn may_pass(self) -> bool {
        self.is_retryable() || self == Self::OutcomeUnknown
    }

    /// Whether clients that retry every 409 must be told not to.
    pub(crate) fn forbids_retry(self) -> bool {
        matches!(
            self,
            Self::Conflict | Self::ResultUnavailable | Self::OutcomeUnknown
        )
    }
}

/// A refusal of a request, as a value that a [`Render`] turns into a response. A test of a
/// renderer gets one from [`WireContract::rejection`](crate::WireContract::rejection).
#[derive(Debug, Clone)]
pub struct Rejection {
    pub(crate) kind: RejectionKind,
    pub(crate) status: StatusCode,
    pub(crate) retry_after: Option<Duration>,
    pub(crate) type_uri: String,
}

impl Rejection {
    /// Why.
    #[must_use]
    pub fn kind(&self) -> RejectionKind {
        self.kind
    }

    /// The status the wire contract gives it.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// When a retry may make sense: whole seconds, 1 to 60.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// The absolute URI that names this kind of problem.
    #[must_use]
    pub fn type_uri(&self) -> &str {
        &self.type_uri
    }
}

/// Turns a rejection into a response. [`ProblemJson`] is the default.
///
/// Whatever it returns, the layer adds what clients rely on where it is missing:
/// `Cache-Control: no-store`, `Retry-After`, `X-Should-Retry` and `Stripe-Should-Retry`,
/// and the `Link` to the documentation.
///
/// ```
/// use bytes::Bytes;
/// use http::Response;
/// use tower_idempotency::{Rejection, Render};
///
/// struct PlainText;
///
/// impl Render for PlainText {
///     fn render(&self, rejection: &Rejection) -> Response<Bytes> {
///         let mut response = Response::new(Bytes::from(rejection.kind().code()));
///         *response.status_mut() = rejection.status();
///         response
///     }
/// }
/// ```
pub trait Render: Send + Sync + 'static {
    /// The response for `rejection`.
    fn render(&self, rejection: &Rejection) -> Response<Bytes>;
}

impl<R: Render + ?Sized> Render for Arc<R> {
    fn render(&self, rejection: &Rejection) -> Response<Bytes> {
        (**self).render(rejection)
    }
}

/// Renders `application/problem+json` ([RFC 9457]) with `type`, `title`, `status`,
/// `detail`, `code`, `retryable`, and `reason` for an invalid key.
///
/// [RFC 9457]: https://www.rfc-editor.org/rfc/rfc9457
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct ProblemJson;

impl ProblemJson {
    /// The default renderer.
    #[must_use]
    pub fn new() -> Self {
        Self
    }
}

impl Render for ProblemJson {
    fn render(&self, rejection: &Rejection) -> Response<Bytes> {
        let kind = rejection.kind();
        let mut problem = serde_json::json!({
            "type": rejection.type_uri(),
            "title": kind.title(),
            "status": rejection.status().as_u16(),
            "detail": kind.detail(),
            "code": kind.code(),
            "retryable": kind.is_retryable(),
        });
        if let RejectionKind::KeyInvalid(reason) = kind {
            problem["reason"] = reason.as_str().into();
        }
        json_response(rejection.status(), "application/problem+json", &problem)
    }
}

/// Renders the error envelope of Stripe's API: `{"error":{"type","code","message"}}`.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct StripeJson;

impl StripeJson {
    /// The renderer of [`WireContract::stripe`](crate::WireContract::stripe).
    #[must_use]
    pub fn new() -> Self {
        Self
    }
}

impl Render for StripeJson {
    fn render(&self, rejection: &Rejection) -> Response<Bytes> {
        let kind = rejection.kind();
        let envelope = serde_json::json!({
            "error": {
                "type": "idempotency_error",
                "code": kind.code(),
                "message": format!("{}: {}", kind.title(), kind.detail()),
            },
        });
        json_response(rejection.status(), "application/json", &envelope)
    }
}

fn json_response(
    status: StatusCode,
    media_type: &'static str,
    body: &serde_json::Value,
) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body.to_string()));
    *response.status_mut() = status;
    let media_type = HeaderValue::from_static(media_type);
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, media_type);
    response
}
