//! The laws, over connections of their own to one file.

use std::{sync::Mutex, time::Duration};

use rusqlite::Connection;
use tower_idempotency::{
    SqliteStore,
    store::{conformance::Harness, sqlite::SqliteOptions},
    store_conformance,
};

use crate::file::Place;

struct OnFile {
    place: Place,
    elsewhere: Place,
    lock: Mutex<Option<Connection>>,
}

impl OnFile {
    fn new() -> Self {
        Self {
            place: Place::new(),
            elsewhere: Place::new(),
            lock: Mutex::default(),
        }
    }
}

impl Harness for OnFile {
    type Store = SqliteStore;

    async fn client(&self) -> SqliteStore {
        self.place.store().await
    }

    /// A file that another program keeps locked.
    async fn unreachable(&self) -> Option<SqliteStore> {
        let options = SqliteOptions::new().busy_timeout(Duration::from_millis(20));
        let store = options.open(self.elsewhere.file()).await.unwrap();
        let shell = self.elsewhere.shell();
        shell.execute_batch("BEGIN IMMEDIATE").unwrap();
        *self.lock.lock().unwrap() = Some(shell);
        Some(store)
    }
}

store_conformance!(sqlite, OnFile::new());
