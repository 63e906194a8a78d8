//! Idempotency keys for tower services.
#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]

mod codec;
mod contract;
mod digest;
mod event;
mod fields;
mod fingerprint;
mod frames;
mod key;
mod policy;
mod record;
mod record_key;
pub mod rejection;
mod scope;
pub mod server;
pub mod store;
mod target;
mod verdict;

#[cfg(feature = "memory")]
pub use self::store::MemoryStore;
pub use self::{
    codec::DecodeError,
    contract::WireContract,
    event::{Cause, Event, Observer, Verb},
    fields::RecordedHeaders,
    fingerprint::{Accumulate, ExactFingerprint, Fingerprint, FingerprintState, Fingerprinter},
    frames::Frames,
    key::{HeaderKey, InvalidKey, Key, KeySource, MAX_KEY_LEN},
    policy::{ByStatus, Directive, Outcome, RecordPolicy},
    record::Record,
    record_key::{KeySpace, ParseRecordKeyError, RecordKey},
    rejection::{ProblemJson, Rejection, RejectionKind, Render, StripeJson},
    scope::{CredentialScope, ExtensionScope, MissingScope, Scope, ScopeSource},
    server::context::Idempotency,
    server::{Drained, IdempotencyLayer, InFlight, StoreFailure, Unkept},
    store::{AfterCrash, SharedStore, Store},
};
