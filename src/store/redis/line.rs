//! One connection to one server, shared by all calls, and replaced when it fails.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use redis::{AsyncConnectionConfig, Client, Pipeline, RedisResult, Value, aio};
use tokio::time::{Instant, timeout_at};

use super::fault::{Silent, is_from_replica, lost, not_sent};
use crate::{horizon::after, store::StoreError};

/// The way to one server. Replies find their callers by their order, so that a call which
/// is given up takes nobody else's. A connection that leaves a call unanswered for too
/// long is dropped all the same, also if nobody waits for the answer any more: nobody knows
/// what is wrong with it. So is one to a server that has become a replica: its address may
/// lead to the new primary by now.
pub(super) struct Line {
    client: Client,
    current: Mutex<Option<Connection>>,
    /// Held while connecting: one connection is enough.
    connecting: tokio::sync::Mutex<u64>,
}

/// By when an answer is wanted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadline {
    from: Instant,
    at: Instant,
    patience: Duration,
}

impl Deadline {
    pub(super) fn within(patience: Duration) -> Self {
        let from = Instant::now();
        let at = after(from, patience);
        Self { from, at, patience }
    }

    /// What comes until then.
    pub(super) async fn of<T>(self, awaited: impl Future<Output = T>) -> Result<T, Silent> {
        let came = timeout_at(self.at, awaited).await;
        came.map_err(|_| Silent(self.patience))
    }
}

#[derive(Clone)]
struct Connection {
    wire: aio::MultiplexedConnection,
    number: u64,
    silence: Arc<Silence>,
}

/// Since when a connection that was asked has answered nothing.
#[derive(Default)]
struct Silence(Mutex<Option<Instant>>);

impl Silence {
    fn begins(&self) {
        self.since().get_or_insert_with(Instant::now);
    }

    fn ends(&self) {
        *self.since() = None;
    }

    /// Whether a call that began with this one would be given up by now.
    fn outlasts(&self, deadline: Deadline) -> bool {
        let since = *self.since();
        since.is_some_and(|since| after(since, deadline.patience) < deadline.from)
    }

    fn since(&self) -> MutexGuard<'_, Option<Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Line {
    pub(super) fn new(client: Client) -> Self {
        Self {
            client,
            current: Mutex::new(None),
            connecting: tokio::sync::Mutex::new(0),
        }
    }

    /// A connection of its own, that hears what is published. The caller keeps the time.
    pub(super) async fn listen(&self) -> RedisResult<aio::PubSub> {
        self.client.get_async_pubsub().await
    }

    /// Host and port.
    pub(super) fn address(&self) -> String {
        self.client.get_connection_info().addr().to_string()
    }

    /// Sends the commands in one go. The replies, errors of the server among them, are as
    /// many as the commands.
    pub(super) async fn ask(
        &self,
        commands: Pipeline,
        deadline: Deadline,
    ) -> Result<Vec<Value>, StoreError> {
        let connection = match self.standing(deadline) {
            Some(connection) => connection,
            None => Box::pin(self.connection(deadline)).await?,
        };
        let Connection {
            mut wire,
            number,
            silence,
        } = connection;
        silence.begins();
        // Boxed, as it takes a kilobyte, which would be moved with whatever holds it.
        let sent = Box::pin(async move {
            let count = commands.len();
            wire.send_packed_commands(&commands, 0, count).await
        });
        let error = match deadline.of(sent).await {
            Ok(Ok(replies)) => {
                silence.ends();
                if replies.iter().any(is_from_replica) {
                    self.discard(number);
                }
                return Ok(replies);
            }
            Ok(Err(error)) => lost(error),
            Err(silent) => StoreError::unknown(silent),
        };
        self.discard(number);
        Err(error)
    }

    /// The connection that stands, unless it is silent for longer than a call may take.
    fn standing(&self, deadline: Deadline) -> Option<Connection> {
        let mut current = self.current();
        current.take_if(|it| it.silence.outlasts(deadline));
        current.clone()
    }

    /// Apart and boxed by its caller, as it is rare.
    async fn connection(&self, deadline: Deadline) -> Result<Connection, StoreError> {
        match deadline.of(self.new_connection()).await {
            Ok(connection) => connection.map_err(not_sent),
            Err(silent) => Err(StoreError::not_applied(silent)),
        }
    }

    async fn new_connection(&self) -> RedisResult<Connection> {
        let mut number = self.connecting.lock().await;
        // Another call may have connected meanwhile.
        if let Some(connection) = self.current().clone() {
            return Ok(connection);
        }
        *number += 1;
        let number = *number;
        let wire = self.connect().await?;
        let connection = Connection {
            wire,
            number,
            silence: Arc::default(),
        };
        *self.current() = Some(connection.clone());
        Ok(connection)
    }

    /// The caller keeps the time.
    async fn connect(&self) -> RedisResult<aio::MultiplexedConnection> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(None)
            .set_response_timeout(None);
        let client = &self.client;
        client
            .get_multiplexed_async_connection_with_config(&config)
            .await
    }

    /// Unless it was replaced already.
    fn discard(&self, number: u64) {
        let mut current = self.current();
        if current.as_ref().is_some_and(|it| it.number == number) {
            *current = None;
        }
    }

    fn current(&self) -> MutexGuard<'_, Option<Connection>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
