mod model;

use super::*;
use crate::{
    fingerprint::Fingerprint,
    store::{AfterCrash, StoreErrorKind},
};
use tokio::{
    join,
    time::{Instant, advance, sleep},
};

const REQUEST: Fingerprint = Fingerprint::custom([1; 32]);
const HOUR: Duration = Duration::from_secs(3600);

fn key(number: u8) -> RecordKey {
    RecordKey::from_bytes([number; 32])
}

fn record(bytes: usize) -> Record {
    Record::answer(REQUEST, &Response::new(vec![b'x'; bytes].into()))
}

async fn acquire(store: &MemoryStore, number: u8) -> Lease {
    match store.claim(&Claim::new(&key(number), REQUEST)).await {
        Ok(Claimed::Acquired(lease)) => lease,
        other => panic!("{other:?}"),
    }
}

async fn complete(store: &MemoryStore, number: u8, bytes: usize, retention: Duration) {
    let lease = acquire(store, number).await;
    let completion = store.complete(&lease, &record(bytes), retention).await;
    assert_eq!(completion.unwrap(), Completion::Applied);
}

async fn found(store: &MemoryStore, number: u8) -> Claimed {
    let key = key(number);
    let claim = Claim::new(&key, REQUEST).after_crash(AfterCrash::Hold);
    store.claim(&claim).await.unwrap()
}

async fn is_full(store: &MemoryStore) -> bool {
    match store.claim(&Claim::new(&key(255), REQUEST)).await {
        Err(error) => error.kind() == StoreErrorKind::Full,
        Ok(_) => panic!("claimed"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_store_refuses_new_keys_and_nothing_else() {
    let store = MemoryStore::new().max_entries(2);
    let lease = acquire(&store, 1).await;
    complete(&store, 2, 10, HOUR).await;
    assert!(is_full(&store).await);
    assert!(matches!(found(&store, 1).await, Claimed::InFlight { .. }));
    assert!(matches!(found(&store, 2).await, Claimed::Completed { .. }));
    assert_eq!(store.renew(&lease).await.unwrap(), Completion::Applied);
    advance(Duration::from_secs(31)).await;
    let second = acquire(&store, 1).await;
    assert_eq!(second.attempt(), 2);
    assert_eq!(store.release(&second).await.unwrap(), Completion::Applied);
    acquire(&store, 3).await;
}

#[tokio::test(start_paused = true)]
async fn a_store_full_of_bytes_takes_records_but_no_keys() {
    let store = MemoryStore::new().max_bytes(10_000);
    let (one, two) = (acquire(&store, 1).await, acquire(&store, 2).await);
    for lease in [&one, &two] {
        let completion = store.complete(lease, &record(9_000), HOUR).await;
        assert_eq!(completion.unwrap(), Completion::Applied);
    }
    assert_eq!(store.bytes(), 2 * 9_300);
    assert!(is_full(&store).await);
    store.forget(&key(1));
    assert_eq!(store.bytes(), 9_300);
    acquire(&store, 3).await;
}

#[tokio::test(start_paused = true)]
async fn what_expired_makes_room() {
    let store = MemoryStore::new().max_entries(3);
    complete(&store, 1, 10, Duration::from_secs(5)).await;
    complete(&store, 2, 10, HOUR).await;
    acquire(&store, 3).await;
    assert!(is_full(&store).await);
    advance(Duration::from_secs(6)).await;
    acquire(&store, 4).await;
    assert!(matches!(found(&store, 2).await, Claimed::Completed { .. }));
    assert!(is_full(&store).await);
}

#[tokio::test(start_paused = true)]
async fn eviction_takes_the_record_that_expires_first_and_nothing_in_flight() {
    let store = MemoryStore::new().max_entries(4).evict_completed();
    let held = acquire(&store, 1).await;
    complete(&store, 2, 10, 2 * HOUR).await;
    complete(&store, 3, 10, HOUR).await;
    complete(&store, 4, 10, 3 * HOUR).await;
    acquire(&store, 5).await;
    assert_eq!(store.len(), 4);
    assert!(matches!(found(&store, 2).await, Claimed::Completed { .. }));
    assert!(matches!(found(&store, 4).await, Claimed::Completed { .. }));
    acquire(&store, 6).await;
    acquire(&store, 7).await;
    assert!(is_full(&store).await, "all are in flight");
    let completion = store.complete(&held, &record(1), HOUR).await;
    assert_eq!(completion.unwrap(), Completion::Applied);
}

#[tokio::test(start_paused = true)]
async fn eviction_frees_enough_bytes() {
    let store = MemoryStore::new().max_bytes(10_000).evict_completed();
    for number in 0..100 {
        complete(&store, number, 1_000, HOUR).await;
        assert!(store.bytes() < 11_300);
    }
    assert!(store.len() >= 7);
}

#[tokio::test(start_paused = true)]
async fn counters_return_to_zero() {
    let store = MemoryStore::new();
    complete(&store, 1, 1_000, Duration::from_secs(5)).await;
    complete(&store, 2, 1_000, HOUR).await;
    let lease = acquire(&store, 3).await;
    acquire(&store, 4).await;
    assert_eq!((store.len(), store.bytes()), (4, 2_000 + 4 * 300));
    store.release(&lease).await.unwrap();
    store.forget(&key(2));
    assert_eq!(store.sweep(), 0);
    advance(25 * HOUR).await;
    assert_eq!(store.sweep(), 2);
    assert!(store.is_empty());
    assert_eq!(store.bytes(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_expired_key_that_is_claimed_again_is_counted_once() {
    let store = MemoryStore::new();
    for _ in 0..3 {
        complete(&store, 1, 1_000, Duration::from_secs(5)).await;
        assert_eq!((store.len(), store.bytes()), (1, 1_300));
        advance(Duration::from_millis(5_001)).await;
    }
}

#[tokio::test]
async fn clones_share_keys_and_bounds() {
    let store = MemoryStore::new();
    let clone = store.clone().max_entries(1);
    acquire(&store, 1).await;
    assert_eq!(clone.len(), 1);
    assert!(is_full(&store).await);
    let other = store.shards(4);
    assert!(other.is_empty());
    acquire(&other, 1).await;
    assert!(is_full(&other).await, "bounds are kept");
}

#[test]
#[should_panic(expected = "power of two")]
fn shards_are_a_power_of_two() {
    let _ = MemoryStore::new().shards(3);
}

#[tokio::test(start_paused = true)]
async fn what_is_forgotten_can_be_claimed_and_not_completed() {
    let store = MemoryStore::new();
    let zombie = acquire(&store, 1).await;
    let remaining = Duration::from_secs(30);
    assert_eq!(store.forget(&key(1)), Standing::InFlight { remaining });
    assert_eq!(store.forget(&key(1)), Standing::Absent);
    let lost = Completion::Lost(Standing::Absent);
    let completion = store.complete(&zombie, &record(1), HOUR).await;
    assert_eq!(completion.unwrap(), lost);
    complete(&store, 1, 1, HOUR).await;
    assert_eq!(store.forget(&key(1)), Standing::Completed(record(1)));
}

#[tokio::test(start_paused = true)]
async fn only_a_lapsed_key_can_be_resolved() {
    let store = MemoryStore::new();
    let answer = Response::new(Bytes::from_static(b"by hand"));
    let resolve = || store.resolve(&key(1), &answer, HOUR);
    assert_eq!(resolve(), Resolution::Absent);
    let zombie = acquire(&store, 1).await;
    assert_eq!(resolve(), Resolution::StillInFlight);
    advance(Duration::from_secs(30)).await;
    assert_eq!(found(&store, 1).await, Claimed::Unknown);
    assert_eq!(resolve(), Resolution::Resolved);
    assert_eq!(resolve(), Resolution::AlreadyCompleted);
    let resolved = Record::answer(REQUEST, &answer);
    let replay = Claimed::Completed {
        record: resolved.clone(),
        remaining: HOUR,
    };
    assert_eq!(found(&store, 1).await, replay);
    let completion = store.complete(&zombie, &record(1), HOUR).await;
    let lost = Completion::Lost(Standing::Completed(resolved));
    assert_eq!(completion.unwrap(), lost);
    assert_eq!(store.bytes(), 307);
    advance(HOUR).await;
    assert_eq!(resolve(), Resolution::Absent);
    advance(Duration::from_secs(1)).await;
    store.sweep();
    assert_eq!(store.bytes(), 0);
}

/// How long a waiter sleeps while `end` happens a second later.
async fn slept(store: &MemoryStore, lease: &Lease, end: impl Future) -> Duration {
    let start = Instant::now();
    let settled = async {
        let settled = store.settled(lease.key(), lease.fence(), HOUR).await;
        settled.unwrap();
        start.elapsed()
    };
    let end = async {
        sleep(Duration::from_secs(1)).await;
        end.await;
    };
    join!(settled, end).0
}

#[tokio::test(start_paused = true)]
async fn waiters_wake_on_every_end_and_on_nothing_else() {
    let store = MemoryStore::new();
    let lease = acquire(&store, 1).await;
    let record = record(1);
    let complete = store.complete(&lease, &record, HOUR);
    assert_eq!(slept(&store, &lease, complete).await.as_secs(), 1);

    let lease = acquire(&store, 2).await;
    let release = store.release(&lease);
    assert_eq!(slept(&store, &lease, release).await.as_secs(), 1);

    let lease = acquire(&store, 3).await;
    let forget = async { store.forget(&key(3)) };
    assert_eq!(slept(&store, &lease, forget).await.as_secs(), 1);

    let lease = acquire(&store, 4).await;
    let nothing = async {};
    assert_eq!(slept(&store, &lease, nothing).await.as_secs(), 30);

    let lease = acquire(&store, 5).await;
    let renew = store.renew(&lease);
    assert_eq!(slept(&store, &lease, renew).await.as_secs(), 31);
}

#[tokio::test]
async fn waiters_and_completions_on_many_threads_never_miss() {
    let store = MemoryStore::new();
    for number in 0..200 {
        let lease = acquire(&store, number).await;
        let waiter = {
            let (store, lease) = (store.clone(), lease.clone());
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread();
                let runtime = { runtime }.enable_time().build().unwrap();
                let settled = store.settled(lease.key(), lease.fence(), HOUR);
                runtime.block_on(async { timeout(Duration::from_secs(20), settled).await })
            })
        };
        std::thread::yield_now();
        store.complete(&lease, &record(1), HOUR).await.unwrap();
        waiter.join().unwrap().unwrap().unwrap();
    }
}
