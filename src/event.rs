//! What happened, for logs, metrics and audits.

use std::{sync::Arc, time::Duration};

use crate::{
    record_key::RecordKey,
    rejection::RejectionKind,
    store::{Fence, StoreError},
};

/// Something that happened to a keyed request.
///
/// Every event also goes to `tracing`, under the target `tower_idempotency`, with the
/// record key in hexadecimal. Keys, bodies and lease tokens are in none of them.
///
/// Events may be added, and fields to events: match with `..` and `_`.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// The key was claimed: the request runs.
    #[non_exhaustive]
    Claimed {
        /// The record key.
        key: &'a RecordKey,
        /// The fence of the lease.
        fence: Fence,
        /// 1, or more after a takeover.
        attempt: u32,
    },
    /// A request was answered from a record.
    #[non_exhaustive]
    Replayed {
        /// The record key.
        key: &'a RecordKey,
    },
    /// A duplicate waits for the request that runs.
    #[non_exhaustive]
    Waiting {
        /// The record key.
        key: &'a RecordKey,
    },
    /// A request was refused.
    #[non_exhaustive]
    Rejected {
        /// The record key; `None` if the request was refused before it had one.
        key: Option<&'a RecordKey>,
        /// Why.
        kind: RejectionKind,
    },
    /// The answer was recorded.
    #[non_exhaustive]
    Recorded {
        /// The record key.
        key: &'a RecordKey,
        /// The size of the record in bytes.
        bytes: u64,
    },
    /// The key was given back.
    #[non_exhaustive]
    Released {
        /// The record key.
        key: &'a RecordKey,
        /// Why.
        cause: Cause,
    },
    /// The key was sealed.
    #[non_exhaustive]
    Sealed {
        /// The record key.
        key: &'a RecordKey,
        /// Why.
        cause: Cause,
    },
    /// A lease was lost: somebody else has the key, or it could not be renewed in time.
    /// In the second case up to a hundredth of it may still be left.
    #[non_exhaustive]
    LeaseLost {
        /// The record key.
        key: &'a RecordKey,
        /// The fence of the lost lease.
        fence: Fence,
    },
    /// An answer was served and could not be recorded: a retry may run again once the
    /// lease has lapsed.
    #[non_exhaustive]
    Unrecorded {
        /// The record key.
        key: &'a RecordKey,
    },
    /// A request ran without protection, as the store could not be reached and the route
    /// chose [`StoreFailure::DangerProceed`](crate::StoreFailure::DangerProceed).
    #[non_exhaustive]
    Unprotected {
        /// The record key.
        key: &'a RecordKey,
    },
    /// The client hung up; the operation runs on to its end.
    #[non_exhaustive]
    Detached {
        /// The record key.
        key: &'a RecordKey,
    },
    /// A key was left behind: the operation was cut short with its runtime, or the store never
    /// said that the key was released, that a claim in doubt was given back, or that the handler's
    /// own transaction was committed. The lease will lapse.
    #[non_exhaustive]
    Abandoned {
        /// The record key.
        key: &'a RecordKey,
    },
    /// A call of the store failed. It may be sent again.
    #[non_exhaustive]
    StoreFailed {
        /// The record key.
        key: &'a RecordKey,
        /// Which call.
        verb: Verb,
        /// How it failed.
        error: &'a StoreError,
    },
    /// A call of the store ended, well or not. Emitted only if there is an observer, and
    /// not to `tracing`.
    #[non_exhaustive]
    StoreCalled {
        /// Which call.
        verb: Verb,
        /// How long it took.
        elapsed: Duration,
    },
}

/// Why a key was released or sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cause {
    /// The record policy or the handler said so.
    Directive,
    /// The inner service returned an error instead of a response.
    ServiceError,
    /// The handler panicked.
    Panic,
    /// The response body is over the limit.
    OverLimit,
    /// The response body failed midway.
    BodyFailed,
    /// The claim could not be confirmed in time, and the request was refused.
    ClaimUnconfirmed,
    /// The handler's own transaction, in which the answer was to be recorded, was rolled back.
    RolledBack,
}

impl Cause {
    /// A stable name, for labels.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Directive => "directive",
            Self::ServiceError => "service_error",
            Self::Panic => "panic",
            Self::OverLimit => "over_limit",
            Self::BodyFailed => "body_failed",
            Self::ClaimUnconfirmed => "claim_unconfirmed",
            Self::RolledBack => "rolled_back",
        }
    }
}

/// A call of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Verb {
    /// [`Store::claim`](crate::Store::claim)
    Claim,
    /// [`Store::complete`](crate::Store::complete)
    Complete,
    /// [`Store::release`](crate::Store::release)
    Release,
    /// [`Store::renew`](crate::Store::renew)
    Renew,
}

impl Verb {
    /// A stable name, for labels.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Claim => "claim",
            Self::Complete => "complete",
            Self::Release => "release",
            Self::Renew => "renew",
        }
    }
}

/// Is told what happens. Called on the path of requests: it must not block. Should it panic,
/// the panic ends there: the request goes on, and `tracing` is told.
///
/// ```
/// use std::sync::atomic::{AtomicU64, Ordering};
/// use tower_idempotency::{Event, Observer};
///
/// #[derive(Default)]
/// struct CountReplays(AtomicU64);
///
/// impl Observer for CountReplays {
///     fn observe(&self, event: &Event<'_>) {
///         if let Event::Replayed { .. } = event {
///             self.0.fetch_add(1, Ordering::Relaxed);
///         }
///     }
/// }
///
/// # #[cfg(feature = "memory")] {
/// # use std::sync::Arc;
/// # use tower_idempotency::{IdempotencyLayer, MemoryStore};
/// let replays = Arc::new(CountReplays::default());
/// let layer = IdempotencyLayer::new(MemoryStore::new()).observer(replays.clone());
/// // Later: `replays.0.load(Ordering::Relaxed)`.
/// # }
/// ```
pub trait Observer: Send + Sync + 'static {
    /// Takes note of `event`.
    fn observe(&self, event: &Event<'_>);
}

/// Several layers may share one, and the program may keep one to read it.
impl<O: Observer + ?Sized> Observer for Arc<O> {
    fn observe(&self, event: &Event<'_>) {
        (**self).observe(event);
    }
}

impl Event<'_> {
    /// A stable name, for labels.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Claimed { .. } => "claimed",
            Self::Replayed { .. } => "replayed",
            Self::Waiting { .. } => "waiting",
            Self::Rejected { .. } => "rejected",
            Self::Recorded { .. } => "recorded",
            Self::Released { .. } => "released",
            Self::Sealed { .. } => "sealed",
            Self::LeaseLost { .. } => "lease_lost",
            Self::Unrecorded { .. } => "unrecorded",
            Self::Unprotected { .. } => "unprotected",
            Self::Detached { .. } => "detached",
            Self::Abandoned { .. } => "abandoned",
            Self::StoreFailed { .. } => "store_failed",
            Self::StoreCalled { .. } => "store_called",
        }
    }

    pub(crate) fn trace(&self) {
        let name = self.name();
        match self {
            Self::Claimed {
                key,
                fence,
                attempt,
            } => {
                tracing::debug!(target: TARGET, %key, %fence, attempt, "{name}");
            }
            Self::Replayed { key } | Self::Waiting { key } | Self::Detached { key } => {
                tracing::debug!(target: TARGET, %key, "{name}");
            }
            Self::Rejected {
                key: Some(key),
                kind,
            } => {
                tracing::debug!(target: TARGET, %key, code = kind.code(), "{name}");
            }
            Self::Rejected { key: None, kind } => {
                tracing::debug!(target: TARGET, code = kind.code(), "{name}");
            }
            Self::Recorded { key, bytes } => {
                tracing::debug!(target: TARGET, %key, bytes, "{name}");
            }
            Self::Released { key, cause } | Self::Sealed { key, cause } => {
                tracing::debug!(target: TARGET, %key, cause = cause.as_str(), "{name}");
            }
            Self::LeaseLost { key, fence } => {
                tracing::warn!(target: TARGET, %key, %fence, "{name}");
            }
            Self::Unrecorded { key } | Self::Unprotected { key } | Self::Abandoned { key } => {
                tracing::error!(target: TARGET, %key, "{name}");
            }
            Self::StoreFailed { key, verb, error } => {
                let error: &(dyn std::error::Error + 'static) = *error;
                tracing::warn!(target: TARGET, %key, verb = verb.as_str(), error, "{name}");
            }
            Self::StoreCalled { .. } => {}
        }
    }

    /// An observer panicked at it.
    #[cold]
    pub(crate) fn trace_unobserved(&self) {
        let name = self.name();
        tracing::error!(target: TARGET, event = name, "an observer panicked");
    }
}

const TARGET: &str = "tower_idempotency";
