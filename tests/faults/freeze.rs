//! A node that stands still for twice its lease while another takes over.

use std::time::Duration;

use tokio::{task::JoinHandle, time::sleep};

use crate::{
    backend::Backend,
    lab::Lab,
    outside::Raw,
    servers::{Fault, Proxy},
};

/// Long enough that the first renewal is not what is struck.
const LEASE: Duration = Duration::from_secs(2);

/// Two labs over one server. The first is to freeze; its wire can hold what it writes.
struct Scene<B> {
    _server: B,
    proxy: Proxy,
    frozen: Lab,
    other: Lab,
}

impl<B: Backend> Scene<B> {
    async fn set() -> Self {
        let server = B::start().await;
        let proxy = Proxy::start(server.port()).await;
        Self {
            frozen: lab::<B>(proxy.port()).await,
            other: lab::<B>(server.port()).await,
            _server: server,
            proxy,
        }
    }

    /// Sends the first request, and returns when its handler runs.
    async fn begin(&self, target: &'static str) -> JoinHandle<Raw> {
        let asked = ask(&self.frozen, target);
        self.frozen.until_effects(1).await;
        asked
    }

    /// Freezes the node with its next write to the store still on the wire.
    async fn freeze_in_its_write(&self) {
        self.proxy.arm(1, Fault::Hold);
        self.proxy.struck().await;
        self.freeze().await;
    }

    async fn freeze(&self) {
        self.frozen.signal("-STOP").await;
        sleep(2 * LEASE).await;
    }

    /// Lets the node, and what it wrote, go on.
    async fn thaw(&self) {
        self.frozen.signal("-CONT").await;
        self.proxy.heal();
    }

    /// The answer of whoever took over is what everybody gets from now on.
    async fn check(&self, target: &str, taken_over: &Raw, zombie: &Raw) {
        assert_eq!(taken_over.status, 200, "{taken_over:?}");
        match zombie.status {
            200 => assert_eq!(zombie.text(), taken_over.text()),
            status => assert_eq!(status, 409, "{zombie:?}"),
        }
        for lab in [&self.frozen, &self.other] {
            let replay = lab.ask(target, "k").await;
            assert!(replay.is_replay(), "{replay:?}");
            assert_eq!(replay.text(), taken_over.text());
        }
        assert_eq!(self.frozen.effects().len(), 1);
        assert_eq!(self.other.effects().len(), 1);
        self.no_fence_twice();
    }

    fn no_fence_twice(&self) {
        let mut effects = [self.frozen.effects(), self.other.effects()].concat();
        effects.sort_by_key(|effect| fence(effect));
        effects.dedup_by_key(|effect| fence(effect));
        let runs = self.frozen.effects().len() + self.other.effects().len();
        assert_eq!(effects.len(), runs);
    }
}

pub(crate) async fn in_the_handler<B: Backend>() {
    let scene = Scene::<B>::set().await;
    // So long that it still runs when a busy machine comes to send the signal.
    let target = "/effect?sleep_ms=1000";
    let zombie = scene.begin(target).await;
    scene.freeze().await;
    let taken_over = scene.other.ask(target, "k").await;
    scene.thaw().await;
    let zombie = zombie.await.unwrap();
    scene.check(target, &taken_over, &zombie).await;
}

pub(crate) async fn before_complete<B: Backend>() {
    let scene = Scene::<B>::set().await;
    let target = "/effect?sleep_ms=400";
    let zombie = scene.begin(target).await;
    scene.freeze_in_its_write().await;
    let taken_over = scene.other.ask(target, "k").await;
    scene.thaw().await;
    let zombie = zombie.await.unwrap();
    scene.check(target, &taken_over, &zombie).await;
}

/// The late release comes while the other node runs, and must not free its key.
pub(crate) async fn before_release<B: Backend>() {
    let scene = Scene::<B>::set().await;
    let target = "/effect?sleep_ms=400&status=500";
    let zombie = scene.begin(target).await;
    scene.freeze_in_its_write().await;
    let taken_over = ask(&scene.other, target);
    scene.other.until_effects(1).await;
    scene.thaw().await;
    let zombie = zombie.await.unwrap();
    assert_ne!(zombie.status, 200, "{zombie:?}");
    let third = scene.other.ask(target, "k").await;
    let over = taken_over.is_finished();
    assert!(over || third.status == 409, "{third:?}");
    assert_eq!(taken_over.await.unwrap().status, 500);
    scene.no_fence_twice();
}

async fn lab<B: Backend>(port: u16) -> Lab {
    let lease = LEASE.as_millis().to_string();
    let store = B::url(port);
    Lab::start(&[("LAB_STORE", &store), ("LAB_LEASE_MS", &lease)]).await
}

fn ask(lab: &Lab, target: &'static str) -> JoinHandle<Raw> {
    let asked = lab.asking(target, "k");
    tokio::spawn(asked)
}

/// The third word of a line `key attempt fence pid uuid`.
fn fence(effect: &str) -> String {
    effect.split(' ').nth(2).unwrap().to_owned()
}
