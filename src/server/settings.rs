//! The settings of the layer, each with its default.

use std::{any::Any, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Method, Response, request, response};

use super::{
    by_fn::ByFn,
    config::{InFlight, KeyFrom, KeyPresence, Sameness, StoreFailure, Unkept},
    layer::IdempotencyLayer,
};
use crate::{
    contract::WireContract,
    event::{Event, Observer},
    fields::RecordedHeaders,
    fingerprint::{FingerprintState, Fingerprinter, JsonFingerprint},
    key::{HeaderKey, InvalidKey, JsonField, Key, KeySource},
    policy::{Directive, RecordPolicy},
    record_key::KeySpace,
    rejection::{Rejection, Render},
    scope::{MissingScope, Scope, ScopeSource},
    store::AfterCrash,
};

impl<S> IdempotencyLayer<S> {
    /// The methods whose requests may carry a key. Default: POST and PATCH.
    ///
    /// GET, HEAD, OPTIONS and TRACE are idempotent by themselves, and CONNECT opens a tunnel, of
    /// which nothing can be replayed: they always pass through, and naming them has no effect.
    #[must_use]
    pub fn methods(self, methods: impl IntoIterator<Item = Method>) -> Self {
        let operations = methods
            .into_iter()
            .filter(|method| !method.is_safe() && method != Method::CONNECT);
        let methods = operations.collect();
        self.set(|config| config.methods = methods)
    }

    /// Lets only requests in that `predicate` admits; all others pass through untouched.
    /// Default: all but gRPC calls.
    ///
    /// **A gRPC call that it admits is read to its end before it runs,** which hangs a
    /// bidirectional stream: admit calls method by method, with `grpc::methods` (feature
    /// `grpc`). Without that feature all calls pass through, whatever `predicate` says.
    #[must_use]
    pub fn when<F>(self, predicate: F) -> Self
    where
        F: Fn(&request::Parts) -> bool + Send + Sync + 'static,
    {
        self.set(|config| config.when = Some(Arc::new(predicate)))
    }

    /// Refuses requests without a key with 400, if their [method](Self::methods) is enabled
    /// and [`when`](Self::when) admits them. Default: they pass through unprotected.
    #[must_use]
    pub fn require_key(self) -> Self {
        self.set(|config| config.presence = KeyPresence::Required)
    }

    /// Where the key is. Default: the header [`HeaderKey`] of the wire contract.
    /// [`JsonField`] takes it from a JSON body.
    #[must_use]
    pub fn key_source(self, source: impl KeySource) -> Self {
        let any: &dyn Any = &source;
        let key = match (
            any.downcast_ref::<HeaderKey>(),
            any.downcast_ref::<JsonField>(),
        ) {
            (Some(header), _) => KeyFrom::Header(header.clone()),
            (_, Some(field)) => KeyFrom::Field(field.clone()),
            _ => KeyFrom::Source(Arc::new(source)),
        };
        self.set(|config| {
            config.key = key;
            config.settle_fingerprint();
        })
    }

    /// Finds the key by a function.
    #[must_use]
    pub fn key_source_fn<F>(self, source: F) -> Self
    where
        F: Fn(&request::Parts) -> Result<Option<Key>, InvalidKey> + Send + Sync + 'static,
    {
        self.key_source(ByFn(source))
    }

    /// How far a key reaches. Default: the wire contract's, [`KeySpace::PerRoute`].
    #[must_use]
    pub fn key_space(self, key_space: KeySpace) -> Self {
        self.set(|config| config.key_space = Some(key_space))
    }

    /// Keeps the keys of this service apart from those of others in the same store, or those
    /// of one [nest](crate::server#under-routernest) from those of another. Default: empty.
    #[must_use]
    pub fn namespace(self, namespace: impl Into<Arc<str>>) -> Self {
        let namespace = namespace.into();
        self.set(|config| config.namespace = namespace)
    }

    /// Whose key it is. Default: [`CredentialScope`](crate::CredentialScope), by which **callers
    /// without `Authorization`, `Cookie` and `X-Api-Key` are one.**
    #[must_use]
    pub fn scope(self, scope: impl ScopeSource) -> Self {
        self.set(|config| config.scope = Arc::new(scope))
    }

    /// Tells whose key it is by a function.
    ///
    /// ```
    /// # #[cfg(feature = "memory")] {
    /// use tower_idempotency::{IdempotencyLayer, MemoryStore, Scope};
    ///
    /// // **Only for services whose callers all trust each other.**
    /// let layer = IdempotencyLayer::new(MemoryStore::new()).scope_fn(|_| Ok(Scope::global()));
    /// # }
    /// ```
    #[must_use]
    pub fn scope_fn<F>(self, scope: F) -> Self
    where
        F: Fn(&request::Parts) -> Result<Scope, MissingScope> + Send + Sync + 'static,
    {
        self.scope(ByFn(scope))
    }

    /// What makes two requests the same. Default:
    /// [`ExactFingerprint`](crate::ExactFingerprint); for gRPC calls the path and the
    /// messages. [`JsonFingerprint`](crate::JsonFingerprint) compares JSON by its meaning.
    #[must_use]
    pub fn fingerprint(self, fingerprint: impl Fingerprinter) -> Self {
        let json = (&fingerprint as &dyn Any).downcast_ref::<JsonFingerprint>();
        let sameness = match json {
            Some(json) => Sameness::Json(json.clone()),
            None => Sameness::By(Arc::new(fingerprint)),
        };
        self.set(|config| {
            config.sameness = sameness;
            config.settle_fingerprint();
        })
    }

    /// Decides by a function what makes two requests the same.
    #[must_use]
    pub fn fingerprint_fn<F>(self, fingerprint: F) -> Self
    where
        F: Fn(&request::Parts) -> FingerprintState + Send + Sync + 'static,
    {
        self.fingerprint(ByFn(fingerprint))
    }

    /// The largest body of a keyed request, in bytes; larger ones are refused with 413.
    /// Default: 2 MiB.
    #[must_use]
    pub fn max_request_body(self, bytes: u64) -> Self {
        self.set(|config| config.max_request_body = bytes)
    }

    /// How long the whole body of a keyed request may take to arrive; slower ones are
    /// refused with 408. Default: 30 s.
    #[must_use]
    pub fn body_deadline(self, deadline: Duration) -> Self {
        self.set(|config| config.body_deadline = deadline)
    }

    /// The largest response body that is recorded, in bytes. Default: 1 MiB.
    #[must_use]
    pub fn max_response_body(self, bytes: u64) -> Self {
        self.set(|config| config.max_response_body = bytes)
    }

    /// What becomes of the key when a response body is over the limit. The client gets the
    /// whole answer either way. Default: [`Unkept::Seal`].
    #[must_use]
    pub fn over_limit(self, unkept: Unkept) -> Self {
        self.set(|config| config.over_limit = unkept)
    }

    /// What becomes of the key when a response body fails midway. Default:
    /// [`Unkept::Seal`].
    #[must_use]
    pub fn broken_body(self, unkept: Unkept) -> Self {
        self.set(|config| config.broken_body = unkept)
    }

    /// What becomes of a duplicate of a request that still runs. Default:
    /// [`InFlight::Reject`]. A budget is at most a year.
    #[must_use]
    pub fn in_flight(self, in_flight: InFlight) -> Self {
        let in_flight = match in_flight {
            InFlight::Wait(budget) => InFlight::Wait(budget.min(A_YEAR)),
            InFlight::Reject => InFlight::Reject,
        };
        self.set(|config| config.in_flight = in_flight)
    }

    /// How many duplicates may wait at a time, on this node, for all keys together. Each
    /// holds its request with its body. More are refused as if they had waited in vain.
    /// Default: 10,000.
    #[must_use]
    pub fn max_waiters(self, waiters: usize) -> Self {
        self.set(|config| config.max_waiters = waiters)
    }

    /// How many duplicates of one request may wait at a time, on this node. More are
    /// refused as if they had waited in vain. Default: 1,000.
    #[must_use]
    pub fn max_waiters_per_key(self, waiters: usize) -> Self {
        self.set(|config| config.max_waiters_per_key = waiters)
    }

    /// How long a claim outlives the node that made it. It is renewed every third of that,
    /// however long a handler runs; after a crash a retry has to wait until it lapses. A store
    /// that takes longer than a third of it for a renewal cannot keep it, whatever
    /// [`store_deadline`](Self::store_deadline) allows. Default: 30 s; at most a year.
    ///
    /// # Panics
    ///
    /// If `lease` is zero.
    #[must_use]
    pub fn lease(self, lease: Duration) -> Self {
        assert!(!lease.is_zero(), "a lease of no time protects nothing");
        self.set(|config| config.lease = lease.min(A_YEAR))
    }

    /// What to do with a key whose [lease lapsed unfinished](crate::server#what-is-guaranteed),
    /// as its node crashed for example. Default: [`AfterCrash::Takeover`].
    #[must_use]
    pub fn after_crash(self, after_crash: AfterCrash) -> Self {
        self.set(|config| config.after_crash = after_crash)
    }

    /// How long a record may be replayed, counted from completion. Default: 24 h.
    #[must_use]
    pub fn retention(self, retention: Duration) -> Self {
        self.set(|config| config.retention = retention)
    }

    /// What becomes of a fresh answer. Default: the wire contract's,
    /// [`ByStatus`](crate::ByStatus). Not asked about gRPC calls: `grpc-status` decides.
    #[must_use]
    pub fn record_policy(self, policy: impl RecordPolicy) -> Self {
        self.set(|config| config.policy = Some(Arc::new(policy)))
    }

    /// Decides by a function what becomes of a fresh answer.
    #[must_use]
    pub fn record_policy_fn<F>(self, policy: F) -> Self
    where
        F: Fn(&response::Parts) -> Directive + Send + Sync + 'static,
    {
        self.record_policy(ByFn(policy))
    }

    /// Which header fields of an answer are kept. Default: [`RecordedHeaders::new`].
    #[must_use]
    pub fn recorded_headers(self, headers: RecordedHeaders) -> Self {
        self.set(|config| config.recorded_headers = headers)
    }

    /// How long one call of the store may take before it counts as failed; a renewal has at
    /// most a third of the [`lease`](Self::lease), if that is less. Default: 2 s.
    #[must_use]
    pub fn store_deadline(self, deadline: Duration) -> Self {
        self.set(|config| config.store_deadline = deadline)
    }

    /// How often a claim or a release is sent before the store counts as unreachable; a
    /// resend is harmless. A completion is sent again for as long as one lease lasts.
    /// Default: 3.
    ///
    /// # Panics
    ///
    /// If `attempts` is zero.
    #[must_use]
    pub fn store_attempts(self, attempts: u32) -> Self {
        assert!(attempts > 0, "a claim must be sent at least once");
        self.set(|config| config.store_attempts = attempts)
    }

    /// What to do with a request while the store cannot be reached. Default:
    /// [`StoreFailure::Refuse`].
    #[must_use]
    pub fn store_failure(self, failure: StoreFailure) -> Self {
        self.set(|config| config.store_failure = failure)
    }

    /// What clients see. Default: [`WireContract::default`]. A setting of the layer wins over
    /// what the contract says of the same, whichever comes first.
    #[must_use]
    pub fn contract(self, contract: WireContract) -> Self {
        self.set(|config| config.contract = contract)
    }

    /// Turns refusals into responses. Default: the wire contract's,
    /// [`ProblemJson`](crate::ProblemJson). Not asked about gRPC calls, which have a form of
    /// refusals of their own.
    #[must_use]
    pub fn render(self, render: impl Render) -> Self {
        self.set(|config| config.render = Some(Arc::new(render)))
    }

    /// Turns refusals into responses by a function.
    #[must_use]
    pub fn render_fn<F>(self, render: F) -> Self
    where
        F: Fn(&Rejection) -> Response<Bytes> + Send + Sync + 'static,
    {
        self.render(ByFn(render))
    }

    /// Adds an observer. Default: none; `tracing` is always told.
    #[must_use]
    pub fn observer(self, observer: impl Observer) -> Self {
        self.set(|config| config.observers.push(Arc::new(observer)))
    }

    /// Adds a function as observer.
    #[must_use]
    pub fn observer_fn<F>(self, observer: F) -> Self
    where
        F: Fn(&Event<'_>) + Send + Sync + 'static,
    {
        self.observer(ByFn(observer))
    }
}

/// What is added to a moment must not overflow it.
const A_YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);
