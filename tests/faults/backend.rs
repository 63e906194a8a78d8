//! The engines.

use tower_idempotency::Store;

use crate::servers::Signal;

#[cfg(feature = "postgres")]
pub(crate) use self::postgres::Postgres;
#[cfg(feature = "redis")]
pub(crate) use self::redis::Redis;

/// A server of an engine, and how a node reaches it.
pub(crate) trait Backend: Send + Sync + Sized + 'static {
    type Store: Store;

    /// With an empty store.
    fn start() -> impl Future<Output = Self> + Send;

    fn start_again(&mut self);

    fn signal(&mut self, signal: Signal);

    fn port(&self) -> u16;

    /// Its URL, or that of a proxy before it, which listens on `port`.
    fn url(port: u16) -> String;

    fn connect(port: u16) -> impl Future<Output = Self::Store> + Send;
}

#[cfg(feature = "redis")]
mod redis {
    use tower_idempotency::RedisStore;

    use super::Backend;
    use crate::servers::{RedisServer, Signal};

    pub(crate) struct Redis(RedisServer);

    impl Backend for Redis {
        type Store = RedisStore;

        async fn start() -> Self {
            Self(RedisServer::start())
        }

        fn start_again(&mut self) {
            self.0.start_again();
        }

        fn signal(&mut self, signal: Signal) {
            self.0.signal(signal);
        }

        fn port(&self) -> u16 {
            self.0.port()
        }

        fn url(port: u16) -> String {
            format!("redis://127.0.0.1:{port}")
        }

        async fn connect(port: u16) -> RedisStore {
            RedisStore::connect(Self::url(port)).await.unwrap()
        }
    }
}

#[cfg(feature = "postgres")]
mod postgres {
    use tower_idempotency::PostgresStore;

    use super::Backend;
    use crate::servers::{PostgresServer, Signal};

    pub(crate) struct Postgres(PostgresServer);

    impl Backend for Postgres {
        type Store = PostgresStore;

        async fn start() -> Self {
            let server = PostgresServer::start();
            let pool = sqlx::PgPool::connect(&server.url()).await.unwrap();
            PostgresStore::migrate(&pool).await.unwrap();
            Self(server)
        }

        fn start_again(&mut self) {
            self.0.start_again();
        }

        fn signal(&mut self, signal: Signal) {
            self.0.signal(signal);
        }

        fn port(&self) -> u16 {
            self.0.port()
        }

        fn url(port: u16) -> String {
            format!("postgres://postgres@127.0.0.1:{port}/postgres")
        }

        async fn connect(port: u16) -> PostgresStore {
            PostgresStore::connect(&Self::url(port)).await.unwrap()
        }
    }
}
