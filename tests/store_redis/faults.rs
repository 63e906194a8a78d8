//! Errors say what happened.

use std::time::Duration;

use tokio::time::timeout;
use tower_idempotency::{
    RedisStore, Store as _,
    store::{
        Claim, Completion,
        StoreErrorKind::{Full, NotApplied, Unknown},
    },
};

use crate::{
    scene::{
        HOUR, REQUEST, acquire, acquire_for, claim, complete, key, kind, name, record, replayed,
        scene, won,
    },
    servers::{Fault, Proxy, RedisServer, Signal},
};

fn connections(server: &RedisServer) -> u64 {
    let stats = server.cli("INFO stats");
    let field = "total_connections_received:";
    let made = stats.lines().find_map(|line| line.strip_prefix(field));
    made.unwrap().trim().parse().unwrap()
}

#[tokio::test]
async fn a_server_that_stands_still_leaves_it_unknown_and_loses_the_connection() {
    let (mut server, store) = scene().await;
    let store = store.deadline(Duration::from_millis(200));
    let before = connections(&server);
    let key = key(1);
    let sent = Claim::new(&key, REQUEST);
    won(claim(&store, 2).await);
    server.signal(Signal::Stop);
    assert_eq!(kind(store.claim(&sent).await), Unknown);
    // The next connection gets no further than the greeting.
    assert_eq!(kind(store.claim(&sent).await), NotApplied);
    server.signal(Signal::Continue);
    let lease = won(store.claim(&sent).await);
    // The first claim was applied after all, and the resent one got its lease.
    assert_eq!(lease.attempt(), 1);
    complete(&store, &lease, &record("first")).await;
    // Two by the store, two by redis-cli.
    assert!(connections(&server) >= before + 2);
}

/// As `Resilient` does, whose deadline is the shorter one by default.
#[tokio::test]
async fn a_dead_connection_is_left_though_each_call_is_given_up_before_its_deadline() {
    let server = RedisServer::start();
    let proxy = Proxy::start(server.port()).await;
    let address = format!("redis://127.0.0.1:{}", proxy.port());
    let store = RedisStore::connect(address).await.unwrap();
    let store = store.deadline(Duration::from_millis(200));
    proxy.arm(1, Fault::DropRequest);
    let insisting = async {
        let given_up = || timeout(Duration::from_millis(100), claim(&store, 1));
        while given_up().await.is_err() {}
    };
    timeout(Duration::from_secs(30), insisting).await.unwrap();
}

#[tokio::test]
async fn a_server_that_is_gone_takes_nothing_and_comes_back() {
    let (mut server, store) = scene().await;
    let lease = acquire(&store, 1).await;
    complete(&store, &lease, &record("kept")).await;
    server.signal(Signal::Kill);
    // The dead connection may be noticed only by using it.
    let _ = claim(&store, 2).await;
    assert_eq!(kind(claim(&store, 2).await), NotApplied);
    assert_eq!(kind(store.renew(&lease).await), NotApplied);
    server.start_again();
    assert_eq!(replayed(claim(&store, 1).await), record("kept"));
    won(claim(&store, 2).await);
}

#[tokio::test]
async fn a_full_server_takes_no_keys_but_replays_and_releases() {
    let (server, store) = scene().await;
    let done = acquire(&store, 1).await;
    complete(&store, &done, &record("kept")).await;
    let held = acquire(&store, 2).await;
    server.cli("CONFIG SET maxmemory 1");
    assert_eq!(kind(claim(&store, 3).await), Full);
    let completion = store.complete(&held, &record("too much"), HOUR).await;
    assert_eq!(kind(completion), Full);
    assert_eq!(replayed(claim(&store, 1).await), record("kept"));
    assert_eq!(store.release(&held).await.unwrap(), Completion::Applied);
    assert_eq!(server.cli(&format!("EXISTS {}", name(2))), "0");
    server.cli("CONFIG SET maxmemory 0");
    won(claim(&store, 2).await);
}

/// Else an operation that takes long would lose its lease, and run twice once there is room.
#[tokio::test]
async fn a_full_server_takes_what_needs_no_room() {
    let (server, store) = scene().await;
    let done = acquire(&store, 1).await;
    complete(&store, &done, &record("kept")).await;
    let second = key(2);
    let sent = Claim::new(&second, REQUEST);
    let held = won(store.claim(&sent).await);
    server.cli("CONFIG SET maxmemory 1");
    assert_eq!(won(store.claim(&sent).await), held);
    assert_eq!(store.renew(&held).await.unwrap(), Completion::Applied);
    let limit = Duration::from_millis(10);
    store.settled(&second, held.fence(), limit).await.unwrap();
    let again = store.complete(&done, &record("kept"), HOUR).await;
    assert_eq!(again.unwrap(), Completion::AlreadyApplied);
    assert_eq!(kind(claim(&store, 3).await), Full);
}

/// What took a lapsed lease over would run, and could not be recorded.
#[tokio::test]
async fn a_full_server_lets_nobody_take_over() {
    let (server, store) = scene().await;
    acquire_for(&store, 1, Duration::from_millis(1)).await;
    tokio::time::sleep(Duration::from_millis(5)).await;
    server.cli("CONFIG SET maxmemory 1");
    assert_eq!(kind(claim(&store, 1).await), Full);
}

#[tokio::test]
async fn a_replica_takes_nothing() {
    let primary = RedisServer::start();
    let of = primary.port().to_string();
    let replica = RedisServer::start_with(&["--replicaof", "127.0.0.1", &of]);
    let store = RedisStore::connect(replica.url()).await.unwrap();
    assert_eq!(kind(claim(&store, 1).await), NotApplied);
}

#[tokio::test]
async fn a_user_without_rights_is_told_so_and_nothing_is_applied() {
    let (server, store) = scene().await;
    server.cli("ACL SETUSER default -set");
    let error = claim(&store, 1).await.unwrap_err();
    assert_eq!(error.kind(), NotApplied);
    let source = std::error::Error::source(&error).unwrap().to_string();
    // In the words of Redis, or of Valkey.
    let refused = ["can't run this command", "has no permissions"];
    assert!(refused.iter().any(|it| source.contains(it)), "{source}");
    server.cli("ACL SETUSER default +set");
    won(claim(&store, 1).await);
}

/// A call that is given up takes nobody else's reply.
#[tokio::test(flavor = "multi_thread")]
async fn abandoned_calls_mix_up_no_replies() {
    let (_server, store) = scene().await;
    let lease = acquire(&store, 0).await;
    complete(&store, &lease, &record("other")).await;
    for number in 1..200 {
        let (abandoned, key) = (store.clone(), key(0));
        let task = tokio::spawn(async move {
            let _ = abandoned.claim(&Claim::new(&key, REQUEST)).await;
        });
        tokio::task::yield_now().await;
        task.abort();
        assert_eq!(
            acquire(&store, number).await.key(),
            &crate::scene::key(number)
        );
    }
}
