//! Files that are gone with their test, and what all tests here begin with.

use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    time::Duration,
};

use bytes::Bytes;
use http::Response;
use rusqlite::Connection;
use tower_idempotency::{
    Fingerprint, Record, RecordKey, SqliteStore, Store,
    store::{Claim, Claimed, Completion, Lease},
};

pub(crate) const REQUEST: Fingerprint = Fingerprint::custom([1; 32]);
pub(crate) const HOUR: Duration = Duration::from_secs(3600);

/// A directory of its own for each test.
pub(crate) struct Place(PathBuf);

impl Place {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "tower-idempotency-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Relaxed)
        );
        let directory = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&directory).unwrap();
        Self(directory)
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.0.join("keys.db")
    }

    pub(crate) fn other(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(crate) async fn store(&self) -> SqliteStore {
        SqliteStore::open(self.file()).await.unwrap()
    }

    /// Another program that looks at the file.
    pub(crate) fn shell(&self) -> Connection {
        Connection::open(self.file()).unwrap()
    }

    /// Lets time pass on the clock of the file.
    pub(crate) fn pass(&self, time: Duration) {
        let nanos = i64::try_from(time.as_nanos()).unwrap();
        let wall = "CAST(unixepoch('subsec') * 1e9 AS INTEGER)";
        let pass = format!("UPDATE idempotency_file SET clock = max(clock, {wall}) + {nanos}");
        self.shell().execute(&pass, []).unwrap();
    }
}

/// The threads of a store that was just dropped may still be at the file.
impl Drop for Place {
    fn drop(&mut self) {
        for _ in 0..100 {
            if std::fs::remove_dir_all(&self.0).is_ok() {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

pub(crate) fn key(number: u32) -> RecordKey {
    let mut key = [0; 32];
    key[..4].copy_from_slice(&number.to_be_bytes());
    RecordKey::from_bytes(key)
}

/// The answer to the operation with this number.
pub(crate) fn answer(number: u32) -> Record {
    let body = Bytes::from(format!("the answer {number}"));
    Record::answer(REQUEST, &Response::new(body))
}

pub(crate) async fn found(store: &SqliteStore, number: u32) -> Claimed {
    let key = key(number);
    store.claim(&Claim::new(&key, REQUEST)).await.unwrap()
}

pub(crate) async fn acquire(store: &SqliteStore, number: u32) -> Lease {
    match found(store, number).await {
        Claimed::Acquired(lease) => lease,
        other => panic!("{other:?}"),
    }
}

pub(crate) async fn complete(store: &SqliteStore, number: u32, retention: Duration) -> Lease {
    let lease = acquire(store, number).await;
    let completion = store.complete(&lease, &answer(number), retention).await;
    assert_eq!(completion.unwrap(), Completion::Applied);
    lease
}

pub(crate) fn is_replay(claimed: &Claimed, number: u32) -> bool {
    matches!(claimed, Claimed::Completed { record, .. } if *record == answer(number))
}

pub(crate) fn bytes_of(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap()
}
