//! A Redis cluster.

use std::{
    iter::from_fn,
    net::TcpListener,
    ops::RangeInclusive,
    thread,
    time::{Duration, Instant},
};

use super::{keeper::free_port, redis::RedisServer};

/// Three primaries with a third of the slots each.
pub struct RedisCluster {
    pub nodes: Vec<RedisServer>,
}

const THIRDS: [RangeInclusive<u16>; 3] = [0..=5460, 5461..=10922, 10923..=16383];

/// How far the port on which servers talk to each other is from that for clients; Redis 6.2
/// knows no other.
const BUS: u16 = 10_000;

impl RedisCluster {
    /// Starts it, and waits until each server knows of all slots.
    ///
    /// # Panics
    ///
    /// If they do not within 30 s.
    pub fn start() -> Self {
        let mut nodes = Vec::new();
        let mut first = None;
        for (epoch, slots) in (1..).zip(THIRDS) {
            let node = start_node();
            // Servers of one epoch settle later which of them has a newer one, and the newer
            // takes back a slot that was moved meanwhile.
            assert_eq!(node.cli(&format!("CLUSTER SET-CONFIG-EPOCH {epoch}")), "OK");
            let slots: Vec<_> = slots.map(|slot| slot.to_string()).collect();
            let added = node.cli(&format!("CLUSTER ADDSLOTS {}", slots.join(" ")));
            assert_eq!(added, "OK");
            let port = first.get_or_insert(node.port());
            let met = node.cli(&format!("CLUSTER MEET 127.0.0.1 {port}"));
            assert_eq!(met, "OK");
            nodes.push(node);
        }
        let cluster = Self { nodes };
        cluster.until_whole();
        cluster
    }

    fn until_whole(&self) {
        let began = Instant::now();
        let is_whole = |node: &RedisServer| {
            let info = node.cli("CLUSTER INFO");
            info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:3")
        };
        while !self.nodes.iter().all(is_whole) {
            assert!(began.elapsed() < Duration::from_secs(30));
            thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(RedisServer::url).collect()
    }

    /// Which node has the slot of `key`.
    pub fn home(&self, key: &str) -> usize {
        let has = |node: &RedisServer| !node.cli(&format!("EXISTS {key}")).contains("MOVED");
        self.nodes
            .iter()
            .position(has)
            .expect("a node has the slot")
    }

    /// Begins to move the slot of `key` to another node: from now on a key that is not at
    /// its home is asked for at the other node.
    pub fn begin_move(&self, key: &str) -> Move<'_> {
        let home = self.home(key);
        let (from, to) = (&self.nodes[home], &self.nodes[(home + 1) % 3]);
        let slot = from.cli(&format!("CLUSTER KEYSLOT {key}"));
        let (from_id, to_id) = (from.cli("CLUSTER MYID"), to.cli("CLUSTER MYID"));
        let imports = to.cli(&format!("CLUSTER SETSLOT {slot} IMPORTING {from_id}"));
        let migrates = from.cli(&format!("CLUSTER SETSLOT {slot} MIGRATING {to_id}"));
        assert_eq!((&*imports, &*migrates), ("OK", "OK"));
        Move {
            from,
            to,
            slot,
            to_id,
        }
    }
}

/// A slot on its way.
pub struct Move<'a> {
    from: &'a RedisServer,
    to: &'a RedisServer,
    slot: String,
    to_id: String,
}

impl Move<'_> {
    /// Takes a key along.
    pub fn take(&self, key: &str) {
        self.migrate(key, "");
    }

    /// Takes all keys along that are still there.
    pub fn take_all(&self) {
        let Self { from, slot, .. } = self;
        let left = || from.cli(&format!("CLUSTER GETKEYSINSLOT {slot} 100"));
        let left = from_fn(|| Some(left()).filter(|keys| !keys.is_empty()));
        for keys in left {
            self.migrate("", &format!(" KEYS {}", keys.replace('\n', " ")));
        }
    }

    fn migrate(&self, key: &str, keys: &str) {
        let port = self.to.port();
        let command = format!("MIGRATE 127.0.0.1 {port} {key} 0 5000{keys}");
        let moved = self.from.cli(&command);
        // One that has expired meanwhile need not be moved.
        assert!(moved == "OK" || moved == "NOKEY", "{moved}");
    }

    pub fn finish(self) {
        let Self { slot, to_id, .. } = &self;
        for node in [self.to, self.from] {
            let set = node.cli(&format!("CLUSTER SETSLOT {slot} NODE {to_id}"));
            assert_eq!(set, "OK");
        }
    }
}

fn start_node() -> RedisServer {
    // Clients are given ports from 32768 on.
    let is_free = |bus| bus < 32_768 && TcpListener::bind(("127.0.0.1", bus)).is_ok();
    let port = loop {
        let port = free_port();
        if is_free(port + BUS) {
            break port;
        }
    };
    let options = ["--cluster-enabled", "yes", "--cluster-node-timeout", "5000"];
    RedisServer::start_on(port, &options)
}
