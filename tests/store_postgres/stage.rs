//! One server for all tests of this binary, and what they do with it.

use std::{sync::OnceLock, time::Duration};

use bytes::Bytes;
use http::Response;
use sqlx::{PgPool, postgres::PgPoolOptions};
use tower_idempotency::{
    Fingerprint, PostgresStore, Record, RecordKey, Store,
    store::{Claim, Claimed, Lease, LeaseToken, postgres::PostgresOptions},
};

use crate::servers::PostgresServer;

pub(crate) const REQUEST: Fingerprint = Fingerprint::custom([1; 32]);
pub(crate) const HOUR: Duration = Duration::from_secs(3600);

/// The URL of the server.
pub(crate) fn url() -> String {
    static SERVER: OnceLock<PostgresServer> = OnceLock::new();
    let start = || PostgresServer::start_with(&["max_connections=500"]);
    SERVER.get_or_init(start).url()
}

/// A pool of the runtime of this test.
pub(crate) async fn pool(url: &str) -> PgPool {
    pool_of(5, url).await
}

pub(crate) async fn pool_of(connections: u32, url: &str) -> PgPool {
    let options = PgPoolOptions::new().max_connections(connections);
    let options = options.test_before_acquire(false);
    options.connect(url).await.unwrap()
}

/// A store with a pool of its own, as another node has one.
pub(crate) async fn store() -> PostgresStore {
    open(&pool(&url()).await).await
}

pub(crate) async fn open(pool: &PgPool) -> PostgresStore {
    PostgresStore::migrate(pool).await.unwrap();
    let options = PostgresOptions::new().deadline(Duration::from_secs(20));
    options.open(pool.clone()).await.unwrap()
}

pub(crate) fn random_key() -> RecordKey {
    let mut key = [0; 32];
    key[..16].copy_from_slice(LeaseToken::random().as_bytes());
    RecordKey::from_bytes(key)
}

/// A name nobody else uses.
pub(crate) fn random_name(prefix: &str) -> String {
    let random = u128::from_ne_bytes(*LeaseToken::random().as_bytes());
    format!("{prefix}_{random:032x}")
}

pub(crate) fn record(body: &'static str) -> Record {
    Record::answer(REQUEST, &Response::new(Bytes::from_static(body.as_bytes())))
}

pub(crate) fn claim(key: &RecordKey) -> Claim<'_> {
    Claim::new(key, REQUEST).lease_for(HOUR)
}

pub(crate) async fn acquire(store: &PostgresStore, claim: &Claim<'_>) -> Lease {
    match store.claim(claim).await.unwrap() {
        Claimed::Acquired(lease) => lease,
        other => panic!("not acquired, but {other:?}"),
    }
}

/// What a retry finds.
pub(crate) async fn replayed(store: &PostgresStore, key: &RecordKey) -> Record {
    match store.claim(&claim(key)).await.unwrap() {
        Claimed::Completed { record, .. } => record,
        other => panic!("not completed, but {other:?}"),
    }
}

/// Lets the lease of a key lapse.
pub(crate) async fn lapse(pool: &PgPool, key: &RecordKey) {
    let lapse = "UPDATE idempotency_keys SET lease_until = clock_timestamp() WHERE key = $1";
    let lapse = sqlx::query(lapse).bind(key.as_bytes());
    assert_eq!(lapse.execute(pool).await.unwrap().rows_affected(), 1);
}
