//! Request bodies over the limit of eight bytes: refused, and read no further than needed.

use http::{Response, StatusCode};

use crate::{
    outside::{Http2, Raw, full, live, post2, raw_post},
    site::{Over, Site, layer},
};

async fn site(over: Over) -> Site {
    let handler = || std::future::ready(Response::new(full("done")));
    Site::serving(over, layer().max_request_body(8), handler).await
}

fn head(fields: &str) -> String {
    format!("POST /pay HTTP/1.1\r\nhost: test\r\nidempotency-key: k\r\n{fields}\r\n\r\n")
}

async fn refused(sent: &str) {
    let site = site(Over::Http1).await;
    let answer: Raw = site.connect().await.ask(sent).await;
    assert_eq!(answer.status, 413, "{sent}");
    assert_eq!(answer.code(), "idempotency_payload_too_large");
    assert_eq!(site.runs.count(), 0);
    assert!(site.layer.store().is_empty());
}

#[tokio::test]
async fn an_announced_body_over_the_limit_is_refused_by_the_head_alone() {
    refused(&head("content-length: 9")).await;
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_instead_of_asked_for() {
    refused(&head("content-length: 9\r\nexpect: 100-continue")).await;
}

#[tokio::test]
async fn a_chunked_body_is_refused_once_it_is_over_the_limit() {
    let head = head("transfer-encoding: chunked");
    refused(&format!("{head}9\r\n123456789\r\n")).await;
    refused(&format!("{head}8\r\n12345678\r\n1\r\n9\r\n")).await;
}

#[tokio::test]
async fn a_body_of_the_limit_is_asked_for_and_taken() {
    let site = site(Over::Http1).await;
    let mut client = site.connect().await;
    let expect = head("content-length: 8\r\nexpect: 100-continue");
    assert_eq!(client.ask(&expect).await.status, 100);
    assert_eq!(client.ask("12345678").await.text(), "done");
    let retry = client.ask(&raw_post("k", "12345678")).await;
    assert!(retry.is_replay());
    let chunked = head("transfer-encoding: chunked");
    let retry = client
        .ask(&format!("{chunked}8\r\n12345678\r\n0\r\n\r\n"))
        .await;
    assert!(retry.is_replay());
}

#[tokio::test]
async fn over_http2_by_the_head_or_by_the_body() {
    for announced in [true, false] {
        let site = site(Over::Http2).await;
        let (feed, body) = live();
        let mut request = post2(body);
        if announced {
            request.headers_mut().insert("content-length", 9.into());
        } else {
            feed.send("123456789").unwrap();
        }
        let mut client = Http2::open(site.server.address).await;
        let answer = client.ask(request).await;
        assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
        assert_eq!(answer.code(), "idempotency_payload_too_large");
        assert_eq!(site.runs.count(), 0);
        drop(feed);
    }
}
