//! One world from its beginning to its end.

use std::{sync::Arc, time::Duration};

use tokio::{
    runtime::Builder,
    sync::watch,
    task::JoinHandle,
    time::{sleep, timeout},
};
use tower_idempotency::{Drained, IdempotencyLayer};

use crate::{
    client::send,
    judge::judge,
    ledger::Body,
    plan::{Plan, Reads},
    script::Due,
    wire::Wire,
    world::{KEYS, World},
};

type Layer = IdempotencyLayer<Wire>;

/// Runs it, and tells what went wrong.
pub fn run(seed: u64, trace: bool) -> (Arc<World>, Vec<String>) {
    let runtime = Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .max_blocking_threads(1)
        .build()
        .unwrap();
    let world = runtime.block_on(async {
        let world = World::new(seed, trace);
        Sim::new(&world).go().await;
        world
    });
    drop(runtime);
    let wrong = judge(&world);
    (world, wrong)
}

struct Sim {
    world: Arc<World>,
    layers: Vec<Layer>,
    clients: usize,
    over: watch::Sender<bool>,
}

const SECOND: u64 = 1_000;

impl Sim {
    fn new(world: &Arc<World>) -> Self {
        let nodes = 0..world.settings.nodes;
        let layers = nodes.map(|node| world.settings.layer(world, node));
        Self {
            world: Arc::clone(world),
            layers: layers.collect(),
            clients: 0,
            over: watch::channel(false).0,
        }
    }

    async fn go(mut self) {
        self.trouble().await;
        let settings = self.world.settings.clone();
        // Until what was late has come, and what that prolonged has lapsed.
        pass(settings.lease + 30 * SECOND).await;
        for node in 0..settings.nodes {
            for key in 0..KEYS {
                self.probe(node, key, 0).await;
                self.probe(node, key, 1).await;
            }
        }
        for node in 0..settings.nodes {
            self.forget().await;
            for key in 0..KEYS {
                self.probe_new(node, key).await;
            }
            self.forget().await;
            self.probe_waiting(node).await;
        }
        let world = Arc::clone(&self.world);
        drop(self);
        pass(settings.lease + 120 * SECOND).await;
        // The one who called, and this.
        let left = Arc::strong_count(&world) - 2;
        if left > 0 {
            wrong(&world, format!("{left} hold the world"));
        }
    }

    /// All clients, whatever becomes of them; then the store gets well.
    async fn trouble(&mut self) {
        let mut chance = self.world.chance(&[5]);
        let (mut patient, mut stopped) = (Vec::new(), Vec::new());
        for _ in 0..chance.one_of(&[3, 10, 25]) {
            let plan = Plan::draw(&mut chance, &self.world.settings, self.clients);
            let clients = match plan.reads {
                Reads::Stops(_) => &mut stopped,
                _ => &mut patient,
            };
            clients.push(self.send(plan));
        }
        for _ in 0..chance.between(0, 2) {
            let node = chance.index(self.layers.len());
            let within = chance.one_of(&[10, 3000, 60_000]);
            let (at, within) = (chance.between(0, 30_000), chance.between(0, within));
            let (world, layer) = (Arc::clone(&self.world), self.layers[node].clone());
            tokio::spawn(drain(world, layer, node, at, within));
        }
        for client in patient {
            self.ends(client).await;
        }
        self.world.get_well();
        self.over.send_replace(true);
        for client in stopped {
            self.ends(client).await;
        }
        for (node, layer) in self.layers.iter().enumerate() {
            let drained = layer.drain(Duration::from_secs(3600)).await;
            if drained != Drained::Complete {
                wrong(&self.world, format!("{drained:?} of {node}"));
            }
        }
    }

    fn last(&self, node: usize, key: usize, payload: usize, takes: u64) -> Plan {
        let source = self.world.settings.source;
        Plan::last(source, self.clients, node, key, payload, takes)
    }

    fn send(&mut self, plan: Plan) -> JoinHandle<()> {
        self.clients += 1;
        let (world, layer) = (Arc::clone(&self.world), self.layers[plan.node].clone());
        tokio::spawn(send(world, layer, plan, self.over.subscribe()))
    }

    async fn ends(&self, client: JoinHandle<()>) {
        match timeout(Duration::from_secs(24 * 3600), client).await {
            Ok(ended) => ended.unwrap(),
            Err(_) => wrong(&self.world, "a client waits for ever".into()),
        }
    }

    /// Until all that is recorded is gone.
    async fn forget(&self) {
        let settings = &self.world.settings;
        pass(settings.retention.max(20 * SECOND) + settings.lease).await;
    }

    async fn probe(&mut self, node: usize, key: usize, payload: usize) {
        let sent = self.send(self.last(node, key, payload, 0));
        self.ends(sent).await;
    }

    /// A key that was forgotten is as new.
    async fn probe_new(&mut self, node: usize, key: usize) {
        let client = self.clients;
        self.probe(node, key, 0).await;
        let is_new = {
            let runs = &self.world.ledger().runs;
            runs.iter()
                .any(|run| run.client == client && run.attempt == 1 && run.term.1 > 0)
        };
        if !is_new {
            wrong(&self.world, format!("k{key} is not as new at {node}"));
        }
    }

    /// Who waited has left its place to others.
    async fn probe_waiting(&mut self, node: usize) {
        let settings = &self.world.settings;
        let long = settings.wait.is_some_and(|wait| wait >= 5 * SECOND);
        if !long || settings.max_waiters == 0 {
            return;
        }
        let first = self.send(self.last(node, 0, 0, 100));
        pass(1).await;
        self.probe(node, 0, 0).await;
        self.ends(first).await;
    }
}

async fn pass(millis: u64) {
    sleep(Duration::from_millis(millis)).await;
}

fn wrong(world: &World, what: String) {
    world.ledger().wrong.push(what);
}

/// A drain that is complete leaves nothing under way.
async fn drain(world: Arc<World>, layer: Layer, node: usize, at: u64, within: u64) {
    pass(at).await;
    if layer.drain(Duration::from_millis(within)).await != Drained::Complete {
        return;
    }
    let mut ledger = world.ledger();
    let runs = ledger.runs.iter();
    let runs = runs.filter(|run| run.node == node && run.is_keyed());
    let left = runs.filter(|run| {
        let due = run.script.due(&world.settings);
        run.over.is_none() || (run.term.1 > 0 && due == Due::Record && run.body == Body::Grows)
    });
    let left: Vec<_> = left
        .map(|run| format!("drained before its end: {run:?}"))
        .collect();
    ledger.wrong.extend(left);
}
