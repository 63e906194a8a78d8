//! Clients that leave while the handler runs.

use std::time::Duration;

use tonic::{Code, Response};

use crate::{
    outside::{Gate, Runs, soon},
    payments::{Caller, Paid, Payments, is_replay},
    serve::{Events, connect, layer},
};

/// A server whose handler waits for the gate.
async fn slow() -> (Caller, Gate, Runs, Events) {
    let (gate, runs) = (Gate::closed(), Runs::default());
    let (handler, counted) = (gate.clone(), runs.clone());
    let payments = Payments::new(move |_| {
        let (gate, run) = (handler.clone(), counted.add() as u64);
        async move {
            gate.pass().await;
            Ok(Response::new(Paid { run, amount: 0 }))
        }
    });
    let (layer, events) = Events::of(layer());
    let caller = connect(&layer, payments).await.key("k");
    (caller, gate, runs, events)
}

/// The first client has left: its call runs on, and the retry gets its answer.
async fn is_recorded(caller: &Caller, gate: &Gate, runs: &Runs, mut events: Events) {
    events.wait_for("detached").await;
    let meanwhile = caller.charge(7).await.unwrap_err();
    assert_eq!(meanwhile.code(), Code::Aborted);
    gate.open();
    events.wait_for("recorded").await;
    let retry = caller.charge(7).await.unwrap();
    assert_eq!((retry.get_ref().run, is_replay(&retry)), (1, true));
    assert_eq!(runs.count(), 1);
}

#[tokio::test]
async fn a_deadline_that_passes_while_the_handler_runs() {
    let (caller, gate, runs, events) = slow().await;
    let hasty = caller.clone().deadline(Duration::from_secs(1));
    let first = tokio::spawn(async move { hasty.charge(7).await });
    gate.somebody_came().await;
    let passed = soon(first).await.unwrap().unwrap_err();
    assert!(matches!(
        passed.code(),
        Code::Cancelled | Code::DeadlineExceeded
    ));
    is_recorded(&caller, &gate, &runs, events).await;
}

#[tokio::test]
async fn a_stream_that_is_reset_while_the_handler_runs() {
    let (caller, gate, runs, events) = slow().await;
    let first = caller.clone();
    let first = tokio::spawn(async move { first.charge(7).await });
    gate.somebody_came().await;
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    is_recorded(&caller, &gate, &runs, events).await;
}
