//! Clearing away what is gone.

use std::time::Duration;

use tokio::{task::AbortHandle, time::sleep};

use super::{PostgresStore, database::Database};
use crate::store::StoreError;

/// How many rows one statement deletes at most: it takes some milliseconds, in which it
/// holds their locks.
const BATCH: i64 = 1000;

/// Between two batches, so that clearing away never takes the server from those who use it.
const PAUSE: Duration = Duration::from_millis(50);

impl PostgresStore {
    /// Clears away all keys that are gone, and says how many there were. Keys in flight are
    /// never touched.
    ///
    /// The store does so by itself, every minute unless
    /// [told otherwise](super::PostgresOptions::sweep_every), in batches of at most 1,000
    /// rows. A key is cleared away some time after it is gone: an eighth of its retention
    /// and the length of its lease.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the server cannot be reached. What was cleared away stays so.
    pub async fn sweep(&self) -> Result<u64, StoreError> {
        sweep(self.database()).await
    }
}

async fn sweep(database: &Database) -> Result<u64, StoreError> {
    let mut swept = 0;
    loop {
        let batch = database.ask(&database.statements.sweep, |question| question.bind(BATCH));
        let batch: i64 = match batch.await? {
            Some(row) => super::answer::column(&row, "swept")?,
            None => 0,
        };
        swept += u64::try_from(batch).unwrap_or_default();
        if batch < BATCH {
            return Ok(swept);
        }
        sleep(PAUSE).await;
    }
}

/// The task that clears away; it ends with this.
pub(super) struct Sweeper(Option<AbortHandle>);

impl Sweeper {
    pub(super) fn start(database: &Database, every: Option<Duration>) -> Self {
        let database = database.clone();
        let keep_on = |every| async move {
            loop {
                sleep(every).await;
                if let Err(error) = sweep(&database).await {
                    tracing::warn!(target: "tower_idempotency", error = &error as &dyn std::error::Error, "keys that are gone stay");
                }
            }
        };
        Self(every.map(|every| tokio::spawn(keep_on(every)).abort_handle()))
    }
}

impl Drop for Sweeper {
    fn drop(&mut self) {
        if let Some(task) = self.0.take() {
            task.abort();
        }
    }
}
