//! What is looked at before a store is used: whether the server keeps what it is given.

use std::{error::Error, time::Duration};

use redis::{RedisError, Value, from_redis_value};

use super::{
    line::{Deadline, Line},
    servers::Servers,
};
use crate::store::StoreError;

/// Why a [`RedisStore`](super::RedisStore) refuses a server. The text says what to do
/// about it. Print it with `{}`: `expect`, and a `main` that returns it, show `Debug` instead.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RedisOpenError {
    /// The address cannot be read.
    #[error("this is not the address of a Redis server: {0}")]
    Address(#[source] RedisError),
    /// No servers of a cluster were named.
    #[error("no address: name at least one server of the cluster")]
    NoAddress,
    /// The server cannot be reached, or refuses the credentials.
    #[error("{server} does not answer: {}", root(source))]
    #[non_exhaustive]
    Unreachable {
        /// Host and port.
        server: String,
        /// What went wrong.
        source: StoreError,
    },
    /// The server refuses to tell about itself.
    #[error("{server} refuses INFO: {source}; allow it to this user: ACL SETUSER … +info")]
    #[non_exhaustive]
    Silent {
        /// Host and port.
        server: String,
        /// Its words.
        source: RedisError,
    },
    /// The server is older than Redis 6.2.
    #[error("{server} is Redis {version}; at least 6.2 is needed")]
    #[non_exhaustive]
    TooOld {
        /// Host and port.
        server: String,
        /// What it says.
        version: String,
    },
    /// The server was built for 32 bits: its scripts cannot pack a time.
    #[error("{server} is a 32-bit build; a 64-bit build is needed")]
    #[non_exhaustive]
    Narrow {
        /// Host and port.
        server: String,
    },
    /// The server drops keys when it runs out of memory. A claim that is dropped lets its
    /// operation run twice.
    #[error(
        "{server} evicts keys: its maxmemory-policy is {policy}, and an operation whose key is \
         evicted runs again; set maxmemory-policy to noeviction, in redis.conf or with CONFIG SET"
    )]
    #[non_exhaustive]
    Evicts {
        /// Host and port.
        server: String,
        /// Its `maxmemory-policy`.
        policy: String,
    },
    /// The server belongs to a cluster.
    #[error("{server} belongs to a cluster: use RedisStore::connect_cluster")]
    #[non_exhaustive]
    InCluster {
        /// Host and port.
        server: String,
    },
    /// The server does not belong to a cluster.
    #[error("{server} belongs to no cluster: use RedisStore::connect")]
    #[non_exhaustive]
    NotInCluster {
        /// Host and port.
        server: String,
    },
}

/// The words of the server or of the system.
fn root(error: &StoreError) -> String {
    let mut root: &dyn Error = error;
    while let Some(source) = root.source() {
        root = source;
    }
    root.to_string()
}

const PATIENCE: Duration = Duration::from_secs(5);

impl Servers {
    /// Refuses servers that do not keep the promise, and warns of those that might not.
    pub(super) async fn check(&self) -> Result<(), RedisOpenError> {
        let is_cluster = matches!(self, Self::Cluster(_));
        let primaries = match self.primaries(Deadline::within(PATIENCE)).await {
            Ok(primaries) => primaries,
            Err(source) => return Err(self.explained(source).await),
        };
        for line in primaries {
            let info = Info::of(&line).await?;
            info.check(is_cluster)?;
            info.warn();
        }
        Ok(())
    }

    /// Why there is no map of the cluster, in the words of its servers if they know.
    async fn explained(&self, source: StoreError) -> RedisOpenError {
        for line in self.known().unwrap_or_default() {
            let info = Info::of(&line).await;
            if let Err(error) = info.and_then(|info| info.check(true)) {
                return error;
            }
        }
        let server = "the cluster".to_owned();
        RedisOpenError::Unreachable { server, source }
    }
}

/// What a server tells about itself.
struct Info {
    server: String,
    text: String,
}

impl Info {
    async fn of(line: &Line) -> Result<Self, RedisOpenError> {
        let server = line.address();
        let mut commands = redis::pipe();
        commands.cmd("INFO");
        let asked = line.ask(commands, Deadline::within(PATIENCE)).await;
        let reply = asked.map(|mut replies| replies.pop().unwrap_or(Value::Nil));
        match reply {
            Ok(Value::ServerError(error)) => Err(RedisOpenError::Silent {
                server,
                source: error.into(),
            }),
            Ok(reply) => {
                let text = from_redis_value(reply).unwrap_or_default();
                Ok(Self { server, text })
            }
            Err(source) => Err(RedisOpenError::Unreachable { server, source }),
        }
    }

    fn field(&self, name: &str) -> Option<&str> {
        let fields = self.text.lines().filter_map(|line| line.split_once(':'));
        let mut found = fields.filter(|(field, _)| *field == name);
        found.next().map(|(_, value)| value)
    }

    fn check(&self, is_cluster: bool) -> Result<(), RedisOpenError> {
        let server = self.server.clone();
        let version = self.field("redis_version").unwrap_or("unknown");
        if !is_recent(version) {
            let version = version.to_owned();
            return Err(RedisOpenError::TooOld { server, version });
        }
        if self.field("arch_bits") == Some("32") {
            return Err(RedisOpenError::Narrow { server });
        }
        match (self.field("cluster_enabled"), is_cluster) {
            (Some("1"), false) => return Err(RedisOpenError::InCluster { server }),
            (Some("0"), true) => return Err(RedisOpenError::NotInCluster { server }),
            _ => {}
        }
        match self.field("maxmemory_policy") {
            Some("noeviction") | None => Ok(()),
            Some(policy) => {
                let policy = policy.to_owned();
                Err(RedisOpenError::Evicts { server, policy })
            }
        }
    }

    fn warn(&self) {
        let server = &self.server;
        if self.field("maxmemory_policy").is_none() {
            tracing::warn!(%server, "cannot tell whether the server evicts keys: see to it that its maxmemory-policy is noeviction");
        }
        if self.field("aof_enabled") != Some("1") {
            tracing::warn!(%server, "the server keeps no append-only file: a restart forgets keys, and their operations run again; set appendonly to yes");
        }
        if self.field("role") == Some("slave") {
            tracing::warn!(%server, "the server is a replica, and takes no writes: connect to its primary");
        }
    }
}

fn is_recent(version: &str) -> bool {
    let mut numbers = version.split('.').map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) >= (6, 2),
        _ => false,
    }
}
