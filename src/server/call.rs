//! One call of the store: within a deadline, and never failing silently.

use std::{pin::pin, task::Poll, time::Duration};

use tokio::time::{self, Instant};

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
pub(super) async fn within<F: Future>(limit: Duration, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let at_once = std::future::poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => Poll::Ready(None),
    });
    match at_once.await {
        Some(output) => Some(output),
        None => time::timeout(limit, future).await.ok(),
    }
}
