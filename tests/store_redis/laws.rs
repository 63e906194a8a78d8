//! The laws of a store, on one server and on a cluster.

use std::sync::OnceLock;

use tower_idempotency::{RedisStore, store::conformance::Harness, store_conformance};

use crate::servers::{RedisCluster, RedisServer};

/// A client each time, with a connection of its own.
struct OneServer;

impl OneServer {
    fn url() -> String {
        static SERVER: OnceLock<RedisServer> = OnceLock::new();
        SERVER.get_or_init(RedisServer::start).url()
    }
}

impl Harness for OneServer {
    type Store = RedisStore;

    async fn client(&self) -> RedisStore {
        RedisStore::connect(Self::url()).await.unwrap()
    }

    async fn unreachable(&self) -> Option<RedisStore> {
        let server = RedisServer::start();
        Some(RedisStore::connect(server.url()).await.unwrap())
    }
}

store_conformance!(one_server, OneServer);

struct Cluster;

impl Cluster {
    fn urls() -> Vec<String> {
        static CLUSTER: OnceLock<RedisCluster> = OnceLock::new();
        CLUSTER.get_or_init(RedisCluster::start).urls()
    }
}

impl Harness for Cluster {
    type Store = RedisStore;

    async fn client(&self) -> RedisStore {
        RedisStore::connect_cluster(Self::urls()).await.unwrap()
    }

    async fn unreachable(&self) -> Option<RedisStore> {
        let cluster = RedisCluster::start();
        Some(RedisStore::connect_cluster(cluster.urls()).await.unwrap())
    }
}

store_conformance!(cluster, Cluster);
