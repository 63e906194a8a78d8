//! It holds the laws of a store.

use sqlx::PgPool;
use tower_idempotency::{PostgresStore, store::conformance::Harness, store_conformance};

use crate::{servers::PostgresServer, stage};

struct Server;

impl Harness for Server {
    type Store = PostgresStore;

    async fn client(&self) -> PostgresStore {
        stage::store().await
    }

    /// A store whose server was switched off.
    async fn unreachable(&self) -> Option<PostgresStore> {
        let server = PostgresServer::start();
        let pool = PgPool::connect(&server.url()).await.unwrap();
        PostgresStore::migrate(&pool).await.unwrap();
        let store = PostgresStore::new(pool).await.unwrap();
        drop(server);
        Some(store)
    }
}

store_conformance!(postgres, Server);
