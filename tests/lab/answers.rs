//! What a request may ask of its answer.

use std::time::Duration;

use tokio::{
    io::AsyncReadExt as _,
    time::{Instant, sleep},
};

use crate::{
    lab::{Lab, request},
    outside::soon,
};

/// What comes on a connection until the lab closes it.
async fn until_closed(lab: &Lab, target: &str) -> Vec<u8> {
    let mut client = lab.connect().await;
    client
        .send(&request("POST", target, "idempotency-key: k\r\n", "1"))
        .await;
    let mut came = Vec::new();
    soon(client.stream.read_to_end(&mut came)).await.unwrap();
    came
}

#[tokio::test]
async fn sleep_ms() {
    let lab = Lab::start(&[]).await;
    let before = Instant::now();
    lab.ask("/effect?sleep_ms=200", "k").await;
    assert!(before.elapsed() >= Duration::from_millis(200));
}

#[tokio::test]
async fn status() {
    let lab = Lab::start(&[]).await;
    for (status, replayed) in [(201, true), (404, true), (429, false), (503, false)] {
        let (target, key) = (format!("/effect?status={status}"), status.to_string());
        assert_eq!(lab.ask(&target, &key).await.status, status);
        let retry = lab.ask(&target, &key).await;
        assert_eq!((retry.status, retry.is_replay()), (status, replayed));
    }
    assert_eq!(lab.effects().len(), 2 + 2 * 2);
}

#[tokio::test]
async fn bytes() {
    let lab = Lab::start(&[]).await;
    let [first, second] = lab.ask_twice("/effect?bytes=100000").await;
    assert_eq!(first.all("content-length"), [b"100000"]);
    assert_eq!(first.body.len(), 100_000);
    assert_eq!((second.body, first.chunks), (first.body, 0));
}

#[tokio::test]
async fn chunks_and_chunk_ms() {
    let lab = Lab::start(&[]).await;
    let before = Instant::now();
    let target = "/effect?bytes=50&chunks=5&chunk_ms=20";
    let [first, second] = lab.ask_twice(target).await;
    assert!(before.elapsed() >= 4 * Duration::from_millis(20));
    assert_eq!((first.body.len(), first.chunks), (50, 5));
    assert_eq!((second.body.len(), second.is_replay()), (50, true));
    assert_eq!(second.body, first.body);
    assert_eq!(lab.effects().len(), 1);
}

#[tokio::test]
async fn chunks_of_json() {
    let lab = Lab::start(&[]).await;
    let answer = lab.ask("/effect?chunks=3&chunk_ms=1", "k").await;
    assert_eq!(answer.chunks, 3);
    let answer: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(answer["path"], "/effect");
}

#[tokio::test]
async fn fail_at() {
    let lab = Lab::start(&[]).await;
    let target = "/effect?bytes=100&chunks=10&chunk_ms=300&fail_at=15";
    let came = String::from_utf8(until_closed(&lab, target).await).unwrap();
    let (head, body) = came.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"));
    assert_eq!(body, "A\r\nabcdefghij\r\n5\r\nklmno\r\n", "no last chunk");
    let retry = lab.ask(target, "k").await;
    assert_eq!(retry.code(), "idempotency_result_unavailable");
    assert_eq!(lab.effects().len(), 1);
}

/// hyper sends nothing of a body that fails before it could send any of it.
#[tokio::test]
async fn fail_at_without_a_pause() {
    let lab = Lab::start(&[]).await;
    let target = "/effect?bytes=100&fail_at=15";
    let came = until_closed(&lab, target).await;
    assert!(!came.ends_with(b"0\r\n\r\n"));
    let retry = lab.ask(target, "k").await;
    assert_eq!(retry.code(), "idempotency_result_unavailable");
}

#[tokio::test]
async fn panic() {
    let lab = Lab::start(&[]).await;
    for runs in 1..3 {
        assert_eq!(until_closed(&lab, "/effect?panic=1").await, b"");
        assert_eq!(lab.effects().len(), runs, "a panic frees the key");
    }
}

#[tokio::test]
async fn abort() {
    let mut lab = Lab::start(&[]).await;
    let mut client = lab.connect().await;
    let fields = "idempotency-key: k\r\n";
    client
        .send(&request("POST", "/effect?abort=1", fields, "1"))
        .await;
    assert_eq!(lab.exited().await.code(), None, "a signal ended it");
    assert_eq!(lab.effects().len(), 1);
}

#[tokio::test]
async fn headers_of_any_bytes_in_their_order() {
    let lab = Lab::start(&[]).await;
    let target = "/effect?header=x-a:J%f6rg&header=x-a:%e2%82%ac%20b&header=x-b:a:b";
    for answer in lab.ask_twice(target).await {
        let expected: [&[u8]; 2] = [b"J\xf6rg", "\u{20ac} b".as_bytes()];
        assert_eq!(answer.all("x-a"), expected);
        assert_eq!(answer.all("x-b"), [b"a:b"]);
    }
    assert_eq!(lab.effects().len(), 1);
}

#[tokio::test]
async fn trailers_of_any_bytes() {
    let lab = Lab::start(&[]).await;
    for (at, live) in ["", "&chunks=2&chunk_ms=1"].into_iter().enumerate() {
        let target = format!("/effect/{at}?trailer=x-a:J%f6rg&trailer=x-b:1{live}");
        for mut answer in lab.ask_twice(&target).await {
            answer.trailers.sort();
            let field = |name: &str, value: &[u8]| (name.to_owned(), value.to_owned());
            let expected = [field("x-a", b"J\xf6rg"), field("x-b", b"1")];
            assert_eq!(answer.trailers, expected, "{target}");
        }
    }
}

#[tokio::test]
async fn directive() {
    let lab = Lab::start(&[]).await;
    let [_, kept] = lab.ask_twice("/effect/a?status=503&directive=record").await;
    assert_eq!((kept.status, kept.is_replay()), (503, true));
    let [_, again] = lab.ask_twice("/effect/b?directive=release").await;
    assert_eq!((again.status, again.is_replay()), (200, false));
    let [_, sealed] = lab.ask_twice("/effect/c?directive=seal").await;
    assert_eq!(sealed.code(), "idempotency_result_unavailable");
    assert_eq!(lab.effects().len(), 1 + 2 + 1);
}

#[tokio::test]
async fn retention_ms() {
    let lab = Lab::start(&[]).await;
    let [_, kept] = lab.ask_twice("/effect/long?retention_ms=600000").await;
    assert!(kept.is_replay());
    lab.ask("/effect/short?retention_ms=1", "k").await;
    let forgotten = async {
        while lab
            .ask("/effect/short?retention_ms=1", "k")
            .await
            .is_replay()
        {
            sleep(Duration::from_millis(2)).await;
        }
    };
    soon(forgotten).await;
}
