//! What operators do by hand.

use std::time::Duration;

use bytes::Bytes;
use http::Response;
use tower_idempotency::{
    AfterCrash, Record, RedisStore, Store as _,
    store::{Claim, Claimed, Completion, Resolution, Standing},
};

use crate::{
    scene::{HOUR, REQUEST, acquire, acquire_for, claim, complete, key, record, replayed, scene},
    servers::{Fault, Proxy},
};

#[tokio::test]
async fn what_is_forgotten_can_be_claimed_and_not_completed() {
    let (_server, store) = scene().await;
    assert_eq!(store.forget(&key(1)).await.unwrap(), Standing::Absent);
    let zombie = acquire(&store, 1).await;
    match store.forget(&key(1)).await.unwrap() {
        Standing::InFlight { remaining, .. } => assert!(remaining <= HOUR && remaining > HOUR / 2),
        other => panic!("{other:?}"),
    }
    assert_eq!(store.forget(&key(1)).await.unwrap(), Standing::Absent);
    let completion = store.complete(&zombie, &record("zombie"), HOUR).await;
    assert_eq!(completion.unwrap(), Completion::Lost(Standing::Absent));
    let lease = acquire(&store, 1).await;
    assert!(lease.fence() > zombie.fence());
    complete(&store, &lease, &record("second")).await;
    let forgotten = store.forget(&key(1)).await.unwrap();
    assert_eq!(forgotten, Standing::Completed(record("second")));
}

/// A release looks at the record that is in its way in a second call.
#[tokio::test]
async fn what_is_forgotten_while_a_release_looks_at_it_is_free() {
    let (server, operator) = scene().await;
    let proxy = Proxy::start(server.port()).await;
    let address = format!("redis://127.0.0.1:{}", proxy.port());
    let store = RedisStore::connect(address).await.unwrap().deadline(HOUR);
    let zombie = acquire_for(&operator, 1, Duration::ZERO).await;
    complete(&operator, &acquire(&operator, 1).await, &record("first")).await;
    // So that the server knows the scripts.
    let released = store.release(&zombie).await.unwrap();
    assert_eq!(
        released,
        Completion::Lost(Standing::Completed(record("first")))
    );
    proxy.arm(2, Fault::Hold);
    let releasing = tokio::spawn(async move { store.release(&zombie).await });
    proxy.struck().await;
    operator.forget(&key(1)).await.unwrap();
    proxy.heal();
    let released = releasing.await.unwrap().unwrap();
    assert_eq!(released, Completion::AlreadyApplied);
}

#[tokio::test]
async fn only_a_lapsed_key_can_be_resolved() {
    let (_server, store) = scene().await;
    let answer = Response::new(Bytes::from_static(b"by hand"));
    let resolve = |number| {
        let (store, answer) = (store.clone(), answer.clone());
        async move { store.resolve(&key(number), &answer, HOUR).await.unwrap() }
    };
    assert_eq!(resolve(1).await, Resolution::Absent);
    acquire(&store, 2).await;
    assert_eq!(resolve(2).await, Resolution::StillInFlight);
    let zombie = acquire_for(&store, 3, Duration::ZERO).await;
    let key = key(3);
    let hold = Claim::new(&key, REQUEST).after_crash(AfterCrash::Hold);
    assert_eq!(store.claim(&hold).await.unwrap(), Claimed::Unknown);
    assert_eq!(resolve(3).await, Resolution::Resolved);
    assert_eq!(resolve(3).await, Resolution::AlreadyCompleted);
    let resolved = Record::answer(REQUEST, &answer);
    assert_eq!(replayed(claim(&store, 3).await), resolved);
    let completion = store.complete(&zombie, &record("zombie"), HOUR).await;
    let lost = Completion::Lost(Standing::Completed(resolved));
    assert_eq!(completion.unwrap(), lost);
}
