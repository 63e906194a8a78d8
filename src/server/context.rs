//! What a handler may know of the operation it carries out.

use std::{fmt, sync::Arc};

use tokio::time::Instant;

use super::{
    config::Config,
    flight::{Clock, Flight},
};
use crate::{
    fingerprint::Fingerprint,
    key::Key,
    record_key::RecordKey,
    scope::Scope,
    store::{Claim, Fence, Lease},
};

/// The operation a handler carries out: an extension of each keyed request.
///
/// With the `axum` feature it is an extractor; elsewhere take it from the extensions.
/// A request that carries no key has none.
///
/// ```
/// use http::Request;
/// use tower_idempotency::Idempotency;
///
/// async fn charge<B>(request: Request<B>) {
///     if let Some(operation) = request.extensions().get::<Idempotency>() {
///         // The provider is asked under a key that every attempt of this operation shares.
///         let provider_key = operation.child_key("charge");
///         println!("attempt {} as {}", operation.attempt(), provider_key.as_str());
///     }
/// }
/// ```
#[derive(Clone)]
pub struct Idempotency(Arc<Flight>);

impl Idempotency {
    pub(super) fn new(flight: Arc<Flight>) -> Self {
        Self(flight)
    }

    /// For tests of handlers: an operation as it looks to them in its `attempt`-th attempt,
    /// counted from 1. **No store knows of it:** nothing is claimed, and nothing can be lost or
    /// recorded. Its [`fence`](Self::fence) is 0.
    ///
    /// ```
    /// use tower_idempotency::{Idempotency, Key};
    ///
    /// fn charge(operation: &Idempotency) -> &'static str {
    ///     match operation.attempt() {
    ///         1 => "charged",
    ///         _ => "looked up first",
    ///     }
    /// }
    ///
    /// let key = Key::new("order-42").unwrap();
    /// assert_eq!(charge(&Idempotency::unprotected(key.clone(), 1)), "charged");
    /// assert_eq!(charge(&Idempotency::unprotected(key, 2)), "looked up first");
    /// ```
    #[must_use]
    pub fn unprotected(key: Key, attempt: u32) -> Self {
        let record_key = RecordKey::shared("", &Scope::global(), &key);
        let claim = Claim::new(&record_key, Fingerprint::custom([0; 32]));
        let lease = claim.won(Fence::new(0), attempt);
        let (config, now) = (Arc::new(Config::default()), Instant::now());
        Self(Arc::new(Flight::new(
            key,
            lease,
            config,
            &Clock::start(),
            now,
        )))
    }

    /// The key the client sent.
    #[must_use]
    pub fn key(&self) -> &Key {
        &self.0.key
    }

    /// What the store indexes the operation by.
    #[must_use]
    pub fn record_key(&self) -> &RecordKey {
        self.0.lease.key()
    }

    /// 1 the first time, and again after an attempt that released the key, as a 500 does. More
    /// if an earlier attempt's lease lapsed unfinished: whatever it did outside may have happened.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.0.lease.attempt()
    }

    /// A number that grows with each attempt, for downstream systems that refuse lower
    /// ones. 0 if the request runs unprotected
    /// ([`StoreFailure::DangerProceed`](crate::StoreFailure::DangerProceed)).
    #[must_use]
    pub fn fence(&self) -> Fence {
        self.0.lease.fence()
    }

    /// The key for a call this handler makes on behalf of the operation: the same for
    /// every attempt, also on another node and after a release, and another for every `label`.
    ///
    /// A process may be killed between the call and the record of the answer. The handler
    /// then runs again; a provider that knows keys sees the same one, and does nothing twice:
    ///
    /// ```
    /// use tower_idempotency::{Idempotency, Key};
    /// # struct Provider;
    /// # impl Provider {
    /// #     async fn charge(&self, cents: u64, key: Key) -> String { String::new() }
    /// #     async fn send_receipt(&self, charge: &str, key: Key) {}
    /// # }
    ///
    /// async fn pay(operation: &Idempotency, cents: u64, provider: &Provider) -> String {
    ///     let charge = provider.charge(cents, operation.child_key("charge")).await;
    ///     // Killed here, the handler runs again: the same key, the same charge.
    ///     provider.send_receipt(&charge, operation.child_key("receipt")).await;
    ///     charge
    /// }
    /// ```
    ///
    /// **The provider must remember its keys for as long as the operation may be retried.**
    #[must_use]
    #[expect(
        clippy::missing_panics_doc,
        reason = "35 ASCII characters are always a key"
    )]
    #[expect(clippy::expect_used, reason = "35 ASCII characters are always a key")]
    pub fn child_key(&self, label: &str) -> Key {
        Key::new(self.record_key().child(label)).expect("hexadecimal digits are a key")
    }

    /// Whether the lease was lost, or lapsed because it could not be renewed: another attempt may
    /// be running, and then the answer of this one will not be used.
    #[must_use]
    pub fn is_lease_lost(&self) -> bool {
        self.0.is_lost()
    }

    /// Returns once the lease is lost; never, if it is not. To be raced against work that
    /// can be cancelled.
    pub async fn lease_lost(&self) {
        self.0.lost().await;
    }
}

/// For stores that do more for a handler than the layer asks of them.
impl AsRef<Lease> for Idempotency {
    fn as_ref(&self) -> &Lease {
        &self.0.lease
    }
}

impl fmt::Debug for Idempotency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_of_a_handler_under_test_share_their_child_keys() {
        let attempt =
            |key: &str, attempt| Idempotency::unprotected(Key::new(key).unwrap(), attempt);
        let (first, second) = (attempt("k", 1), attempt("k", 2));
        assert_eq!((first.attempt(), second.attempt()), (1, 2));
        assert_eq!(first.child_key("charge"), second.child_key("charge"));
        let other = attempt("other", 1);
        assert_ne!(first.child_key("charge"), other.child_key("charge"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_handler_under_test_has_no_lease_to_lose() {
        let operation = Idempotency::unprotected(Key::new("k").unwrap(), 1);
        let day = std::time::Duration::from_secs(24 * 60 * 60);
        let lost = tokio::time::timeout(day, operation.lease_lost()).await;
        assert!(lost.is_err() && !operation.is_lease_lost());
        assert_eq!(operation.fence(), Fence::new(0));
    }
}
