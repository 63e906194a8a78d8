//! From the handler to whoever records its answer: completing a key in the handler's own
//! transaction.

use std::{
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use sqlx::Postgres;
use tokio::time::timeout;

use super::{
    PostgresStore,
    answer::Found,
    database::{Contended, Failure, NoAnswer, ROUNDS},
    verbs::{complete_with, of_lease},
};
use crate::{
    record::Record,
    store::{Completion, Lease, StoreError},
};

type Begun = sqlx::Transaction<'static, Postgres>;

/// The place of the one transaction that may go with a lease.
pub(super) struct Seat(Mutex<State>);

enum State {
    Free,
    /// The handler has it.
    Begun,
    /// The handler has handed it back.
    Handed(Begun),
    /// It was committed or rolled back, or is being so: the server knows.
    Over,
}

impl Seat {
    /// Takes the place that goes with `lease`; `None` if it is taken.
    pub(super) fn take(lease: &Lease) -> Option<Taken> {
        let new = Arc::new(Self(Mutex::new(State::Free)));
        let seat = match lease.attach(Arc::clone(&new)) {
            Ok(()) => new,
            Err(_) => lease.attached::<Self>()?,
        };
        let mut state = seat.state();
        let State::Free = *state else {
            return None;
        };
        *state = State::Begun;
        drop(state);
        Some(Taken(seat))
    }

    /// Says so if the handler still has the place; else the operation is over.
    fn change(&self, to: State) {
        let mut state = self.state();
        if let State::Begun = *state {
            *state = to;
        }
    }

    /// What there is, for whoever ends the operation.
    fn clear(&self) -> State {
        let mut state = self.state();
        match &*state {
            State::Free => State::Free,
            State::Begun | State::Handed(_) | State::Over => mem::replace(&mut state, State::Over),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The handler has the place, until this is dropped.
pub(super) struct Taken(Arc<Seat>);

impl Taken {
    /// Leaves `begun` there.
    pub(super) fn hand_over(self, begun: Begun) {
        self.0.change(State::Handed(begun));
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.0.change(State::Free);
    }
}

impl PostgresStore {
    /// Completes a key in the transaction that goes with its lease; `None` if none does.
    pub(super) async fn complete_in_transaction(
        &self,
        lease: &Lease,
        record: &Record,
        retention: Duration,
    ) -> Option<Result<Completion, StoreError>> {
        let seat = lease.attached::<Seat>()?;
        Some(match seat.clear() {
            State::Free => return None,
            State::Handed(begun) => self.record_in(begun, lease, record, retention).await,
            // Asked again; or answered while the transaction is still open elsewhere, which
            // then comes too late.
            State::Begun | State::Over => self.find_out(lease).await,
        })
    }

    /// Rolls back what a handler has handed over whose key is released.
    pub(super) async fn roll_back(&self, lease: &Lease) {
        let Some(seat) = lease.attached::<Seat>() else {
            return;
        };
        if let State::Handed(begun) = seat.clear() {
            roll_back(begun, self.database().deadline).await;
        }
    }

    async fn record_in(
        &self,
        mut begun: Begun,
        lease: &Lease,
        record: &Record,
        retention: Duration,
    ) -> Result<Completion, StoreError> {
        let deadline = self.database().deadline;
        let found = self.complete_within(&mut begun, lease, record, retention);
        let found = timeout(deadline, found).await;
        let completion = match found {
            Ok(Ok(Found::Applied)) => return commit(begun, deadline).await,
            Ok(Ok(Found::Finished(_))) => Completion::AlreadyApplied,
            Ok(Ok(Found::Lost(standing))) => Completion::Lost(standing),
            // It was never told to commit.
            Ok(Err(error)) => rolled_back(&error),
            Err(_) => return Ok(rolled_back(&NoAnswer(deadline))),
        };
        roll_back(begun, deadline).await;
        Ok(completion)
    }

    async fn complete_within(
        &self,
        begun: &mut Begun,
        lease: &Lease,
        record: &Record,
        retention: Duration,
    ) -> Result<Found, StoreError> {
        let (statements, record) = (self.statements(), record.encoded());
        for _ in 0..ROUNDS {
            let question = sqlx::query(statements.complete.clone());
            let question = complete_with(question, statements, lease, &record, retention);
            let row = question.fetch_optional(&mut **begun).await;
            if let Some(found) = Found::read(row.map_err(StoreError::not_applied)?.as_ref())? {
                return Ok(found);
            }
        }
        Err(StoreError::not_applied(Contended))
    }

    /// What became of a transaction that was to be committed. Waits until it is over: from
    /// before it was told to commit it holds the row of the key.
    async fn find_out(&self, lease: &Lease) -> Result<Completion, StoreError> {
        let ended = &self.statements().ended;
        let row = self
            .database()
            .ask(ended, |question| of_lease(question, lease));
        Ok(match Found::read(row.await?.as_ref())? {
            None | Some(Found::Applied) => Completion::RolledBack,
            Some(Found::Finished(_)) => Completion::AlreadyApplied,
            Some(Found::Lost(standing)) => Completion::Lost(standing),
        })
    }
}

async fn commit(begun: Begun, deadline: Duration) -> Result<Completion, StoreError> {
    match timeout(deadline, begun.commit()).await {
        Ok(Ok(())) => Ok(Completion::Applied),
        Ok(Err(error)) => match Failure::of(&error) {
            Failure::Lost => Err(StoreError::unknown(error)),
            Failure::Refused | Failure::Contended => Ok(rolled_back(&error)),
        },
        Err(_) => Err(StoreError::unknown(NoAnswer(deadline))),
    }
}

/// If it fails, the connection ends, and the transaction with it.
async fn roll_back(begun: Begun, deadline: Duration) {
    let _ = timeout(deadline, begun.rollback()).await;
}

fn rolled_back(error: &(dyn std::error::Error + 'static)) -> Completion {
    tracing::warn!(target: "tower_idempotency", error, "the handler's transaction is rolled back");
    Completion::RolledBack
}
