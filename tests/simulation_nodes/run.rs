//! One seed from its beginning to its end.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use http::{Method, Request};
use tokio::task::AbortHandle;
use tower_idempotency::{FingerprintState, Key, RecordKey, Scope, server::Drained};

use super::{
    ledger::{Ledger, Life},
    network::Network,
    node::{Node, World},
    plan::{Act, Plan},
    weather::Weather,
};

pub struct Sim {
    pub plan: Plan,
    acts: BTreeMap<(u64, usize), Act>,
    added: usize,
    pub world: World,
    pub nodes: Vec<Option<Node>>,
    pub clients: Vec<Option<AbortHandle>>,
}

/// Runs it; what was planned, and what happened.
pub fn run(seed: u64, trace: bool) -> (Plan, Ledger) {
    let plan = Plan::draw(seed);
    let mut network = Network::new(seed, trace);
    for key in 0..plan.keys {
        let name = Key::new(format!("k{key}")).unwrap();
        let of = RecordKey::per_route("", &Scope::global(), &Method::POST, "/", &name);
        network.shadow.keys.insert(of, key);
        for variant in 0..2 {
            let (parts, ()) = Request::post("/").body(()).unwrap().into_parts();
            let mut state = FingerprintState::exact(&parts);
            state.update(&Bytes::from(format!("v{variant}")));
            network
                .shadow
                .variants
                .insert(*state.finish().digest(), variant);
        }
    }
    let acts = plan.acts.iter().enumerate();
    let acts = acts
        .map(|(number, (at, act))| ((*at, number), *act))
        .collect();
    let (added, nodes) = (plan.acts.len(), plan.nodes.iter().map(|_| None).collect());
    let world = World::new(network);
    let mut sim = Sim {
        plan,
        acts,
        added,
        world,
        nodes,
        clients: Vec::new(),
    };
    (0..sim.nodes.len()).for_each(|node| sim.start(node, 0));
    sim.go();
    sim.end()
}

impl Sim {
    fn go(&mut self) {
        let over = self.plan.last + 60_000;
        loop {
            let active = self.nodes.iter().flatten().filter(|node| !node.frozen);
            let floor = active.map(|node| node.at).min().unwrap_or(u64::MAX);
            let (sent, waits) = {
                let network = self.world.lock();
                (network.next().unwrap_or(u64::MAX), network.someone_waits())
            };
            let planned = self.acts.keys().next().map_or(u64::MAX, |(at, _)| *at);
            let due = sent.min(planned);
            if due <= floor && due != u64::MAX {
                match sent <= planned {
                    true => self.world.lock().step(),
                    false => {
                        let ((at, _), act) = self.acts.pop_first().unwrap();
                        self.world.lock().now = at;
                        self.act(at, act);
                    }
                }
                continue;
            }
            if floor >= over {
                return;
            }
            let step = if waits { 50 } else { 5_000 };
            let target = due.min(floor + step).min(over);
            for node in self.nodes.iter_mut().flatten() {
                if !node.frozen && node.at < target {
                    node.run_until(target);
                }
            }
        }
    }

    pub fn plan(&mut self, at: u64, act: Act) {
        self.added += 1;
        self.acts.insert((at, self.added), act);
    }

    fn start(&mut self, which: usize, at: u64) {
        let life = {
            let lives = &mut self.world.lock().ledger.lives;
            lives.push(Life {
                node: which,
                end: None,
                troubles: Vec::new(),
                frozen: Vec::new(),
                drained: None,
            });
            lives.len() - 1
        };
        let node = Node::start(&self.world, life, at, &self.plan.nodes[which]);
        self.nodes[which] = Some(node);
    }

    fn act(&mut self, at: u64, act: Act) {
        self.world.lock().say(at, || format!("{act:?}"));
        match act {
            Act::Ask { .. } => self.ask(at, act),
            Act::HangUp { request } => {
                if let Some(client) = self.clients[request].take() {
                    self.world.lock().ledger.requests[request].hung_up = Some(at);
                    client.abort();
                }
            }
            Act::Weather { node, weather } => {
                self.world.lock().weather.insert(node, weather);
            }
            Act::Freeze { node, lasts } => {
                if let Some(frozen) = self.nodes[node].as_mut().filter(|node| !node.frozen) {
                    frozen.frozen = true;
                    let life = frozen.life;
                    self.world.lock().ledger.lives[life]
                        .frozen
                        .push((at, u64::MAX));
                    let thaws = (at + lasts).min(self.plan.healed.max(at + 1));
                    self.plan(thaws, Act::Thaw { node });
                }
            }
            Act::Thaw { node } => {
                if let Some(frozen) = self.nodes[node].as_mut().filter(|node| node.frozen) {
                    let life = frozen.life;
                    self.world.lock().ledger.lives[life]
                        .frozen
                        .last_mut()
                        .unwrap()
                        .1 = at;
                    frozen.thaw(at);
                }
            }
            Act::Crash { node, back } => {
                if self.crash(node, at) {
                    let back = (at + back).min(self.plan.healed.max(at + 1));
                    self.plan(back, Act::Start { node });
                }
            }
            Act::Start { node } => self.start(node, at),
            Act::Forget { key } => self.world.lock().forget(at, key),
            Act::Resolve { key } => self.world.lock().resolve(at, key),
            Act::Jump { by, back } => self.world.lock().jump(at, by, back),
            Act::Drain { node, within } => self.drain(at, node, within),
            Act::Heal => {
                for node in 0..self.nodes.len() {
                    self.world.lock().weather.insert(node, Weather::default());
                }
            }
        }
    }

    fn crash(&mut self, node: usize, at: u64) -> bool {
        let Some(node) = self.nodes[node].take() else {
            return false;
        };
        {
            let life = &mut self.world.lock().ledger.lives[node.life];
            life.end = Some(at);
            if let Some(frozen) = life.frozen.last_mut() {
                frozen.1 = frozen.1.min(at);
            }
        }
        node.crash(at);
        true
    }

    fn drain(&mut self, at: u64, which: usize, within: u64) {
        let Some(node) = self.nodes[which].as_mut().filter(|node| !node.draining) else {
            return;
        };
        node.draining = true;
        let (life, clock, layer) = (node.life, node.clock.clone(), node.layers[0].clone());
        let world = self.world.clone();
        world.lock().ledger.lives[life].drained = Some((at, None));
        node.runtime.spawn(async move {
            let drained = layer.drain(Duration::from_millis(within)).await;
            let done = (clock.now(), drained == Drained::Complete);
            world.lock().ledger.lives[life].drained = Some((at, Some(done)));
        });
        self.plan(
            at + within + 10,
            Act::Crash {
                node: which,
                back: 1,
            },
        );
    }

    /// Drains every node, which nothing keeps from it.
    fn end(mut self) -> (Plan, Ledger) {
        let over = self.plan.last + 60_000;
        for node in self.nodes.iter_mut().flatten() {
            let drained = node
                .runtime
                .block_on(node.layers[0].drain(Duration::from_secs(60)));
            if drained != Drained::Complete {
                let wrong = format!("{over}: life {} does not drain: {drained:?}", node.life);
                self.world.lock().ledger.wrong.push(wrong);
            }
        }
        for node in std::mem::take(&mut self.nodes).into_iter().flatten() {
            node.crash(over);
        }
        let ledger = std::mem::take(&mut self.world.lock().ledger);
        (self.plan, ledger)
    }
}
