//! Real engines for tests, each on a port and in a directory of its own.
//!
//! They end with the test process, however that ends.
#![allow(dead_code, unused_imports, reason = "each test file uses its part")]
#![allow(clippy::disallowed_methods, reason = "servers keep real time")]
#![allow(clippy::unwrap_used, reason = "a test may fail")]
#![allow(unreachable_pub, reason = "a module of test files")]

pub mod keeper;
pub mod pgbouncer;
pub mod postgres;
pub mod proxy;
pub mod redis;
pub mod redis_cluster;

pub use self::{
    keeper::Signal,
    pgbouncer::PgBouncer,
    postgres::PostgresServer,
    proxy::{Fault, Proxy},
    redis::RedisServer,
    redis_cluster::RedisCluster,
};
