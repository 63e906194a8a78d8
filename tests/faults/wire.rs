//! A wire that loses, delays or cuts one request.

use std::{pin::pin, time::Duration};

use futures_util::future::join_all;

use crate::{
    backend::Backend,
    servers::{Fault, Proxy},
    world::{Node, STORE_DEADLINE, World},
};

/// The n-th request is struck, for every n up to 12 and every fault.
pub(crate) async fn strikes_at_each_request<B: Backend>() {
    let server = B::start().await;
    let faults = [
        Fault::DropRequest,
        Fault::DropReply,
        Fault::Delay(STORE_DEADLINE * 3),
        Fault::Reset,
    ];
    for fault in faults {
        join_all((1..=12).map(|nth| strike(&server, nth, &fault))).await;
    }
}

/// The n-th request arrives when another node has taken over, for every n up to 12.
pub(crate) async fn requests_arrive_late<B: Backend>() {
    let server = B::start().await;
    join_all((1..=12).map(|nth| arrive_late(&server, nth))).await;
}

async fn strike<B: Backend>(server: &B, nth: u32, fault: &Fault) {
    let scene = Scene::set(server, &format!("{fault:?}-at-{nth}")).await;
    scene.ask_until_struck(nth, fault).await;
    scene.proxy.heal();
    scene.check().await;
}

async fn arrive_late<B: Backend>(server: &B, nth: u32) {
    let scene = Scene::set(server, &format!("late-at-{nth}")).await;
    scene.ask_until_struck(nth, &Fault::Hold).await;
    scene.world.takeovers_wait(true);
    let asked = scene
        .keys
        .iter()
        .map(|key| scene.world.ask_until_answered(&scene.direct, key));
    let mut all_answered = pin!(join_all(asked));
    tokio::select! {
        _ = &mut all_answered => {}
        () = scene.world.until_takeover() => {}
    }
    scene.proxy.heal();
    scene.proxy.arrived().await;
    // What came late is answered before this is.
    scene
        .world
        .ask(&scene.direct, &format!("after-{nth}"))
        .await;
    scene.world.takeovers_wait(false);
    all_answered.await;
    scene.check().await;
}

/// A node behind a bad wire, another on a good one, and what they are asked for.
struct Scene {
    proxy: Proxy,
    world: World,
    behind_proxy: Node,
    direct: Node,
    keys: Vec<String>,
}

impl Scene {
    async fn set<B: Backend>(server: &B, name: &str) -> Self {
        let proxy = Proxy::start(server.port()).await;
        let world = World::default();
        let keys = (1..=3).flat_map(|number| ["pays", "fails"].map(|kind| (number, kind)));
        Self {
            behind_proxy: world.node(B::connect(proxy.port()).await),
            direct: world.node(B::connect(server.port()).await),
            keys: keys
                .map(|(number, kind)| format!("{name}-{kind}-{number}"))
                .collect(),
            proxy,
            world,
        }
    }

    /// Has the node send its store what three requests each make of it: claim, complete or
    /// release, and claim again.
    async fn ask_until_struck(&self, nth: u32, fault: &Fault) {
        self.proxy.arm(nth, fault.clone());
        for key in &self.keys {
            for _ in 0..3 {
                if self.proxy.holds() {
                    return;
                }
                self.world.ask(&self.behind_proxy, key).await;
            }
        }
        let struck = tokio::time::timeout(Duration::from_secs(5), self.proxy.struck());
        struck.await.expect("as many requests are sent");
    }

    async fn check(&self) {
        self.world.check(&self.direct, &self.keys).await;
    }
}
