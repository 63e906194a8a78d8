//! Duplicates that wait for the first.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join;
use http_body_util::Full;
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Response, Status};
use tower::ServiceExt as _;
use tower_idempotency::InFlight;

use crate::{
    outside::{Gate, Runs, soon},
    payments::{CHARGE, Paid, Payments, WATCH},
    raw::call,
    serve::layer,
    support::{self, Answer},
};

/// The answers to two calls, the second of which comes while the first runs. `came` returns
/// once the handler runs, and `go_on` lets it end.
async fn both(
    path: &'static str,
    payments: Payments,
    came: impl Future<Output = ()>,
    go_on: impl FnOnce(),
) -> (Answer, Answer) {
    let layer = layer().in_flight(InFlight::Wait(Duration::from_secs(30)));
    let service = support::serve(&layer, payments);
    let ask = || {
        let request: http::Request<Full<Bytes>> = call(path, "k", b"\x08\x07");
        let service = service.clone();
        async move { Answer::read(service.oneshot(request).await.unwrap()).await }
    };
    let first = tokio::spawn(ask());
    came.await;
    let mut second = Box::pin(ask());
    for _ in 0..10 {
        assert!(futures_util::poll!(&mut second).is_pending());
        tokio::task::yield_now().await;
    }
    go_on();
    let (first, second) = soon(join(first, second)).await;
    (first.unwrap(), second)
}

/// Waits for the gate, and ends the first run with `first`.
fn slow(gate: &Gate, runs: &Runs, first: Result<(), Status>) -> Payments {
    let (gate, runs) = (gate.clone(), runs.clone());
    Payments::new(move |_| {
        let (gate, run, first) = (gate.clone(), runs.add() as u64, first.clone());
        async move {
            gate.pass().await;
            if run == 1 {
                first?;
            }
            Ok(Response::new(Paid { run, amount: 0 }))
        }
    })
}

#[tokio::test]
async fn they_get_the_recorded_answer() {
    let (gate, runs) = (Gate::closed(), Runs::default());
    let payments = slow(&gate, &runs, Ok(()));
    let (first, second) = both(CHARGE, payments, gate.somebody_came(), || gate.open()).await;
    assert!(!first.is_replay() && second.is_replay());
    assert_eq!(
        (first.frames, first.trailers),
        (second.frames, second.trailers)
    );
    assert_eq!(runs.count(), 1);
}

#[tokio::test]
async fn after_a_failure_one_of_them_runs() {
    let (gate, runs) = (Gate::closed(), Runs::default());
    let payments = slow(&gate, &runs, Err(Status::unavailable("later")));
    let (first, second) = both(CHARGE, payments, gate.somebody_came(), || gate.open()).await;
    assert_eq!(first.header("grpc-status"), Some("14"));
    assert_eq!(second.trailers.as_ref().unwrap()["grpc-status"], "0");
    assert!(!second.is_replay());
    assert_eq!(runs.count(), 2);
}

#[tokio::test]
async fn they_join_a_stream_and_get_its_trailers() {
    let (sender, paids) = mpsc::unbounded_channel();
    let paids = std::sync::Mutex::new(Some(UnboundedReceiverStream::new(paids)));
    let gate = Gate::closed();
    let came = gate.clone();
    let payments = Payments::watching(move || {
        let came = came.clone();
        tokio::spawn(async move { came.pass().await });
        paids.lock().unwrap().take().unwrap()
    });
    sender.send(Ok(Paid { run: 1, amount: 0 })).unwrap();
    let go_on = move || {
        sender.send(Ok(Paid { run: 2, amount: 0 })).unwrap();
        sender.send(Err(Status::not_found("no more"))).unwrap();
    };
    let (first, second) = both(WATCH, payments, gate.somebody_came(), go_on).await;
    assert!(!first.is_replay() && second.is_replay());
    assert_eq!(first.frames.concat(), second.frames.concat());
    assert_eq!(first.trailers.as_ref().unwrap()["grpc-status"], "5");
    assert_eq!(first.trailers, second.trailers);
}
