//! Events as metrics.

use ::metrics::{counter, describe_counter, describe_histogram, histogram};

use crate::event::{Event, Observer};

/// Counts events and measures the store, through the [`metrics`](::metrics) facade.
///
/// | metric | kind | labels |
/// |---|---|---|
/// | `idempotency_events_total` | counter | `event`; `detail`: the cause, the code of a rejection, the verb of a failed call, or empty |
/// | `idempotency_record_bytes` | histogram, bytes | |
/// | `idempotency_store_seconds` | histogram, seconds | `verb` |
///
/// What should wake somebody: `unrecorded`, `unprotected` and `abandoned` among the events.
///
/// ```
/// # #[cfg(feature = "memory")] {
/// use tower_idempotency::{IdempotencyLayer, MemoryStore, MetricsObserver};
///
/// let layer = IdempotencyLayer::new(MemoryStore::new()).observer(MetricsObserver::new());
/// # }
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct MetricsObserver;

impl MetricsObserver {
    /// Describes the metrics to the recorder that is installed now.
    #[must_use]
    pub fn new() -> Self {
        describe_counter!(
            "idempotency_events_total",
            "What happened to keyed requests"
        );
        describe_histogram!(
            "idempotency_record_bytes",
            ::metrics::Unit::Bytes,
            "The size of records"
        );
        describe_histogram!(
            "idempotency_store_seconds",
            ::metrics::Unit::Seconds,
            "How long calls of the store take"
        );
        Self
    }
}

impl Default for MetricsObserver {
    fn default() -> Self {
        Self::new()
    }
}

impl Observer for MetricsObserver {
    #[expect(
        clippy::cast_precision_loss,
        reason = "a record is far below 2^53 bytes"
    )]
    fn observe(&self, event: &Event<'_>) {
        let detail = match event {
            Event::StoreCalled { verb, elapsed } => {
                histogram!("idempotency_store_seconds", "verb" => verb.as_str()).record(*elapsed);
                return;
            }
            Event::Recorded { bytes, .. } => {
                histogram!("idempotency_record_bytes").record(*bytes as f64);
                ""
            }
            Event::Released { cause, .. } | Event::Sealed { cause, .. } => cause.as_str(),
            Event::Rejected { kind, .. } => kind.code(),
            Event::StoreFailed { verb, .. } => verb.as_str(),
            _ => "",
        };
        counter!("idempotency_events_total", "event" => event.name(), "detail" => detail)
            .increment(1);
    }
}
