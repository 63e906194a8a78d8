//! One call of the server: within a deadline, and sent again where that does no harm.

use std::{
    mem,
    sync::Arc,
    time::{Duration, Instant},
};

use sqlx::{
    PgPool, Postgres, SqlStr,
    error::DatabaseError,
    pool::PoolConnection,
    postgres::{PgArguments, PgDatabaseError, PgRow, PgSeverity},
    query::Query,
};
use tokio::time::timeout;

use super::{answer, statements::Statements};
use crate::store::StoreError;

/// A statement that waits for its values.
pub(super) type Question = Query<'static, Postgres, PgArguments>;

/// The server, and how it is asked.
#[derive(Clone)]
pub(super) struct Database {
    pub(super) pool: PgPool,
    pub(super) statements: Arc<Statements>,
    pub(super) deadline: Duration,
}

/// How often a statement is sent again after it met others at the same row.
pub(super) const ROUNDS: usize = 32;

impl Database {
    /// The row a statement yields. It commits by itself, and it must do no harm if it is
    /// sent again after its reply was lost.
    pub(super) async fn ask(
        &self,
        statement: &SqlStr,
        bind: impl Fn(Question) -> Question + Send + Sync,
    ) -> Result<Option<PgRow>, StoreError> {
        let mut sent = Sent::No;
        let asked = self.ask_until_answered(statement, bind, &mut sent);
        match timeout(self.deadline, asked).await {
            Ok(answer) => answer,
            Err(_) => Err(sent.failed(NoAnswer(self.deadline))),
        }
    }

    async fn ask_until_answered(
        &self,
        statement: &SqlStr,
        bind: impl Fn(Question) -> Question + Send + Sync,
        sent: &mut Sent,
    ) -> Result<Option<PgRow>, StoreError> {
        for _ in 0..ROUNDS {
            // Boxed, as it takes 8 KiB, which would be moved with whatever holds it.
            let acquired = Box::pin(self.pool.acquire()).await;
            let mut connection = Borrowed::new(acquired.map_err(|error| sent.failed(error))?);
            let before = mem::replace(sent, Sent::InDoubt);
            let began = instant();
            let question = bind(sqlx::query(statement.clone()));
            let error = match question.fetch_optional(&mut *connection.connection).await {
                // It is not committed, and will not be.
                Ok(Some(row)) if age(&row)? > began.elapsed() => continue,
                Ok(row) => {
                    connection.give_back();
                    return Ok(row);
                }
                Err(error) => error,
            };
            let failure = Failure::of(&error);
            if let Failure::Lost = failure {
                // Perhaps it had died while it idled: another one may live.
                continue;
            }
            *sent = before;
            if is_useless_after(&error) {
                return Err(sent.failed(error));
            }
            connection.give_back();
            if let Failure::Refused = failure {
                return Err(sent.failed(error));
            }
        }
        Err(sent.failed(Contended))
    }
}

/// How far a call has come.
enum Sent {
    /// Nothing can have been written.
    No,
    /// A statement was sent and not answered.
    InDoubt,
}

impl Sent {
    fn failed(&self, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> StoreError {
        match self {
            Self::No => StoreError::not_applied(error),
            Self::InDoubt => StoreError::unknown(error),
        }
    }
}

/// A connection that is closed, and not given back, unless its last statement was answered:
/// nobody else may wait for that answer.
struct Borrowed {
    connection: PoolConnection<Postgres>,
    answered: bool,
}

impl Borrowed {
    fn new(connection: PoolConnection<Postgres>) -> Self {
        Self {
            connection,
            answered: false,
        }
    }

    fn give_back(mut self) {
        self.answered = true;
    }
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        if !self.answered {
            self.connection.close_on_drop();
        }
    }
}

/// What the failure of a statement says about what it wrote.
pub(super) enum Failure {
    /// Nothing: it met another transaction, and may be sent again.
    Contended,
    /// Nothing: the server refused it.
    Refused,
    /// Nobody knows: the connection was lost.
    Lost,
}

impl Failure {
    pub(super) fn of(error: &sqlx::Error) -> Self {
        match error {
            sqlx::Error::Database(error) => Self::of_server(&**error),
            sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_) => Self::Lost,
            _ => Self::Refused,
        }
    }

    fn of_server(error: &dyn DatabaseError) -> Self {
        let error: &PgDatabaseError = error.downcast_ref();
        match (error.code(), error.severity()) {
            // Serialization failure, deadlock.
            ("40001" | "40P01", _) => Self::Contended,
            (_, PgSeverity::Fatal | PgSeverity::Panic) => Self::Lost,
            _ => Self::Refused,
        }
    }
}

/// Whether the connection will refuse whatever else is asked of it.
fn is_useless_after(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(DatabaseError::code);
    // It leads to a standby; somebody left a transaction open that failed, or had the server
    // forget what was prepared.
    matches!(code.as_deref(), Some("25006" | "25P02" | "26000"))
}

/// How long the transaction had been open in which the server found `row`. One that is older
/// than the question was left open by somebody else who used the connection: a `begin` of `sqlx`
/// 0.9 that is cancelled does so.
fn age(row: &PgRow) -> Result<Duration, StoreError> {
    let seconds: f64 = answer::column(row, "age")?;
    Ok(Duration::try_from_secs_f64(seconds).unwrap_or_default())
}

/// Not tokio's clock, as the server's goes on while that stands.
#[expect(
    clippy::disallowed_methods,
    reason = "a clock of the server is compared to it"
)]
fn instant() -> Instant {
    Instant::now()
}

/// The server did not answer in time.
#[derive(Debug, thiserror::Error)]
#[error("no answer within {0:?}")]
pub(super) struct NoAnswer(pub(super) Duration);

/// Others were always faster.
#[derive(Debug, thiserror::Error)]
#[error("the row was changed by others each time")]
pub(super) struct Contended;

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    #[test]
    fn a_lost_connection_leaves_doubt_and_a_closed_pool_does_not() {
        let lost = sqlx::Error::Io(io::ErrorKind::UnexpectedEof.into());
        assert!(matches!(Failure::of(&lost), Failure::Lost));
        assert!(matches!(
            Failure::of(&sqlx::Error::PoolClosed),
            Failure::Refused
        ));
    }
}
