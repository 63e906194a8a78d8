//! Idempotency keys for tower services: a keyed POST runs once, and every retry gets the
//! first answer.
//!
//! A client that may have to send a request again, after a timeout, a 429, a double click or a
//! crash, names the operation with an `Idempotency-Key`. [`IdempotencyLayer`] claims that key
//! in a [`Store`], executes the request once, records the answer, and replays it to every
//! retry. Another payload under the same key, or the same request while the first still runs,
//! is refused with 409.
//!
//! ```
//! # #[cfg(feature = "memory")] {
//! use axum::{Router, routing::post};
//! use tower_idempotency::{IdempotencyLayer, MemoryStore};
//!
//! let idempotency = IdempotencyLayer::new(MemoryStore::new());
//!
//! let app: Router = Router::new()
//!     .route("/payments", post(|| async { "charged once" }))
//!     .layer(idempotency);
//! # }
//! ```
//!
//! **With axum, enable the feature `axum`.** Without it a layer inside of `Router::nest`
//! [mixes up routes](server#under-routernest).
//!
//! * What is guaranteed, where the layer belongs among others, and all settings: [`server`].
//! * What clients see: [`WireContract`], [`rejection`].
//! * What makes two requests one operation: [`KeySource`], [`ScopeSource`],
//!   [`Fingerprinter`].
//! * What becomes of an answer: [`RecordPolicy`], and [`Directive`] for a single one.
//! * What a handler can learn about its operation: [`Idempotency`].
//! * Where keys and answers are kept, and how to write a store of your own: [`store`].
//! * Logs and metrics: [`Event`], [`Observer`].
//! * The other half, for clients: [`client`], and keys made from content: [`mod@derive`].
//!
//! # Features
//!
//! | feature | adds | default |
//! |---|---|---|
//! | `memory` | [`MemoryStore`] | yes |
//! | `sqlite` | [`SqliteStore`]: durable, on one machine; needs a C compiler | |
//! | `encryption` | [`store::Encrypted`]: records the store cannot read | |
//! | `compression` | [`store::Compressed`]: large records made small | |
//! | `axum` | [`Idempotency`] as an extractor; the original path below `Router::nest` | |
//! | `grpc` | gRPC calls, with tonic for example: [`grpc`] | |
//! | `client` | keys for outgoing requests, and retries under them: [`client`] | |
//! | `derive` | keys made from content: [`mod@derive`] | |
//! | `redis` | [`RedisStore`], for Redis, Valkey and their clusters | |
//! | `postgres` | [`PostgresStore`]; needs Rust 1.94 | |
//! | `conformance` | the laws of a store as a test suite: [`store_conformance!`] | |
//! | `metrics` | [`MetricsObserver`] | |
//!
//! # Versions
//!
//! Needs Rust 1.85, with the feature `postgres` 1.94.
//!
//! Types of these crates are part of the API. A release that goes to a later, incompatible
//! version of one of them is itself an incompatible release:
//!
//! | crate | where |
//! |---|---|
//! | `http` 1, `http-body` 1, `bytes` 1, `tower-layer` 0.3, `tower-service` 0.3 | everywhere |
//! | `axum` 0.8 | the extractor |
//! | `tower` 0.5, `tokio` 1 | the retry policy and its budget, in [`client`] |
//! | `uuid` 1 | a namespace, in [`derive::compat`] |
//! | `metrics` 0.24 | the facade that [`MetricsObserver`] reports to |
//! | `redis` 1 | addresses and errors of [`RedisStore`]; re-exported as `store::redis::redis` |
//! | `sqlx` 0.9 | pools, transactions and errors of [`PostgresStore`]; re-exported as `store::postgres::sqlx` |
//!
//! No other dependency shows in the API.
#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(
    not(all(
        feature = "client",
        feature = "compression",
        feature = "conformance",
        feature = "derive",
        feature = "encryption",
        feature = "grpc",
        feature = "memory",
        feature = "metrics",
        feature = "postgres",
        feature = "redis",
        feature = "sqlite"
    )),
    allow(rustdoc::broken_intra_doc_links)
)]
#![forbid(unsafe_code)]

#[cfg(feature = "client")]
pub mod client;
mod codec;
mod contract;
#[cfg(feature = "derive")]
pub mod derive;
mod digest;
mod event;
mod fields;
mod fingerprint;
mod frames;
#[cfg(feature = "grpc")]
pub mod grpc;
mod hasher;
mod horizon;
mod json;
mod key;
#[cfg(feature = "metrics")]
mod metrics;
mod policy;
mod protocol;
mod record;
mod record_key;
pub mod rejection;
mod scope;
pub mod server;
pub mod store;
mod target;
mod verdict;

#[cfg(feature = "metrics")]
pub use self::metrics::MetricsObserver;
#[cfg(feature = "memory")]
pub use self::store::MemoryStore;
#[cfg(feature = "postgres")]
pub use self::store::PostgresStore;
#[cfg(feature = "redis")]
pub use self::store::RedisStore;
#[cfg(feature = "sqlite")]
pub use self::store::SqliteStore;
pub use self::{
    codec::DecodeError,
    contract::WireContract,
    event::{Cause, Event, Observer, Verb},
    fields::RecordedHeaders,
    fingerprint::{
        Accumulate, ExactFingerprint, Fingerprint, FingerprintState, Fingerprinter, JsonFingerprint,
    },
    frames::Frames,
    key::{BodyKey, HeaderKey, InvalidKey, JsonField, Key, KeyPlace, KeySource, MAX_KEY_LEN},
    policy::{ByStatus, Directive, Outcome, RecordPolicy},
    record::Record,
    record_key::{KeySpace, ParseRecordKeyError, RecordKey},
    rejection::{ProblemJson, Rejection, RejectionKind, Render, StripeJson},
    scope::{CredentialScope, ExtensionScope, MissingScope, Scope, ScopeSource},
    server::context::Idempotency,
    server::{Drained, IdempotencyLayer, InFlight, StoreFailure, Unkept},
    store::{AfterCrash, SharedStore, Store},
};

/// Has the examples of the README compiled.
#[cfg(all(doctest, feature = "client", feature = "memory"))]
#[doc = include_str!("../README.md")]
struct Readme;
