//! Idempotency keys without axum: hyper, and a function as the service.
//!
//! ```text
//! cargo run --example hyper_server
//! ```
//!
//! It serves on a free port, asks itself over that port, prints what comes back, and ends.

use std::{
    convert::Infallible,
    error::Error,
    net::SocketAddr,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, server::conn::http1};
use hyper_util::{
    client::legacy::Client,
    rt::{TokioExecutor, TokioIo},
    service::TowerToHyperService,
};
use tokio::net::TcpListener;
use tower::ServiceBuilder;
use tower_idempotency::{Idempotency, IdempotencyLayer, MemoryStore, server::RequestBody};

static SHIPPED: AtomicU64 = AtomicU64::new(0);

/// The handler: what must happen once for each key.
async fn ship(
    request: Request<RequestBody<Incoming>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let parcel = SHIPPED.fetch_add(1, Ordering::SeqCst) + 1;
    let attempt = request.extensions().get().map(Idempotency::attempt);
    println!("  shipping parcel {parcel}, attempt {attempt:?}");
    Ok(Response::new(Full::from(format!("parcel {parcel}"))))
}

type Layer = IdempotencyLayer<MemoryStore>;

async fn serve(listener: TcpListener, idempotency: Layer) {
    let service = ServiceBuilder::new().layer(idempotency).service_fn(ship);
    while let Ok((stream, _)) = listener.accept().await {
        let service = TowerToHyperService::new(service.clone());
        tokio::spawn(async move {
            let served = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            if let Err(error) = served.await {
                eprintln!("a connection broke: {error}");
            }
        });
    }
}

/// Ships under `key`; the status, the body, and whether it is a replay.
async fn ask(
    server: SocketAddr,
    key: &str,
    body: &'static str,
) -> Result<(StatusCode, String, bool), Box<dyn Error>> {
    let request = Request::post(format!("http://{server}/shipments"))
        .header("Idempotency-Key", key)
        .body(Full::<Bytes>::from(body))?;
    let client = Client::builder(TokioExecutor::new()).build_http();
    let response = client.request(request).await?;
    let status = response.status();
    let replayed = response.headers().contains_key("idempotent-replayed");
    let body = response.into_body().collect().await?.to_bytes();
    let body = String::from_utf8_lossy(&body).into_owned();
    println!("{key} -> {status}, replayed: {replayed}, {body}");
    Ok((status, body, replayed))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let idempotency = Layer::new(MemoryStore::new()).require_key();
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let server = listener.local_addr()?;
    let serving = tokio::spawn(serve(listener, idempotency.clone()));

    let parcel = |parcel: &str, replayed| (StatusCode::OK, parcel.to_owned(), replayed);
    assert_eq!(
        ask(server, "k1", "a teapot").await?,
        parcel("parcel 1", false)
    );
    assert_eq!(
        ask(server, "k1", "a teapot").await?,
        parcel("parcel 1", true)
    );
    assert_eq!(
        ask(server, "k2", "a teapot").await?,
        parcel("parcel 2", false)
    );
    // The same key for something else is a mistake of the client.
    let (status, _, _) = ask(server, "k1", "a kettle").await?;
    assert_eq!(status, StatusCode::CONFLICT);

    // No more connections; then let run to its end what clients have left behind.
    serving.abort();
    idempotency.drain(Duration::from_secs(20)).await;
    Ok(())
}
