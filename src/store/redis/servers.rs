//! Where the keys are: on one server, or spread over a cluster.

use std::{sync::Arc, time::Duration};

use redis::{RedisResult, Value, aio::PubSub};
use tokio::time::timeout;

use super::{
    cluster::Cluster,
    fault::{Homeless, not_sent},
    line::{Deadline, Line},
    script::{Call, Form, Owner, Reply, is_unknown_script},
};
use crate::store::StoreError;

pub(super) enum Servers {
    One(Arc<Line>),
    Cluster(Cluster),
}

impl Servers {
    /// Runs a script where its key is, in one round trip; in two where the server has not
    /// seen the script before.
    pub(super) async fn run(
        &self,
        call: &Call<'_>,
        deadline: Deadline,
    ) -> Result<Reply, StoreError> {
        let mut replies = self.ask(call, Form::Hash, deadline).await?;
        if is_unknown_script(&replies) {
            replies = Box::pin(self.ask(call, Form::Text, deadline)).await?;
        }
        call.reply(replies)
    }

    async fn ask(
        &self,
        call: &Call<'_>,
        form: Form,
        deadline: Deadline,
    ) -> Result<Vec<Value>, StoreError> {
        match self {
            Self::One(line) => {
                line.ask(call.commands(form, Owner::Settled), deadline)
                    .await
            }
            Self::Cluster(cluster) => Box::pin(cluster.ask(call, form, deadline)).await,
        }
    }

    /// The servers that take writes.
    pub(super) async fn primaries(&self, deadline: Deadline) -> Result<Vec<Arc<Line>>, StoreError> {
        match self {
            Self::One(line) => Ok(vec![Arc::clone(line)]),
            Self::Cluster(cluster) => cluster.primaries(deadline).await,
        }
    }

    /// The servers heard of so far.
    pub(super) fn known(&self) -> RedisResult<Vec<Arc<Line>>> {
        match self {
            Self::One(line) => Ok(vec![Arc::clone(line)]),
            Self::Cluster(cluster) => cluster.lines(),
        }
    }

    /// A connection that hears what is published, to any server: a cluster passes on what
    /// is published with `PUBLISH`, which `SPUBLISH`, unknown before Redis 7, would not
    /// have it do.
    pub(super) async fn listen(&self, patience: Duration) -> Result<PubSub, StoreError> {
        let mut failed = StoreError::not_applied(Homeless);
        for line in self.known().map_err(not_sent)? {
            match timeout(patience, line.listen()).await {
                Ok(Ok(listener)) => return Ok(listener),
                Ok(Err(error)) => failed = not_sent(error),
                Err(_) => {}
            }
        }
        Err(failed)
    }

    /// Publishes an empty message, which is nobody's key.
    pub(super) async fn publish(
        &self,
        channel: &str,
        patience: Duration,
    ) -> Result<(), StoreError> {
        let mut failed = StoreError::not_applied(Homeless);
        for line in self.known().map_err(not_sent)? {
            let mut commands = redis::pipe();
            commands.cmd("PUBLISH").arg(channel).arg("");
            match line.ask(commands, Deadline::within(patience)).await {
                Ok(_) => return Ok(()),
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }
}
