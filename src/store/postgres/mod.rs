//! Keys in PostgreSQL, beside the data they protect.
//!
//! Needs Rust 1.94, as `sqlx` does; the rest of the crate does not.
//!
//! ```no_run
//! # #[cfg(feature = "axum")]
//! # async fn open() -> Result<(), Box<dyn std::error::Error>> {
//! use axum::{Router, routing::post};
//! use tower_idempotency::{IdempotencyLayer, PostgresStore};
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
//!
//! A standby cannot be used: it takes no writes, and opening a store on one is refused. With
//! several hosts behind one name, have it choose the primary.
//!
//! # What the server needs
//!
//! PostgreSQL 12 or later, one table and one sequence ([`PostgresStore::SCHEMA`]), and for
//! each node as many connections as its pool has, and one more on which it is notified of
//! leases that end, once a request of it waits for another node.
//!
//! Behind a pooler that pools by transaction, such as PgBouncer, notifications do not arrive.
//! The store notices that, and those who wait look twice a second instead. Such a pooler must
//! also know prepared statements (PgBouncer: `max_prepared_statements`); else set
//! `statement-cache-capacity=0` in the URL.
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
mod database;
mod expiry;
mod operator;
mod options;
mod setup;
mod statements;
mod verbs;
mod waiting;

use std::{fmt, sync::Arc};

use sqlx::PgPool;

use self::{database::Database, expiry::Sweeper, statements::Statements, waiting::Waiting};
pub use self::{options::PostgresOptions, setup::SetupError};

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
    pub async fn migrate(pool: &PgPool) -> Result<(), SetupError> {
        PostgresOptions::new().migrate(pool).await
    }

    /// Opens the store on a pool, with the defaults of [`PostgresOptions`].
    ///
    /// # Errors
    ///
    /// See [`PostgresOptions::open`].
    pub async fn new(pool: PgPool) -> Result<Self, SetupError> {
        PostgresOptions::new().open(pool).await
    }

    /// Opens the store on a pool of its own, with the defaults of [`PostgresOptions`], and
    /// creates the table if it is not there.
    ///
    /// # Errors
    ///
    /// See [`PostgresOptions::connect`].
    pub async fn connect(url: &str) -> Result<Self, SetupError> {
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
