//! Bodies that hyper never polls to their end, and connections that go on being used.

use http::{Response, StatusCode};

use crate::{
    outside::{AnyBody, Gate, Http2, empty, full, post2, raw_post},
    site::{Over, Site},
};

/// hyper asks none of these for its end.
const NEVER_POLLED_TO_THEIR_END: [fn() -> Response<AnyBody>; 5] = [
    || Response::new(empty()),
    || Response::new(full("")),
    || Response::new(full("done")),
    || {
        let response = Response::builder().header("content-length", 4);
        response.body(full("done")).unwrap()
    },
    || {
        let response = Response::builder().status(StatusCode::NO_CONTENT);
        response.body(empty()).unwrap()
    },
];

#[tokio::test]
async fn answers_that_are_not_polled_to_their_end_are_recorded() {
    for answer in NEVER_POLLED_TO_THEIR_END {
        let site = Site::answering(Over::Http1, answer).await;
        let mut client = site.connect().await;
        let first = client.ask(&raw_post("k", "1")).await;
        let second = client.ask(&raw_post("k", "1")).await;
        assert_eq!((first.is_replay(), second.is_replay()), (false, true));
        assert_eq!(second.status, first.status);
        assert_eq!(second.body, first.body);
        assert_eq!(second.all("content-length"), first.all("content-length"));
        assert_eq!(site.runs.count(), 1);
    }
}

#[tokio::test]
async fn answers_that_are_not_polled_to_their_end_are_recorded_over_http2() {
    for answer in NEVER_POLLED_TO_THEIR_END {
        let site = Site::answering(Over::Http2, answer).await;
        let mut client = Http2::open(site.server.address).await;
        let first = client.ask(post2(full("1"))).await;
        let second = client.ask(post2(full("1"))).await;
        assert_eq!((first.is_replay(), second.is_replay()), (false, true));
        assert_eq!(second.status, first.status);
        assert_eq!(second.body, first.body);
        assert_eq!(site.runs.count(), 1);
    }
}

#[tokio::test]
async fn a_pipelined_connection_goes_on_after_a_replay_and_a_conflict() {
    let site = Site::answering(Over::Http1, || Response::new(full("done"))).await;
    let mut client = site.connect().await;
    let requests = [("a", "1"), ("a", "1"), ("a", "2"), ("b", "1"), ("a", "1")];
    let sent = requests.map(|(key, body)| raw_post(key, body)).concat();
    client.send(&sent).await;
    let expected = [
        (200, false),
        (200, true),
        (409, false),
        (200, false),
        (200, true),
    ];
    for (at, expected) in expected.into_iter().enumerate() {
        let answer = client.answer().await;
        assert_eq!((answer.status, answer.is_replay()), expected, "answer {at}");
    }
    assert_eq!(client.rest().await, b"");
    assert_eq!(site.runs.count(), 2);
}

#[tokio::test]
async fn a_connection_goes_on_after_it_was_told_to_come_back() {
    let gate = Gate::closed();
    let site = Site::gated(Over::Http1, &gate).await;
    let (mut first, mut second) = (site.connect().await, site.connect().await);
    first.send(&raw_post("k", "1")).await;
    gate.somebody_came().await;
    let early = second.ask(&raw_post("k", "1")).await;
    assert_eq!(
        (early.status, &*early.code()),
        (409, "idempotency_in_flight")
    );
    gate.open();
    assert_eq!(first.answer().await.text(), "done");
    assert!(second.ask(&raw_post("k", "1")).await.is_replay());
    assert_eq!(site.runs.count(), 1);
}
