//! What operators do.

use std::time::Duration;

use bytes::Bytes;
use http::Response;
use tower_idempotency::{
    RecordKey, Store,
    store::{AfterCrash, Claimed, Completion, Resolution, Standing},
};

use crate::stage::{
    HOUR, REQUEST, acquire, claim, lapse, pool, random_key, record, replayed, store, url,
};

#[tokio::test]
async fn a_forgotten_key_is_free_and_its_holder_a_zombie() {
    let (store, key) = (store().await, random_key());
    assert_eq!(store.forget(&key).await.unwrap(), Standing::Absent);
    let lease = acquire(&store, &claim(&key)).await;
    let held = store.forget(&key).await.unwrap();
    assert!(matches!(held, Standing::InFlight { .. }), "{held:?}");
    let lost = store
        .complete(&lease, &record("zombie"), HOUR)
        .await
        .unwrap();
    assert_eq!(lost, Completion::Lost(Standing::Absent));
    let next = acquire(&store, &claim(&key)).await;
    assert!(next.attempt() == 1 && next.fence() > lease.fence());
    store.complete(&next, &record("done"), HOUR).await.unwrap();
    let done = store.forget(&key).await.unwrap();
    assert_eq!(done, Standing::Completed(record("done")));
    acquire(&store, &claim(&key)).await;
}

#[tokio::test]
async fn an_answer_is_given_for_a_lapsed_key_and_no_other() {
    let (store, key) = (store().await, random_key());
    let answer = Response::new(Bytes::from_static(b"by hand"));
    let resolve = async |key: &RecordKey| store.resolve(key, &answer, HOUR).await.unwrap();
    assert_eq!(resolve(&key).await, Resolution::Absent);
    let lease = acquire(&store, &claim(&key)).await;
    assert_eq!(resolve(&key).await, Resolution::StillInFlight);
    lapse(&pool(&url()).await, &key).await;
    let hold = claim(&key).after_crash(AfterCrash::Hold);
    assert_eq!(store.claim(&hold).await.unwrap(), Claimed::Unknown);
    assert_eq!(resolve(&key).await, Resolution::Resolved);
    let by_hand = record("by hand");
    assert_eq!(by_hand.fingerprint(), REQUEST);
    assert_eq!(replayed(&store, &key).await, by_hand);
    let late = store.complete(&lease, &record("late"), HOUR).await.unwrap();
    assert_eq!(late, Completion::Lost(Standing::Completed(by_hand)));
    assert_eq!(resolve(&key).await, Resolution::AlreadyCompleted);
}

#[tokio::test]
async fn an_answer_given_by_hand_expires() {
    let (store, key) = (store().await, random_key());
    acquire(&store, &claim(&key)).await;
    lapse(&pool(&url()).await, &key).await;
    let (answer, moment) = (Response::new(Bytes::new()), Duration::from_millis(1));
    let resolved = store.resolve(&key, &answer, moment).await.unwrap();
    assert_eq!(resolved, Resolution::Resolved);
    tokio::time::sleep(moment * 20).await;
    assert_eq!(acquire(&store, &claim(&key)).await.attempt(), 1);
}
