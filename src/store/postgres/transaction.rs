//! The handler's own transaction, in which its answer is recorded.

use std::{
    fmt,
    ops::{Deref, DerefMut},
};

use sqlx::{PgConnection, PgPool, Postgres};
use tokio::time::timeout;

use super::{
    PostgresStore,
    database::{Database, NoAnswer, Question},
    handover::{Seat, Taken},
    verbs::of_lease,
};
use crate::store::{Lease, StoreError};

/// A transaction of a handler, in which its answer is recorded.
///
/// It is a [`PgConnection`] with a transaction begun: `&mut *transaction` executes. If it is
/// dropped, what was written in it is rolled back; handed back with
/// [`commit_with_answer`](Self::commit_with_answer), it is committed together with the record
/// of the answer.
///
/// Do not end it by SQL, and do not go on after a nested `begin` that was cancelled, which
/// with `sqlx` 0.9 rolls all of it back.
#[must_use = "what is written in it is rolled back, unless it is handed back"]
pub struct Transaction {
    begun: sqlx::Transaction<'static, Postgres>,
    seat: Taken,
}

/// Why a handler got no transaction.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BeginError {
    /// The request runs without a lease.
    #[error(
        "the request runs unprotected (StoreFailure::DangerProceed), so nothing can be recorded with it"
    )]
    Unprotected,
    /// The store does not hold the lease.
    #[error(
        "this store does not hold the lease of the operation: either it was lost, or the layer has another store"
    )]
    NotHeld,
    /// The operation has a transaction already.
    #[error("the operation has a transaction already")]
    AlreadyBegun,
    /// The server did not do as asked.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl PostgresStore {
    /// Begins a transaction for the operation a handler carries out, in which its answer will
    /// be recorded: see [exactly once](super#exactly-once).
    ///
    /// `operation` is the [`Idempotency`](crate::Idempotency) of the request. May be
    /// cancelled at any await point.
    ///
    /// # Errors
    ///
    /// [`BeginError`], and nothing was begun.
    pub async fn begin<O>(&self, operation: &O) -> Result<Transaction, BeginError>
    where
        O: AsRef<Lease> + Sync,
    {
        let lease = operation.as_ref();
        if lease.fence().get() == 0 {
            return Err(BeginError::Unprotected);
        }
        let holds = &self.statements().holds;
        let held = self
            .database()
            .ask(holds, |question: Question| of_lease(question, lease));
        if held.await?.is_none() {
            return Err(BeginError::NotHeld);
        }
        let seat = Seat::take(lease).ok_or(BeginError::AlreadyBegun)?;
        let Database { pool, deadline, .. } = self.database();
        let begun = timeout(*deadline, begin_apart(pool)).await;
        let begun = begun.map_err(|_| StoreError::not_applied(NoAnswer(*deadline)))?;
        let begun = begun.map_err(StoreError::not_applied)?;
        Ok(Transaction { begun, seat })
    }
}

/// On a task of its own: a `begin` that was cancelled would leave a connection with an open
/// transaction to whoever borrows it next.
pub(super) async fn begin_apart(
    pool: &PgPool,
) -> Result<sqlx::Transaction<'static, Postgres>, sqlx::Error> {
    let pool = pool.clone();
    let begun = tokio::spawn(async move { pool.begin().await });
    begun.await.map_err(|_| sqlx::Error::WorkerCrashed)?
}

impl Transaction {
    /// Hands the transaction back. It is committed together with the record of the answer the
    /// handler gives now, before that answer leaves.
    ///
    /// If the answer releases the key, as one with status 500 does, the transaction is rolled
    /// back. If the lease was lost, or the transaction cannot be committed, it is rolled back
    /// and the answer is not given.
    pub fn commit_with_answer(self) {
        self.seat.hand_over(self.begun);
    }
}

impl Deref for Transaction {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.begun
    }
}

impl DerefMut for Transaction {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.begun
    }
}

impl fmt::Debug for Transaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transaction").finish_non_exhaustive()
    }
}
