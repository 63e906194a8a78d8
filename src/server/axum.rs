//! The operation as an axum extractor.

use ::axum::{
    extract::{FromRequestParts, OptionalFromRequestParts},
    response::{IntoResponse, Response},
};
use http::{StatusCode, request::Parts};
use std::convert::Infallible;

use super::context::Idempotency;

/// A handler asked for its [`Idempotency`] and the request carries no key, or the
/// idempotency layer is missing. Use [`require_key`](crate::IdempotencyLayer::require_key),
/// or extract `Option<Idempotency>`. As an answer this is a 500.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the request carries no idempotency key, or the idempotency layer is missing")]
#[non_exhaustive]
pub struct MissingIdempotency;

impl IntoResponse for MissingIdempotency {
    fn into_response(self) -> Response {
        (StatusCode::INTERNAL_SERVER_ERROR, self.to_string()).into_response()
    }
}

impl<State: Sync> FromRequestParts<State> for Idempotency {
    type Rejection = MissingIdempotency;

    async fn from_request_parts(parts: &mut Parts, _: &State) -> Result<Self, Self::Rejection> {
        parts.extensions.get().cloned().ok_or(MissingIdempotency)
    }
}

impl<State: Sync> OptionalFromRequestParts<State> for Idempotency {
    type Rejection = Infallible;

    async fn from_request_parts(
        parts: &mut Parts,
        _: &State,
    ) -> Result<Option<Self>, Self::Rejection> {
        Ok(parts.extensions.get().cloned())
    }
}
