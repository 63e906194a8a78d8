//! Idempotency keys for tower services: a keyed POST runs once, and every retry gets the
//! first answer.
//!
//! A client that retries, after a timeout, a 429, a double click or a crash, names its
//! operation with `Idempotency-Key`. [`IdempotencyLayer`] claims that key in a [`Store`],
//! executes the request once, records the answer, and replays it. Another payload under the
//! key, or the same request while the first still runs, is a 409.
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
//! **With axum, enable the feature `axum`:** routers that nest
//! [want it](server#under-routernest).
//!
//! * What is guaranteed, where the layer belongs among others, and all settings: [`server`].
//! * What clients see: [`WireContract`], [`rejection`].
//! * What makes two requests one operation: [`KeySource`], [`ScopeSource`],
//!   [`Fingerprinter`].
//! * What becomes of an answer: [`RecordPolicy`], and [`Directive`] for a single one.
//! * What a handler may know: [`Idempotency`].
//! * Stores, and how to write one: [`store`].
//! * What happened: [`Event`], [`Observer`].
//! * The other half, for clients: module `client`, and keys from content: module `derive`.
//!
//! # Features
//!
//! | feature | adds | default |
//! |---|---|---|
//! | `memory` | [`MemoryStore`] | yes |
//! | `sqlite` | `SqliteStore`: durable, on one machine; needs a C compiler | |
//! | `encryption` | `store::Encrypted`: records the store cannot read | |
//! | `compression` | `store::Compressed`: large records made small | |
//! | `axum` | [`Idempotency`] as an extractor; the original path below `Router::nest` | |
//! | `grpc` | gRPC calls, with tonic for example: module `grpc` | |
//! | `client` | keys for outgoing requests, and retries under them: module `client` | |
//! | `derive` | keys from content: module `derive` | |
//! | `redis` | [`RedisStore`], for Redis, Valkey and their clusters | |
//! | `postgres` | [`PostgresStore`]; needs Rust 1.94 | |
//! | `conformance` | the laws of a store as a test suite | |
//! | `metrics` | `MetricsObserver` | |
#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(
    not(all(
        feature = "compression",
        feature = "encryption",
        feature = "memory",
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
