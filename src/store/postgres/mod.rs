//! Keys in PostgreSQL, beside the data they protect.
//!
//! Needs Rust 1.94, as `sqlx` does; the rest of the crate does not.
//!
//! ```no_run
//! # #[cfg(feature = "axum")]
//! # async fn open() -> Result<(), Box<dyn std::error::Error>> {
//! use axum::{Router, routing::post};
//! use tower_idempotency::{IdempotencyLayer, PostgresStore, store::postgres::sqlx};
//!
//! let pool = sqlx::PgPool::connect("postgres://localhost/app").await?;
//! PostgresStore::migrate(&pool).await?;
//! let store = PostgresStore::new(pool).await?;
//!
//! let app: Router = Router::new()
//!     .route("/payments", post(|| async { "charged once" }))
//!     .layer(IdempotencyLayer::new(store));
//! # Ok(())
//! # }
//! ```
//!
//! # What it promises
//!
//! A key that was claimed, and an answer that was recorded, are on the disk of the server
//! before anybody hears of it. They survive every crash of a node, and of the server. All
//! nodes see the same keys, by the clock of the server.
//!
//! # Exactly once
//!
//! What a handler writes elsewhere can happen twice: if its node dies between the write and
//! the record, a retry runs it again. What it writes **in this database** happens exactly once
//! per key and retention, if it writes it in the transaction in which its answer is recorded:
//!
//! ```no_run
//! # #[cfg(feature = "axum")] mod handler {
//! use axum::{extract::State, http::StatusCode};
//! use tower_idempotency::{Idempotency, PostgresStore, store::postgres::sqlx};
//!
//! async fn pay(
//!     State(store): State<PostgresStore>,
//!     operation: Idempotency,
//! ) -> Result<&'static str, StatusCode> {
//!     let failed = |_| StatusCode::INTERNAL_SERVER_ERROR;
//!     let mut transaction = store.begin(&operation).await.map_err(|_| failed(()))?;
//!     sqlx::query("UPDATE accounts SET balance = balance - 100 WHERE id = 1")
//!         .execute(&mut *transaction)
//!         .await
//!         .map_err(|_| failed(()))?;
//!     transaction.commit_with_answer();
//!     Ok("paid")
//! }
//! # }
//! ```
//!
//! The transaction is committed together with the record, before the answer leaves; with a
//! streamed answer, before its end does. The record is guarded by lease token and fence:
//!
//! | what happens | the writes | the client gets |
//! |---|---|---|
//! | nothing special | committed with the record | the answer |
//! | the node dies before the commit | rolled back | nothing; its retry runs again |
//! | the lease was lost | rolled back | the other attempt's answer, or 409 |
//! | the answer is one that releases the key, or the handler panics | rolled back | that answer; a retry runs again |
//! | the connection is lost before the commit, or the commit is refused | rolled back | 503 `idempotency_unconfirmed`; a retry runs again |
//! | the connection is lost during the commit | found out | as if it was not lost |
//! | nobody can find out while the lease lives | either | 503 `idempotency_unconfirmed`; a retry gets the answer, or runs again |
//! | the transaction is dropped | rolled back | the answer, which is recorded |
//!
//! A retry that takes a key over waits until a commit under way is over. The transaction does
//! not touch the row of its key before it is committed, so the lease is renewed meanwhile.
//! Each open transaction takes a connection of the pool: have more of them than handlers run
//! at once. It is `READ COMMITTED` unless the handler begins it with `SET TRANSACTION`; under
//! a stricter isolation one that is open for longer than a third of the lease will not commit.
//!
//! [`AfterCrash::Takeover`](crate::AfterCrash::Takeover), the default, is then safe: an
//! attempt that was lost has written nothing. Wrappers around the store change nothing about
//! that; handlers use the store inside.
//!
//! # Recovery points
//!
//! A handler that calls others in between can save how far it came, and the next attempt reads
//! it, be it one that takes over from a node that was lost, or a retry after a 500:
//!
//! ```no_run
//! # use tower_idempotency::{Idempotency, PostgresStore, store::postgres::CheckpointError};
//! # async fn ask_provider(_key: &tower_idempotency::Key) -> String { String::new() }
//! async fn charge(
//!     store: &PostgresStore,
//!     operation: &Idempotency,
//! ) -> Result<String, CheckpointError> {
//!     if let Some(charge) = store.saved(operation, "charged").await? {
//!         return Ok(String::from_utf8_lossy(&charge).into_owned());
//!     }
//!     // The provider may know the charge already: an attempt may have been lost right here.
//!     let charge = ask_provider(&operation.child_key("charge")).await;
//!     store.save(operation, "charged", &charge).await?;
//!     Ok(charge)
//! }
//! ```
//!
//! What is saved is guarded as the record is: who lost the lease can neither save nor read.
//! An answer that releases the key, as a 500 does, leaves it for a retry of the same request,
//! for the retention of the key. **That retry has [`attempt()`](crate::Idempotency::attempt)
//! 1:** read what was saved always, never only behind `attempt() > 1`. It is gone once the key
//! is completed, expired, forgotten, or claimed for another request.
//!
//! # What breaks the promise
//!
//! * **A standby that is promoted** without having had the last writes: it has forgotten
//!   their keys, and operations whose answers were recorded run again when they are retried.
//!   Fences may restart. So it is with all asynchronous replication; with
//!   `synchronous_standby_names` set, and `synchronous_commit` at `on` or above, a standby
//!   has what was acknowledged.
//! * **`synchronous_commit = off`, `fsync = off`, an unlogged table**: the server forgets
//!   what it acknowledged when it crashes. [`open`](PostgresOptions::open) refuses them,
//!   unless told by [`danger_volatile`](PostgresOptions::danger_volatile).
//! * **A restored backup**: what came after it is forgotten.
//! * **A clock that is set**: leases lapse and records expire by the clock of the server.
//! * **A transaction that somebody left open** on a connection of the pool: what is written there
//!   is not committed. A `begin` of `sqlx` 0.9 that is cancelled leaves one, and a handler that is
//!   not protected is cancelled when its client leaves. The store does without a connection on
//!   which it finds one, but does not notice one that was left a moment ago. Where others begin
//!   transactions, let them do so on a task of its own (`tokio::spawn`), or give the store a pool
//!   of its own.
//!
//! A standby cannot be used: it takes no writes, and opening a store on one is refused. With
//! several hosts behind one name, have it choose the primary.
//!
//! # What the server needs
//!
//! PostgreSQL 12 or later, one table and one sequence ([`PostgresStore::SCHEMA`]), and for
//! each node as many connections as its pool has, and one more on which it is notified of
//! leases that end, once a request of it waits for another node. Where another role migrates,
//! that of the store needs
//!
//! ```text
//! GRANT USAGE ON SCHEMA public TO app;
//! GRANT SELECT, INSERT, UPDATE, DELETE ON idempotency_keys TO app;
//! GRANT USAGE ON SEQUENCE idempotency_fences TO app;
//! ```
//!
//! A call that is over its deadline is given up, and its connection with it, but the server goes
//! on with the statement. Where it has to wait long, as for a locked table, such connections
//! gather beside those of the pool, up to its `max_connections`. Set a `statement_timeout` for
//! the role, somewhat longer than the deadline; it then holds for what handlers ask, too.
//!
//! Behind a pooler that pools by transaction, such as PgBouncer, notifications do not arrive.
//! The store notices that, and those who wait look twice a second instead. Such a pooler must
//! keep track of prepared statements (PgBouncer 1.21 or later, with its
//! `max_prepared_statements` above 0). One that does not has one client run the statements of
//! another, with `statement-cache-capacity=0` as well; [`open`](PostgresOptions::open) refuses it
//! where it finds that out. Have it pool by session, or go past it. PgBouncer also needs
//! `ignore_startup_parameters = extra_float_digits`, as `sqlx` sends that. The tests have passed
//! behind PgBouncer 1.24 by transaction, and behind 1.18 by session.
//!
//! Pools and transactions are those of `sqlx` 0.9, which is re-exported here. For TLS, or for
//! its macros, name `sqlx = "0.9"` in your own `Cargo.toml`, with its features for that.
//!
//! The rows of a busy table change twice each: leave autovacuum on. Replays write nothing.
//! Keys that are gone are cleared away in the background, see [`PostgresStore::sweep`].
//!
//! # How to choose
//!
//! Take this store if the application has a PostgreSQL server anyway: keys are then as safe
//! as its data, and nothing else has to be run. A store in memory, such as Redis, answers
//! sooner and takes more requests a second, and may forget what it acknowledged.

mod answer;
mod checkpoints;
mod database;
mod expiry;
mod handover;
mod operator;
mod options;
mod pooler;
mod reach;
mod setup;
mod statements;
mod transaction;
mod verbs;
mod waiting;

use std::{fmt, sync::Arc};

pub use ::sqlx;
use sqlx::PgPool;

pub use self::{
    checkpoints::CheckpointError,
    options::PostgresOptions,
    setup::PostgresOpenError,
    transaction::{BeginError, Transaction},
};
use self::{database::Database, expiry::Sweeper, statements::Statements, waiting::Waiting};

/// Keeps keys, leases and records in PostgreSQL. See the [module documentation](self).
///
/// Cheap to clone; clones share everything.
#[derive(Clone)]
pub struct PostgresStore(Arc<Inner>);

struct Inner {
    database: Database,
    schema: String,
    waiting: Waiting,
    _sweeper: Sweeper,
}

impl PostgresStore {
    /// What [`migrate`](Self::migrate) runs, for other tools that migrate.
    pub const SCHEMA: &str = setup::SCHEMA;

    /// Creates the table by the search path of the connection, if it is not there. Several
    /// nodes may do so at once.
    ///
    /// # Errors
    ///
    /// See [`PostgresOptions::migrate`].
    pub async fn migrate(pool: &PgPool) -> Result<(), PostgresOpenError> {
        PostgresOptions::new().migrate(pool).await
    }

    /// Opens the store on a pool, with the defaults of [`PostgresOptions`].
    ///
    /// # Errors
    ///
    /// See [`PostgresOptions::open`].
    pub async fn new(pool: PgPool) -> Result<Self, PostgresOpenError> {
        PostgresOptions::new().open(pool).await
    }

    /// Opens the store on a pool of its own, with the defaults of [`PostgresOptions`], and
    /// creates the table if it is not there.
    ///
    /// # Errors
    ///
    /// See [`PostgresOptions::connect`].
    pub async fn connect(url: &str) -> Result<Self, PostgresOpenError> {
        PostgresOptions::new().connect(url).await
    }

    fn database(&self) -> &Database {
        &self.0.database
    }

    fn statements(&self) -> &Statements {
        &self.0.database.statements
    }
}

impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresStore")
            .field("schema", &self.0.schema)
            .finish_non_exhaustive()
    }
}
