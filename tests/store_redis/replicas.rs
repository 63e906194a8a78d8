//! Waiting for replicas.

use std::time::Duration;

use tower_idempotency::{
    RedisStore, Store as _,
    store::{
        Claim, Completion,
        StoreErrorKind::{NotApplied, Unknown},
    },
};

use crate::{
    scene::{
        HOUR, REQUEST, acquire, claim, complete, key, kind, name, record, replayed, until, won,
    },
    servers::{Proxy, RedisServer, Signal},
};

const PATIENCE: Duration = Duration::from_millis(300);
/// However busy the machine is.
const MUCH_PATIENCE: Duration = Duration::from_secs(20);

async fn replicated(replicas: u32) -> (RedisServer, RedisServer, RedisStore) {
    let primary = RedisServer::start();
    let of = primary.port().to_string();
    let replica = RedisServer::start_with(&["--replicaof", "127.0.0.1", &of]);
    until(|| primary.cli("INFO replication").contains("state=online")).await;
    let store = RedisStore::connect(primary.url()).await.unwrap();
    let store = store.wait_replicas(replicas, PATIENCE);
    (primary, replica, store)
}

#[tokio::test]
async fn what_is_confirmed_is_on_the_replica() {
    let (_primary, replica, store) = replicated(1).await;
    let store = store.wait_replicas(1, MUCH_PATIENCE);
    let lease = won(claim(&store, 1).await);
    assert_eq!(replica.cli(&format!("GETRANGE {} 1 1", name(1))), "F");
    complete(&store, &lease, &record("first")).await;
    assert_eq!(replica.cli(&format!("GETRANGE {} 1 1", name(1))), "C");
    assert_eq!(replayed(claim(&store, 1).await), record("first"));
}

#[tokio::test]
async fn without_enough_replicas_nothing_is_certain_until_it_is_sent_again() {
    let (primary, mut replica, store) = replicated(1).await;
    let key = key(1);
    let sent = Claim::new(&key, REQUEST);
    replica.signal(Signal::Stop);
    assert_eq!(kind(store.claim(&sent).await), Unknown);
    assert_eq!(kind(store.claim(&sent).await), Unknown);
    replica.signal(Signal::Continue);
    let patient = store.clone().wait_replicas(1, MUCH_PATIENCE);
    let lease = won(patient.claim(&sent).await);
    assert_eq!(lease.attempt(), 1);

    replica.signal(Signal::Stop);
    let completion = store.complete(&lease, &record("first"), HOUR).await;
    assert_eq!(kind(completion), Unknown);
    // On another connection, which wrote nothing yet.
    let other = RedisStore::connect(primary.url()).await.unwrap();
    let other = other.wait_replicas(1, PATIENCE);
    let completion = other.complete(&lease, &record("first"), HOUR).await;
    assert_eq!(kind(completion), Unknown);
    replica.signal(Signal::Continue);
    let other = other.wait_replicas(1, MUCH_PATIENCE);
    let completion = other.complete(&lease, &record("first"), HOUR).await;
    assert_eq!(completion.unwrap(), Completion::AlreadyApplied);
}

#[tokio::test]
async fn a_server_that_refuses_to_wait_confirms_nothing() {
    let (primary, _replica, store) = replicated(1).await;
    primary.cli("ACL SETUSER default -wait");
    assert_eq!(kind(claim(&store, 1).await), Unknown);
}

#[tokio::test]
async fn more_replicas_than_there_are_never_confirm() {
    let (_primary, _replica, store) = replicated(2).await;
    assert_eq!(kind(claim(&store, 1).await), Unknown);
    let store = store.wait_replicas(0, Duration::ZERO);
    won(claim(&store, 2).await);
}

/// Its connection stays, but what leads to the primary leads to another server now.
#[tokio::test]
async fn a_primary_that_became_a_replica_is_left() {
    let (old, new, _) = replicated(1).await;
    let address = Proxy::start(old.port()).await;
    let url = format!("redis://127.0.0.1:{}", address.port());
    let store = RedisStore::connect(url).await.unwrap();
    let store = store.wait_replicas(1, MUCH_PATIENCE);
    let (done, held) = (acquire(&store, 1).await, acquire(&store, 2).await);
    complete(&store, &done, &record("kept")).await;

    assert_eq!(new.cli("REPLICAOF NO ONE"), "OK");
    assert_eq!(
        old.cli(&format!("REPLICAOF 127.0.0.1 {}", new.port())),
        "OK"
    );
    address.lead_to(new.port());
    assert_eq!(kind(claim(&store, 3).await), NotApplied);
    won(claim(&store, 3).await);
    assert_eq!(replayed(claim(&store, 1).await), record("kept"));
    complete(&store, &held, &record("late")).await;
    assert_eq!(replayed(claim(&store, 2).await), record("late"));
}
