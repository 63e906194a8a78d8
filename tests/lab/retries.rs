//! The client's half against the lab, over hyper-util's client: whatever happens on the way,
//! there is one effect, one result, and one key on all attempts.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use tokio::sync::oneshot;
use tower::{BoxError, ServiceBuilder, ServiceExt as _, retry::RetryLayer};
use tower_idempotency::{
    Key,
    client::{IdempotentRetry, SetIdempotencyKeyLayer},
};

use crate::{
    lab::Lab,
    outside::soon,
    relay::{Fate, relay},
};

/// What each attempt met: a status, or 0 for none.
type Met = Arc<Mutex<Vec<(String, u16)>>>;

/// POSTs to the lab behind `address`, with keys and retries.
async fn post(address: SocketAddr, target: &str, met: &Met) -> Response<Incoming> {
    let (asked, answered) = (Arc::clone(met), Arc::clone(met));
    // A connection for each attempt.
    let mut http = Client::builder(TokioExecutor::new());
    let http = http.pool_max_idle_per_host(0).build_http::<Full<Bytes>>();
    let client = ServiceBuilder::new()
        .layer(SetIdempotencyKeyLayer::new())
        .layer(RetryLayer::new(IdempotentRetry::new().max_attempts(10)))
        .map_request(move |request: Request<Full<Bytes>>| {
            let key = request.headers()["idempotency-key"].to_str().unwrap();
            asked.lock().unwrap().push((key.to_owned(), 0));
            request
        })
        .map_response(move |response: Response<Incoming>| {
            answered.lock().unwrap().last_mut().unwrap().1 = response.status().as_u16();
            response
        })
        .service(http);
    let request = Request::post(format!("http://{address}{target}"));
    let answer = client.oneshot(request.body(Full::from("1")).unwrap());
    let answer: Result<_, BoxError> = soon(answer).await;
    answer.unwrap()
}

/// One effect, under the key of all attempts; and who asks again under that key is told the
/// same.
async fn assert_once(lab: &Lab, target: &str, met: &Met, answer: Response<Incoming>) {
    let key = answer
        .extensions()
        .get::<Key>()
        .unwrap()
        .as_str()
        .to_owned();
    for (sent, _) in met.lock().unwrap().iter() {
        assert_eq!(*sent, key);
    }
    let effects = lab.effects();
    assert_eq!(effects.len(), 1, "{effects:?}");
    assert!(effects[0].starts_with(&format!("{key} 1 ")));

    let body = answer.into_body().collect().await.unwrap().to_bytes();
    let again = lab.ask(target, &key).await;
    assert_eq!((again.is_replay(), again.body), (true, body.to_vec()));
}

fn statuses(met: &Met) -> Vec<u16> {
    met.lock()
        .unwrap()
        .iter()
        .map(|(_, status)| *status)
        .collect()
}

/// Sends one request through these fates; what its attempts met.
async fn through<const N: usize>(fates: [Fate; N]) -> (Vec<u16>, bool) {
    let (lab, met) = (Lab::start(&[]).await, Met::default());
    let address = relay(lab.address(), fates).await;
    let answer = post(address, "/effect", &met).await;
    let is_replay = answer.headers().contains_key("idempotent-replayed");
    assert_once(&lab, "/effect", &met, answer).await;
    (statuses(&met), is_replay)
}

#[tokio::test]
async fn an_answer_that_is_lost() {
    let met = through([Fate::LoseAnswer, Fate::LoseAnswer]).await;
    assert_eq!(met, (vec![0, 0, 200], true));
}

const BUSY: &str = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n";
const SLOW_DOWN: &str =
    "HTTP/1.1 429 Too Many Requests\r\nretry-after: 1\r\ncontent-length: 0\r\n\r\n";

#[tokio::test]
async fn a_503_before_and_after_the_effect() {
    let met = through([Fate::AnswerUnasked(BUSY), Fate::Answer(BUSY)]).await;
    assert_eq!(met, (vec![503, 503, 200], true));
}

#[tokio::test]
async fn a_429_that_says_when() {
    let before = tokio::time::Instant::now();
    let met = through([Fate::AnswerUnasked(SLOW_DOWN)]).await;
    assert_eq!(met, (vec![429, 200], false));
    assert!(before.elapsed() >= std::time::Duration::from_secs(1));
}

/// The first attempt is cut while its handler runs; the second finds it running.
#[tokio::test]
async fn a_409_in_flight() {
    let lab = Lab::start(&[("LAB_LEASE_MS", "2000")]).await;
    let met = Met::default();
    let (cut, when) = oneshot::channel();
    let address = relay(lab.address(), [Fate::CutWhen(when)]).await;
    let target = "/effect?sleep_ms=2500";
    let running = async {
        lab.until_effects(1).await;
        cut.send(()).unwrap();
    };
    let (answer, ()) = tokio::join!(post(address, target, &met), running);
    let statuses = statuses(&met);
    assert_eq!((statuses[0], statuses.last()), (0, Some(&200)));
    assert!(
        statuses[1..statuses.len() - 1].contains(&409),
        "{statuses:?}"
    );
    assert_once(&lab, target, &met, answer).await;
}

/// The lab's own 503: its store is full, and then it is not.
#[tokio::test]
async fn a_store_that_is_full() {
    let lab = Lab::start(&[("LAB_MAX_ENTRIES", "1"), ("LAB_RETENTION_MS", "3000")]).await;
    let met = Met::default();
    let occupied = lab.ask("/effect", "other").await;
    assert_eq!(occupied.status, 200);
    let answer = post(lab.address(), "/effect", &met).await;
    assert_eq!(answer.status(), 200);
    let statuses = statuses(&met);
    assert_eq!(statuses[0], 503);
    let effects = lab.effects();
    let key = &met.lock().unwrap()[0].0;
    assert_eq!(effects.len(), 2);
    assert!(effects[1].starts_with(&format!("{key} 1 ")));
}
