//! One call of the store: within a deadline, and never failing silently.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
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
    Call {
        sent: within(config.store_deadline, sent),
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
        sent: Within<F>,
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
        let result = ready!(this.sent.poll(cx))
            .unwrap_or_else(|| Err(StoreError::unknown(NoAnswer(config.store_deadline))));
        if let Some(began) = this.began {
            let elapsed = began.elapsed();
            config.emit(&Event::StoreCalled { verb, elapsed });
        }
        if let Err(error) = &result {
            config.emit(&Event::StoreFailed { key, verb, error });
        }
        Poll::Ready(result)
    }
}

/// The output of `future`, or `None` after `limit`. What is ready at once costs no timer.
pub(super) fn within<F: Future>(limit: Duration, future: F) -> Within<F> {
    Within {
        future,
        limit,
        timer: None,
    }
}

pin_project! {
    /// See [`within`]. Not an `async fn`, which would hold its future twice.
    #[must_use = "futures do nothing unless polled"]
    pub(super) struct Within<F> {
        #[pin]
        future: F,
        limit: Duration,
        timer: Option<Pin<Box<Sleep>>>,
    }
}

impl<F: Future> Future for Within<F> {
    type Output = Option<F::Output>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Poll::Ready(output) = this.future.poll(cx) {
            return Poll::Ready(Some(output));
        }
        let timer = this
            .timer
            .get_or_insert_with(|| Box::pin(time::sleep(*this.limit)));
        timer.as_mut().poll(cx).map(|()| None)
    }
}
