//! The policy.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use http::{HeaderName, Request, Response};
use tokio::time::{Sleep, sleep};
use tower::retry::{
    Policy,
    budget::{Budget, TpsBudget},
};

use super::{advice::Advice, backoff::Backoff};
use crate::{
    client::{body::TryCloneBody, field::Field},
    key::Key,
};

/// Sends a keyed request again, for [`RetryLayer`](tower::retry::RetryLayer).
///
/// **The key must be there before the retry:**
/// [`SetIdempotencyKeyLayer`](crate::client::SetIdempotencyKeyLayer) belongs outside of it. See
/// the [module documentation](crate::client) for the order, and for what is sent again.
///
/// ```
/// use std::time::Duration;
/// use tower::retry::RetryLayer;
/// use tower_idempotency::client::IdempotentRetry;
///
/// let policy = IdempotentRetry::new()
///     .max_attempts(5)
///     .backoff(Duration::from_millis(200), Duration::from_secs(20));
/// let layer = RetryLayer::new(policy);
/// ```
///
/// Cheap to clone. Clones share the budget.
#[derive(Clone)]
pub struct IdempotentRetry {
    settings: Arc<Settings>,
    // Of the one request that this clone accompanies.
    attempts: u32,
    given_inside: bool,
}

#[derive(Clone)]
struct Settings {
    field: Field,
    replay: HeaderName,
    max_attempts: u32,
    max_retry_after: Duration,
    backoff: Backoff,
    budget: Arc<dyn Budget + Send + Sync>,
}

impl IdempotentRetry {
    /// The policy with every setting at its default.
    #[must_use]
    pub fn new() -> Self {
        let settings = Settings {
            field: Field::new(),
            replay: HeaderName::from_static("idempotent-replayed"),
            max_attempts: 4,
            max_retry_after: Duration::from_secs(60),
            backoff: Backoff {
                first: Duration::from_millis(200),
                longest: Duration::from_secs(10),
            },
            budget: Arc::new(TpsBudget::default()),
        };
        Self {
            settings: Arc::new(settings),
            attempts: 0,
            given_inside: false,
        }
    }

    fn set(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        change(Arc::make_mut(&mut self.settings));
        self
    }

    /// How often a request is sent at most, the first time included; 0 counts as 1. Default: 4.
    #[must_use]
    pub fn max_attempts(self, attempts: u32) -> Self {
        self.set(|settings| settings.max_attempts = attempts)
    }

    /// How long to wait, in addition to what the server asks for: `first` after the first
    /// attempt, then twice as long each time, up to `longest`. Each wait is shortened at random
    /// by up to half, so that clients that failed together, or were told the same second, do
    /// not come back together. Default: 200 ms, up to 10 s.
    #[must_use]
    pub fn backoff(self, first: Duration, longest: Duration) -> Self {
        self.set(|settings| settings.backoff = Backoff { first, longest })
    }

    /// The longest `Retry-After` that is waited for. If the server asks for more, its answer
    /// is the last. Default: 60 s.
    #[must_use]
    pub fn max_retry_after(self, longest: Duration) -> Self {
        self.set(|settings| settings.max_retry_after = longest)
    }

    /// Bounds the retries of all requests together, so that a service in trouble is not
    /// drowned in them. Default: [`TpsBudget::default`], which allows one retry for every five
    /// requests that ended, and ten per second beyond that.
    #[must_use]
    pub fn budget(self, budget: impl Budget + Send + Sync + 'static) -> Self {
        self.set(|settings| settings.budget = Arc::new(budget))
    }

    /// The header that carries keys. Default: `Idempotency-Key`.
    #[must_use]
    pub fn header(self, header: HeaderName) -> Self {
        self.set(|settings| settings.field = settings.field.clone().name(header))
    }

    /// The header that tells a replay, as the server's
    /// [`WireContract::replay_header`](crate::WireContract::replay_header) has it. A failure
    /// with `true` in it is on record, and is the last answer. Default: `Idempotent-Replayed`.
    #[must_use]
    pub fn replay_header(self, header: HeaderName) -> Self {
        self.set(|settings| settings.replay = header)
    }
}

impl Default for IdempotentRetry {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for IdempotentRetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdempotentRetry")
            .field("field", &self.settings.field)
            .field("replay_header", &self.settings.replay)
            .field("max_attempts", &self.settings.max_attempts)
            .field("max_retry_after", &self.settings.max_retry_after)
            .field("backoff", &self.settings.backoff)
            .finish_non_exhaustive()
    }
}

impl<B, R, E> Policy<Request<B>, Response<R>, E> for IdempotentRetry
where
    B: TryCloneBody,
{
    type Future = Sleep;

    fn retry(
        &mut self,
        request: &mut Request<B>,
        result: &mut Result<Response<R>, E>,
    ) -> Option<Sleep> {
        self.attempts += 1;
        let advice = match result {
            Ok(response) => {
                self.keep_key(request, response);
                Advice::of(response, &self.settings.replay, wall_clock)
            }
            Err(_) => Advice::AT_ONCE,
        };
        match advice {
            Advice::Final => {
                self.settings.budget.deposit();
                None
            }
            Advice::Again { after } => self.may_repeat(request, after).then(|| self.wait(after)),
        }
    }

    fn clone_request(&mut self, request: &Request<B>) -> Option<Request<B>> {
        let mut clone = Request::new(request.body().try_clone()?);
        *clone.method_mut() = request.method().clone();
        *clone.uri_mut() = request.uri().clone();
        *clone.version_mut() = request.version();
        *clone.headers_mut() = request.headers().clone();
        *clone.extensions_mut() = request.extensions().clone();
        Some(clone)
    }
}

impl IdempotentRetry {
    /// If a layer further inside gave the request its key, the next attempt must have it too.
    /// A response tells which it was. An error does not: then the key is unknown here.
    fn keep_key<B, R>(&mut self, request: &mut Request<B>, response: &Response<R>) {
        if let Some(key) = response.extensions().get::<Key>() {
            request.extensions_mut().insert(key.clone());
            self.given_inside = true;
        }
    }

    fn may_repeat<B>(&self, request: &Request<B>, after: Duration) -> bool {
        let settings = &self.settings;
        (request.method().is_safe() || self.has_key(request))
            && self.attempts < settings.max_attempts
            && after <= settings.max_retry_after
            && settings.budget.withdraw()
    }

    fn has_key<B>(&self, request: &Request<B>) -> bool {
        self.given_inside || self.settings.field.read(request.headers()).is_some()
    }

    fn wait(&self, after: Duration) -> Sleep {
        let chance = getrandom::u64().unwrap_or_default();
        let backoff = self.settings.backoff.wait(self.attempts, chance);
        sleep(after.saturating_add(backoff))
    }
}

/// For a `Retry-After` with a date, on an answer that has none itself.
#[expect(
    clippy::disallowed_methods,
    reason = "a date can only be compared with a date"
)]
fn wall_clock() -> SystemTime {
    SystemTime::now()
}
