//! The server's clock decides, and may be set back.

use std::time::Duration;

use tokio::time::timeout;
use tower_idempotency::{
    RedisStore, Store as _,
    store::{Claim, Claimed, Completion, Fence, Standing},
};

use crate::{
    scene::{HOUR, REQUEST, acquire, acquire_for, claim, complete, key, name, record, scene, won},
    servers::RedisServer,
};

/// Microseconds of the server's clock.
fn now(server: &RedisServer) -> u64 {
    let time = server.cli("TIME");
    let (seconds, micros) = time.split_once('\n').unwrap();
    seconds.parse::<u64>().unwrap() * 1_000_000 + micros.parse::<u64>().unwrap()
}

/// As if the clock had been two hours ahead when the key was written.
fn set_clock_back(server: &RedisServer, number: u8) -> Fence {
    let ahead = now(server) + 2 * 3_600_000_000;
    set_number(server, number, 52, ahead);
    Fence::new(ahead)
}

/// Lets the key be over, whatever it is.
fn end(server: &RedisServer, number: u8) {
    set_number(server, number, 60, 1);
}

/// Writes a number of the header, at its offset.
fn set_number(server: &RedisServer, number: u8, offset: u8, value: u64) {
    let script = "redis.call('setrange',KEYS[1],ARGV[1],struct.pack('>I8',ARGV[2]))";
    let name = name(number);
    server.cli(&format!("EVAL {script} 1 {name} {offset} {value}"));
}

#[tokio::test]
async fn a_fence_is_the_time_of_the_server() {
    let (server, store) = scene().await;
    let before = now(&server);
    let fence = acquire(&store, 1).await.fence().get();
    assert!((before..=now(&server)).contains(&fence), "{fence}");
}

#[tokio::test]
async fn fences_grow_though_the_clock_was_set_back() {
    let (server, store) = scene().await;
    // Taken over.
    acquire_for(&store, 1, Duration::ZERO).await;
    let ahead = set_clock_back(&server, 1);
    assert_eq!(acquire(&store, 1).await.fence().get(), ahead.get() + 1);
    // Expired.
    let lease = acquire(&store, 2).await;
    complete(&store, &lease, &record("expires")).await;
    let ahead = set_clock_back(&server, 2);
    end(&server, 2);
    assert_eq!(acquire(&store, 2).await.fence().get(), ahead.get() + 1);
    // Released.
    let lease = acquire(&store, 3).await;
    let ahead = set_clock_back(&server, 3);
    let held = Claim::new(&key(3), REQUEST).won(ahead, 1);
    assert!(matches!(
        store.release(&held).await.unwrap(),
        Completion::Lost(_)
    ));
    assert!(matches!(
        store.release(&lease).await.unwrap(),
        Completion::Lost(_)
    ));
    assert_ne!(store.forget(&key(3)).await.unwrap(), Standing::Absent);
    assert_eq!(acquire(&store, 3).await.fence().get(), ahead.get() + 1);
}

#[tokio::test]
async fn a_released_key_is_free_and_its_fence_is_kept_for_a_while() {
    let (server, store) = scene().await;
    let lease = acquire(&store, 1).await;
    assert_eq!(store.release(&lease).await.unwrap(), Completion::Applied);
    assert_eq!(ttl(&server, 1).as_secs(), 59);
    let ahead = set_clock_back(&server, 1);
    let next = acquire(&store, 1).await;
    assert_eq!((next.fence().get(), next.attempt()), (ahead.get() + 1, 1));
}

/// How long the server keeps a key.
fn ttl(server: &RedisServer, number: u8) -> Duration {
    let millis = server.cli(&format!("PTTL {}", name(number)));
    Duration::from_millis(millis.parse().expect("a key that expires"))
}

/// Above `kept`, by the minute for the clock at most.
#[track_caller]
fn assert_kept(server: &RedisServer, number: u8, kept: Duration) {
    let ttl = ttl(server, number);
    let minute = Duration::from_secs(60);
    assert!(ttl > kept && ttl <= kept + minute, "{ttl:?} for {kept:?}");
}

#[tokio::test]
async fn every_write_expires_after_its_time() {
    let (server, store) = scene().await;
    let (lease, retention) = (Duration::from_secs(100), Duration::from_secs(1000));
    let key = key(1);
    let claim = Claim::new(&key, REQUEST)
        .lease_for(lease)
        .retained_for(retention);
    let Claimed::Acquired(held) = store.claim(&claim).await.unwrap() else {
        panic!("not acquired");
    };
    assert_kept(&server, 1, lease + retention);
    store.renew(&held).await.unwrap();
    assert_kept(&server, 1, lease + retention);
    store
        .settled(&key, held.fence(), Duration::from_millis(50))
        .await
        .unwrap();
    assert_kept(&server, 1, lease + retention);
    store.complete(&held, &record("first"), HOUR).await.unwrap();
    assert_kept(&server, 1, HOUR);
    store.complete(&held, &record("first"), HOUR).await.unwrap();
    assert_kept(&server, 1, HOUR);
    store.forget(&key).await.unwrap();
    assert_kept(&server, 1, Duration::ZERO);
}

#[tokio::test]
async fn deadlines_beyond_all_measure_are_deadlines() {
    let (_server, store) = scene().await;
    let key = key(1);
    let claim_it = Claim::new(&key, REQUEST)
        .lease_for(Duration::MAX)
        .retained_for(Duration::MAX);
    let Claimed::Acquired(lease) = store.claim(&claim_it).await.unwrap() else {
        panic!("not acquired");
    };
    in_flight(&store).await;
    let completion = store.complete(&lease, &record("kept"), Duration::MAX).await;
    assert_eq!(completion.unwrap(), Completion::Applied);
    assert!(matches!(
        claim(&store, 1).await,
        Ok(Claimed::Completed { .. })
    ));
}

async fn in_flight(store: &RedisStore) {
    match claim(store, 1).await.unwrap() {
        Claimed::InFlight { remaining, .. } => assert!(remaining > 1000 * HOUR),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn who_has_all_the_time_is_answered() {
    let (_server, store) = scene().await;
    let store = store.deadline(Duration::MAX);
    won(claim(&store, 1).await);
    // No replica is asked for longer than the server can count.
    let store = store.wait_replicas(1, Duration::MAX);
    let waits = timeout(Duration::from_secs(1), claim(&store, 2)).await;
    assert!(waits.is_err(), "{waits:?}");
}
