//! The layer over a store.

use std::{convert::Infallible, fmt::Debug};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use http_body_util::{BodyExt as _, Full};
use tower::{Layer as _, ServiceExt as _, service_fn, util::BoxCloneSyncService};
use tower_idempotency::{IdempotencyLayer, Store, server::RequestBody};

use crate::{
    load::{AsyncAsk, CLIENTS},
    variant::{KIB, Variant},
};

static ANSWER: [u8; KIB] = [b'x'; KIB];

type Service = BoxCloneSyncService<Request<Full<Bytes>>, (), Infallible>;

/// First requests: each key is new.
pub struct First(Service);

/// Replays: each client asks for a key of its own, which was answered before.
pub struct Replay(Service);

/// First requests, and replays.
pub async fn over(store: impl Store + Clone) -> (First, Replay) {
    let first = service(store.clone());
    // Another node: what one node has answered it need not ask its store for at once.
    let replay = service(store);
    for client in 0..CLIENTS {
        ask(&replay, OLD + client).await;
    }
    (First(first), Replay(replay))
}

/// Keys with such numbers are asked for by no [`First`].
const OLD: u64 = 1 << 40;

impl AsyncAsk for First {
    async fn ask(&self, _client: u64, number: u64) {
        ask(&self.0, number).await;
    }
}

impl AsyncAsk for Replay {
    async fn ask(&self, client: u64, _number: u64) {
        ask(&self.0, OLD + client).await;
    }
}

async fn ask(service: &Service, key: u64) {
    let request = Variant::First.request(key);
    let Ok(()) = service.clone().oneshot(request).await;
}

/// What a ceiling is reached with: the service without the layer, around which are the bare
/// calls of the server.
#[derive(Clone)]
pub struct Handler(Service);

impl Handler {
    pub fn new() -> Self {
        Self(whole(service_fn(async |request: Request<Full<Bytes>>| {
            drop(request.into_body().collect().await);
            Ok(Response::new(Full::from(&ANSWER[..])))
        })))
    }

    /// Takes a request and answers it; a replay, too, is a request and an answer.
    pub async fn answer(&self, number: u64) {
        ask(&self.0, number).await;
    }
}

fn service(store: impl Store) -> Service {
    whole(IdempotencyLayer::new(store).layer(service_fn(answer)))
}

/// Has each answer read to its end.
fn whole<S, B>(service: S) -> Service
where
    S: tower::Service<Request<Full<Bytes>>, Response = Response<B>, Error = Infallible>
        + Clone
        + Send
        + Sync
        + 'static,
    S::Future: Send,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Debug,
{
    BoxCloneSyncService::new(service_fn(move |request| {
        let service = service.clone();
        async move {
            let response = service.oneshot(request).await?;
            assert!(response.status().is_success());
            let body = response.into_body().collect().await.expect("a whole body");
            assert_eq!(body.to_bytes().len(), KIB);
            Ok(())
        }
    }))
}

async fn answer(
    request: Request<RequestBody<Full<Bytes>>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    drop(request.into_body().collect().await);
    Ok(Response::new(Full::from(&ANSWER[..])))
}
