//! What a handler leaves with its lease for the store: the answer then counts only if the
//! store says so.
#![cfg(feature = "memory")]
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod support;

use std::{convert::Infallible, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use support::{
    BoxError, data,
    events::Events,
    fault::{Fault, FaultStore, Verb},
    frames, live_body, post, send, send_text, serve,
};
use tokio::{runtime::Builder, time::timeout};
use tower::{Service, ServiceBuilder, ServiceExt as _, service_fn};
use tower_idempotency::{
    AfterCrash, Fingerprint, Idempotency, IdempotencyLayer, MemoryStore, Record, RecordKey,
    SharedStore, Store, Unkept,
    server::RequestBody,
    store::{Claim, Claimed, Completion, Fence, Lease, StoreError},
};

/// What the handler leaves: how its transaction will end.
#[derive(Debug, Clone, Copy, PartialEq)]
enum End {
    Committed,
    RolledBack,
    Unknown,
    Corrupt,
}

/// A memory store that ends transactions as they say.
#[derive(Clone)]
struct Transactional<S>(S);

impl<S: Store> Store for Transactional<S> {
    async fn claim(&self, claim: &Claim<'_>) -> Result<Claimed, StoreError> {
        self.0.claim(claim).await
    }

    async fn complete(
        &self,
        lease: &Lease,
        record: &Record,
        retention: Duration,
    ) -> Result<Completion, StoreError> {
        match lease.attached().as_deref() {
            None | Some(End::Committed) => self.0.complete(lease, record, retention).await,
            Some(End::RolledBack) => Ok(Completion::RolledBack),
            Some(End::Unknown) => Err(StoreError::unknown("the reply was lost")),
            Some(End::Corrupt) => Err(StoreError::corrupt("not a record")),
        }
    }

    async fn release(&self, lease: &Lease) -> Result<Completion, StoreError> {
        self.0.release(lease).await
    }

    async fn renew(&self, lease: &Lease) -> Result<Completion, StoreError> {
        self.0.renew(lease).await
    }

    async fn settled(
        &self,
        key: &RecordKey,
        fence: Fence,
        limit: Duration,
    ) -> Result<(), StoreError> {
        self.0.settled(key, fence, limit).await
    }
}

fn leave<B>(request: &Request<B>, end: End) {
    let operation = request.extensions().get::<Idempotency>().unwrap();
    let lease: &Lease = operation.as_ref();
    lease.attach(Arc::new(end)).unwrap();
}

/// A service whose first run leaves `first`, and its later ones `Committed`. Behind the type
/// that erases stores.
fn service(
    first: End,
    events: &Events,
) -> impl Service<
    Request<Full<Bytes>>,
    Response = Response<impl http_body::Body<Data = Bytes, Error = BoxError>>,
    Error = Infallible,
    Future: Send,
> + Clone {
    let mut end = Some(first);
    let end = Arc::new(std::sync::Mutex::new(move || {
        end.take().unwrap_or(End::Committed)
    }));
    let store = SharedStore::new(Transactional(MemoryStore::new()));
    let layer = IdempotencyLayer::new(store).observer(events.clone());
    ServiceBuilder::new()
        .layer(layer)
        .service_fn(move |request: Request<RequestBody<_>>| {
            let end = (end.lock().unwrap())();
            leave(&request, end);
            let operation = request.extensions().get::<Idempotency>().unwrap();
            let answer = format!("attempt {}", operation.attempt());
            async move { Ok::<_, Infallible>(Response::new(Full::from(answer))) }
        })
}

#[tokio::test(start_paused = true)]
async fn what_was_committed_is_answered_and_replayed() {
    let (events, posted) = (Events::default(), || post("k", "hello"));
    let service = service(End::Committed, &events);
    assert_eq!(send(&service, posted()).await.text(), "attempt 1");
    let again = send(&service, posted()).await;
    assert!(again.is_replay());
    assert_eq!(again.text(), "attempt 1");
}

#[tokio::test(start_paused = true)]
async fn what_was_rolled_back_is_not_answered_and_frees_the_key() {
    let (events, posted) = (Events::default(), || post("k", "hello"));
    let service = service(End::RolledBack, &events);
    let refused = send(&service, posted()).await;
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(refused.code(), "idempotency_unconfirmed");
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert_eq!(events.count("released:rolled_back"), 1);
    assert_eq!(send(&service, posted()).await.text(), "attempt 1");
    assert!(send(&service, posted()).await.is_replay());
}

#[tokio::test(start_paused = true)]
async fn what_nobody_knows_is_not_answered() {
    for unknown in [End::Unknown, End::Corrupt] {
        let (events, posted) = (Events::default(), || post("k", "hello"));
        let service = service(unknown, &events);
        let refused = send(&service, posted()).await;
        assert_eq!(refused.code(), "idempotency_unconfirmed", "{unknown:?}");
        let told = ["unrecorded", "abandoned"].map(|name| events.count(name));
        assert_eq!(told, [0, 1], "a lease that nobody ends");
        tokio::time::sleep(Duration::from_secs(31)).await;
        let answer = send(&service, posted()).await;
        assert_eq!(answer.text(), "attempt 2", "its lease has to lapse first");
    }
}

/// Under hold nothing else would free the key.
#[tokio::test(start_paused = true)]
async fn what_was_rolled_back_is_given_back_after_an_outage() {
    let (store, events) = (FaultStore::new(), Events::default());
    store.lasting(Verb::Release, Fault::Refused);
    let layer = IdempotencyLayer::new(Transactional(store.clone()))
        .after_crash(AfterCrash::Hold)
        .observer(events.clone());
    let handler = service_fn(|request: Request<RequestBody<Full<Bytes>>>| {
        leave(&request, End::RolledBack);
        async { Ok::<_, Infallible>(Response::new(Full::<Bytes>::default())) }
    });
    let refused = send(&serve(&layer, handler), post("k", "hello")).await;
    assert_eq!(refused.code(), "idempotency_unconfirmed");
    tokio::time::sleep(Duration::from_secs(10 * 60)).await;
    store.lasting(Verb::Release, Fault::None);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(events.count("released:rolled_back"), 1);
    assert_eq!(store.memory.len(), 0);
}

#[test]
fn what_was_rolled_back_is_told_to_be_left_behind_with_its_runtime() {
    let (store, events) = (FaultStore::new(), Events::default());
    store.lasting(Verb::Release, Fault::Silence);
    let layer = IdempotencyLayer::new(Transactional(store)).observer(events.clone());
    let handler = service_fn(|request: Request<RequestBody<Full<Bytes>>>| {
        leave(&request, End::RolledBack);
        async { Ok::<_, Infallible>(Response::new(Full::<Bytes>::default())) }
    });
    let mut runtime = Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build().unwrap();
    let refused = serve(&layer, handler).oneshot(post("k", "hello"));
    let refused = runtime.block_on(async { timeout(Duration::from_secs(1), refused).await });
    assert!(refused.is_err(), "it is being released");
    drop(runtime);
    assert_eq!(events.seen(), ["claimed", "detached", "abandoned"]);
}

#[tokio::test(start_paused = true)]
async fn a_live_answer_that_was_rolled_back_fails_at_its_end() {
    let store = Transactional(MemoryStore::new());
    let service = ServiceBuilder::new()
        .layer(IdempotencyLayer::new(store))
        .service_fn(|request: Request<RequestBody<_>>| async move {
            leave(&request, End::RolledBack);
            let (mut sender, body) = live_body();
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_secs(1)).await;
                send_text(&mut sender, "paid").await;
            });
            Ok::<_, Infallible>(Response::new(body))
        });
    let answer = send(&service, post("k", "hello")).await;
    assert_eq!(answer.status, StatusCode::OK, "its head had left");
    assert_eq!(answer.text(), "paid");
    let error = answer.error.unwrap();
    assert!(error.contains("not confirmed"), "{error}");
}

/// The answer leaves, so the transaction it tells of is committed, whatever is to become of
/// other answers that cannot be kept.
#[tokio::test(start_paused = true)]
async fn an_answer_too_large_to_be_kept_commits() {
    let events = Events::default();
    let layer = IdempotencyLayer::new(Transactional(MemoryStore::new()))
        .max_response_body(3)
        .over_limit(Unkept::DangerRelease)
        .observer(events.clone());
    let service = ServiceBuilder::new().layer(layer).service(service_fn(
        |request: Request<RequestBody<_>>| async move {
            if request.headers().contains_key("leaves") {
                leave(&request, End::Committed);
            }
            Ok::<_, Infallible>(Response::new(frames(vec![data("paid")])))
        },
    ));
    let mut request = post("k", "hello");
    request.headers_mut().insert("leaves", "1".parse().unwrap());
    assert_eq!(send(&service, request).await.text(), "paid");
    assert_eq!(events.count("sealed:over_limit"), 1);
    assert_eq!(send(&service, post("other", "hello")).await.text(), "paid");
    assert_eq!(events.count("released:over_limit"), 1);
}

#[test]
fn a_lease_takes_one_attachment_and_shares_it_with_its_clones() {
    let key = RecordKey::from_bytes([0; 32]);
    let lease = Claim::new(&key, Fingerprint::custom([0; 32])).won(Fence::new(1), 1);
    let before = lease.clone();
    assert_eq!(
        (lease.has_attachment(), lease.attached::<u8>()),
        (false, None)
    );
    lease.attach(Arc::new(7_u8)).unwrap();
    assert_eq!(lease.attach(Arc::new(8_u16)), Err(Arc::new(8)));
    assert_eq!(lease.clone().attached::<u8>().as_deref(), Some(&7));
    assert_eq!(
        (lease.has_attachment(), lease.attached::<u16>()),
        (true, None)
    );
    assert_eq!(lease, before, "it says nothing about which lease it is");
    assert!(!format!("{lease:?}").contains('7'));
}
