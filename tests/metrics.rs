//! Events as metrics.
#![cfg(all(feature = "metrics", feature = "memory"))]
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod support;

use std::convert::Infallible;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use support::{layer, post, send, serve};
use tower::service_fn;
use tower_idempotency::{MetricsObserver, server::RequestBody};

#[test]
fn requests_are_counted_and_the_store_is_measured() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    metrics::with_local_recorder(&recorder, || {
        runtime.block_on(async {
            let (layer, _) = layer();
            let service = service_fn(|_: Request<RequestBody<Full<Bytes>>>| async {
                Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("12345")))
            });
            let service = serve(&layer.observer(MetricsObserver::new()), service);
            send(&service, post("secret-key", "hello")).await;
            send(&service, post("secret-key", "hello")).await;
            send(&service, post("secret-key", "other")).await;
        });
    });
    let mut seen: Vec<String> = snapshotter
        .snapshot()
        .into_vec()
        .into_iter()
        .map(|(key, _, _, value)| {
            let labels: Vec<_> = key.key().labels().map(|label| label.value()).collect();
            let value = match value {
                DebugValue::Counter(count) => count.to_string(),
                DebugValue::Histogram(values) => format!("{} values", values.len()),
                DebugValue::Gauge(value) => value.to_string(),
            };
            format!("{} {}: {value}", key.key().name(), labels.join(","))
        })
        .collect();
    seen.sort();
    assert_eq!(
        seen,
        [
            "idempotency_events_total claimed,: 1",
            "idempotency_events_total recorded,: 1",
            "idempotency_events_total rejected,idempotency_conflict: 1",
            "idempotency_events_total replayed,: 1",
            "idempotency_record_bytes : 1 values",
            "idempotency_store_seconds claim: 3 values",
            "idempotency_store_seconds complete: 1 values",
        ]
    );
}
