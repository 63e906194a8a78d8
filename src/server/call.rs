//! One call of the store: within a deadline, and never failing silently.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use pin_project_lite::pin_project;
use tokio::time::{self, Instant, Sleep};

use super::config::Config;
use crate::{
    event::{Event, Verb},
    record_key::RecordKey,
    store::StoreError,
};

/// The store did not answer in time.
#[derive(Debug, thiserror::Error)]
#[error("no answer within {0:?}")]
struct NoAnswer(Duration);

/// Makes one call and tells what came of it.
///
/// A call cut off at its deadline has an unknown outcome.
pub(super) fn call<'a, T, F>(
    config: &'a Config,
    verb: Verb,
    key: &'a RecordKey,
    sent: F,
) -> Call<'a, F>
where
    F: Future<Output = Result<T, StoreError>>,
{
    call_within(config, config.store_deadline, verb, key, sent)
}

/// Makes one call that is cut off sooner than others.
pub(super) fn call_within<'a, T, F>(
    config: &'a Config,
    limit: Duration,
    verb: Verb,
    key: &'a RecordKey,
    sent: F,
) -> Call<'a, F>
where
    F: Future<Output = Result<T, StoreError>>,
{
    Call {
        sent,
        limit: Limit::new(limit),
        config,
        verb,
        key,
        began: (!config.observers.is_empty()).then(Instant::now),
    }
}

pin_project! {
    /// See [`call`]. Not an `async fn`, which would hold its future twice.
    #[must_use = "futures do nothing unless polled"]
    pub(super) struct Call<'a, F> {
        #[pin]
        sent: F,
        limit: Limit,
        config: &'a Config,
        verb: Verb,
        key: &'a RecordKey,
        began: Option<Instant>,
    }
}

impl<T, F> Future for Call<'_, F>
where
    F: Future<Output = Result<T, StoreError>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let (config, verb, key) = (this.config, *this.verb, *this.key);
        // Looked at where it is, as it is large.
        let mut polled = this.sent.poll(cx);
        if polled.is_pending() {
            if this.limit.poll(cx).is_pending() {
                return polled;
            }
            polled = Poll::Ready(Err(StoreError::unknown(NoAnswer(this.limit.after))));
        }
        if let Some(began) = this.began {
            let elapsed = began.elapsed();
            config.emit(&Event::StoreCalled { verb, elapsed });
        }
        if let Poll::Ready(Err(error)) = &polled {
            config.emit(&Event::StoreFailed { key, verb, error });
        }
        polled
    }
}

/// The output of `future`, or `None` after `limit`.
pub(super) fn within<F: Future>(limit: Duration, future: F) -> Within<F> {
    let limit = Limit::new(limit);
    Within { future, limit }
}

pin_project! {
    /// See [`within`]. Not an `async fn`, which would hold its future twice.
    #[must_use = "futures do nothing unless polled"]
    pub(super) struct Within<F> {
        #[pin]
        future: F,
        limit: Limit,
    }
}

impl<F: Future> Future for Within<F> {
    type Output = Option<F::Output>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        match this.future.poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending => this.limit.poll(cx).map(|()| None),
        }
    }
}

/// A time that begins when it is first asked about: what is ready at once costs no timer.
struct Limit {
    after: Duration,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Limit {
    fn new(after: Duration) -> Self {
        Self { after, timer: None }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let after = self.after;
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(time::sleep(after)));
        timer.as_mut().poll(cx)
    }
}
