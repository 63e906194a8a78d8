//! One server for all tests of this binary.

use std::sync::OnceLock;

use sqlx::{PgPool, postgres::PgPoolOptions};
use tower_idempotency::PostgresStore;

use crate::servers::PostgresServer;

/// The URL of the server.
pub(crate) fn url() -> String {
    static SERVER: OnceLock<PostgresServer> = OnceLock::new();
    SERVER
        .get_or_init(|| PostgresServer::start_with(&["max_connections=500"]))
        .url()
}

/// A pool of the runtime of this test.
pub(crate) async fn pool(url: &str) -> PgPool {
    let options = PgPoolOptions::new().max_connections(5);
    let options = options.test_before_acquire(false);
    options.connect(url).await.unwrap()
}

/// A store with a pool of its own, as another node has one.
pub(crate) async fn store() -> PostgresStore {
    let pool = pool(&url()).await;
    PostgresStore::migrate(&pool).await.unwrap();
    PostgresStore::new(pool).await.unwrap()
}
