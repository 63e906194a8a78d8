//! What this store did not write, or what was damaged, is never taken for absent.

use tower_idempotency::{
    RedisStore, Store as _,
    store::{Standing, StoreErrorKind::Corrupt},
};

use crate::{
    scene::{HOUR, acquire, claim, complete, key, kind, name, record, scene, won},
    servers::RedisServer,
};

/// Puts something else in the place of a record.
type Damage = fn(&RedisServer, &str);

const DAMAGES: [(&str, Damage); 6] = [
    ("another type", |server, name| {
        server.cli(&format!("DEL {name}"));
        server.cli(&format!("HSET {name} a b"));
    }),
    ("empty", |server, name| set(server, name, "''")),
    ("short", |server, name| set(server, name, "'1F0'")),
    ("text", |server, name| {
        set(server, name, "string.rep('x',200)");
    }),
    ("a later version", |server, name| {
        patch(server, name, 0, "2");
    }),
    ("an unknown state", |server, name| {
        patch(server, name, 1, "X");
    }),
];

fn set(server: &RedisServer, name: &str, value: &str) {
    let script = format!("return(redis.call('set',KEYS[1],{value}))");
    assert_eq!(server.cli(&format!("EVAL {script} 1 {name}")), "OK");
}

fn patch(server: &RedisServer, name: &str, offset: usize, byte: &str) {
    server.cli(&format!("SETRANGE {name} {offset} {byte}"));
}

#[tokio::test]
async fn every_verb_says_so_and_forgetting_helps() {
    let (server, store) = scene().await;
    for (number, (what, damage)) in (1..).zip(DAMAGES) {
        let lease = acquire(&store, number).await;
        complete(&store, &lease, &record("lost")).await;
        damage(&server, &name(number));
        let key = key(number);
        assert_eq!(kind(claim(&store, number).await), Corrupt, "{what}");
        let completed = store.complete(&lease, &record("again"), HOUR).await;
        assert_eq!(kind(completed), Corrupt, "{what}");
        assert_eq!(kind(store.release(&lease).await), Corrupt, "{what}");
        assert_eq!(kind(store.renew(&lease).await), Corrupt, "{what}");
        let settled = store.settled(&key, lease.fence(), HOUR).await;
        assert_eq!(kind(settled), Corrupt, "{what}");
        assert_eq!(kind(store.forget(&key).await), Corrupt, "{what}");
        assert_eq!(
            store.forget(&key).await.unwrap(),
            Standing::Absent,
            "{what}"
        );
        won(claim(&store, number).await);
    }
}

#[tokio::test]
async fn a_damaged_body_is_corrupt() {
    let (server, store) = scene().await;
    damaged_body(&store, &server, 1).await;
    assert_eq!(kind(claim(&store, 1).await), Corrupt);
    assert_eq!(kind(store.forget(&key(1)).await), Corrupt);
    won(claim(&store, 1).await);
}

async fn damaged_body(store: &RedisStore, server: &RedisServer, number: u8) {
    let lease = acquire(store, number).await;
    complete(store, &lease, &record("lost")).await;
    patch(server, &name(number), 150, "x");
}

#[tokio::test]
async fn what_another_writer_leaves_is_not_overwritten() {
    let (server, store) = scene().await;
    server.cli(&format!("SET {} mine", name(1)));
    assert_eq!(kind(claim(&store, 1).await), Corrupt);
    assert_eq!(server.cli(&format!("GET {}", name(1))), "mine");
}
