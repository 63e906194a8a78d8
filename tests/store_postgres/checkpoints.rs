//! Recovery points: what one attempt leaves for the next.

use bytes::Bytes;
use http::Response;
use sqlx::PgPool;
use tower_idempotency::{
    Fingerprint, PostgresStore, RecordKey, Store,
    store::{Claim, Completion, Lease, Resolution, Standing, postgres::CheckpointError},
};

use crate::stage::{HOUR, acquire, claim, lapse, pool, random_key, record, store, url};

/// Ends its lease and its retention.
async fn expire(pool: &PgPool, key: &RecordKey) {
    let expire = "UPDATE idempotency_keys SET lease_until = clock_timestamp(), \
        kept_until = clock_timestamp() WHERE key = $1";
    let expire = sqlx::query(expire).bind(key.as_bytes());
    expire.execute(pool).await.unwrap();
}

async fn release(store: &PostgresStore, lease: &Lease) -> Completion {
    store.release(lease).await.unwrap()
}

async fn saved(store: &PostgresStore, lease: &Lease, name: &str) -> Option<Bytes> {
    store.saved(lease, name).await.unwrap()
}

#[tokio::test]
async fn a_takeover_reads_what_was_saved() {
    let (store, key) = (store().await, random_key());
    let first = acquire(&store, &claim(&key)).await;
    assert_eq!(saved(&store, &first, "charged").await, None);
    store.save(&first, "charged", "ch_1").await.unwrap();
    store.save(&first, "sent", [0, 255, b'\'']).await.unwrap();
    store.save(&first, "charged", "ch_2").await.unwrap();
    lapse(&pool(&url()).await, &key).await;
    let second = acquire(&store, &claim(&key)).await;
    assert_eq!(second.attempt(), 2);
    assert_eq!(saved(&store, &second, "charged").await.unwrap(), "ch_2");
    assert_eq!(
        saved(&store, &second, "sent").await.unwrap()[..],
        [0, 255, b'\'']
    );
    assert_eq!(saved(&store, &second, "other").await, None);
}

#[tokio::test]
async fn a_zombie_neither_saves_nor_reads() {
    let (store, key) = (store().await, random_key());
    let zombie = acquire(&store, &claim(&key)).await;
    lapse(&pool(&url()).await, &key).await;
    let second = acquire(&store, &claim(&key)).await;
    let refused = store.save(&zombie, "charged", "twice").await;
    assert!(
        matches!(refused, Err(CheckpointError::NotHeld)),
        "{refused:?}"
    );
    let refused = store.saved(&zombie, "charged").await;
    assert!(
        matches!(refused, Err(CheckpointError::NotHeld)),
        "{refused:?}"
    );
    assert_eq!(saved(&store, &second, "charged").await, None);
}

#[tokio::test]
async fn a_retry_of_what_was_released_reads_what_was_saved() {
    let (store, key) = (store().await, random_key());
    let mut lease = acquire(&store, &claim(&key)).await;
    store.save(&lease, "charged", "ch_1").await.unwrap();
    for _ in 0..2 {
        assert_eq!(release(&store, &lease).await, Completion::Applied);
        assert_eq!(release(&store, &lease).await, Completion::AlreadyApplied);
        let next = acquire(&store, &claim(&key)).await;
        assert_eq!(next.attempt(), 1, "a new beginning");
        assert!(next.fence() > lease.fence());
        lease = next;
        assert_eq!(saved(&store, &lease, "charged").await.unwrap(), "ch_1");
    }
}

#[tokio::test]
async fn another_request_under_a_released_key_reads_nothing() {
    let (store, key) = (store().await, random_key());
    let first = acquire(&store, &claim(&key)).await;
    store.save(&first, "charged", "ch_1").await.unwrap();
    release(&store, &first).await;
    let other = Claim::new(&key, Fingerprint::custom([9; 32]));
    let other = acquire(&store, &other).await;
    assert_eq!(saved(&store, &other, "charged").await, None);
    release(&store, &other).await;
    let again = acquire(&store, &claim(&key)).await;
    assert_eq!(saved(&store, &again, "charged").await, None);
}

#[tokio::test]
async fn what_was_saved_under_a_released_key_expires() {
    let (store, key, pool) = (store().await, random_key(), pool(&url()).await);
    let lease = acquire(&store, &claim(&key)).await;
    store.save(&lease, "charged", "ch_1").await.unwrap();
    release(&store, &lease).await;
    let expire = "UPDATE idempotency_keys SET expires_at = clock_timestamp() WHERE key = $1";
    let expire = sqlx::query(expire).bind(key.as_bytes());
    expire.execute(&pool).await.unwrap();
    let next = acquire(&store, &claim(&key)).await;
    assert_eq!(saved(&store, &next, "charged").await, None);
}

/// Late, and its row still there.
#[tokio::test]
async fn a_release_after_the_end_leaves_nothing() {
    let (store, key, pool) = (store().await, random_key(), pool(&url()).await);
    let lease = acquire(&store, &claim(&key)).await;
    store.save(&lease, "charged", "ch_1").await.unwrap();
    expire(&pool, &key).await;
    release(&store, &lease).await;
    let next = acquire(&store, &claim(&key)).await;
    assert_eq!(saved(&store, &next, "charged").await, None);
}

#[tokio::test]
async fn a_released_key_with_something_saved_is_as_if_never_seen() {
    let (store, key, pool) = (store().await, random_key(), pool(&url()).await);
    let lease = acquire(&store, &claim(&key)).await;
    store.save(&lease, "charged", "ch_1").await.unwrap();
    release(&store, &lease).await;
    let late = store.complete(&lease, &record("late"), HOUR).await.unwrap();
    assert_eq!(late, Completion::Lost(Standing::Absent));
    let late = store.renew(&lease).await.unwrap();
    assert_eq!(late, Completion::Lost(Standing::Absent));
    let late = store.saved(&lease, "charged").await;
    assert!(matches!(late, Err(CheckpointError::NotHeld)), "{late:?}");
    store.settled(&key, lease.fence(), HOUR).await.unwrap();
    let waits = "SELECT waiting FROM idempotency_keys WHERE key = $1";
    let waits = sqlx::query_scalar(waits).bind(key.as_bytes());
    let waits: bool = waits.fetch_one(&pool).await.unwrap();
    assert!(!waits, "there was nothing to wait for");
    let resolved = store.resolve(&key, &Response::default(), HOUR).await;
    assert_eq!(resolved.unwrap(), Resolution::Absent);
    assert_eq!(store.forget(&key).await.unwrap(), Standing::Absent);
    let next = acquire(&store, &claim(&key)).await;
    assert_eq!(saved(&store, &next, "charged").await, None, "forgotten");
}

#[tokio::test]
async fn nothing_is_left_of_an_earlier_generation() {
    let (store, key) = (store().await, random_key());
    let completed = acquire(&store, &claim(&key)).await;
    store.save(&completed, "charged", "3").await.unwrap();
    let done = store
        .complete(&completed, &record("done"), HOUR)
        .await
        .unwrap();
    assert_eq!(done, Completion::Applied);
    let over = store.saved(&completed, "charged").await;
    assert!(matches!(over, Err(CheckpointError::NotHeld)), "{over:?}");
}

/// A lease that expires while its row is still there.
#[tokio::test]
async fn an_expired_row_that_is_used_again_has_nothing_saved() {
    let (store, key, pool) = (store().await, random_key(), pool(&url()).await);
    let expired = acquire(&store, &claim(&key)).await;
    store.save(&expired, "charged", "1").await.unwrap();
    expire(&pool, &key).await;
    let next = acquire(&store, &claim(&key)).await;
    assert_eq!(next.attempt(), 1);
    assert_eq!(saved(&store, &next, "charged").await, None);
}

#[tokio::test]
async fn what_is_saved_is_bounded() {
    let (store, key) = (store().await, random_key());
    let lease = acquire(&store, &claim(&key)).await;
    let much = vec![7; 100 * 1024];
    store.save(&lease, "a", &much).await.unwrap();
    let refused = store.save(&lease, "b", &much).await;
    assert!(
        matches!(refused, Err(CheckpointError::TooLarge)),
        "{refused:?}"
    );
    assert_eq!(saved(&store, &lease, "a").await.unwrap(), much);
    assert_eq!(saved(&store, &lease, "b").await, None);
    for name in ["", "a\0b", &"x".repeat(256)] {
        let refused = store.save(&lease, name, "1").await;
        assert!(
            matches!(refused, Err(CheckpointError::InvalidName)),
            "{name:?}"
        );
    }
    store.save(&lease, &"x".repeat(255), "1").await.unwrap();
}
