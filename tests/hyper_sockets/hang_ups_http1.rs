//! HTTP/1.1 clients that leave before they have their answer.

use http::Response;
use tokio::io::AsyncWriteExt as _;

use crate::{
    outside::{Gate, empty, full, live, raw_post},
    site::{Over, Site, layer},
};

#[tokio::test]
async fn a_client_that_closes_while_the_handler_runs() {
    let gate = Gate::closed();
    let mut site = Site::gated(Over::Http1, &gate).await;
    let mut client = site.connect().await;
    client.send(&raw_post("k", "1")).await;
    gate.somebody_came().await;
    drop(client);
    site.happens("detached").await;
    gate.open();
    site.drained().await;
    site.replays("done").await;
}

#[tokio::test]
async fn a_client_that_half_closes_while_the_handler_runs() {
    let gate = Gate::closed();
    let mut site = Site::gated(Over::Http1, &gate).await;
    let mut client = site.connect().await;
    client.send(&raw_post("k", "1")).await;
    gate.somebody_came().await;
    client.stream.shutdown().await.unwrap();
    site.happens("detached").await;
    gate.open();
    site.drained().await;
    site.replays("done").await;
}

#[tokio::test]
async fn a_retry_while_the_abandoned_handler_runs_is_in_flight() {
    let gate = Gate::closed();
    let mut site = Site::gated(Over::Http1, &gate).await;
    let mut client = site.connect().await;
    client.send(&raw_post("k", "1")).await;
    gate.somebody_came().await;
    drop(client);
    site.happens("detached").await;

    let mut client = site.connect().await;
    let early = client.ask(&raw_post("k", "1")).await;
    assert_eq!(
        (early.status, &*early.code()),
        (409, "idempotency_in_flight")
    );
    assert!(early.field("retry-after").is_some());
    gate.open();
    site.drained().await;
    let retry = client.ask(&raw_post("k", "1")).await;
    assert_eq!((retry.text(), retry.is_replay()), ("done", true));
    assert_eq!(site.runs.count(), 1);
}

/// Half of a body of ten bytes.
const HALF: &str = "POST /pay HTTP/1.1\r\nhost: test\r\nidempotency-key: k\r\n\
                    content-length: 10\r\n\r\n01234";
/// A chunk, and no end.
const CHUNK: &str = "POST /pay HTTP/1.1\r\nhost: test\r\nidempotency-key: k\r\n\
                     transfer-encoding: chunked\r\n\r\n5\r\n01234\r\n";

#[tokio::test]
async fn a_client_that_closes_within_its_body_has_claimed_nothing() {
    for half in [HALF, CHUNK] {
        let mut site = Site::answering(Over::Http1, || Response::new(full("done"))).await;
        let mut client = site.connect().await;
        client.send(half).await;
        drop(client);
        site.server.connection_ended().await;
        assert_eq!(site.runs.count(), 0);
        assert!(site.layer.store().is_empty());
        let retry = site.connect().await.ask(&raw_post("k", "0123456789")).await;
        assert_eq!((retry.text(), retry.is_replay()), ("done", false));
    }
}

#[tokio::test]
async fn a_client_that_half_closes_within_its_body_has_claimed_nothing() {
    for half in [HALF, CHUNK] {
        let mut site = Site::answering(Over::Http1, || Response::new(full("done"))).await;
        let mut client = site.connect().await;
        client.send(half).await;
        client.stream.shutdown().await.unwrap();
        site.server.connection_ended().await;
        assert_eq!(site.runs.count(), 0);
        assert!(site.layer.store().is_empty());
    }
}

#[tokio::test]
async fn a_client_that_leaves_within_a_live_answer() {
    for half_close in [false, true] {
        let (feeds, mut fed) = tokio::sync::mpsc::unbounded_channel();
        let handler = move || {
            let (feed, body) = live();
            feeds.send(feed).unwrap();
            std::future::ready(Response::new(body))
        };
        let mut site = Site::serving(Over::Http1, layer(), handler).await;
        let mut client = site.connect().await;
        client.send(&raw_post("k", "1")).await;
        let feed = fed.recv().await.unwrap();
        feed.send("first ").unwrap();
        client.came("first ").await;
        if half_close {
            client.stream.shutdown().await.unwrap();
        }
        drop(client);
        site.server.connection_ended().await;
        feed.send("last").unwrap();
        drop(feed);
        site.drained().await;
        site.replays("first last").await;
    }
}

#[tokio::test]
async fn a_client_that_closes_without_reading_its_answer() {
    let mut site = Site::answering(Over::Http1, || Response::new(full("done"))).await;
    let mut client = site.connect().await;
    client.send(&raw_post("k", "1")).await;
    site.happens("recorded").await;
    drop(client);
    site.server.connection_ended().await;
    site.replays("done").await;
}

#[tokio::test]
async fn a_client_that_closes_after_an_answer_without_body() {
    let mut site = Site::answering(Over::Http1, || Response::new(empty())).await;
    let mut client = site.connect().await;
    client.ask(&raw_post("k", "1")).await;
    drop(client);
    site.server.connection_ended().await;
    site.replays("").await;
}
