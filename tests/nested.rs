//! A layer around another: a gateway in front of a service that has the layer, too.
#![cfg(feature = "memory")]
#![allow(clippy::unwrap_used, reason = "what fails here is a test that fails")]

mod support;

use std::{
    convert::Infallible,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use tokio::time::{Instant, sleep};
use tower::{Service, ServiceExt as _, service_fn, util::BoxCloneSyncService};
use tower_idempotency::{
    AfterCrash, Directive, Idempotency, IdempotencyLayer, InFlight, MemoryStore, Store,
    WireContract,
    server::{RequestBody, ResponseBody},
    store::Resolution,
};

use self::support::{
    fault::{Fault, FaultStore, Verb},
    post, send, serve, settle,
};

type Sent = Request<Full<Bytes>>;
type Asked = Request<RequestBody<Full<Bytes>>>;
type Upstream = BoxCloneSyncService<Sent, Response<ResponseBody<Full<Bytes>>>, Infallible>;

const MINUTE: Duration = Duration::from_secs(60);

/// How the answers of the inner service reach the gateway.
#[derive(Debug, Clone, Copy, PartialEq)]
enum By {
    /// Within one process.
    Call,
    /// As they stand on a wire, where there are no extensions.
    Wire,
}

/// A handler that the layer is around, shared by all gateways in front of it.
fn inside<S, H, F>(layer: &IdempotencyLayer<S>, handler: H) -> Upstream
where
    S: Store,
    H: Fn(Asked) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<Full<Bytes>>> + Send + 'static,
{
    let handler = service_fn(move |request| {
        let answer = handler(request);
        async { Ok::<_, Infallible>(answer.await) }
    });
    BoxCloneSyncService::new(serve(layer, handler))
}

/// A gateway that passes on what `upstream` answers.
fn gateway<S: Store>(
    layer: &IdempotencyLayer<S>,
    upstream: &Upstream,
    by: By,
) -> impl Service<
    Sent,
    Response = Response<ResponseBody<ResponseBody<Full<Bytes>>>>,
    Error = Infallible,
    Future: Send,
> + Clone
+ use<S> {
    let upstream = upstream.clone();
    let proxy = service_fn(move |request: Asked| {
        let upstream = upstream.clone();
        async move {
            let (parts, body) = request.into_parts();
            let body = Full::new(body.collect().await.unwrap().to_bytes());
            let mut answer = upstream.oneshot(Request::from_parts(parts, body)).await?;
            if by == By::Wire {
                answer.extensions_mut().clear();
            }
            Ok(answer)
        }
    });
    serve(layer, proxy)
}

fn outer() -> IdempotencyLayer<MemoryStore> {
    IdempotencyLayer::new(MemoryStore::new())
}

#[tokio::test(start_paused = true)]
async fn what_is_in_flight_inside_is_not_recorded_outside() {
    for by in [By::Call, By::Wire] {
        let upstream = inside(&outer(), |_| async {
            sleep(MINUTE).await;
            Response::new("done".into())
        });
        // The gateway that asked first is gone; the service works on.
        let first = tokio::spawn(upstream.clone().oneshot(post("k", "x")));
        settle().await;
        let service = gateway(&outer(), &upstream, by);
        let busy = send(&service, post("k", "x")).await;
        assert_eq!(busy.code(), "idempotency_in_flight");
        first.await.unwrap().unwrap();
        let retry = send(&service, post("k", "x")).await;
        assert_eq!(retry.text(), "done", "{by:?}");
        assert!(send(&service, post("k", "x")).await.is_replay());
    }
}

#[tokio::test(start_paused = true)]
async fn that_the_inner_store_is_away_is_not_recorded_outside() {
    let store = FaultStore::new();
    let inner = IdempotencyLayer::new(store.clone());
    let upstream = inside(&inner, |_| async { Response::new("done".into()) });
    // A contract that records a 503.
    let service = gateway(
        &outer().contract(WireContract::stripe()),
        &upstream,
        By::Call,
    );
    store.lasting(Verb::Claim, Fault::Refused);
    let away = send(&service, post("k", "x")).await;
    assert_eq!(away.status, StatusCode::SERVICE_UNAVAILABLE);
    store.lasting(Verb::Claim, Fault::None);
    assert_eq!(send(&service, post("k", "x")).await.text(), "done");
}

#[tokio::test(start_paused = true)]
async fn what_an_operator_may_resolve_inside_is_not_recorded_outside() {
    let store = FaultStore::new();
    let inner = IdempotencyLayer::new(store.clone()).after_crash(AfterCrash::Hold);
    let seen = Arc::new(Mutex::new(None));
    let upstream = inside(&inner, {
        let seen = Arc::clone(&seen);
        move |request| {
            let operation = request.extensions().get::<Idempotency>();
            *seen.lock().unwrap() = operation.map(|operation| *operation.record_key());
            async { Response::new("lost".into()) }
        }
    });
    let service = gateway(&outer(), &upstream, By::Call);
    // It runs, and neither its record nor a renewal ever arrives.
    for verb in [Verb::Complete, Verb::Renew] {
        store.lasting(verb, Fault::LostRequest);
    }
    upstream.clone().oneshot(post("k", "x")).await.unwrap();
    sleep(MINUTE).await;
    let unknown = send(&service, post("k", "x")).await;
    assert_eq!(unknown.code(), "idempotency_outcome_unknown");
    let key = seen.lock().unwrap().unwrap();
    let told = Response::new("it was done".into());
    let resolution = store.memory.resolve(&key, &told, MINUTE);
    assert_eq!(resolution, Resolution::Resolved);
    assert_eq!(send(&service, post("k", "x")).await.text(), "it was done");
}

/// It stays what it is, however often it is asked.
#[tokio::test]
async fn a_conflict_inside_is_recorded_outside() {
    let upstream = inside(&outer(), |_| async { Response::new("done".into()) });
    upstream.clone().oneshot(post("k", "other")).await.unwrap();
    let service = gateway(&outer(), &upstream, By::Call);
    for is_replay in [false, true] {
        let conflict = send(&service, post("k", "x")).await;
        assert_eq!(conflict.code(), "idempotency_conflict");
        assert_eq!(conflict.is_replay(), is_replay);
    }
}

#[tokio::test]
async fn the_directive_of_a_handler_reaches_both() {
    for (status, directive, runs) in [
        (StatusCode::PAYMENT_REQUIRED, Directive::release(), 2),
        (StatusCode::BAD_GATEWAY, Directive::record(), 1),
        (StatusCode::OK, Directive::seal(), 1),
    ] {
        let count = Arc::new(AtomicUsize::new(0));
        let upstream = inside(&outer(), {
            let count = Arc::clone(&count);
            move |_| {
                count.fetch_add(1, Ordering::SeqCst);
                let response = Response::builder().status(status).extension(directive);
                let response = response.body(Full::default()).unwrap();
                async { response }
            }
        });
        let outer = outer();
        let service = gateway(&outer, &upstream, By::Call);
        let first = send(&service, post("k", "x")).await;
        assert_eq!(first.status, status);
        assert_eq!(outer.store().is_empty(), runs == 2, "{status}");
        let again = send(&service, post("k", "x")).await;
        assert_eq!(again.is_replay(), status == StatusCode::BAD_GATEWAY);
        assert_eq!(count.load(Ordering::SeqCst), runs, "{status}");
    }
}

/// The key is in flight for it, until it answers.
#[tokio::test(start_paused = true)]
async fn a_layer_inside_of_itself_refuses_its_keys_and_holds_none() {
    let wait = Duration::from_secs(5);
    for (in_flight, takes) in [
        (InFlight::Reject, Duration::ZERO),
        (InFlight::Wait(wait), wait),
    ] {
        let layer = outer().in_flight(in_flight);
        let upstream = inside(&layer, |_| async { panic!("nothing runs") });
        let (service, sent) = (gateway(&layer, &upstream, By::Call), Instant::now());
        let refused = send(&service, post("k", "x")).await;
        assert_eq!(refused.code(), "idempotency_in_flight");
        assert_eq!(sent.elapsed().as_secs(), takes.as_secs());
        assert!(layer.store().is_empty());
    }
}
