//! Waiting for the end of somebody else's lease.

use std::time::Duration;

use tokio::time::sleep;

use super::{
    RedisStore,
    fault::Unexpected,
    script::{self, Answer, Call},
};
use crate::{
    record_key::RecordKey,
    store::{Fence, StoreError},
};

/// How long a waiter that hears what is published sleeps before it looks again: a cluster
/// that is torn apart may lose a message.
const HEARING: Duration = Duration::from_secs(10);

/// How long one that hears nothing sleeps.
const DEAF: Duration = Duration::from_secs(1);

impl RedisStore {
    /// First listens, then looks, then waits: an end in between is heard.
    pub(super) async fn until_settled(
        &self,
        key: &RecordKey,
        fence: Fence,
    ) -> Result<(), StoreError> {
        let name = self.name(key);
        let bell = self.wakeups().bell(&name);
        let mut hearing = self.wakeups().hearing(self.servers()).await;
        loop {
            let rung = bell.rung();
            let Some(remaining) = self.watch(&name, fence).await? else {
                return Ok(());
            };
            let pause = match *hearing.borrow_and_update() {
                true => HEARING,
                false => DEAF,
            };
            tokio::select! {
                () = rung => return Ok(()),
                () = sleep(remaining.min(pause)) => {}
                // What was published meanwhile is lost.
                Ok(()) = hearing.changed() => {}
            }
        }
    }

    /// The time left of the lease with this fence, its waiter flag raised; `None` if the
    /// key is free, completed or another's.
    async fn watch(&self, name: &str, fence: Fence) -> Result<Option<Duration>, StoreError> {
        let fence = fence.to_string();
        let call = Call {
            script: &script::WATCH,
            key: name,
            arguments: &[fence.as_bytes()],
            replicas: None,
            brings_value: false,
        };
        match self.run(&call).await?.answer {
            Answer::InFlight { remaining, .. } => Ok(Some(remaining)),
            Answer::Over => Ok(None),
            _ => Err(StoreError::unknown(Unexpected)),
        }
    }
}
