//! What the layer was told.

use std::{
    fmt,
    panic::{self, AssertUnwindSafe},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Response, request::Parts, response};

use crate::{
    contract::WireContract,
    event::{Event, Observer},
    fields::RecordedHeaders,
    fingerprint::{ExactFingerprint, FingerprintState, Fingerprinter, JsonFingerprint},
    key::{HeaderKey, JsonField, KeySource},
    policy::{Directive, RecordPolicy, by_grpc_status},
    protocol::Protocol,
    record_key::KeySpace,
    rejection::{RejectionKind, Render},
    scope::{CredentialScope, ScopeSource},
    store::AfterCrash,
};

/// What to do with a request while the store cannot be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum StoreFailure {
    /// Refuse it with 503: nothing runs unprotected. The default.
    #[default]
    Refuse,
    /// **Run it without protection: a retry runs again.** The answer carries
    /// `Idempotency-Status: unprotected`, and there is an event for each.
    DangerProceed,
}

/// What to do with the key of an answer that cannot be kept: over the limit, or broken off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Unkept {
    /// Seal it: it was done, and does not run again. The default.
    #[default]
    Seal,
    /// Release it: **a retry runs again**, though the handler had answered.
    DangerRelease,
}

/// What becomes of a duplicate of a request that still runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum InFlight {
    /// Refuse it at once with 409. `Retry-After` is about as long as the first request has run
    /// already, as far as its lease tells: 1 s to 60 s, and no longer than the lease lasts,
    /// unless that is less than a second. The default.
    #[default]
    Reject,
    /// Let it wait, at most this long, and answer it with the first result. If that is not
    /// recorded, exactly one of those that wait runs, and the others wait for it. When the
    /// time is over it is refused with 409 and `Retry-After`; it never runs because it got
    /// tired of waiting.
    ///
    /// On the same node a duplicate of a live response joins it: it reads what has come so
    /// far, and then follows as it grows. One that came in HTTP/1.0 waits for its end: it could
    /// not tell an answer that breaks off from a whole one. Proxies may ask in HTTP/1.0: see
    /// `proxy_http_version` of nginx.
    Wait(Duration),
}

/// Whether a request on an enabled route must carry a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeyPresence {
    Optional,
    Required,
}

type When = dyn Fn(&Parts) -> bool + Send + Sync;

#[derive(Clone)]
pub(crate) struct Config {
    /// What the requests speak that this is for.
    pub(crate) protocol: Protocol,
    pub(crate) methods: Arc<[Method]>,
    pub(crate) when: Option<Arc<When>>,
    pub(crate) presence: KeyPresence,
    pub(crate) key: KeyFrom,
    pub(crate) key_space: Option<KeySpace>,
    pub(crate) namespace: Arc<str>,
    pub(crate) scope: Arc<dyn ScopeSource>,
    /// What was chosen to compare requests by.
    pub(crate) sameness: Sameness,
    /// What does compare them; `None` is the default of the protocol.
    fingerprint: Option<Arc<dyn Fingerprinter>>,
    pub(crate) max_request_body: u64,
    pub(crate) body_deadline: Duration,
    pub(crate) max_response_body: u64,
    pub(crate) over_limit: Unkept,
    pub(crate) broken_body: Unkept,
    pub(crate) in_flight: InFlight,
    pub(crate) max_waiters: usize,
    pub(crate) max_waiters_per_key: usize,
    pub(crate) lease: Duration,
    pub(crate) after_crash: AfterCrash,
    pub(crate) retention: Duration,
    pub(crate) policy: Option<Arc<dyn RecordPolicy>>,
    pub(crate) recorded_headers: RecordedHeaders,
    pub(crate) store_deadline: Duration,
    pub(crate) store_attempts: u32,
    pub(crate) store_failure: StoreFailure,
    pub(crate) contract: WireContract,
    pub(crate) render: Option<Arc<dyn Render>>,
    pub(crate) observers: Vec<Arc<dyn Observer>>,
}

/// Where the key comes from.
#[derive(Clone)]
pub(crate) enum KeyFrom {
    /// The header of the wire contract.
    Contract,
    /// Another header: told apart from [`KeyFrom::Source`] because a header can be looked
    /// up before the request is taken apart.
    Header(HeaderKey),
    /// A field of the body: told apart because it is left out of the fingerprint.
    Field(JsonField),
    Source(Arc<dyn KeySource>),
}

/// What makes two requests the same.
#[derive(Clone)]
pub(crate) enum Sameness {
    Default,
    /// Told apart from [`Sameness::By`] because the field of the key is left out of it.
    Json(JsonFingerprint),
    By(Arc<dyn Fingerprinter>),
}

impl Default for Config {
    fn default() -> Self {
        Self {
            protocol: Protocol::Http,
            methods: Arc::new([Method::POST, Method::PATCH]),
            when: None,
            presence: KeyPresence::Optional,
            key: KeyFrom::Contract,
            key_space: None,
            namespace: Arc::from(""),
            scope: Arc::new(CredentialScope::new()),
            sameness: Sameness::Default,
            fingerprint: None,
            max_request_body: 2 * 1024 * 1024,
            body_deadline: Duration::from_secs(30),
            max_response_body: 1024 * 1024,
            over_limit: Unkept::Seal,
            broken_body: Unkept::Seal,
            in_flight: InFlight::Reject,
            max_waiters: 10_000,
            max_waiters_per_key: 1_000,
            lease: Duration::from_secs(30),
            after_crash: AfterCrash::Takeover,
            retention: Duration::from_secs(24 * 60 * 60),
            policy: None,
            recorded_headers: RecordedHeaders::new(),
            store_deadline: Duration::from_secs(2),
            store_attempts: 3,
            store_failure: StoreFailure::Refuse,
            contract: WireContract::default(),
            render: None,
            observers: Vec::new(),
        }
    }
}

impl Config {
    /// To be called when the source of the key or what makes requests the same changes.
    pub(crate) fn settle_fingerprint(&mut self) {
        let field = match &self.key {
            KeyFrom::Field(field) => Some(field.name()),
            _ => None,
        };
        let json: JsonFingerprint = match (&self.sameness, field) {
            (Sameness::By(fingerprint), _) => {
                self.fingerprint = Some(Arc::clone(fingerprint));
                return;
            }
            (Sameness::Default, None) => {
                self.fingerprint = None;
                return;
            }
            (Sameness::Default, Some(_)) => JsonFingerprint::new(),
            (Sameness::Json(json), _) => json.clone(),
        };
        let json = field.into_iter().fold(json, JsonFingerprint::ignore_member);
        self.fingerprint = Some(Arc::new(json));
    }

    pub(crate) fn key_space(&self) -> KeySpace {
        self.key_space.unwrap_or(self.contract.key_space)
    }

    /// The same settings, for gRPC calls. Only those pass in that the user opted in.
    pub(crate) fn for_grpc(&self) -> Self {
        let mut config = self.clone();
        config.protocol = Protocol::Grpc;
        config.when = Some(opted_in(config.when));
        if let Sameness::Default = config.sameness {
            config.fingerprint = None;
        }
        config
    }

    /// Begins the fingerprint of the request with this head.
    pub(crate) fn begin_fingerprint(&self, parts: &Parts) -> FingerprintState {
        match &self.fingerprint {
            Some(fingerprint) => fingerprint.begin(parts),
            #[cfg(feature = "grpc")]
            None if self.protocol == Protocol::Grpc => crate::grpc::MessageFingerprint::new()
                .max_unpacked(self.max_request_body)
                .begin(parts),
            None => ExactFingerprint::new().begin(parts),
        }
    }

    /// What becomes of the answer with this head; `None` if its trailers will tell.
    pub(crate) fn directive(&self, parts: &response::Parts) -> Option<Directive> {
        let policy = self.policy.as_ref().unwrap_or(&self.contract.policy);
        match self.protocol {
            Protocol::Http => Some(policy.directive(parts)),
            Protocol::Grpc => by_grpc_status(&parts.headers),
        }
    }

    /// The response that refuses a request; `wait` is how long the reason may last.
    pub(crate) fn reject(&self, kind: RejectionKind, wait: Option<Duration>) -> Response<Bytes> {
        let wait = match kind {
            RejectionKind::InFlight => wait.map(|left| self.worth_waiting(left)),
            _ => wait,
        };
        let mut response = self.refuse(kind, wait);
        if kind.may_pass() {
            // For layers around this one, which would keep it for their retention.
            response.extensions_mut().insert(Directive::release());
        }
        response
    }

    fn refuse(&self, kind: RejectionKind, wait: Option<Duration>) -> Response<Bytes> {
        #[cfg(feature = "grpc")]
        if self.protocol == Protocol::Grpc {
            return crate::grpc::refuse(kind, self.contract.status(kind), wait);
        }
        let render = self.render.as_ref().unwrap_or(&self.contract.render);
        let rejection = self.contract.rejection(kind, wait);
        self.contract.refuse(&rejection, &**render)
    }

    /// When to look again at an operation that has `left` of its lease: after as long as it
    /// has run already, as far as the lease tells, and when it may be taken over at the latest.
    fn worth_waiting(&self, left: Duration) -> Duration {
        left.min(self.lease.saturating_sub(left))
    }

    /// Tells `tracing` and every observer. One that panics is told of the next event all the
    /// same, and takes nothing with it: no operation hangs on who watches it.
    pub(crate) fn emit(&self, event: &Event<'_>) {
        event.trace();
        for observer in &self.observers {
            let observed = || observer.observe(event);
            if panic::catch_unwind(AssertUnwindSafe(observed)).is_err() {
                event.trace_unobserved();
            }
        }
    }
}

/// Lets a gRPC call in only if a predicate was set, and admits it.
#[cfg(feature = "grpc")]
fn opted_in(when: Option<Arc<When>>) -> Arc<When> {
    Arc::new(move |parts| {
        let admitted = when.as_ref().is_some_and(|when| when(parts));
        admitted && crate::grpc::is_call(&parts.headers)
    })
}

/// How a call ended cannot be told without the feature: none is let in.
#[cfg(not(feature = "grpc"))]
fn opted_in(_: Option<Arc<When>>) -> Arc<When> {
    Arc::new(|_| false)
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("methods", &self.methods)
            .field("presence", &self.presence)
            .field("key_space", &self.key_space())
            .field("namespace", &self.namespace)
            .field("max_request_body", &self.max_request_body)
            .field("body_deadline", &self.body_deadline)
            .field("max_response_body", &self.max_response_body)
            .field("over_limit", &self.over_limit)
            .field("broken_body", &self.broken_body)
            .field("in_flight", &self.in_flight)
            .field("max_waiters", &self.max_waiters)
            .field("max_waiters_per_key", &self.max_waiters_per_key)
            .field("lease", &self.lease)
            .field("after_crash", &self.after_crash)
            .field("retention", &self.retention)
            .field("recorded_headers", &self.recorded_headers)
            .field("store_deadline", &self.store_deadline)
            .field("store_attempts", &self.store_attempts)
            .field("store_failure", &self.store_failure)
            .field("contract", &self.contract)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_is_looked_at_again_after_as_long_as_it_has_run() {
        let config = Config::default();
        // Of 30 s; of a longer lease nothing is known.
        let table = [
            (30, 0),
            (29, 1),
            (20, 10),
            (15, 15),
            (12, 12),
            (1, 1),
            (0, 0),
            (45, 0),
        ];
        for (left, wait) in table.map(|(left, wait)| (secs(left), secs(wait))) {
            assert_eq!(config.worth_waiting(left), wait, "{left:?}");
        }
    }

    fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[test]
    fn a_key_in_a_json_body_changes_nothing_for_grpc() {
        let mut config = Config {
            key: KeyFrom::Field(JsonField::new("key")),
            ..Config::default()
        };
        config.settle_fingerprint();
        assert!(config.fingerprint.is_some());
        assert!(config.for_grpc().fingerprint.is_none());
        config.sameness = Sameness::By(Arc::new(ExactFingerprint::new()));
        config.settle_fingerprint();
        assert!(config.for_grpc().fingerprint.is_some());
    }
}
