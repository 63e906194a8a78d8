//! Batches that are started once, for clients that put the key into the body.
//!
//! ```text
//! cargo run --example batches
//! curl -i localhost:3000/v1/batches -H 'content-type: application/json' -d '{
//!   "idempotency_key": "k1", "input_file_id": "file-1", "endpoint": "/v1/chat/completions",
//!   "completion_window": "24h", "metadata": {"team": "a", "job": "nightly"}}'
//! ```
//!
//! Send it again, with the metadata in another order: the same batch. Another
//! `input_file_id` under `k1` is a 409 that says "conflict", and says to clients that retry
//! every 409 that they should not. A batch that is refused with 400 leaves the key free. The
//! API is that of OpenAI, whose clients can be pointed at it; `GET /v1/batches` lists what
//! was started.

mod batch;

use std::time::Duration;

use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let (app, idempotency) = batch::app();
    let address = std::env::var("BATCHES_ADDR").unwrap_or_else(|_| "127.0.0.1:3000".to_owned());
    let listener = TcpListener::bind(address).await?;
    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, app)
        .with_graceful_shutdown(async { drop(tokio::signal::ctrl_c().await) })
        .await?;
    idempotency.drain(Duration::from_secs(20)).await;
    Ok(())
}
