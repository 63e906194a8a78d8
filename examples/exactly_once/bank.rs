//! The bank: a server that is written as if it were never killed.

use std::{error::Error, io, time::Duration};

use axum::{Json, Router, extract::State, http::StatusCode, routing::post};
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgPoolOptions;
use tokio::net::TcpListener;
use tower_idempotency::{
    Idempotency, IdempotencyLayer, InFlight, PostgresStore, store::postgres::BeginError,
};
use tracing::Level;

/// What a client asks for.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) from: i32,
    pub(crate) to: i32,
    pub(crate) amount: i64,
}

/// What it is told.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Receipt {
    pub(crate) transfer: i64,
}

pub(crate) async fn serve(url: &str, address: &str) -> Result<(), Box<dyn Error>> {
    // What the store warns of.
    tracing_subscriber::fmt()
        .with_max_level(Level::WARN)
        .with_writer(io::stderr)
        .init();
    let pool = PgPoolOptions::new().max_connections(20);
    let pool = pool.test_before_acquire(false).connect(url).await?;
    PostgresStore::migrate(&pool).await?;
    let store = PostgresStore::new(pool).await?;
    let idempotency = IdempotencyLayer::new(store.clone())
        .require_key()
        .in_flight(InFlight::Wait(Duration::from_secs(5)))
        // What it held when it was killed can soon be taken over.
        .lease(Duration::from_millis(300));
    let app = Router::new()
        .route("/transfers", post(transfer))
        .layer(idempotency)
        .with_state(store);
    let listener = TcpListener::bind(address).await?;
    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, app).await?;
    Ok(())
}

async fn transfer(
    State(store): State<PostgresStore>,
    operation: Idempotency,
    Json(order): Json<Order>,
) -> Result<Json<Receipt>, Failed> {
    let mut transaction = store.begin(&operation).await?;
    // In the order of their numbers, so that no two transfers wait for each other.
    let mut changes = [(order.from, -order.amount), (order.to, order.amount)];
    changes.sort_unstable();
    for (account, change) in changes {
        sqlx::query("UPDATE accounts SET balance = balance + $2 WHERE id = $1")
            .bind(account)
            .bind(change)
            .execute(&mut *transaction)
            .await?;
    }
    let transfer = sqlx::query_scalar(
        "INSERT INTO transfers (key, source, target, amount) VALUES ($1, $2, $3, $4) RETURNING id",
    )
    .bind(operation.key().as_str())
    .bind(order.from)
    .bind(order.to)
    .bind(order.amount)
    .fetch_one(&mut *transaction)
    .await?;
    transaction.commit_with_answer();
    Ok(Json(Receipt { transfer }))
}

/// Rolled back; the key is released, and the client tries again.
struct Failed;

impl From<sqlx::Error> for Failed {
    fn from(_: sqlx::Error) -> Self {
        Self
    }
}

impl From<BeginError> for Failed {
    fn from(_: BeginError) -> Self {
        Self
    }
}

impl axum::response::IntoResponse for Failed {
    fn into_response(self) -> axum::response::Response {
        StatusCode::SERVICE_UNAVAILABLE.into_response()
    }
}
