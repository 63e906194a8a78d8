//! The store, and what operators do with it.

use std::{
    fmt,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use http::Response;

use super::{
    SqliteOpenError, SqliteOptions,
    clock::Clock,
    open::{self, Settings},
    session::Session,
    waiters::{Waiter, Waiters},
    worker::{Queue, Role, Worker},
};
use crate::{
    record_key::RecordKey,
    store::{Fence, Resolution, Slot, Standing, StoreError},
};

/// Keeps keys, leases and records in an SQLite file of this machine; see the
/// [module](super) for what that promises.
///
/// Cheap to clone; clones share everything. Its threads end with the last clone.
#[derive(Clone)]
pub struct SqliteStore(pub(super) Arc<File>);

/// An open file.
pub(super) struct File {
    writer: Queue,
    readers: [Queue; 2],
    reads: AtomicUsize,
    waiters: Arc<Waiters>,
}

impl SqliteStore {
    /// Opens the file at `path` with the default [`SqliteOptions`], and makes it if there is
    /// none. Its directory must exist.
    ///
    /// # Errors
    ///
    /// [`SqliteOpenError`] says what is wrong with the file and what to do about it.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub async fn open(path: impl AsRef<Path>) -> Result<Self, SqliteOpenError> {
        SqliteOptions::new().open(path).await
    }

    /// How many keys the file holds, in flight and completed, and expired but not yet cleared
    /// away. Counts them one by one.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the file cannot be read.
    pub async fn count(&self) -> Result<u64, StoreError> {
        self.read(|session| session.count()).await
    }

    /// Clears away all expired keys, in steps that hold up nobody for long, and says how many
    /// there were. Claims clear some away in any case.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the file cannot be written; some may be gone already.
    pub async fn sweep(&self) -> Result<u64, StoreError> {
        const AT_ONCE: usize = 256;
        let mut swept = 0;
        loop {
            let step = self.0.writer.run(|session| session.sweep(AT_ONCE)).await?;
            swept += step as u64;
            if step < AT_ONCE {
                return Ok(swept);
            }
        }
    }

    /// For operators: drops whatever stands under `key`, and says what it was.
    ///
    /// **The operation can then be carried out again**, also while it is still being carried
    /// out: a key in flight is dropped too. Its holder can no longer complete it, and what it
    /// has done by then stays done.
    ///
    /// # Errors
    ///
    /// [`StoreError`] says whether the key was dropped. What cannot be read is dropped too,
    /// and reported as [`Corrupt`](crate::store::StoreErrorKind::Corrupt).
    pub async fn forget(&self, key: &RecordKey) -> Result<Standing, StoreError> {
        let key = *key;
        let forget = move |session: &mut Session<'_>| session.forget(&key);
        self.0.writer.run(forget).await?
    }

    /// For operators: gives the answer to an operation whose lease lapsed before it was
    /// completed, for example one that answers `idempotency_outcome_unknown` under
    /// [`AfterCrash::Hold`](crate::AfterCrash::Hold). Retries get it for `retention` from now.
    ///
    /// Whoever held the lease can no longer complete it: should it be alive after all, it
    /// finds this answer.
    ///
    /// Header fields are kept as by [`Record::answer`](crate::Record::answer).
    ///
    /// # Errors
    ///
    /// [`StoreError`] says whether the answer was written.
    pub async fn resolve(
        &self,
        key: &RecordKey,
        response: &Response<Bytes>,
        retention: Duration,
    ) -> Result<Resolution, StoreError> {
        let answer = response.clone();
        let resolve =
            move |slot: &mut Slot, fence, now| slot.resolve(&answer, retention, fence, now);
        self.step(key, resolve).await
    }

    pub(super) async fn step<T: Send + 'static>(
        &self,
        key: &RecordKey,
        verb: impl FnOnce(&mut Slot, Fence, Duration) -> T + Send + 'static,
    ) -> Result<T, StoreError> {
        let key = *key;
        let step = move |session: &mut Session<'_>| session.step(&key, verb);
        self.0.writer.run(step).await
    }

    pub(super) fn wait_for(&self, key: &RecordKey) -> Waiter<'_> {
        self.0.waiters.register(key)
    }

    pub(super) async fn read<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Session<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let reader = self.0.reads.fetch_add(1, Relaxed) % self.0.readers.len();
        self.0.readers[reader].run(|session| look(session)).await
    }
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStore").finish_non_exhaustive()
    }
}

impl File {
    pub(super) fn open(path: &Path, settings: Settings) -> Result<Self, SqliteOpenError> {
        let (clock, waiters) = (Arc::new(Clock::new()), Arc::<Waiters>::default());
        let spawn = |role| {
            let worker = Worker {
                connection: open::open(path, settings)?,
                clock: Arc::clone(&clock),
                waiters: Arc::clone(&waiters),
                role,
            };
            let spawned = worker.spawn();
            spawned.map_err(|error| SqliteOpenError::other(path, error))
        };
        Ok(Self {
            writer: spawn(Role::Writer)?,
            readers: [spawn(Role::Reader)?, spawn(Role::Reader)?],
            reads: AtomicUsize::new(0),
            waiters: Arc::clone(&waiters),
        })
    }
}
