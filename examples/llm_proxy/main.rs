//! A gateway in front of an LLM provider that is paid per call: duplicates cost one call.
//!
//! ```text
//! cargo run --example llm_proxy             # shows what it does, and ends
//! cargo run --example llm_proxy -- serve    # listens on 127.0.0.1:3001
//! curl -N localhost:3001/v1/chat/completions -H 'Idempotency-Key: k1' \
//!      -H 'content-type: application/json' -d '{"prompt":"hello","stream":true}'
//! ```
//!
//! While the answer streams, send the same once more from another terminal: it gets the
//! tokens so far at once, and then follows. Interrupt one and send it again: it goes on from
//! the record. The provider counts its calls.

mod demo;
mod provider;

use std::time::Duration;

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{StatusCode, Uri, header::HOST},
    response::{IntoResponse as _, Response},
    routing::post,
};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::net::TcpListener;
use tower_idempotency::{IdempotencyLayer, InFlight, MemoryStore};

use self::provider::Provider;

#[derive(Clone)]
struct Upstream {
    client: Client<HttpConnector, Body>,
    uri: Uri,
}

/// Forwards the request and passes the answer on as it comes. A 429 or 5xx of the provider
/// releases the key, so that a retry asks again.
async fn forward(State(upstream): State<Upstream>, mut request: Request) -> Response {
    *request.uri_mut() = upstream.uri;
    request.headers_mut().remove(HOST);
    match upstream.client.request(request).await {
        Ok(response) => response.into_response(),
        Err(error) => (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
    }
}

fn gateway(upstream: Upstream) -> Router {
    let idempotency = IdempotencyLayer::new(MemoryStore::new())
        // Duplicates of a running call wait for it, or join its stream.
        .in_flight(InFlight::Wait(Duration::from_secs(120)));
    Router::new()
        .route("/v1/chat/completions", post(forward))
        .layer(idempotency)
        .with_state(upstream)
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let provider = Provider::default();
    let upstream = Upstream {
        client: Client::builder(TokioExecutor::new()).build_http(),
        uri: serve(provider.router(), "127.0.0.1:0").await?,
    };
    let gateway = gateway(upstream);
    if std::env::args().nth(1).as_deref() == Some("serve") {
        let uri = serve(gateway, "127.0.0.1:3001").await?;
        println!("listening on {uri}");
        return tokio::signal::ctrl_c().await;
    }
    let uri = serve(gateway, "127.0.0.1:0").await?;
    demo::run(&uri, &provider).await;
    Ok(())
}

/// Serves `app` in the background; where its completions are.
async fn serve(app: Router, address: &str) -> std::io::Result<Uri> {
    let listener = TcpListener::bind(address).await?;
    let uri = format!("http://{}/v1/chat/completions", listener.local_addr()?);
    tokio::spawn(async move { axum::serve(listener, app).await });
    Ok(uri.parse().expect("an address is a legal authority"))
}
