//! Clients that leave, at every moment they can leave at.
#![cfg(feature = "memory")]
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod support;

use std::{
    convert::Infallible,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt as _, combinators::UnsyncBoxBody};
use support::{BoxError, data, events::Events, send, serve};
use tower::{ServiceExt as _, service_fn};
use tower_idempotency::{
    Directive, Drained, Event, IdempotencyLayer, MemoryStore, Record, RecordKey, Store,
    server::RequestBody,
    store::{Claim, Claimed, Completion, Fence, Lease, StoreError},
};

/// Is pending this often before it goes on.
async fn pending(times: usize) {
    let mut left = times;
    std::future::poll_fn(|cx| {
        if left == 0 {
            return Poll::Ready(());
        }
        left -= 1;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// A memory store that is pending before and after it does anything.
#[derive(Clone)]
struct SlowStore(MemoryStore);

impl Store for SlowStore {
    async fn claim(&self, claim: &Claim<'_>) -> Result<Claimed, StoreError> {
        pending(2).await;
        let result = self.0.claim(claim).await;
        pending(2).await;
        result
    }

    async fn complete(
        &self,
        lease: &Lease,
        record: &Record,
        retention: Duration,
    ) -> Result<Completion, StoreError> {
        pending(2).await;
        let result = self.0.complete(lease, record, retention).await;
        pending(2).await;
        result
    }

    async fn release(&self, lease: &Lease) -> Result<Completion, StoreError> {
        pending(2).await;
        let result = self.0.release(lease).await;
        pending(2).await;
        result
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

type AnyBody = UnsyncBoxBody<Bytes, BoxError>;

/// A body that is pending before each frame.
fn slow(pieces: [&'static str; 2]) -> AnyBody {
    let frames = futures_util::stream::unfold(pieces.into_iter(), |mut pieces| async {
        pending(2).await;
        let piece = pieces.next()?;
        Some((Ok::<Frame<Bytes>, BoxError>(data(piece)), pieces))
    });
    http_body_util::StreamBody::new(frames).boxed_unsync()
}

fn request() -> Request<AnyBody> {
    Request::post("/")
        .header("idempotency-key", "k")
        .body(slow(["hello ", "world"]))
        .unwrap()
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Answers {
    /// Known at once.
    Whole,
    Live,
    /// Released.
    ServerError,
    /// Sealed by the handler.
    Sealed,
    /// Sealed, as it is larger than may be kept; known at once, or when it has been read.
    TooLarge,
    LiveTooLarge,
    /// Sealed, as its body breaks off.
    Broken,
}

impl Answers {
    fn is_replayed(self) -> bool {
        matches!(self, Self::Whole | Self::Live)
    }
}

fn answer(answers: Answers) -> Response<AnyBody> {
    let whole = || {
        http_body_util::Full::from("done")
            .map_err(Into::into)
            .boxed_unsync()
    };
    let broken = || {
        let frames = [Ok(data("done")), Err("the disk is gone".into())];
        http_body_util::StreamBody::new(futures_util::stream::iter(frames)).boxed_unsync()
    };
    let mut response = Response::builder();
    if answers == Answers::Sealed {
        response = response.extension(Directive::seal());
    }
    let (status, body) = match answers {
        Answers::Whole | Answers::TooLarge | Answers::Sealed => (200, whole()),
        Answers::Live | Answers::LiveTooLarge => (200, slow(["do", "ne"])),
        Answers::ServerError => (500, whole()),
        Answers::Broken => (200, broken()),
    };
    response.status(status).body(body).unwrap()
}

/// Drops the request after `polls` polls and retries; whether it had not ended before.
async fn dropped_after(polls: usize, answers: Answers) -> bool {
    let store = SlowStore(MemoryStore::new());
    let is_too_large = matches!(answers, Answers::TooLarge | Answers::LiveTooLarge);
    let max = if is_too_large { 3 } else { 1024 };
    let layer = IdempotencyLayer::new(store.clone()).max_response_body(max);
    let runs = Arc::new(AtomicUsize::new(0));
    let service = {
        let runs = runs.clone();
        service_fn(move |request: Request<RequestBody<AnyBody>>| {
            let runs = runs.clone();
            async move {
                pending(2).await;
                runs.fetch_add(1, Ordering::SeqCst);
                assert_eq!(
                    request.into_body().collect().await.unwrap().to_bytes(),
                    "hello world"
                );
                pending(2).await;
                Ok::<_, Infallible>(answer(answers))
            }
        })
    };
    let service = serve(&layer, service);
    let mut first = Box::pin(service.clone().oneshot(request()));
    let mut cx = Context::from_waker(Waker::noop());
    let mut ended = false;
    for _ in 0..polls {
        ended |= first.as_mut().poll(&mut cx).is_ready();
        if ended {
            break;
        }
        tokio::task::yield_now().await;
    }
    drop(first);
    assert_eq!(
        layer.drain(Duration::from_secs(60)).await,
        Drained::Complete
    );
    let runs_without_client = runs.load(Ordering::SeqCst);
    assert!(runs_without_client <= 1);
    // Claimed and run, or neither: a key is never left behind.
    let kept = usize::from(answers != Answers::ServerError);
    assert_eq!(
        store.0.len(),
        runs_without_client * kept,
        "after {polls} polls"
    );

    let retry = send(&service, request()).await;
    if runs_without_client == 0 || answers.is_replayed() {
        assert_eq!(retry.text(), "done", "after {polls} polls");
        assert_eq!(retry.is_replay(), runs_without_client == 1);
    } else {
        assert_eq!(retry.code(), "idempotency_result_unavailable");
    }
    assert_eq!(runs.load(Ordering::SeqCst), 1, "after {polls} polls");
    !ended
}

#[tokio::test(start_paused = true)]
async fn dropped_after_every_poll_it_runs_once_and_is_recorded() {
    for answers in [
        Answers::Whole,
        Answers::Live,
        Answers::Sealed,
        Answers::TooLarge,
        Answers::LiveTooLarge,
        Answers::Broken,
    ] {
        let mut polls = 0;
        while dropped_after(polls, answers).await {
            polls += 1;
        }
        assert!(polls > 10, "{answers:?}: only {polls} moments to leave at");
    }
}

#[tokio::test(start_paused = true)]
async fn a_released_answer_is_released_without_its_client_too() {
    let events = Events::default();
    let store = SlowStore(MemoryStore::new());
    let layer = IdempotencyLayer::new(store.clone()).observer(events.clone());
    let service = service_fn(|_: Request<RequestBody<AnyBody>>| async {
        pending(5).await;
        Ok::<_, Infallible>(answer(Answers::ServerError))
    });
    let service = serve(&layer, service);
    let mut first = Box::pin(service.clone().oneshot(request()));
    let mut cx = Context::from_waker(Waker::noop());
    while store.0.is_empty() {
        assert!(first.as_mut().poll(&mut cx).is_pending());
    }
    drop(first);
    assert_eq!(
        layer.drain(Duration::from_secs(60)).await,
        Drained::Complete
    );
    assert_eq!(store.0.len(), 0);
    assert_eq!(events.seen(), ["detached", "claimed", "released:directive"]);
}

#[tokio::test]
async fn a_panic_goes_to_the_caller_and_frees_the_key() {
    let events = Events::default();
    let store = SlowStore(MemoryStore::new());
    let layer = IdempotencyLayer::new(store.clone()).observer(events.clone());
    let service = service_fn(|request: Request<RequestBody<AnyBody>>| {
        let in_call = request.headers().contains_key("x-in-call");
        assert!(!in_call, "the handler panics");
        async move {
            let at_once = request.headers().contains_key("x-at-once");
            if !at_once {
                pending(2).await;
            }
            panic!("the handler panics");
            #[expect(unreachable_code, reason = "names the type")]
            Ok::<Response<AnyBody>, Infallible>(Response::new(slow(["", ""])))
        }
    });
    let service = serve(&layer, service);
    for header in ["x-in-call", "x-at-once", "x-later"] {
        let mut request = request();
        request.headers_mut().insert(header, "1".parse().unwrap());
        let panicked = tokio::spawn(service.clone().oneshot(request))
            .await
            .unwrap_err();
        let panic = panicked.into_panic();
        assert_eq!(panic.downcast_ref::<&str>(), Some(&"the handler panics"));
        assert_eq!(store.0.len(), 0);
    }
    assert_eq!(events.count("released:panic"), 3);
    assert_eq!(events.count("detached"), 0, "what panicked is not run on");
}

#[tokio::test]
async fn a_policy_that_panics_frees_the_key() {
    let events = Events::default();
    let store = SlowStore(MemoryStore::new());
    let layer = IdempotencyLayer::new(store.clone())
        .record_policy_fn(|_| panic!("the policy panics"))
        .observer(events.clone());
    let service = service_fn(|_: Request<RequestBody<AnyBody>>| async {
        Ok::<_, Infallible>(answer(Answers::Whole))
    });
    let service = serve(&layer, service);
    let panicked = tokio::spawn(service.oneshot(request())).await.unwrap_err();
    assert_eq!(
        panicked.into_panic().downcast_ref::<&str>(),
        Some(&"the policy panics")
    );
    assert_eq!(store.0.len(), 0);
    assert_eq!(events.count("released:panic"), 1);
}

struct PanicsWhenDropped;

impl Drop for PanicsWhenDropped {
    fn drop(&mut self) {
        panic!("the body panics");
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_a_drop_frees_the_key() {
    let events = Events::default();
    let layer = IdempotencyLayer::new(MemoryStore::new()).observer(events.clone());
    let service = service_fn(|_: Request<RequestBody<AnyBody>>| async {
        let panics = PanicsWhenDropped;
        let body = answer(Answers::Whole).into_body().map_frame(move |frame| {
            let _ = &panics;
            frame
        });
        Ok::<_, Infallible>(Response::new(body))
    });
    let service = serve(&layer, service);
    let panicked = tokio::spawn(service.oneshot(request())).await.unwrap_err();
    assert!(panicked.is_panic());
    let drained = layer.drain(Duration::from_secs(1)).await;
    assert_eq!(drained, Drained::Complete);
    assert!(layer.store().is_empty());
    assert_eq!(events.seen(), ["claimed", "released:panic"]);
}

#[tokio::test]
async fn a_detached_panic_frees_the_key() {
    let store = SlowStore(MemoryStore::new());
    let layer = IdempotencyLayer::new(store.clone());
    let service = service_fn(|_: Request<RequestBody<AnyBody>>| async {
        pending(5).await;
        panic!("the handler panics");
        #[expect(unreachable_code, reason = "names the type")]
        Ok::<Response<AnyBody>, Infallible>(Response::new(slow(["", ""])))
    });
    let service = serve(&layer, service);
    let mut first = Box::pin(service.clone().oneshot(request()));
    let mut cx = Context::from_waker(Waker::noop());
    while store.0.is_empty() {
        assert!(first.as_mut().poll(&mut cx).is_pending());
    }
    drop(first);
    assert_eq!(
        layer.drain(Duration::from_secs(60)).await,
        Drained::Complete
    );
    assert_eq!(store.0.len(), 0);
}

/// A connection, a lock, a permit: the next one to run may need it.
#[tokio::test]
async fn nothing_of_a_handler_is_left_when_its_key_is_settled() {
    for panics in ["no", "call", "future", "policy"] {
        let resource = Arc::new(());
        let (weak, left) = (Arc::downgrade(&resource), Arc::new(Mutex::new(Vec::new())));
        let layer = IdempotencyLayer::new(MemoryStore::new()).observer_fn({
            let left = left.clone();
            move |event| {
                if let Event::Recorded { .. } | Event::Released { .. } = event {
                    left.lock().unwrap().push(weak.strong_count());
                }
            }
        });
        let layer = layer.record_policy_fn(move |_| {
            assert_ne!(panics, "policy");
            Directive::record()
        });
        let service = service_fn(move |request: Request<RequestBody<AnyBody>>| {
            assert_ne!(panics, "call");
            async move {
                pending(1).await;
                assert_ne!(panics, "future");
                let resource = request.extensions().get::<Arc<()>>().cloned();
                let mut answer = answer(Answers::Whole);
                if panics == "policy" {
                    answer.extensions_mut().insert(resource.clone());
                }
                let held = move |frame| {
                    let _ = &resource;
                    frame
                };
                Ok::<_, Infallible>(answer.map(|body| body.map_frame(held)))
            }
        });
        let mut request = request();
        request.extensions_mut().insert(resource);
        let answered = tokio::spawn(serve(&layer, service).oneshot(request)).await;
        assert_eq!(answered.is_err(), panics != "no");
        assert_eq!(*left.lock().unwrap(), [0], "panics: {panics}");
    }
}
