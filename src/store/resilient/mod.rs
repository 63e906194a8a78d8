//! A store that fails fast, and not at once.

mod backoff;
mod breaker;

use std::{fmt, sync::Arc, time::Duration};

use tokio::time::{sleep, timeout};

use self::{
    backoff::Backoff,
    breaker::{Breaker, Change},
};
use super::{Claim, Claimed, Completion, Fence, Lease, Store, StoreError, StoreErrorKind};
use crate::{record::Record, record_key::RecordKey};

/// Bounds what a store that is slow or down costs: a deadline for each call, a few retries,
/// and a circuit breaker.
///
/// * **Deadline.** A call that takes longer is given up. Nobody knows whether it was applied.
/// * **Retries.** A call that was not applied, or may have been, is sent again as it was, with
///   the same lease token: the contract of a store makes that harmless. A full store and a
///   corrupt record are answers, and are not asked again. If any attempt may have been
///   applied, so may the call as a whole.
/// * **Breaker.** After a number of failures in a row no call reaches the store: each fails at
///   once, as *not applied*. The layer then refuses requests, and nothing runs unprotected,
///   unless it was told [`DangerProceed`](crate::StoreFailure::DangerProceed). After a while
///   one call is let through, and if the store answers it, so are all. Opening and closing are
///   told through `tracing`.
///
/// The layer has a deadline and retries of its own, around those here: keep its
/// [`store_deadline`](crate::IdempotencyLayer::store_deadline) above all attempts and pauses
/// together, which with the defaults are 1.6 s, or it never gets to hear of the breaker.
///
/// Put it directly over the store that has the wire, below
/// [`Cached`](super::Cached), which then answers what it has while the store is down.
///
/// Cheap to clone if the store is; clones share the breaker.
///
/// ```
/// # #[cfg(feature = "memory")] {
/// use std::time::Duration;
/// use tower_idempotency::{IdempotencyLayer, MemoryStore, store::Resilient};
///
/// # let remote = MemoryStore::new();
/// let store = Resilient::new(remote)
///     .deadline(Duration::from_millis(200))
///     .opens_after(20)
///     .probes_after(Duration::from_secs(2));
/// let idempotency = IdempotencyLayer::new(store);
/// # }
/// ```
#[derive(Clone)]
pub struct Resilient<S> {
    store: S,
    settings: Settings,
    breaker: Arc<Breaker>,
}

#[derive(Clone, Copy)]
struct Settings {
    deadline: Duration,
    backoff: Backoff,
    opens_after: u32,
    probes_after: Duration,
}

impl<S> Resilient<S> {
    /// Gives each call to `store` 500 ms and two retries, and keeps calls from it for 1 s
    /// after ten failures in a row.
    #[must_use]
    pub fn new(store: S) -> Self {
        Self {
            store,
            settings: Settings {
                deadline: Duration::from_millis(500),
                backoff: Backoff {
                    retries: 2,
                    first: Duration::from_millis(20),
                    longest: Duration::from_millis(500),
                },
                opens_after: 10,
                probes_after: Duration::from_secs(1),
            },
            breaker: Arc::new(Breaker::new()),
        }
    }

    /// How long one attempt may take; 500 ms by default.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.settings.deadline = deadline;
        self
    }

    /// How often a call that failed is sent again at most; 2 by default.
    #[must_use]
    pub fn retries(mut self, retries: u32) -> Self {
        self.settings.backoff.retries = retries;
        self
    }

    /// How long to pause before the first retry, and how long at most: each pause is twice as
    /// long as the one before, less up to half of it at random. 20 ms and 500 ms by default.
    #[must_use]
    pub fn backoff(mut self, first: Duration, longest: Duration) -> Self {
        let retries = self.settings.backoff.retries;
        self.settings.backoff = Backoff {
            retries,
            first,
            longest,
        };
        self
    }

    /// After how many failed attempts in a row calls are kept from the store; 10 by default.
    #[must_use]
    pub fn opens_after(mut self, failures: u32) -> Self {
        self.settings.opens_after = failures;
        self
    }

    /// How long calls are kept from the store until one is let through; 1 s by default.
    #[must_use]
    pub fn probes_after(mut self, pause: Duration) -> Self {
        self.settings.probes_after = pause;
        self
    }

    /// Whether calls are kept from the store now, for a health check.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.breaker.is_open()
    }

    /// The store inside, for what it can do beyond [`Store`]. Calls made there have no
    /// deadline here, are not repeated, and do not count.
    #[must_use]
    pub fn get_ref(&self) -> &S {
        &self.store
    }

    /// The store inside.
    #[must_use]
    pub fn into_inner(self) -> S {
        self.store
    }

    /// Makes a call that may be repeated.
    async fn call<T, F>(&self, send: impl Fn() -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        let mut in_doubt = false;
        let mut pauses = self.settings.backoff.pauses();
        loop {
            let error = match self.attempt(send()).await {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            let is_final = matches!(error.kind(), StoreErrorKind::Full | StoreErrorKind::Corrupt);
            let pause = pauses.next().filter(|_| !is_final && !self.is_open());
            let Some(pause) = pause else {
                return Err(match in_doubt {
                    true => error.after_doubt(),
                    false => error,
                });
            };
            in_doubt |= error.is_in_doubt();
            sleep(pause).await;
        }
    }

    async fn attempt<T>(
        &self,
        sent: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let Some(leave) = self.breaker.enter() else {
            return Err(StoreError::not_applied(Refused));
        };
        let deadline = self.settings.deadline;
        let outcome = match timeout(deadline, sent).await {
            Ok(outcome) => outcome,
            Err(_) => Err(StoreError::unknown("the store did not answer in time")),
        };
        let Settings {
            opens_after,
            probes_after,
            ..
        } = self.settings;
        tell(match &outcome {
            Err(error) if is_failure(error) => leave.failed(opens_after, probes_after),
            _ => leave.succeeded(),
        });
        outcome
    }
}

/// The breaker is open.
#[derive(Debug, thiserror::Error)]
#[error("the store failed too often: calls are kept from it for a while")]
struct Refused;

/// A store that is full, or holds damage, is there.
fn is_failure(error: &StoreError) -> bool {
    !matches!(error.kind(), StoreErrorKind::Full | StoreErrorKind::Corrupt)
}

fn tell(change: Change) {
    match change {
        Change::None => {}
        Change::Opened => {
            tracing::warn!("the store failed too often: calls are kept from it");
        }
        Change::Closed => tracing::info!("the store answers again"),
    }
}

impl<S> fmt::Debug for Resilient<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resilient")
            .field("is_open", &self.is_open())
            .finish_non_exhaustive()
    }
}

impl<S: Store> Store for Resilient<S> {
    async fn claim(&self, claim: &Claim<'_>) -> Result<Claimed, StoreError> {
        self.call(|| self.store.claim(claim)).await
    }

    async fn complete(
        &self,
        lease: &Lease,
        record: &Record,
        retention: Duration,
    ) -> Result<Completion, StoreError> {
        self.call(|| self.store.complete(lease, record, retention))
            .await
    }

    async fn release(&self, lease: &Lease) -> Result<Completion, StoreError> {
        self.call(|| self.store.release(lease)).await
    }

    async fn renew(&self, lease: &Lease) -> Result<Completion, StoreError> {
        self.call(|| self.store.renew(lease)).await
    }

    /// A wait is long, so its deadline is its limit, and it says nothing of the store.
    async fn settled(
        &self,
        key: &RecordKey,
        fence: Fence,
        limit: Duration,
    ) -> Result<(), StoreError> {
        if self.is_open() {
            return Err(StoreError::not_applied(Refused));
        }
        let settled = timeout(limit, self.store.settled(key, fence, limit));
        settled.await.unwrap_or(Ok(()))
    }
}

#[cfg(test)]
mod tests;
