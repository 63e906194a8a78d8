//! A slot that moves from server to server of a cluster under load.

use std::{
    iter::from_fn,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use tower_idempotency::RedisStore;

use crate::{servers::RedisCluster, world::World};

/// All keys in one slot.
const PREFIX: &str = "{moving}:";

/// Three nodes are asked for the same keys while their slot goes round; a third of the keys
/// is given back once.
pub(crate) async fn slot_moves_under_load() {
    let cluster = Arc::new(RedisCluster::start());
    let world = World::default();
    let nodes = [
        world.node(connect(&cluster).await),
        world.node(connect(&cluster).await),
        world.node(connect(&cluster).await),
    ];
    let over = Arc::new(AtomicBool::new(false));
    let (moved, is_over) = (Arc::clone(&cluster), Arc::clone(&over));
    let moves = tokio::task::spawn_blocking(move || {
        let goes_on = || (!is_over.load(Ordering::SeqCst)).then_some(());
        from_fn(goes_on).map(|()| move_slot(&moved)).count()
    });
    let keys: Vec<_> = (0..300).map(name).collect();
    for client in world.clients(&nodes, &keys, 15) {
        client.await.unwrap();
    }
    over.store(true, Ordering::SeqCst);
    assert!(moves.await.unwrap() > 0);
    let node = world.node(connect(&cluster).await);
    world.check(&node, &keys).await;
}

fn name(number: u32) -> String {
    let fate = if number % 3 == 0 { "fails-" } else { "" };
    format!("{fate}{number}")
}

async fn connect(cluster: &RedisCluster) -> RedisStore {
    let store = RedisStore::connect_cluster(cluster.urls()).await.unwrap();
    store.prefix(PREFIX)
}

/// Moves the slot with all that is in it to the next server.
fn move_slot(cluster: &RedisCluster) {
    let moving = cluster.begin_move(PREFIX);
    moving.take_all();
    moving.finish();
}
