//! A memory store that holds a million answers of 1 KiB.

use std::{fs, time::Instant};

use bytes::Bytes;
use http::Response;
use tokio::runtime::Runtime;
use tower_idempotency::{
    Fingerprint, MemoryStore, Record, RecordKey, Store as _,
    store::{Claim, Claimed},
};

use crate::{
    allocator::{counts, reset_peak},
    variant::KIB,
};

/// Fills a store with `entries` answers.
pub fn measure(runtime: &Runtime, entries: usize) {
    let store = MemoryStore::new().max_bytes(u64::MAX);
    let mut nanos = Vec::with_capacity(entries);
    reset_peak();
    let (live, rss) = (counts().live, resident());
    runtime.block_on(fill(&store, entries, &mut nanos));
    let counts = counts();
    let beyond = |bytes: u64| bytes as f64 / entries as f64 - KIB as f64;
    println!("{entries} answers of 1 KiB in a MemoryStore, bytes each beyond the payload");
    println!("  {:<42} {:>6.0}", "allocated", beyond(counts.live - live));
    println!(
        "  {:<42} {:>6.0}",
        "allocated, peak",
        beyond(counts.peak - live)
    );
    if let (Some(before), Some(after)) = (rss, resident()) {
        println!("  {:<42} {:>6.0}", "resident", beyond(after - before));
    }
    nanos.sort_unstable();
    let slowest = |nth: usize| nanos[nanos.len().saturating_sub(nth)] as f64 / 1e3;
    println!(
        "  {:<42} {:>6.0} µs",
        "slowest claim while growing",
        slowest(1)
    );
    println!("  {:<42} {:>6.0} µs", "tenth slowest", slowest(10));
    println!("  {:<42} {:>6.2} µs", "median claim", slowest(entries / 2));
    println!();
}

async fn fill(store: &MemoryStore, entries: usize, nanos: &mut Vec<u64>) {
    for entry in 0..entries {
        let key = key(entry);
        let fingerprint = Fingerprint::custom(*key.as_bytes());
        let claim = Claim::new(&key, fingerprint);
        let began = Instant::now();
        let claimed = store.claim(&claim).await;
        nanos.push(u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX));
        let Ok(Claimed::Acquired(lease)) = claimed else {
            panic!("a new key is acquired");
        };
        let response = Response::new(Bytes::from(vec![b'x'; KIB]));
        let record = Record::answer(fingerprint, &response);
        let completed = store.complete(&lease, &record, claim.retention()).await;
        completed.expect("a lease that is held is completed");
    }
}

/// Spread like a digest.
fn key(entry: usize) -> RecordKey {
    let mut bytes = [0; 32];
    for (word, salt) in bytes.chunks_exact_mut(8).zip(1..) {
        let mixed = (entry as u64 + salt * 0x1_0000_0000).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        word.copy_from_slice(&(mixed ^ mixed >> 29).to_le_bytes());
    }
    RecordKey::from_bytes(bytes)
}

/// The resident memory of this process in bytes, where the system tells.
fn resident() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}
