//! The memory store holds the laws, plain and behind the type that erases it.
#![cfg(all(feature = "memory", feature = "conformance"))]

use tower_idempotency::{
    MemoryStore, SharedStore, Store, store::conformance::Harness, store_conformance,
};

struct InProcess<S>(S);

impl<S: Store + Clone> Harness for InProcess<S> {
    type Store = S;

    async fn client(&self) -> S {
        self.0.clone()
    }

    async fn unreachable(&self) -> Option<S> {
        None
    }
}

store_conformance!(memory, InProcess(MemoryStore::new()), paused);

store_conformance!(memory_in_real_time, InProcess(MemoryStore::new().shards(2)));

store_conformance!(
    shared,
    InProcess(SharedStore::new(MemoryStore::new())),
    paused
);

store_conformance!(
    evicting,
    InProcess(MemoryStore::new().evict_completed()),
    paused
);
