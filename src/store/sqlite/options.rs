//! How a file is kept.

use std::{path::Path, sync::Arc, time::Duration};

use super::{SqliteOpenError, SqliteStore, open::Settings, store::File};

/// How an [`SqliteStore`] keeps its file.
#[derive(Debug, Clone)]
pub struct SqliteOptions(Settings);

impl SqliteOptions {
    /// Waits a second for other processes, and for the disk at each commit.
    #[must_use]
    pub fn new() -> Self {
        Self(Settings {
            busy_timeout: Duration::from_secs(1),
            sync_each_commit: true,
        })
    }

    /// How long a write waits for the writes of other processes before it fails as not
    /// applied; 1 s by default, at most 24 days. Stay below the layer's
    /// [`store_deadline`](crate::IdempotencyLayer::store_deadline).
    #[must_use]
    pub fn busy_timeout(mut self, timeout: Duration) -> Self {
        self.0.busy_timeout = timeout.min(LONGEST_TIMEOUT);
        self
    }

    /// Does not wait for the disk at each commit (`synchronous = NORMAL`).
    ///
    /// **This lowers the guarantee**: what was acknowledged still survives the process, but a
    /// failure of power or of the system loses the last moments, and operations that were
    /// carried out in them are carried out again.
    #[must_use]
    pub fn danger_lose_on_power_failure(mut self) -> Self {
        self.0.sync_each_commit = false;
        self
    }

    /// Opens the file at `path`, and makes it if there is none. Its directory must exist.
    ///
    /// # Errors
    ///
    /// [`SqliteOpenError`] says what is wrong with the file and what to do about it.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub async fn open(self, path: impl AsRef<Path>) -> Result<SqliteStore, SqliteOpenError> {
        let path = path.as_ref().to_owned();
        let opened = {
            let path = path.clone();
            tokio::task::spawn_blocking(move || File::open(&path, self.0))
        };
        match opened.await {
            Ok(opened) => opened.map(|file| SqliteStore(Arc::new(file))),
            Err(stopped) => Err(SqliteOpenError::other(&path, stopped)),
        }
    }
}

/// SQLite counts it in milliseconds, up to 2^31.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(24 * 24 * 60 * 60);

impl Default for SqliteOptions {
    fn default() -> Self {
        Self::new()
    }
}
