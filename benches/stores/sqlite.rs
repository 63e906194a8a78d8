//! SQLite: the verbs of the store by themselves, and the layer.

use std::{process, time::Duration};

use bytes::Bytes;
use http::Response;
use tower_idempotency::{
    Fingerprint, Record, RecordKey, SqliteStore, Store as _,
    store::{Claim, Claimed},
};

use crate::{
    layered,
    load::{AsyncAsk, CLIENTS, Effort, report},
    variant::KIB,
};

pub async fn measure(effort: &Effort) {
    let directory = std::env::temp_dir().join(format!("stores-bench-{}", process::id()));
    std::fs::create_dir_all(&directory).expect("a directory");
    let store = SqliteStore::open(directory.join("keys.db"))
        .await
        .expect("a store");
    let (first, replay) = layered::over(store.clone()).await;

    let bare = Bare::new(store);
    for client in 0..CLIENTS {
        bare.first(OLD + client).await;
    }
    let rates = effort.compare(Pair(bare.clone()), first).await;
    report("SQLite, first requests", rates);
    report(
        "SQLite, replays",
        effort.compare(Replay(bare), replay).await,
    );
    std::fs::remove_dir_all(&directory).expect("the directory is ours");
}

const OLD: u64 = 1 << 40;

/// The store, with nothing around it.
#[derive(Clone)]
struct Bare {
    store: SqliteStore,
    record: Record,
}

impl Bare {
    fn new(store: SqliteStore) -> Self {
        let response = Response::new(Bytes::from(vec![b'x'; KIB]));
        let record = Record::answer(REQUEST, &response);
        Self { store, record }
    }

    async fn first(&self, number: u64) {
        let Claimed::Acquired(lease) = self.claim(number).await else {
            panic!("the key is new");
        };
        let retention = Duration::from_secs(86_400);
        let completed = self.store.complete(&lease, &self.record, retention).await;
        completed.expect("an answer");
    }

    async fn claim(&self, number: u64) -> Claimed {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
        let key = RecordKey::from_bytes(key);
        self.store
            .claim(&Claim::new(&key, REQUEST))
            .await
            .expect("an answer")
    }
}

const REQUEST: Fingerprint = Fingerprint::custom([7; 32]);

/// Claim and complete.
struct Pair(Bare);

impl AsyncAsk for Pair {
    async fn ask(&self, _client: u64, number: u64) {
        self.0.first(number).await;
    }
}

struct Replay(Bare);

impl AsyncAsk for Replay {
    async fn ask(&self, client: u64, _number: u64) {
        let found = self.0.claim(OLD + client).await;
        assert!(matches!(found, Claimed::Completed { .. }), "{found:?}");
    }
}
