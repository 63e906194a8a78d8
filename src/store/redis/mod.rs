//! A store on Redis or Valkey, one server or a cluster.
//!
//! Needs the feature `redis`.
//!
//! ```no_run
//! # async fn connect() -> Result<(), Box<dyn std::error::Error>> {
//! use tower_idempotency::{IdempotencyLayer, RedisStore};
//!
//! let store = RedisStore::connect("redis://localhost").await?;
//! let layer = IdempotencyLayer::new(store);
//! # Ok(())
//! # }
//! ```
//!
//! # What it promises
//!
//! Every node sees the same keys, and the [laws of a store](super) hold **while the primary
//! keeps its data**: one execution at a time, one record, and no write of a lease that was
//! lost. Each verb is one script on one key, which the server runs in one step by its own
//! clock. A first request costs two round trips, one for its claim and one for its record; a
//! replay costs one.
//!
//! # What breaks the promise
//!
//! | what happens | what follows | what helps |
//! |---|---|---|
//! | the server evicts keys | operations whose key is gone run again | `maxmemory-policy noeviction`: any other is refused at the start |
//! | a restart without an append-only file | all keys are gone | `appendonly yes`; there is a warning at the start |
//! | a restart with `appendfsync everysec` | the last second may be gone if the machine died, not if the process did | `appendfsync always` |
//! | a failover | what the new primary did not have yet is gone: replication is asynchronous | [`wait_replicas`](RedisStore::wait_replicas) makes it far less likely, at the price of a round trip to the replicas |
//! | the server's clock is set back | leases and records live longer by as much. Fences still grow, unless a key was gone for a minute and the clock is set back beyond its last use | a clock that is slewed |
//! | the server is full | new keys are refused, with a 503, and so are records: their answers leave, but are not kept | room: some 250 bytes for each key beside its record |
//!
//! The settings of the server are looked at once, at the start.
//!
//! # How to choose
//!
//! Take Redis where a round trip must be short and a failover may, once in years, let an
//! operation run twice. Where it must not, the keys belong in the database that the
//! handler writes to, in its own transaction. One process needs neither: see
//! [`MemoryStore`](super::MemoryStore).
//!
//! # Server
//!
//! Redis 6.2 or Valkey, or later, on a 64-bit machine; no modules. The tests have passed on
//! Redis 6.2 and 7.0, and on Valkey 8.1 and 9.1. Keys are called `idempotency:` and the record
//! key in hexadecimal, as it stands in logs, so that an operator can find them
//! ([`prefix`](RedisStore::prefix)). A value is a header of 80 bytes and the record, and expires
//! a minute after its time. A user with restricted rights needs
//!
//! ```text
//! ACL SETUSER app ~idempotency:* &idempotency:settled
//!     +evalsha +eval +getrange +set +setrange +pexpire +del +exists +time
//!     +publish +subscribe +info +wait +asking +cluster|slots
//! ```
//!
//! where `idempotency:` is the prefix. With `+client|setinfo`, which all take but Redis 7.0, the
//! server also learns the name of the client library; without, all works, but its ACL log notes
//! each connection.
//!
//! Sentinels are not asked: give an address that follows the primary. Once a server says that
//! it is a replica now, the connection to it is dropped, and the next call connects anew.
//!
//! A password and the database stand in the URL: `redis://:password@host:6379/0`. For TLS
//! (`rediss://`), name `redis = "1"` in your own `Cargo.toml`, with one of its features
//! `tokio-rustls-comp` and `tokio-native-tls-comp`. Certificates of your own come by way of its
//! `Client::build_with_tls`: [`RedisStore::connect`] takes a clone of its
//! `get_connection_info` for an address. The crate is re-exported here.
//!
//! # Waiting
//!
//! A store has one more connection, made for the first request that waits for another node,
//! on which it hears that leases end. Whoever completes or releases a key publishes that
//! only if somebody waits. In silence it publishes an empty message every few seconds, to
//! hear itself. Where nothing is heard, since the connection is down or the user may not
//! subscribe, waiters look again each second.

mod cluster;
mod connect;
mod fault;
mod line;
mod operator;
mod packing;
mod script;
mod servers;
mod slots;
mod verbs;
mod waiting;
mod wakeups;

use std::{fmt, sync::Arc, time::Duration};

pub use ::redis;
use redis::{Client, IntoConnectionInfo};

pub use self::connect::RedisOpenError;
use self::{
    cluster::Cluster,
    line::{Deadline, Line},
    script::{Call, Replicas, Reply},
    servers::Servers,
    wakeups::Wakeups,
};
use super::StoreError;
use crate::{digest::push_hex, horizon::HORIZON, record_key::RecordKey};

/// Keeps keys, leases and records in Redis or Valkey. See the
/// [module documentation](self) for what that promises.
///
/// All calls share one connection to each server. Cheap to clone; clones share it, too.
#[derive(Clone)]
pub struct RedisStore(Arc<Inner>);

struct Inner {
    servers: Arc<Servers>,
    settings: Settings,
    wakeups: Wakeups,
}

#[derive(Debug, Clone)]
struct Settings {
    prefix: String,
    deadline: Duration,
    replicas: Option<Replicas>,
}

impl RedisStore {
    /// Connects to one server, by its URL or whatever else the `redis` crate takes for an
    /// address, and looks at its settings.
    ///
    /// Must be called within a tokio runtime, as every verb.
    ///
    /// # Errors
    ///
    /// [`RedisOpenError`] if the server cannot be reached, is older than 6.2, evicts keys or
    /// belongs to a cluster.
    pub async fn connect(server: impl IntoConnectionInfo) -> Result<Self, RedisOpenError> {
        let client = Client::open(server).map_err(RedisOpenError::Address)?;
        Self::checked(Servers::One(Arc::new(Line::new(client)))).await
    }

    /// Connects to a cluster by the addresses of some of its servers, and looks at the
    /// settings of all. Credentials and TLS of the first address hold for all servers.
    ///
    /// # Errors
    ///
    /// [`RedisOpenError`] if no server can be reached, or one is older than 6.2, evicts keys
    /// or does not belong to a cluster.
    pub async fn connect_cluster<I>(servers: I) -> Result<Self, RedisOpenError>
    where
        I: IntoIterator<Item: IntoConnectionInfo>,
    {
        let servers = servers
            .into_iter()
            .map(IntoConnectionInfo::into_connection_info);
        let servers: Vec<_> = servers
            .collect::<Result<_, _>>()
            .map_err(RedisOpenError::Address)?;
        if servers.is_empty() {
            return Err(RedisOpenError::NoAddress);
        }
        Self::checked(Servers::Cluster(Cluster::new(servers))).await
    }

    async fn checked(servers: Servers) -> Result<Self, RedisOpenError> {
        servers.check().await?;
        let settings = Settings {
            prefix: "idempotency:".to_owned(),
            deadline: Duration::from_secs(1),
            replicas: None,
        };
        Ok(Self::assembled(Arc::new(servers), settings))
    }

    fn assembled(servers: Arc<Servers>, settings: Settings) -> Self {
        let wakeups = Wakeups::new(format!("{}settled", settings.prefix));
        Self(Arc::new(Inner {
            servers,
            settings,
            wakeups,
        }))
    }

    /// What the names of keys begin with; `idempotency:` by default. Stores with different
    /// prefixes do not see each other's keys.
    ///
    /// Braces in it put all keys into one slot of a cluster.
    #[must_use]
    pub fn prefix(self, prefix: impl Into<String>) -> Self {
        let prefix = prefix.into();
        self.with(|settings| Settings { prefix, ..settings })
    }

    /// How long a call may take; 1 s by default. A connection that leaves a call
    /// unanswered for longer is dropped, also if the call was given up before, and the next
    /// call makes a new one.
    #[must_use]
    pub fn deadline(self, deadline: Duration) -> Self {
        self.with(|settings| Settings {
            deadline,
            ..settings
        })
    }

    /// Has a claim and a completion wait until `replicas` replicas have it; they wait for
    /// none by default. If they do not within `patience`, the call fails as
    /// [`Unknown`](super::StoreErrorKind::Unknown) and can be sent again. A claim that finds a
    /// record waits as well: while replicas are missing, each replay takes as long as `patience`.
    ///
    /// A failover then loses a key only if the replica that takes over is not among those
    /// that had it. Calls on one connection wait one after the other, so the rate falls to
    /// a small part.
    #[must_use]
    pub fn wait_replicas(self, replicas: u32, patience: Duration) -> Self {
        let replicas = (replicas > 0).then_some(Replicas {
            wanted: replicas,
            patience: patience.min(HORIZON),
        });
        self.with(|settings| Settings {
            replicas,
            ..settings
        })
    }

    fn with(self, change: impl FnOnce(Settings) -> Settings) -> Self {
        let settings = change(self.0.settings.clone());
        Self::assembled(Arc::clone(&self.0.servers), settings)
    }

    fn servers(&self) -> &Arc<Servers> {
        &self.0.servers
    }

    fn wakeups(&self) -> &Wakeups {
        &self.0.wakeups
    }

    fn channel(&self) -> &[u8] {
        self.0.wakeups.channel().as_bytes()
    }

    fn replicas(&self) -> Option<Replicas> {
        self.0.settings.replicas
    }

    /// What a key is called in the server.
    fn name(&self, key: &RecordKey) -> String {
        let prefix = &self.0.settings.prefix;
        let mut name = String::with_capacity(prefix.len() + 2 * key.as_bytes().len());
        name.push_str(prefix);
        push_hex(&mut name, key.as_bytes());
        name
    }

    async fn run(&self, call: &Call<'_>) -> Result<Reply, StoreError> {
        let waits = call.replicas.map_or(Duration::ZERO, |it| it.patience);
        let patience = self.0.settings.deadline.saturating_add(waits);
        self.servers().run(call, Deadline::within(patience)).await
    }
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore")
            .field("prefix", &self.0.settings.prefix)
            .field("deadline", &self.0.settings.deadline)
            .field("replicas", &self.0.settings.replicas)
            .finish_non_exhaustive()
    }
}
