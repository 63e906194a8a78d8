//! Waiters on other nodes.

use std::time::Duration;

use tokio::time::timeout;
use tower_idempotency::{
    RedisStore, Store as _,
    store::{Claim, Lease},
};

use crate::{
    scene::{HOUR, REQUEST, acquire, complete, key, name, record, scene, until, won},
    servers::RedisServer,
};

/// Less than the time after which a waiter that missed a message looks again.
const SOON: Duration = Duration::from_secs(8);

fn published(server: &RedisServer) -> u64 {
    let stats = server.cli("INFO commandstats");
    let calls = stats
        .lines()
        .find_map(|line| line.strip_prefix("cmdstat_publish:calls="));
    calls.map_or(0, |calls| calls.split(',').next().unwrap().parse().unwrap())
}

/// Waits until the server knows of so many who listen.
async fn until_listening(server: &RedisServer, listeners: usize) {
    let expected = format!("idempotency:settled\n{listeners}");
    until(|| server.cli("PUBSUB NUMSUB idempotency:settled") == expected).await;
}

/// Waits until the waiter flag of a key is raised.
async fn until_flagged(server: &RedisServer, number: u8) {
    let get = format!("GETRANGE {} 2 2", name(number));
    until(|| server.cli(&get) == "1").await;
}

fn wait(store: &RedisStore, lease: &Lease) -> tokio::task::JoinHandle<()> {
    let (store, lease) = (store.clone(), lease.clone());
    tokio::spawn(async move {
        let settled = store.settled(lease.key(), lease.fence(), HOUR);
        settled.await.unwrap();
    })
}

#[tokio::test]
async fn an_end_is_published_only_if_somebody_waits() {
    let (server, store) = scene().await;
    let node = RedisStore::connect(server.url()).await.unwrap();
    for number in 1..=2 {
        let lease = acquire(&store, number).await;
        complete(&store, &lease, &record("alone")).await;
    }
    assert_eq!(published(&server), 0);

    let key = key(3);
    let sent = Claim::new(&key, REQUEST);
    let lease = won(store.claim(&sent).await);
    let waiter = wait(&node, &lease);
    until_flagged(&server, 3).await;
    // A renewal and a resent claim leave the flag as it is.
    store.renew(&lease).await.unwrap();
    assert_eq!(won(store.claim(&sent).await), lease);
    let before = published(&server);
    complete(&store, &lease, &record("awaited")).await;
    timeout(SOON, waiter).await.unwrap().unwrap();
    assert!(published(&server) > before);

    let lease = acquire(&store, 4).await;
    let waiter = wait(&node, &lease);
    until_flagged(&server, 4).await;
    store.forget(lease.key()).await.unwrap();
    timeout(SOON, waiter).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn no_race_with_an_end_is_lost() {
    let (server, store) = scene().await;
    let node = RedisStore::connect(server.url()).await.unwrap();
    for number in 0..=255 {
        let lease = acquire(&store, number).await;
        let waiter = wait(&node, &lease);
        if number % 2 == 0 {
            complete(&store, &lease, &record("raced")).await;
        } else {
            store.release(&lease).await.unwrap();
        }
        timeout(SOON, waiter).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_waiter_without_a_subscription_looks_again() {
    let (server, store) = scene().await;
    let node = RedisStore::connect(server.url()).await.unwrap();
    let lease = acquire(&store, 1).await;
    let waiter = wait(&node, &lease);
    until_flagged(&server, 1).await;
    server.cli("ACL SETUSER default resetchannels");
    server.cli("CLIENT KILL TYPE pubsub");
    complete(&store, &lease, &record("unheard")).await;
    timeout(SOON, waiter).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_lost_subscription_is_made_again() {
    let (server, store) = scene().await;
    let node = RedisStore::connect(server.url()).await.unwrap();
    let lease = acquire(&store, 1).await;
    let waiter = wait(&node, &lease);
    until_flagged(&server, 1).await;
    server.cli("CLIENT KILL TYPE pubsub");
    until_listening(&server, 0).await;
    until_listening(&server, 1).await;
    complete(&store, &lease, &record("heard")).await;
    timeout(SOON, waiter).await.unwrap().unwrap();
}

#[tokio::test]
async fn many_waiters_share_one_connection_which_ends_with_the_store() {
    let (server, store) = scene().await;
    let node = RedisStore::connect(server.url()).await.unwrap();
    let mut waiters = Vec::new();
    let mut leases = Vec::new();
    for number in 0..20 {
        let lease = acquire(&store, number).await;
        waiters.extend([wait(&node, &lease), wait(&node, &lease)]);
        leases.push(lease);
    }
    for number in 0..20 {
        until_flagged(&server, number).await;
    }
    until_listening(&server, 1).await;
    for lease in &leases {
        complete(&store, lease, &record("done")).await;
    }
    for waiter in waiters {
        timeout(SOON, waiter).await.unwrap().unwrap();
    }
    drop(node);
    until_listening(&server, 0).await;
}
