//! A cluster whose slots move while it is used.

use std::time::Duration;

use futures_util::future::join_all;
use tower_idempotency::{
    RecordKey, RedisStore, Store as _,
    store::{Claim, Lease, StoreErrorKind},
};

use crate::{
    scene::{HOUR, REQUEST, acquire, claim, complete, key, record, replayed, until, won},
    servers::{RedisCluster, RedisServer, Signal},
};

/// All keys in one slot.
const PREFIX: &str = "{moving}:";

fn name(number: u8) -> String {
    format!("{PREFIX}{}", key(number))
}

async fn store_on(cluster: &RedisCluster) -> RedisStore {
    let store = RedisStore::connect_cluster(cluster.urls()).await.unwrap();
    store.prefix(PREFIX)
}

#[tokio::test]
async fn keys_are_followed_while_their_slot_moves() {
    let cluster = RedisCluster::start();
    let store = store_on(&cluster).await;
    let stays = acquire(&store, 1).await;
    let goes = acquire(&store, 2).await;
    let done = acquire(&store, 3).await;
    complete(&store, &done, &record("done")).await;

    let moving = cluster.begin_move(&name(1));
    moving.take(&name(2));
    moving.take(&name(3));
    // Where it was, on its way, and new.
    complete(&store, &stays, &record("stays")).await;
    complete(&store, &goes, &record("goes")).await;
    let comes = acquire(&store, 4).await;
    for (number, kept) in [(1, "stays"), (2, "goes"), (3, "done")] {
        assert_eq!(replayed(claim(&store, number).await), record(kept));
    }
    moving.take(&name(1));
    moving.finish();
    // The store's map is old.
    complete(&store, &comes, &record("comes")).await;
    for (number, kept) in [(1, "stays"), (2, "goes"), (3, "done"), (4, "comes")] {
        assert_eq!(replayed(claim(&store, number).await), record(kept));
    }
}

/// All calls under way may learn at once that their map is old.
#[tokio::test]
async fn a_new_map_is_asked_for_once_by_all() {
    let cluster = RedisCluster::start();
    let store = store_on(&cluster).await;
    let lease = acquire(&store, 0).await;
    assert!(store.release(&lease).await.is_ok());
    let moving = cluster.begin_move(&name(0));
    moving.take_all();
    moving.finish();
    let asked = || cluster.nodes.iter().map(maps).sum::<u64>();
    let before = asked();
    join_all((1..=200).map(|number| acquire(&store, number))).await;
    let times = asked() - before;
    assert!((1..=3).contains(&times), "{times} times, of three servers");
}

/// How often a server was asked about its cluster.
fn maps(server: &RedisServer) -> u64 {
    let stats = server.cli("INFO commandstats");
    let asked = stats
        .lines()
        .filter(|line| line.starts_with("cmdstat_cluster"));
    let calls = asked.filter_map(|line| line.split_once("calls=")?.1.split_once(','));
    calls.map(|(calls, _)| calls.parse::<u64>().unwrap()).sum()
}

#[tokio::test]
async fn a_script_that_the_next_server_does_not_know_is_sent_there() {
    let cluster = RedisCluster::start();
    let store = store_on(&cluster).await;
    acquire(&store, 1).await;
    let moving = cluster.begin_move(&name(1));
    // Nobody ever ran a script there.
    acquire(&store, 2).await;
    moving.take(&name(1));
    moving.finish();
    let found = claim(&store, 1).await.unwrap();
    assert!(
        matches!(found, tower_idempotency::store::Claimed::InFlight { .. }),
        "{found:?}"
    );
}

#[tokio::test]
async fn waiters_hear_of_keys_on_every_server() {
    let cluster = RedisCluster::start();
    let store = RedisStore::connect_cluster(cluster.urls()).await.unwrap();
    let node = RedisStore::connect_cluster(cluster.urls()).await.unwrap();
    for number in 0..30 {
        let lease = acquire(&store, number).await;
        let end = async {
            flagged(&cluster, &format!("idempotency:{}", key(number))).await;
            complete(&store, &lease, &record("done")).await;
        };
        let settled = node.settled(lease.key(), lease.fence(), HOUR);
        let settled = tokio::time::timeout(Duration::from_secs(8), settled);
        let (settled, ()) = tokio::join!(settled, end);
        settled.unwrap().unwrap();
    }
}

async fn flagged(cluster: &RedisCluster, name: &str) {
    let home = &cluster.nodes[cluster.home(name)];
    until(|| home.cli(&format!("GETRANGE {name} 2 2")) == "1").await;
}

#[tokio::test]
async fn a_server_that_stands_still_holds_up_only_its_own_keys() {
    let mut cluster = RedisCluster::start();
    let store = RedisStore::connect_cluster(cluster.urls()).await.unwrap();
    let store = store.deadline(Duration::from_millis(300));
    let leases = acquire_all(&store).await;
    let home =
        |cluster: &RedisCluster, key: &RecordKey| cluster.home(&format!("idempotency:{key}"));
    let homes: Vec<_> = leases.iter().map(|it| home(&cluster, it.key())).collect();
    cluster.nodes[0].signal(Signal::Stop);
    for (lease, home) in leases.iter().zip(&homes) {
        let renewed = store.renew(lease).await;
        match home {
            0 => assert_ne!(renewed.unwrap_err().kind(), StoreErrorKind::Corrupt),
            _ => drop(renewed.unwrap()),
        }
    }
    cluster.nodes[0].signal(Signal::Continue);
    for lease in &leases {
        let resent = Claim::new(lease.key(), REQUEST);
        let found = store.claim(&resent).await;
        assert!(found.is_ok(), "{found:?}");
    }
}

async fn acquire_all(store: &RedisStore) -> Vec<Lease> {
    let mut leases = Vec::new();
    for number in 0..12 {
        leases.push(won(store.claim(&Claim::new(&key(number), REQUEST)).await));
    }
    leases
}
