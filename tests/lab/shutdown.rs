//! SIGTERM.

use std::time::Duration;

use tokio::time::Instant;

use crate::lab::{Lab, request};

const SLEEP: Duration = Duration::from_millis(1200);
const SLEEPS: &str = "/effect?sleep_ms=1200";

#[tokio::test]
async fn an_idle_lab_exits_0() {
    for signal in ["-TERM", "-INT"] {
        let mut lab = Lab::start(&[]).await;
        lab.signal(signal).await;
        assert_eq!(lab.exited().await.code(), Some(0));
    }
}

/// The effect is logged before the sleep; that the sleep came to its end shows in the time
/// the lab still took.
#[tokio::test]
async fn an_operation_without_its_client_is_finished_first() {
    let mut lab = Lab::start(&[]).await;
    let (before, mut client) = (Instant::now(), lab.connect().await);
    let fields = "idempotency-key: k\r\n";
    client.send(&request("POST", SLEEPS, fields, "1")).await;
    lab.until_effects(1).await;
    drop(client);
    lab.signal("-TERM").await;
    assert_eq!(lab.exited().await.code(), Some(0));
    assert!(before.elapsed() >= SLEEP, "it was cut off");
    assert_eq!(lab.effects().len(), 1);
}

#[tokio::test]
async fn a_client_that_waits_gets_its_answer() {
    let mut lab = Lab::start(&[]).await;
    let mut client = lab.connect().await;
    let fields = "idempotency-key: k\r\n";
    client.send(&request("POST", SLEEPS, fields, "1")).await;
    lab.until_effects(1).await;
    lab.signal("-TERM").await;
    assert_eq!(client.answer().await.status, 200);
    assert_eq!(lab.exited().await.code(), Some(0));
}

#[tokio::test]
async fn a_client_that_stalls_does_not_hold_it_for_ever() {
    let mut lab = Lab::start(&[]).await;
    let (mut mute, mut deaf) = (lab.connect().await, lab.connect().await);
    mute.send("POST /effect HTTP/1.1\r\nhost: lab\r\nidem")
        .await;
    let fields = "idempotency-key: k\r\n";
    let long = request("POST", "/effect?bytes=30000000", fields, "1");
    deaf.send(&long).await;
    lab.until_effects(1).await;
    lab.signal("-TERM").await;
    let waited = Instant::now();
    let exited = tokio::time::timeout(Duration::from_secs(60), lab.status());
    assert_eq!(exited.await.unwrap().code(), Some(0));
    assert!(
        waited.elapsed() >= Duration::from_secs(29),
        "clients that are only slow"
    );
}
