//! Exactly once, through the layer.

use std::{convert::Infallible, sync::Arc};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{Full, StreamBody};
use tower::{Layer as _, ServiceExt as _, service_fn};
use tower_idempotency::{
    Idempotency, IdempotencyLayer, InFlight, PostgresStore, SharedStore, server::RequestBody,
};

use crate::{
    ledger::{Ledger, terminate},
    stage::{HOUR, open, pool, random_name, url},
    support::{Answer, BoxError, post, send},
};

/// What a handler does besides writing an entry.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Does {
    Answers,
    Fails,
    Panics,
    Drops,
    Streams,
}

type Body = http_body_util::combinators::UnsyncBoxBody<Bytes, BoxError>;

/// A service that writes `entry` into `ledger`, and does in its first run what `does` says.
fn service(
    store: &PostgresStore,
    ledger: &Arc<Ledger>,
    does: Does,
) -> impl tower::Service<
    Request<Full<Bytes>>,
    Response = Response<tower_idempotency::server::ResponseBody<Body>>,
    Error = Infallible,
    Future: Send,
> + Clone
+ use<> {
    service_over(SharedStore::new(store.clone()), store, ledger, does)
}

/// The same; the layer has `over`, which leads to the store.
fn service_over(
    over: SharedStore,
    store: &PostgresStore,
    ledger: &Arc<Ledger>,
    does: Does,
) -> impl tower::Service<
    Request<Full<Bytes>>,
    Response = Response<tower_idempotency::server::ResponseBody<Body>>,
    Error = Infallible,
    Future: Send,
> + Clone
+ use<> {
    let (inner, ledger) = (store.clone(), Arc::clone(ledger));
    let first = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let handler = service_fn(move |request: Request<RequestBody<Full<Bytes>>>| {
        let does = match first.swap(false, std::sync::atomic::Ordering::SeqCst) {
            true => does,
            false => Does::Answers,
        };
        let operation = request.extensions().get::<Idempotency>().unwrap().clone();
        handle(inner.clone(), Arc::clone(&ledger), operation, does)
    });
    let layer = IdempotencyLayer::new(over);
    layer.in_flight(InFlight::Wait(HOUR)).layer(handler)
}

async fn handle(
    store: PostgresStore,
    ledger: Arc<Ledger>,
    operation: Idempotency,
    does: Does,
) -> Result<Response<Body>, Infallible> {
    let mut transaction = store.begin(&operation).await.unwrap();
    ledger
        .enter(&mut transaction, operation.key().as_str())
        .await;
    let mut response = Response::new(body("paid"));
    match does {
        Does::Panics => panic!("as the test wants it"),
        Does::Drops => return Ok(response),
        Does::Fails => *response.status_mut() = StatusCode::BAD_GATEWAY,
        Does::Answers => {}
        Does::Streams => {
            let frames = futures_util::stream::once(async move {
                tokio::task::yield_now().await;
                transaction.commit_with_answer();
                Ok(Frame::data(Bytes::from("streamed")))
            });
            return Ok(Response::new(Body::new(StreamBody::new(frames))));
        }
    }
    transaction.commit_with_answer();
    Ok(response)
}

fn body(text: &'static str) -> Body {
    use http_body_util::BodyExt as _;
    Full::from(text).map_err(BoxError::from).boxed_unsync()
}

struct Scene {
    pool: sqlx::PgPool,
    store: PostgresStore,
    ledger: Arc<Ledger>,
    key: String,
}

impl Scene {
    async fn new() -> Self {
        let pool = pool(&url()).await;
        Self {
            store: open(&pool).await,
            ledger: Arc::new(Ledger::new(&pool).await),
            key: random_name("key"),
            pool,
        }
    }

    async fn entries(&self) -> usize {
        self.ledger.entries().await.len()
    }
}

#[tokio::test]
async fn an_answer_is_committed_once_and_replayed() {
    for does in [Does::Answers, Does::Streams] {
        let scene = Scene::new().await;
        let service = service(&scene.store, &scene.ledger, does);
        let first = send(&service, post(&scene.key, "hello")).await;
        assert!(!first.is_replay() && first.error.is_none());
        assert_eq!(scene.entries().await, 1, "{does:?}");
        let again = send(&service, post(&scene.key, "hello")).await;
        assert!(again.is_replay());
        assert_eq!((again.text(), scene.entries().await), (first.text(), 1));
    }
}

#[cfg(all(feature = "compression", feature = "encryption"))]
#[tokio::test]
async fn so_it_is_below_all_wrappers() {
    use tower_idempotency::store::{Cached, Compressed, Encrypted, EncryptionKeys, Resilient};

    for does in [Does::Answers, Does::Streams, Does::Fails] {
        let scene = Scene::new().await;
        let sealed = Encrypted::new(
            Resilient::new(scene.store.clone()),
            EncryptionKeys::new(1, &[7; 32]),
        );
        let over = SharedStore::new(Cached::new(Compressed::new(sealed)));
        let service = service_over(over, &scene.store, &scene.ledger, does);
        let first = send(&service, post(&scene.key, "hello")).await;
        let committed = usize::from(does != Does::Fails);
        assert_eq!(scene.entries().await, committed, "{does:?}");
        let again = send(&service, post(&scene.key, "hello")).await;
        assert_eq!(again.is_replay(), first.status.is_success());
        assert_eq!(scene.entries().await, 1, "{does:?}");
    }
}

#[tokio::test]
async fn an_answer_that_releases_the_key_rolls_back() {
    let scene = Scene::new().await;
    let service = service(&scene.store, &scene.ledger, Does::Fails);
    let failed = send(&service, post(&scene.key, "hello")).await;
    assert_eq!(failed.status, StatusCode::BAD_GATEWAY);
    assert_eq!(scene.entries().await, 0);
    let retried = send(&service, post(&scene.key, "hello")).await;
    assert_eq!(
        (retried.text(), scene.entries().await),
        ("paid".to_owned(), 1)
    );
}

#[tokio::test]
async fn a_panic_rolls_back() {
    let scene = Scene::new().await;
    let service = service(&scene.store, &scene.ledger, Does::Panics);
    let request = post(&scene.key, "hello");
    let panicked = tokio::spawn(service.clone().oneshot(request)).await;
    assert!(panicked.unwrap_err().is_panic());
    assert_eq!(scene.entries().await, 0);
    let retried = send(&service, post(&scene.key, "hello")).await;
    assert_eq!(
        (retried.text(), scene.entries().await),
        ("paid".to_owned(), 1)
    );
}

#[tokio::test]
async fn a_dropped_transaction_is_rolled_back_and_the_answer_recorded() {
    let scene = Scene::new().await;
    let service = service(&scene.store, &scene.ledger, Does::Drops);
    assert_eq!(
        send(&service, post(&scene.key, "hello")).await.text(),
        "paid"
    );
    assert!(send(&service, post(&scene.key, "hello")).await.is_replay());
    assert_eq!(scene.entries().await, 0);
}

/// The commit is cut off, and found out to have been rolled back.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_was_lost_is_no_answer() {
    for does in [Does::Answers, Does::Streams] {
        let scene = Scene::new().await;
        let service = service(&scene.store, &scene.ledger, does);
        let held = scene.ledger.hold_up().await;
        let first = service.clone();
        let request = post(&scene.key, "hello");
        let first = tokio::spawn(async move {
            let response = first.oneshot(request).await.unwrap();
            Answer::read(response).await
        });
        terminate(&scene.pool, scene.ledger.held_up().await).await;
        let refused = first.await.unwrap();
        drop(held);
        match does {
            Does::Streams => assert!(refused.error.unwrap().contains("not confirmed")),
            _ => assert_eq!(refused.code(), "idempotency_unconfirmed"),
        }
        assert_eq!(scene.entries().await, 0);
        let retried = send(&service, post(&scene.key, "hello")).await;
        assert_eq!(
            (retried.text(), scene.entries().await),
            ("paid".to_owned(), 1)
        );
    }
}

/// The client leaves while the commit is under way.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_changes_nothing() {
    let scene = Scene::new().await;
    let service = service(&scene.store, &scene.ledger, Does::Answers);
    let held = scene.ledger.hold_up().await;
    let leaves = tokio::spawn(service.clone().oneshot(post(&scene.key, "hello")));
    scene.ledger.held_up().await;
    leaves.abort();
    let _ = leaves.await;
    held.rollback().await.unwrap();
    let retried = send(&service, post(&scene.key, "hello")).await;
    assert!(retried.is_replay());
    assert_eq!(
        (retried.text(), scene.entries().await),
        ("paid".to_owned(), 1)
    );
}
