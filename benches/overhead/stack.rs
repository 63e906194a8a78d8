//! The services that are measured, bare and under the layer.

use std::{
    convert::Infallible,
    iter::once,
    pin::{Pin, pin},
    task::Poll,
};

use axum::{Router, routing::post};
use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use http_body_util::{BodyExt as _, Full};
use tokio::runtime::Runtime;
use tower::{Layer as _, Service, ServiceExt as _, service_fn};
use tower_idempotency::{IdempotencyLayer, MemoryStore};

use crate::variant::{KIB, Variant};

static ANSWER: [u8; KIB] = [b'x'; KIB];

/// Answers requests, one after the other.
pub type Run<'a> = Box<dyn Fn(Requests) + 'a>;

/// Each of them made before, or when it is asked for.
pub type Requests = Box<dyn Iterator<Item = Request<Full<Bytes>>> + Send>;

/// A service with and without the layer.
pub struct Stack<'a> {
    pub name: &'static str,
    pub bare: Run<'a>,
    pub layered: Run<'a>,
}

impl<'a> Stack<'a> {
    /// A function, which is nearly nothing: what is added is all there is.
    pub fn function(runtime: &'a Runtime) -> Self {
        Self {
            name: "service_fn",
            bare: run(runtime, service_fn(answer)),
            layered: run(runtime, layer().layer(service_fn(answer))),
        }
    }

    /// A router inside the layer.
    pub fn outside_router(runtime: &'a Runtime) -> Self {
        Self {
            name: "layer outside an axum router",
            bare: run(runtime, router()),
            layered: run(runtime, layer().layer(router())),
        }
    }

    /// A router whose routes are inside the layer.
    pub fn inside_router(runtime: &'a Runtime) -> Self {
        Self {
            name: "layer inside an axum router (Router::layer)",
            bare: run(runtime, router()),
            layered: run(runtime, router().layer(layer())),
        }
    }
}

fn layer() -> IdempotencyLayer<MemoryStore> {
    IdempotencyLayer::new(
        MemoryStore::new()
            .max_entries(usize::MAX)
            .max_bytes(u64::MAX),
    )
}

fn router() -> Router {
    let answer = |body: Bytes| async move {
        assert_eq!(body.len(), KIB);
        Bytes::from_static(&ANSWER)
    };
    Router::new().route("/payments", post(answer).get(answer))
}

async fn answer<B>(request: Request<B>) -> Result<Response<Full<Bytes>>, Infallible>
where
    B: Body<Data = Bytes>,
{
    assert_eq!(read(request.into_body()).await, KIB);
    Ok(Response::new(Full::new(Bytes::from_static(&ANSWER))))
}

fn run<S, B>(runtime: &Runtime, service: S) -> Run<'_>
where
    S: Service<Request<Full<Bytes>>, Response = Response<B>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send,
    B: Body<Data = Bytes> + Send + 'static,
{
    let run = Box::new(move |requests| {
        // A task of its own, so that giving way to others costs next to nothing.
        let task = runtime.spawn(serve(service.clone(), requests));
        runtime.block_on(task).expect("every request is answered");
    });
    run(Box::new(once(Variant::prelude())));
    run
}

/// As a connection does: each request on a clone of the service, each answer read to its
/// end, and other tasks let in between.
async fn serve<S, B>(service: S, requests: Requests)
where
    S: Service<Request<Full<Bytes>>, Response = Response<B>, Error = Infallible> + Clone,
    B: Body<Data = Bytes>,
{
    for request in requests {
        let Ok(response) = service.clone().oneshot(request).await;
        assert!(read(response.into_body()).await > 0);
        give_way().await;
    }
}

/// Reads a body to its end, and says how long it was.
pub async fn read<B: Body<Data = Bytes>>(body: B) -> usize {
    let mut body = pin!(body);
    let mut length = 0;
    while let Some(frame) = frame(body.as_mut()).await {
        length += frame.len();
    }
    length
}

async fn frame<B: Body<Data = Bytes>>(mut body: Pin<&mut B>) -> Option<Bytes> {
    let frame = body.frame().await?;
    frame.ok()?.into_data().ok()
}

async fn give_way() {
    let mut yielded = false;
    std::future::poll_fn(|cx| {
        if yielded {
            return Poll::Ready(());
        }
        yielded = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
