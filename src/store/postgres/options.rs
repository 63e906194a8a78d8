//! How a store is opened.

use std::{str::FromStr as _, sync::Arc, time::Duration};

use sqlx::{
    PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};

use super::{
    Inner, PostgresStore,
    database::Database,
    expiry::Sweeper,
    pooler,
    reach::{PATIENCE, reach},
    setup::{self, Durability, PostgresOpenError},
    statements::Statements,
    waiting::Waiting,
};

/// How a [`PostgresStore`] is opened.
///
/// ```no_run
/// # async fn open() -> Result<(), tower_idempotency::store::postgres::PostgresOpenError> {
/// use std::time::Duration;
/// use tower_idempotency::store::postgres::PostgresOptions;
///
/// let options = PostgresOptions::new()
///     .schema("billing")
///     .deadline(Duration::from_millis(500));
/// let pool = sqlx::PgPool::connect("postgres://localhost/app").await?;
/// options.migrate(&pool).await?;
/// let store = options.open(pool).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct PostgresOptions {
    schema: Option<String>,
    deadline: Duration,
    sweep_every: Option<Duration>,
    durability: Durability,
}

impl PostgresOptions {
    /// The defaults: a table by the search path of the connection, a deadline of 1.5 s for
    /// each call, clearing away every minute, and a server that keeps what it acknowledged.
    #[must_use]
    pub fn new() -> Self {
        Self {
            schema: None,
            deadline: Duration::from_millis(1500),
            sweep_every: Some(Duration::from_secs(60)),
            durability: Durability::Required,
        }
    }

    /// The schema that holds the table `idempotency_keys`; it must exist. By default the
    /// table is found, and created, by the search path of the connection.
    #[must_use]
    pub fn schema(mut self, schema: impl Into<String>) -> Self {
        self.schema = Some(schema.into());
        self
    }

    /// How long a call may take, the wait for a connection included; 1.5 s by default. Make
    /// it less than the layer's own
    /// [`store_deadline`](crate::IdempotencyLayer::store_deadline), which knows less about
    /// what a call that it cut off has done.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// How often keys that are gone are cleared away; every minute by default. Each node
    /// does so, and they share the work.
    #[must_use]
    pub fn sweep_every(mut self, every: Duration) -> Self {
        self.sweep_every = Some(every);
        self
    }

    /// Leaves clearing away to calls of [`PostgresStore::sweep`].
    #[must_use]
    pub fn sweep_by_hand(mut self) -> Self {
        self.sweep_every = None;
        self
    }

    /// Accepts a server that may forget what it acknowledged: with `synchronous_commit` or
    /// `fsync` off, or with an unlogged table.
    ///
    /// **This lowers the guarantee**: after a crash of the server, operations whose keys it
    /// forgot are carried out again.
    #[must_use]
    pub fn danger_volatile(mut self) -> Self {
        self.durability = Durability::Waived;
        self
    }

    /// Creates the table, if it is not there. Several nodes may do so at once.
    ///
    /// # Errors
    ///
    /// [`PostgresOpenError`] if the server cannot be asked, is a standby, or has a table of that
    /// name that is not ours.
    pub async fn migrate(&self, pool: &PgPool) -> Result<(), PostgresOpenError> {
        setup::migrate(pool, self.schema.as_deref()).await
    }

    /// Opens the store on a pool, which may be the one the application uses.
    ///
    /// A pool with [`test_before_acquire(false)`](PgPoolOptions::test_before_acquire) saves
    /// the store a round trip a call: a connection that died while it idled is found out,
    /// and replaced, all the same.
    ///
    /// Takes two connections at once for a moment, to find out whether a pooler mixes up their
    /// statements. A pool of one, or one that has no two to give within 2 s, is not asked.
    ///
    /// # Errors
    ///
    /// [`PostgresOpenError`], with the remedy in it, if the server, or a pooler before it, cannot
    /// be trusted with keys.
    pub async fn open(&self, pool: PgPool) -> Result<PostgresStore, PostgresOpenError> {
        let schema = setup::check(&pool, self.schema.as_deref(), self.durability).await?;
        pooler::check(&pool).await?;
        let database = Database {
            pool,
            statements: Arc::new(Statements::of(&schema)),
            deadline: self.deadline,
        };
        let sweeper = Sweeper::start(&database, self.sweep_every);
        Ok(PostgresStore(Arc::new(Inner {
            database,
            schema,
            waiting: Waiting::new(),
            _sweeper: sweeper,
        })))
    }

    /// Opens the store on a pool of its own, of at most ten connections, to the server at
    /// `url`, and creates the table if it is not there. Waits a few seconds for a server that
    /// says that it is starting; one that is not there is an error at once.
    ///
    /// # Errors
    ///
    /// [`PostgresOpenError`], with the remedy in it, if the server cannot be reached, or cannot be
    /// trusted with keys.
    pub async fn connect(&self, url: &str) -> Result<PostgresStore, PostgresOpenError> {
        let options = PgConnectOptions::from_str(url)?;
        reach(&options).await?;
        let pool = PgPoolOptions::new()
            .test_before_acquire(false)
            .acquire_timeout(PATIENCE);
        let pool = pool.connect_with(options).await?;
        self.migrate(&pool).await?;
        self.open(pool).await
    }
}

impl Default for PostgresOptions {
    fn default() -> Self {
        Self::new()
    }
}
