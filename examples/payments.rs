//! Payments that are charged once, on axum, with the keys in memory.
//!
//! ```text
//! cargo run --example payments
//! curl -i -X POST localhost:3000/payments -H 'Idempotency-Key: k1' \
//!      -H 'content-type: application/json' -d '{"amount":100}'
//! ```
//!
//! Send it again: the same 201, the same bytes, `Idempotent-Replayed: true`, and one entry
//! in the ledger, which `curl localhost:3000/payments` shows. Another amount under `k1` is
//! a 409 `idempotency_conflict`. With `"seconds": 5` in the body the bank takes its time;
//! send the same twice at once, and the second is a 409 `idempotency_in_flight` with
//! `Retry-After`. Ctrl-C and SIGTERM let payments that run come to their end.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{Extension, Json, Router, extract::State, http::StatusCode, routing::get};
use serde::{Deserialize, Serialize};
use tokio::{net::TcpListener, time::sleep};
use tower_idempotency::{Idempotency, IdempotencyLayer, MemoryStore};

#[derive(Deserialize)]
struct Order {
    amount: u64,
    /// How long the bank takes.
    #[serde(default)]
    seconds: u64,
}

#[derive(Clone, Serialize)]
struct Payment {
    id: usize,
    amount: u64,
    /// What a real bank would be given, so that it charges once too.
    bank_key: String,
}

type Ledger = Arc<Mutex<Vec<Payment>>>;

async fn pay(
    State(ledger): State<Ledger>,
    Extension(operation): Extension<Idempotency>,
    Json(order): Json<Order>,
) -> (StatusCode, Json<Payment>) {
    sleep(Duration::from_secs(order.seconds)).await;
    let mut ledger = ledger.lock().expect("nobody panics with the ledger");
    let payment = Payment {
        id: ledger.len() + 1,
        amount: order.amount,
        bank_key: operation.child_key("charge").as_str().to_owned(),
    };
    ledger.push(payment.clone());
    (StatusCode::CREATED, Json(payment))
}

async fn show(State(ledger): State<Ledger>) -> Json<Vec<Payment>> {
    Json(
        ledger
            .lock()
            .expect("nobody panics with the ledger")
            .clone(),
    )
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let idempotency = IdempotencyLayer::new(MemoryStore::new()).require_key();

    let app = Router::new()
        .route("/payments", get(show).post(pay))
        .layer(idempotency.clone())
        .with_state(Ledger::default());

    let address = std::env::var("PAYMENTS_ADDR").unwrap_or_else(|_| "127.0.0.1:3000".to_owned());
    let listener = TcpListener::bind(address).await?;
    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, app)
        .with_graceful_shutdown(asked_to_stop())
        .await?;
    // Clients that hung up left their payments running.
    idempotency.drain(Duration::from_secs(20)).await;
    Ok(())
}

#[cfg(unix)]
async fn asked_to_stop() {
    use tokio::signal::unix::{SignalKind, signal};

    let mut terminate = signal(SignalKind::terminate()).expect("it can be listened for");
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}

#[cfg(not(unix))]
async fn asked_to_stop() {
    drop(tokio::signal::ctrl_c().await);
}
