//! The memory store, and the cache over it: a hot replay of any store with a cache.

use tower_idempotency::{MemoryStore, store::Cached};

use crate::{
    layered,
    load::{Effort, report},
};

pub async fn measure(effort: &Effort) {
    let (_, memory) = layered::over(MemoryStore::new()).await;
    let (_, cached) = layered::over(Cached::new(MemoryStore::new())).await;
    report(
        "memory, replays: cached",
        effort.compare(memory, cached).await,
    );
}
