//! Which traits the public types have. Losing one breaks users, and an `Arc<dyn …>` in the
//! wrong place loses it silently; so each new public type gets a line here.

use std::{error::Error, fmt::Debug, fmt::Display, hash::Hash, str::FromStr, sync::Arc};

#[cfg(feature = "client")]
use tower_idempotency::client;
#[cfg(feature = "postgres")]
use tower_idempotency::store::postgres::sqlx;
use tower_idempotency::{
    Accumulate, AfterCrash, BodyKey, ByStatus, Cause, CredentialScope, DecodeError, Directive,
    Drained, Event, ExactFingerprint, ExtensionScope, Fingerprint, FingerprintState, Fingerprinter,
    Frames, HeaderKey, Idempotency, IdempotencyLayer, InFlight, InvalidKey, JsonField,
    JsonFingerprint, Key, KeyPlace, KeySource, KeySpace, MissingScope, Observer, Outcome,
    ParseRecordKeyError, ProblemJson, Record, RecordKey, RecordPolicy, RecordedHeaders, Rejection,
    RejectionKind, Render, Scope, ScopeSource, SharedStore, Store, StoreFailure, StripeJson,
    Unkept, Verb, WireContract, server,
    store::{
        Cached, Claim, Claimed, Completion, Fence, Lease, LeaseToken, OwnedClaim, Resilient,
        Resolution, Slot, Standing, StoreError, StoreErrorKind,
    },
};

/// What every type of ours can do: cross threads, be moved while pinned, be shown.
trait Plain: Send + Sync + Unpin + Debug + 'static {}
impl<T: Send + Sync + Unpin + Debug + 'static> Plain for T {}

/// A word: small, copied and compared.
trait Word: Plain + Copy + Eq {}
impl<T: Plain + Copy + Eq> Word for T {}

/// An error that can be boxed and passed on.
trait Fault: Plain + Error {}
impl<T: Plain + Error> Fault for T {}

/// What need not be shown.
#[derive(Clone)]
struct Hidden;

/// `Type: Trait, Trait;` lines, checked as this file is compiled.
macro_rules! have {
    ($($type:ty: $($trait:path),+;)+) => {$(
        const _: fn() = || {
            fn has<T: ?Sized $(+ $trait)+>() {}
            has::<$type>();
        };
    )+};
}

have! {
    // Key, scope, fingerprint.
    Key: Plain, Clone, Eq, Hash, AsRef<[u8]>;
    InvalidKey: Fault, Word, Hash;
    HeaderKey: Plain, Clone, Default, Eq, KeySource;
    JsonField: Plain, Clone, KeySource;
    KeyPlace: Send, Unpin, Debug, From<Option<Key>>;
    RecordKey: Word, Ord, Hash, Display, FromStr;
    ParseRecordKeyError: Fault, Word;
    KeySpace: Word, Default;
    Scope: Word, Hash;
    MissingScope: Fault, Word, Default;
    CredentialScope: Plain, Clone, Default, ScopeSource;
    // The principal it looks for need not be shown, shared or pinned.
    ExtensionScope<*const ()>: Plain, Clone, Default;
    Fingerprint: Word, Hash;
    ExactFingerprint: Plain, Clone, Default, Fingerprinter;
    JsonFingerprint: Plain, Clone, Default, Fingerprinter;
    FingerprintState: Send, Unpin, Debug;

    // Records.
    Record: Plain, Clone, Eq;
    Frames: Plain, Clone, Default, Eq, From<bytes::Bytes>, FromIterator<bytes::Bytes>;
    RecordedHeaders: Plain, Clone, Default;
    DecodeError: Fault, Word;

    // Policy and the wire.
    Outcome: Word;
    Directive: Word;
    ByStatus: Plain, Clone, Default, RecordPolicy;
    WireContract: Plain, Clone, Default;
    Rejection: Plain, Clone;
    RejectionKind: Word, Hash;
    ProblemJson: Plain, Clone, Default, Render;
    StripeJson: Plain, Clone, Default, Render;

    // The layer.
    IdempotencyLayer<SharedStore>: Plain, Clone, tower::Layer<()>;
    IdempotencyLayer<Hidden>: Plain, Clone;
    server::Idempotency<(), Hidden>: Plain, Clone;
    server::ResponseFuture<(), (), ()>: Send, Unpin, Debug;
    server::RequestBody<()>: Plain, Default;
    server::ResponseBody<()>: Plain, Default;
    server::BrokeOff: Fault, Copy;
    server::CutShort: Fault, Copy;
    server::LeaseLost: Fault, Copy;
    server::Unconfirmed: Fault, Copy;
    InFlight: Word, Default;
    StoreFailure: Word, Default;
    Unkept: Word, Default;
    Drained: Word;

    // What a handler and an observer are told.
    Idempotency: Plain, Clone, AsRef<Lease>;
    Event<'static>: Plain;
    Cause: Word, Hash;
    Verb: Word, Hash;

    // Stores.
    Claim<'static>: Plain, Clone;
    OwnedClaim: Plain, Clone;
    Claimed: Plain, Clone, Eq;
    Completion: Plain, Clone, Eq;
    Standing: Plain, Clone, Eq;
    Lease: Plain, Clone, Eq;
    LeaseToken: Word, Hash;
    Fence: Word, Ord, Hash, Display;
    AfterCrash: Word, Default;
    StoreError: Fault;
    StoreErrorKind: Word, Hash;
    Slot: Plain, Clone, Eq, Default;
    Resolution: Word, Hash;
    SharedStore: Plain, Clone, Store;
    Cached<SharedStore>: Plain, Clone, Store;
    Cached<Hidden>: Plain, Clone;
    Resilient<SharedStore>: Plain, Clone, Store;
    Resilient<Hidden>: Plain, Clone;

    // What users bring can be chosen at run time, and shared; the layer knows some key sources and
    // fingerprinters by their types, which an `Arc` would hide.
    Arc<SharedStore>: Store;
    dyn KeySource: Send, Sync;
    dyn BodyKey: Send;
    Arc<dyn Observer>: Observer;
    Arc<dyn ScopeSource>: ScopeSource;
    dyn Fingerprinter: Send, Sync;
    dyn Accumulate: Send;
    Arc<dyn RecordPolicy>: RecordPolicy;
    Arc<dyn Render>: Render;
}

#[cfg(feature = "derive")]
have! {
    tower_idempotency::derive::Derivation: Plain, Clone;
}

#[cfg(feature = "metrics")]
have! {
    tower_idempotency::MetricsObserver: Plain, Clone, Default, Observer;
}

#[cfg(feature = "grpc")]
have! {
    tower_idempotency::grpc::MessageFingerprint: Plain, Clone, Default, Fingerprinter;
}

#[cfg(feature = "axum")]
have! {
    Idempotency: axum::extract::FromRequestParts<()>, axum::extract::OptionalFromRequestParts<()>;
    server::MissingIdempotency: Fault, Word, axum::response::IntoResponse;
}

#[cfg(feature = "memory")]
have! {
    tower_idempotency::MemoryStore: Plain, Clone, Default, Store;
}

#[cfg(feature = "sqlite")]
have! {
    tower_idempotency::SqliteStore: Plain, Clone, Store;
    tower_idempotency::store::sqlite::SqliteOptions: Plain, Clone, Default;
    tower_idempotency::store::sqlite::SqliteOpenError: Fault;
    tower_idempotency::store::sqlite::SqliteOpenErrorKind: Word, Hash;
}

#[cfg(feature = "compression")]
have! {
    tower_idempotency::store::Compressed<SharedStore>: Plain, Clone, Store;
    tower_idempotency::store::Compressed<Hidden>: Plain, Clone;
}

#[cfg(feature = "encryption")]
have! {
    tower_idempotency::store::Encrypted<SharedStore>: Plain, Clone, Store;
    tower_idempotency::store::Encrypted<Hidden>: Plain, Clone;
    tower_idempotency::store::EncryptionKeys: Plain;
}

#[cfg(feature = "postgres")]
have! {
    tower_idempotency::PostgresStore: Plain, Clone, Store;
    tower_idempotency::store::postgres::PostgresOptions: Plain, Clone, Default;
    tower_idempotency::store::postgres::PostgresOpenError: Fault;
    tower_idempotency::store::postgres::Transaction: Send, Sync, Debug,
        std::ops::DerefMut<Target = sqlx::PgConnection>;
    tower_idempotency::store::postgres::BeginError: Fault;
    tower_idempotency::store::postgres::CheckpointError: Fault;
}

#[cfg(feature = "client")]
have! {
    client::SetIdempotencyKeyLayer: Plain, Clone, Default, tower::Layer<()>;
    client::SetIdempotencyKey<()>: Plain, Clone;
    client::ResponseFuture<()>: Plain;
    client::UseKey: Plain, Clone, From<Key>;
    client::KeyError: Fault, From<InvalidKey>;
    client::UuidV7: Plain, Copy, Default, client::MakeKey;
    client::UuidV4: Plain, Copy, Default, client::MakeKey;
    client::DerivedKey: Plain, Clone, client::MakeKey;
    client::IdempotentRetry: Plain, Clone, Default;
    client::BufferedBody<()>: Plain, Default, client::TryCloneBody;
    Arc<dyn client::MakeKey>: client::MakeKey;
}

/// The store's futures can be spawned, whichever store it is.
#[test]
fn verbs_can_be_spawned() {
    fn check<S: Store>(store: &S, claim: &Claim<'_>, lease: &Lease, key: &RecordKey) {
        fn spawned(_: impl Send) {}
        spawned(store.claim(claim));
        spawned(store.release(lease));
        spawned(store.renew(lease));
        spawned(store.settled(key, lease.fence(), lease.duration()));
    }
    let _ = check::<SharedStore>;
}

/// As layers make them for requests and answers of their own.
#[test]
fn default_bodies_are_empty() {
    fn is_empty<B: http_body::Body + Default>() -> bool {
        let body = B::default();
        body.is_end_stream() && body.size_hint().exact() == Some(0)
    }
    type Bytes = http_body_util::Full<bytes::Bytes>;
    assert!(is_empty::<server::RequestBody<Bytes>>());
    assert!(is_empty::<server::ResponseBody<Bytes>>());
    #[cfg(feature = "client")]
    assert!(is_empty::<client::BufferedBody<Bytes>>());
}

/// Handles that every request holds stay small.
#[test]
fn sizes() {
    assert_eq!(size_of::<Record>(), size_of::<usize>());
    assert_eq!(size_of::<SharedStore>(), 2 * size_of::<usize>());
    assert!(size_of::<Key>() <= size_of::<http::HeaderValue>() + 8);
    assert_eq!(size_of::<Frames>(), size_of::<bytes::Bytes>());
}

/// Types behind features.
#[cfg(feature = "redis")]
mod redis {
    use super::{Fault, Plain, Store};
    use tower_idempotency::{
        RedisStore,
        store::redis::{RedisOpenError, redis},
    };

    have! {
        RedisStore: Plain, Clone, Store;
        RedisOpenError: Fault;
        // What it connects to.
        redis::ConnectionInfo: Plain, redis::IntoConnectionInfo;
    }
}
