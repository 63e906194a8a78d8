//! HTTP/2 clients that leave before they have their answer.

use http::Response;
use tokio::sync::mpsc;

use crate::{
    outside::{Gate, Http2, empty, full, live, post2},
    site::{Over, Site, layer},
};

/// As over HTTP/1.1, with a client of this protocol.
async fn replays(site: &Site, text: &str) {
    let retry = Http2::retry(site.server.address).await;
    assert_eq!((retry.text(), retry.is_replay()), (text, true));
    assert_eq!(site.runs.count(), 1);
}

#[tokio::test]
async fn a_client_that_resets_its_stream_while_the_handler_runs() {
    let gate = Gate::closed();
    let mut site = Site::gated(Over::Http2, &gate).await;
    let mut client = Http2::open(site.server.address).await;
    let asked = client.start(post2(full("1")));
    gate.somebody_came().await;
    asked.abort();
    site.happens("detached").await;
    gate.open();
    site.drained().await;
    replays(&site, "done").await;
}

#[tokio::test]
async fn a_client_that_drops_its_connection_while_the_handler_runs() {
    let gate = Gate::closed();
    let mut site = Site::gated(Over::Http2, &gate).await;
    let mut client = Http2::open(site.server.address).await;
    let _asked = client.start(post2(full("1")));
    gate.somebody_came().await;
    client.cut().await;
    site.happens("detached").await;
    gate.open();
    site.drained().await;
    replays(&site, "done").await;
}

#[tokio::test]
async fn a_client_that_leaves_within_its_body_has_claimed_nothing() {
    let mut site = Site::answering(Over::Http2, || Response::new(full("done"))).await;
    let mut client = Http2::open(site.server.address).await;
    let (feed, body) = live();
    feed.send("1").unwrap();
    let _asked = client.start(post2(body));
    // The other stream shows that the first one was opened before.
    let mut other = post2(full("1"));
    other.headers_mut().remove("idempotency-key");
    client.ask(other).await;
    client.cut().await;
    site.happens("rejected").await;
    assert_eq!(site.runs.count(), 1, "the other one");
    assert!(site.layer.store().is_empty());
    let retry = Http2::retry(site.server.address).await;
    assert_eq!((retry.text(), retry.is_replay()), ("done", false));
}

#[tokio::test]
async fn a_client_that_leaves_within_a_live_answer() {
    for cut in [false, true] {
        let (feeds, mut fed) = mpsc::unbounded_channel();
        let handler = move || {
            let (feed, body) = live();
            feeds.send(feed).unwrap();
            std::future::ready(Response::new(body))
        };
        let mut site = Site::serving(Over::Http2, layer(), handler).await;
        let mut client = Http2::open(site.server.address).await;
        let head = client.head(post2(full("1"))).await;
        let feed = fed.recv().await.unwrap();
        feed.send("first ").unwrap();
        if cut {
            client.cut().await;
            site.server.connection_ended().await;
        } else {
            drop(head);
        }
        feed.send("last").unwrap();
        drop(feed);
        site.drained().await;
        replays(&site, "first last").await;
    }
}

#[tokio::test]
async fn a_client_that_leaves_after_an_answer_without_body() {
    let mut site = Site::answering(Over::Http2, || Response::new(empty())).await;
    let mut client = Http2::open(site.server.address).await;
    client.ask(post2(full("1"))).await;
    client.cut().await;
    site.server.connection_ended().await;
    replays(&site, "").await;
}
