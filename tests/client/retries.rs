//! What is sent again, and when.

use std::{
    io,
    ops::RangeInclusive,
    sync::{
        Arc,
        atomic::{AtomicI32, AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use http::{HeaderName, Method, Request, Response, StatusCode, Version, request::Builder};
use tokio::time::Instant;
use tower::{
    BoxError, ServiceExt as _,
    retry::{Retry, budget::Budget},
};
use tower_idempotency::client::IdempotentRetry;

use crate::script::{Met, Server, status, with};

fn unkeyed(method: Method) -> Builder {
    Request::builder()
        .method(method)
        .uri("http://api.example/pay")
}

fn keyed() -> Builder {
    unkeyed(Method::POST).header("idempotency-key", "order-42")
}

async fn send(
    policy: IdempotentRetry,
    server: &Server,
    request: Builder,
) -> Result<Response<()>, BoxError> {
    let client = Retry::new(policy, server.service());
    client.oneshot(request.body("body").unwrap()).await
}

/// How often a request is sent that meets this and then a 200.
async fn attempts(request: Builder, met: Met) -> usize {
    let server = Server::new([met]);
    drop(send(IdempotentRetry::new(), &server, request).await);
    server.sent().len()
}

#[tokio::test(start_paused = true)]
async fn a_trouble_that_may_pass() {
    for trouble in [408, 425, 429, 500, 502, 503, 504, 599].map(status) {
        assert_eq!(attempts(keyed(), trouble).await, 2);
    }
    assert_eq!(attempts(keyed(), Met::Cut).await, 2);
    assert_eq!(attempts(keyed(), with(409, "retry-after: 1")).await, 2);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_stays() {
    for answer in [200, 201, 301, 400, 401, 404, 409, 422].map(status) {
        assert_eq!(attempts(keyed(), answer).await, 1);
    }
    assert_eq!(
        attempts(keyed(), with(409, "x-should-retry: false")).await,
        1
    );
    assert_eq!(
        attempts(keyed(), with(503, "idempotent-replayed: true")).await,
        1
    );
}

#[tokio::test(start_paused = true)]
async fn the_server_has_its_way() {
    assert_eq!(
        attempts(keyed(), with(503, "x-should-retry: false")).await,
        1
    );
    assert_eq!(
        attempts(keyed(), with(400, "x-should-retry: true")).await,
        2
    );
    assert_eq!(
        attempts(keyed(), with(409, "stripe-should-retry: true")).await,
        2
    );
}

/// Whatever it meets.
#[tokio::test(start_paused = true)]
async fn without_a_key_only_what_changes_nothing() {
    let troubles = || {
        let passing = [status(503), status(429), Met::Cut];
        let told = [
            with(503, "retry-after: 1"),
            with(503, "x-should-retry: true"),
        ];
        passing.into_iter().chain(told)
    };
    for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
        for trouble in troubles() {
            assert_eq!(attempts(unkeyed(method.clone()), trouble).await, 1);
        }
    }
    for method in [Method::GET, Method::HEAD, Method::OPTIONS, Method::TRACE] {
        for trouble in troubles() {
            assert_eq!(attempts(unkeyed(method.clone()), trouble).await, 2);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_no_key_is_none() {
    for value in ["", "a,b", r#""open"#] {
        let malformed = unkeyed(Method::POST).header("idempotency-key", value);
        assert_eq!(attempts(malformed, status(503)).await, 1, "{value}");
    }
    let two = keyed().header("idempotency-key", "order-42");
    assert_eq!(attempts(two, status(503)).await, 1);
}

#[tokio::test(start_paused = true)]
async fn the_key_in_another_header() {
    let policy = IdempotentRetry::new().header(HeaderName::from_static("x-request-key"));
    for (request, expected) in [
        (unkeyed(Method::POST).header("x-request-key", "order-42"), 2),
        (keyed(), 1),
    ] {
        let server = Server::new([status(503)]);
        drop(send(policy.clone(), &server, request).await);
        assert_eq!(server.sent().len(), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn the_replay_in_another_header() {
    let policy = IdempotentRetry::new().replay_header(HeaderName::from_static("x-replayed"));
    for (field, expected) in [("x-replayed: true", 1), ("idempotent-replayed: true", 2)] {
        let server = Server::new([with(503, field)]);
        drop(send(policy.clone(), &server, keyed()).await);
        assert_eq!(server.sent().len(), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn every_attempt_is_the_same_request() {
    let server = Server::new([
        Met::Cut,
        status(503),
        with(409, "retry-after: 2"),
        status(201),
    ]);
    let request = keyed().header("x-other", "1").extension(7_u8);
    let request = request.version(Version::HTTP_2);
    let response = send(IdempotentRetry::new(), &server, request).await;
    assert_eq!(response.unwrap().status(), StatusCode::CREATED);
    let attempts = server.attempts();
    assert_eq!(attempts.len(), 4);
    for attempt in &attempts {
        assert_eq!(attempt.head.method, Method::POST);
        assert_eq!(attempt.head.version, Version::HTTP_2);
        assert_eq!(attempt.head.uri, "http://api.example/pay");
        assert_eq!(attempt.head.headers, attempts[0].head.headers);
        assert_eq!(attempt.head.extensions.get(), Some(&7_u8));
        assert_eq!(attempt.body, "body");
    }
    assert_eq!(attempts[0].head.headers["idempotency-key"], "order-42");
}

#[tokio::test(start_paused = true)]
async fn attempts_are_bounded_and_the_last_one_counts() {
    for (policy, bound) in [
        (IdempotentRetry::new(), 4),
        (IdempotentRetry::new().max_attempts(2), 2),
        (IdempotentRetry::new().max_attempts(1), 1),
        (IdempotentRetry::new().max_attempts(0), 1),
    ] {
        let server = Server::new((500..520).map(status));
        let last = send(policy.clone(), &server, keyed()).await.unwrap();
        assert_eq!(server.sent().len(), bound);
        assert_eq!(usize::from(last.status().as_u16()), 500 + bound - 1);

        let server = Server::new((0..20).map(|_| Met::Cut));
        let last = send(policy, &server, keyed()).await.unwrap_err();
        assert!(last.downcast_ref::<io::Error>().is_some(), "as it was");
        assert_eq!(server.sent().len(), bound);
    }
}

/// A clone accompanies each request: the attempts of one are not those of another.
#[tokio::test(start_paused = true)]
async fn attempts_are_counted_for_each_request() {
    let server = Server::new((0..4).map(|_| status(503)));
    let mut client = Retry::new(IdempotentRetry::new().max_attempts(3), server.service());
    for expected in [3, 2] {
        let request = keyed().body("").unwrap();
        drop(client.ready().await.unwrap().clone().oneshot(request).await);
        assert_eq!(server.sent().len(), expected);
    }
}

fn assert_within(waits: &[Duration], milliseconds: &[RangeInclusive<u128>]) {
    assert_eq!(waits.len(), milliseconds.len(), "{waits:?}");
    for (wait, bounds) in waits.iter().zip(milliseconds) {
        assert!(bounds.contains(&wait.as_millis()), "{waits:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn waits_double_and_are_shortened_by_chance() {
    let mut first = Vec::new();
    for _ in 0..20 {
        let server = Server::new((0..9).map(|_| status(503)));
        let (short, long) = (Duration::from_millis(200), Duration::from_secs(1));
        let policy = IdempotentRetry::new().max_attempts(6).backoff(short, long);
        drop(send(policy, &server, keyed()).await);
        let waits = server.waits();
        // The timer counts whole milliseconds, and rounds up.
        let bounds = [100..=201, 200..=401, 400..=801, 500..=1001, 500..=1001];
        assert_within(&waits, &bounds);
        first.push(waits[0]);
    }
    assert!(
        first.iter().any(|wait| *wait != first[0]),
        "never by chance"
    );
}

/// How long was waited after this answer.
async fn waited(policy: IdempotentRetry, met: Met) -> Duration {
    let (server, before) = (Server::new([met]), Instant::now());
    drop(send(policy, &server, keyed()).await);
    before.elapsed()
}

#[tokio::test(start_paused = true)]
async fn retry_after_in_seconds() {
    for status in [409, 429, 503] {
        let wait = waited(IdempotentRetry::new(), with(status, "retry-after: 7")).await;
        assert_within(&[wait], &[7100..=7201]);
    }
    let wait = waited(IdempotentRetry::new(), with(503, "retry-after: 0")).await;
    assert_within(&[wait], &[100..=201]);
}

#[tokio::test(start_paused = true)]
async fn retry_after_as_a_date() {
    let server_time = Response::builder()
        .status(503)
        .header("date", "Wed, 21 Oct 2015 07:28:00 GMT")
        .header("retry-after", "Wed, 21 Oct 2015 07:28:07 GMT");
    let wait = waited(IdempotentRetry::new(), Met::Answer(server_time)).await;
    assert_within(&[wait], &[7100..=7201]);

    #[expect(clippy::disallowed_methods, reason = "a server without a date")]
    let soon = SystemTime::now() + Duration::from_secs(50);
    let field = format!("retry-after: {}", httpdate::fmt_http_date(soon));
    let wait = waited(IdempotentRetry::new(), with(503, &field)).await;
    // The date has whole seconds, and the wall clock goes on.
    assert_within(&[wait], &[20_100..=50_201]);
}

#[tokio::test(start_paused = true)]
async fn who_asks_for_too_much_has_the_last_word() {
    for (seconds, expected) in [(60, 2), (61, 1)] {
        let met = with(503, &format!("retry-after: {seconds}"));
        assert_eq!(attempts(keyed(), met).await, expected);
    }
    let policy = IdempotentRetry::new().max_retry_after(Duration::from_secs(3));
    let server = Server::new([with(503, "retry-after: 4")]);
    let last = send(policy, &server, keyed()).await.unwrap();
    assert_eq!(last.headers()["retry-after"], "4");
    assert_eq!(server.sent().len(), 1);
}

#[derive(Clone, Default)]
struct Purse {
    money: Arc<AtomicI32>,
    deposits: Arc<AtomicUsize>,
}

impl Budget for Purse {
    fn deposit(&self) {
        self.deposits.fetch_add(1, Ordering::SeqCst);
    }

    fn withdraw(&self) -> bool {
        self.money.fetch_sub(1, Ordering::SeqCst) > 0
    }
}

#[tokio::test(start_paused = true)]
async fn retries_of_all_requests_share_a_budget() {
    let purse = Purse::default();
    purse.money.store(3, Ordering::SeqCst);
    let policy = IdempotentRetry::new().max_attempts(3).budget(purse.clone());
    for expected in [3, 2, 1] {
        let server = Server::new((0..9).map(|_| status(503)));
        drop(send(policy.clone(), &server, keyed()).await);
        assert_eq!(server.sent().len(), expected);
    }
    assert_eq!(purse.deposits.load(Ordering::SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn only_a_retry_is_paid_for_and_an_end_pays_in() {
    let purse = Purse::default();
    purse.money.store(9, Ordering::SeqCst);
    let policy = IdempotentRetry::new().max_attempts(2).budget(purse.clone());
    for (request, met, money, deposits) in [
        (keyed(), status(200), 9, 1),
        (keyed(), status(404), 9, 2),
        (unkeyed(Method::POST), status(503), 9, 2),
        (keyed(), with(503, "retry-after: 99"), 9, 2),
        (keyed(), status(503), 8, 3),
    ] {
        drop(send(policy.clone(), &Server::new([met]), request).await);
        let now = (
            purse.money.load(Ordering::SeqCst),
            purse.deposits.load(Ordering::SeqCst),
        );
        assert_eq!(now, (money, deposits));
    }
}
