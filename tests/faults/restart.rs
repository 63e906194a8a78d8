//! A server that is killed and started again under load.

use crate::{backend::Backend, servers::Signal, world::World};

/// Two nodes are asked for the same three hundred keys, and each time a quarter of them has
/// been served the server is killed and started again.
pub(crate) async fn server_dies_under_load<B: Backend>() {
    let mut server = B::start().await;
    let world = World::default();
    let nodes = [
        world.node(B::connect(server.port()).await),
        world.node(B::connect(server.port()).await),
    ];
    let keys: Vec<_> = (0..300).map(|number| format!("key-{number}")).collect();
    let clients = world.clients(&nodes, &keys, 20);
    for quarter in 1..=3 {
        world.until_runs(quarter * keys.len() / 4).await;
        let restarted = tokio::task::spawn_blocking(move || {
            server.signal(Signal::Kill);
            server.start_again();
            server
        });
        server = restarted.await.unwrap();
    }
    for client in clients {
        client.await.unwrap();
    }
    let node = world.node(B::connect(server.port()).await);
    world.check(&node, &keys).await;
}
