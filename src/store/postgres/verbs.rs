//! The verbs, each one statement.

use std::time::Duration;

use sqlx::SqlStr;

use super::{
    PostgresStore,
    answer::{self, Found},
    database::{Contended, Question, ROUNDS},
    statements::Statements,
};
use crate::{
    fingerprint::Fingerprint,
    record::Record,
    record_key::RecordKey,
    store::{AfterCrash, Claim, Claimed, Completion, Fence, Lease, Standing, Store, StoreError},
};

impl Store for PostgresStore {
    async fn claim(&self, claim: &Claim<'_>) -> Result<Claimed, StoreError> {
        let bind = |question: Question| {
            question
                .bind(claim.key().as_bytes())
                .bind(fingerprint(claim.fingerprint()))
                .bind(claim.token().as_bytes())
                .bind(seconds(claim.lease()))
                .bind(seconds(claim.retention()))
                .bind(claim.crash_mode() == AfterCrash::Takeover)
                .bind(place(claim.key()))
        };
        for _ in 0..ROUNDS {
            let row = self.database().ask(&self.statements().claim, bind).await?;
            if let Some(row) = row {
                return answer::claimed(&row, claim);
            }
        }
        Err(StoreError::not_applied(Contended))
    }

    async fn complete(
        &self,
        lease: &Lease,
        record: &Record,
        retention: Duration,
    ) -> Result<Completion, StoreError> {
        if lease.has_attachment() {
            let completed = self.complete_in_transaction(lease, record, retention);
            // Boxed, as it is rare.
            if let Some(completed) = Box::pin(completed).await {
                return completed;
            }
        }
        let (statements, record) = (self.statements(), record.encoded());
        let found = self.ask_for(&statements.complete, |question| {
            complete_with(question, statements, lease, &record, retention)
        });
        Ok(match found.await? {
            Found::Applied => Completion::Applied,
            Found::Finished(_) => Completion::AlreadyApplied,
            Found::Lost(standing) => Completion::Lost(standing),
        })
    }

    async fn release(&self, lease: &Lease) -> Result<Completion, StoreError> {
        if lease.has_attachment() {
            Box::pin(self.roll_back(lease)).await;
        }
        let statements = self.statements();
        let found = self.ask_for(&statements.release, |question| {
            of_lease(question, lease).bind(&*statements.channel)
        });
        Ok(match found.await? {
            Found::Applied => Completion::Applied,
            Found::Lost(Standing::Absent) => Completion::AlreadyApplied,
            found => Completion::Lost(found.standing()),
        })
    }

    async fn renew(&self, lease: &Lease) -> Result<Completion, StoreError> {
        let found = self.ask_for(&self.statements().renew, |question| {
            of_lease(question, lease).bind(seconds(lease.duration()))
        });
        Ok(match found.await? {
            Found::Applied => Completion::Applied,
            found => Completion::Lost(found.standing()),
        })
    }

    async fn settled(
        &self,
        key: &RecordKey,
        fence: Fence,
        limit: Duration,
    ) -> Result<(), StoreError> {
        self.0
            .waiting
            .settled(self.database(), key, fence, limit)
            .await
    }
}

impl PostgresStore {
    /// Asks for a lease what changes its row, until the answer is one.
    async fn ask_for(
        &self,
        statement: &SqlStr,
        bind: impl Fn(Question) -> Question + Send + Sync,
    ) -> Result<Found, StoreError> {
        for _ in 0..ROUNDS {
            let row = self.database().ask(statement, &bind).await?;
            if let Some(found) = Found::read(row.as_ref())? {
                return Ok(found);
            }
        }
        Err(StoreError::not_applied(Contended))
    }
}

/// Key, token and fence are the first three values of each statement for a lease.
pub(super) fn of_lease(question: Question, lease: &Lease) -> Question {
    question
        .bind(lease.key().as_bytes())
        .bind(lease.token().as_bytes())
        .bind(number(lease.fence()))
}

/// The values of the statement that completes.
pub(super) fn complete_with(
    question: Question,
    statements: &Statements,
    lease: &Lease,
    record: &[u8],
    retention: Duration,
) -> Question {
    of_lease(question, lease)
        .bind(record)
        .bind(seconds(retention))
        .bind(&*statements.channel)
}

/// A fence comes from a sequence of `bigint`s. One that does not was never won here.
pub(super) fn number(fence: Fence) -> i64 {
    i64::try_from(fence.get()).unwrap_or(-1)
}

/// At most a hundred years: the server has no dates for much more.
pub(super) fn seconds(duration: Duration) -> f64 {
    const LONGEST: f64 = 100.0 * 365.0 * 24.0 * 60.0 * 60.0;
    duration.as_secs_f64().min(LONGEST)
}

fn fingerprint(fingerprint: Fingerprint) -> [u8; 33] {
    let mut bytes = [fingerprint.version(); 33];
    bytes[1..].copy_from_slice(fingerprint.digest());
    bytes
}

/// Where those who claim one key meet.
fn place(key: &RecordKey) -> i64 {
    let [a, b, c, d, e, f, g, h, ..] = *key.as_bytes();
    i64::from_be_bytes([a, b, c, d, e, f, g, h])
}
