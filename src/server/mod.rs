//! The server side: [`IdempotencyLayer`].

mod admission;
#[cfg(feature = "axum")]
mod axum;
mod call;
mod claim;
mod config;
pub(crate) mod context;
mod flow;
mod future;
mod gather;
mod inflight;
mod layer;
mod lease;
mod node;
mod outcome;
mod pump;
mod recording;
mod reply;
mod request_body;
mod response_body;
mod service;

#[cfg(feature = "axum")]
pub use self::axum::MissingIdempotency;
pub use self::{
    config::{InFlight, StoreFailure, Unkept},
    future::ResponseFuture,
    layer::IdempotencyLayer,
    node::Drained,
    request_body::RequestBody,
    response_body::{CutShort, LeaseLost, ResponseBody},
    service::Idempotency,
};

/// The error of a [`ResponseBody`]: that of the inner service's body, or one of ours.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
