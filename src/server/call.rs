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
pub(super) async fn call<T>(
    config: &Config,
    verb: Verb,
    key: &RecordKey,
    sent: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    let began = (!config.observers.is_empty()).then(Instant::now);
    let answer = within(config.store_deadline, sent).await;
    let result =
        answer.unwrap_or_else(|| Err(StoreError::unknown(NoAnswer(config.store_deadline))));
    if let Some(began) = began {
        let elapsed = began.elapsed();
        config.emit(&Event::StoreCalled { verb, elapsed });
    }
    if let Err(error) = &result {
        config.emit(&Event::StoreFailed { key, verb, error });
    }
    result
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
