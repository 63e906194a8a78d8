//! A server and a store on it, and what all tests do with them.

use std::time::Duration;

use bytes::Bytes;
use http::Response;
use tokio::time::{sleep, timeout};
use tower_idempotency::{
    Fingerprint, Record, RecordKey, RedisStore, Store as _,
    store::{Claim, Claimed, Completion, Lease, StoreError, StoreErrorKind},
};

use crate::servers::RedisServer;

pub(crate) const REQUEST: Fingerprint = Fingerprint::custom([1; 32]);
pub(crate) const HOUR: Duration = Duration::from_secs(60 * 60);

/// A server of its own, and a store on it.
pub(crate) async fn scene() -> (RedisServer, RedisStore) {
    scene_with(&[]).await
}

pub(crate) async fn scene_with(options: &[&str]) -> (RedisServer, RedisStore) {
    let server = RedisServer::start_with(options);
    let store = RedisStore::connect(server.url()).await.unwrap();
    (server, store)
}

pub(crate) fn key(number: u8) -> RecordKey {
    RecordKey::from_bytes([number; 32])
}

/// What a key is called in the server.
pub(crate) fn name(number: u8) -> String {
    format!("idempotency:{}", key(number))
}

pub(crate) fn record(body: &'static str) -> Record {
    Record::answer(REQUEST, &Response::new(Bytes::from_static(body.as_bytes())))
}

pub(crate) async fn claim(store: &RedisStore, number: u8) -> Result<Claimed, StoreError> {
    store.claim(&Claim::new(&key(number), REQUEST)).await
}

pub(crate) async fn acquire(store: &RedisStore, number: u8) -> Lease {
    acquire_for(store, number, HOUR).await
}

pub(crate) async fn acquire_for(store: &RedisStore, number: u8, lease: Duration) -> Lease {
    let key = key(number);
    let claim = Claim::new(&key, REQUEST).lease_for(lease);
    won(store.claim(&claim).await)
}

#[track_caller]
pub(crate) fn won(claimed: Result<Claimed, StoreError>) -> Lease {
    match claimed {
        Ok(Claimed::Acquired(lease)) => lease,
        other => panic!("not acquired, but {other:?}"),
    }
}

#[track_caller]
pub(crate) fn replayed(claimed: Result<Claimed, StoreError>) -> Record {
    match claimed {
        Ok(Claimed::Completed { record, .. }) => record,
        other => panic!("not completed, but {other:?}"),
    }
}

pub(crate) async fn complete(store: &RedisStore, lease: &Lease, record: &Record) {
    let completion = store.complete(lease, record, HOUR).await;
    assert_eq!(completion.unwrap(), Completion::Applied);
}

/// Looks every few milliseconds until it holds, for 30 s at most.
pub(crate) async fn until(holds: impl Fn() -> bool) {
    let held = async {
        while !holds() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(30), held).await.unwrap();
}

/// How a call failed.
#[track_caller]
pub(crate) fn kind<T: std::fmt::Debug>(result: Result<T, StoreError>) -> StoreErrorKind {
    result.expect_err("it fails").kind()
}
