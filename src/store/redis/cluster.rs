//! Many servers, each with its slots.
//!
//! The cluster connection of the `redis` crate resends on its own, so that its last error
//! says nothing about the sends before; it covers only the first command of a pipeline with
//! `ASKING`; and it keeps a connection that does not answer. So the keys find their servers
//! here.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use redis::{Client, ConnectionAddr, ConnectionInfo, RedisResult, ServerErrorKind, Value};
use tokio::task::JoinSet;

use super::{
    fault::{Homeless, not_sent},
    line::{Deadline, Line},
    script::{self, Call, Form, Owner},
    slots::{self, Node, Range, redirection, slot_of},
};
use crate::store::StoreError;

pub(super) struct Cluster {
    /// How to reach some servers; how to reach the first holds for all others, too.
    seeds: Vec<ConnectionInfo>,
    state: Mutex<State>,
    /// Held while the map is read: one reads it for all.
    reading: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    lines: HashMap<Node, Arc<Line>>,
    /// Empty if it has to be read anew.
    ranges: Map,
}

type Map = Arc<[Range]>;

/// A map that is old, a slot on its way, and both once more.
const MOST_REDIRECTIONS: usize = 4;

impl Cluster {
    pub(super) fn new(seeds: Vec<ConnectionInfo>) -> Self {
        Self {
            seeds,
            state: Mutex::default(),
            reading: tokio::sync::Mutex::default(),
        }
    }

    /// Runs a script where its key is, and follows the key if it has moved.
    pub(super) async fn ask(
        &self,
        call: &Call<'_>,
        form: Form,
        deadline: Deadline,
    ) -> Result<Vec<Value>, StoreError> {
        let map = self.map(deadline).await?;
        let mut node = self.primary_of(slot_of(call.key), &map)?;
        let mut owner = Owner::Settled;
        for _ in 0..=MOST_REDIRECTIONS {
            let line = self.line(&node).map_err(not_sent)?;
            let asked = line.ask(call.commands(form, owner), deadline).await;
            let replies = asked.inspect_err(|_| self.distrust(&map))?;
            match self.redirected(&replies, owner, &node, &map) {
                Some((next, its)) => (node, owner) = (next, its),
                None if owner == Owner::Importing => {
                    return Ok(replies.into_iter().skip(1).step_by(2).collect());
                }
                None => return Ok(replies),
            }
        }
        Err(StoreError::not_applied(Homeless))
    }

    fn redirected(
        &self,
        replies: &[Value],
        owner: Owner,
        asked: &Node,
        map: &Map,
    ) -> Option<(Node, Owner)> {
        let own = match owner {
            Owner::Settled => replies,
            Owner::Importing => replies.get(1..)?,
        };
        let error = script::error(own)?;
        let next = redirection(error.details()?, asked);
        match error.kind()? {
            ServerErrorKind::Moved => {
                self.distrust(map);
                Some((next?, Owner::Settled))
            }
            ServerErrorKind::Ask => Some((next?, Owner::Importing)),
            ServerErrorKind::ClusterDown => {
                self.distrust(map);
                None
            }
            _ => None,
        }
    }

    /// The map in use. Of those that need a new one, one reads it.
    async fn map(&self, deadline: Deadline) -> Result<Map, StoreError> {
        if let Some(map) = self.known_map() {
            return Ok(map);
        }
        let turn = deadline.of(self.reading.lock()).await;
        let _turn = turn.map_err(StoreError::not_applied)?;
        match self.known_map() {
            Some(map) => Ok(map),
            None => self.survey(deadline).await,
        }
    }

    fn known_map(&self) -> Option<Map> {
        let map = Arc::clone(&self.state().ranges);
        (!map.is_empty()).then_some(map)
    }

    fn primary_of(&self, slot: u16, map: &Map) -> Result<Node, StoreError> {
        let range = map
            .iter()
            .find(|range| (range.first..=range.last).contains(&slot));
        if range.is_none() {
            self.distrust(map);
        }
        let primary = range.map(|range| range.primary.clone());
        primary.ok_or_else(|| StoreError::not_applied(Homeless))
    }

    /// Asks all servers known who has which slot; the first to answer is believed.
    async fn survey(&self, deadline: Deadline) -> Result<Map, StoreError> {
        let mut asked = JoinSet::new();
        for node in self.known() {
            let line = self.line(&node).map_err(not_sent)?;
            asked.spawn(async move { ranges_at(&line, &node, deadline).await });
        }
        let mut error = StoreError::not_applied(Homeless);
        while let Some(answer) = asked.join_next().await {
            match answer {
                Ok(Ok(ranges)) => {
                    let map = ranges.into();
                    self.trust(&map)?;
                    return Ok(map);
                }
                Ok(Err(failed)) => error = StoreError::not_applied(failed),
                Err(_) => {}
            }
        }
        Err(error)
    }

    /// Keeps a line to each primary, and to no other.
    fn trust(&self, map: &Map) -> Result<(), StoreError> {
        for range in &**map {
            self.line(&range.primary).map_err(not_sent)?;
        }
        let is_primary = |node: &Node| map.iter().any(|range| range.primary == *node);
        let mut state = self.state();
        state.lines.retain(|node, _| is_primary(node));
        state.ranges = Arc::clone(map);
        Ok(())
    }

    /// The servers in use, and the seeds.
    fn known(&self) -> Vec<Node> {
        let mut known: Vec<_> = self.state().lines.keys().cloned().collect();
        for seed in self.seeds.iter().filter_map(|seed| node_at(seed.addr())) {
            if !known.contains(&seed) {
                known.push(seed);
            }
        }
        known
    }

    /// The servers with slots, by a map read anew.
    pub(super) async fn primaries(&self, deadline: Deadline) -> Result<Vec<Arc<Line>>, StoreError> {
        self.survey(deadline).await?;
        Ok(self.state().lines.values().cloned().collect())
    }

    /// The servers heard of.
    pub(super) fn lines(&self) -> RedisResult<Vec<Arc<Line>>> {
        self.known().iter().map(|node| self.line(node)).collect()
    }

    fn line(&self, node: &Node) -> RedisResult<Arc<Line>> {
        let mut state = self.state();
        if let Some(line) = state.lines.get(node) {
            return Ok(Arc::clone(line));
        }
        let seed = self.seeds[0].clone();
        let addr = address(seed.addr(), node);
        let line = Arc::new(Line::new(Client::open(seed.set_addr(addr))?));
        state.lines.insert(node.clone(), Arc::clone(&line));
        Ok(line)
    }

    /// Has `map` read anew before the next call, unless it was already.
    fn distrust(&self, map: &Map) {
        let mut state = self.state();
        if Arc::ptr_eq(&state.ranges, map) {
            state.ranges = Map::default();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn ranges_at(line: &Line, node: &Node, deadline: Deadline) -> Result<Vec<Range>, StoreError> {
    let mut commands = redis::pipe();
    commands.cmd("CLUSTER").arg("SLOTS");
    let replies = line.ask(commands, deadline).await?;
    let ranges = replies.first().and_then(|reply| slots::ranges(reply, node));
    ranges
        .filter(|ranges| !ranges.is_empty())
        .ok_or_else(|| StoreError::not_applied(Homeless))
}

fn node_at(address: &ConnectionAddr) -> Option<Node> {
    match address {
        ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => Some(Node {
            host: host.clone(),
            port: *port,
        }),
        _ => None,
    }
}

/// The address of `node`, with TLS as for the seed.
fn address(seed: &ConnectionAddr, node: &Node) -> ConnectionAddr {
    let Node { host, port } = node.clone();
    match seed.clone() {
        ConnectionAddr::TcpTls {
            insecure,
            tls_params,
            ..
        } => ConnectionAddr::TcpTls {
            host,
            port,
            insecure,
            tls_params,
        },
        _ => ConnectionAddr::Tcp(host, port),
    }
}
