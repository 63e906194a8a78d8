//! What operators do.

use std::time::Duration;

use bytes::Bytes;
use http::Response;
use sqlx::postgres::PgRow;

use super::{
    PostgresStore,
    answer::{self, column, fence},
    database::{Contended, ROUNDS},
    verbs::{number, seconds},
};
use crate::{
    fingerprint::Fingerprint,
    record::Record,
    record_key::RecordKey,
    store::{LeaseToken, Resolution, Standing, StoreError},
};

impl PostgresStore {
    /// For operators: drops whatever stands under `key`, and says what it was.
    ///
    /// **The operation can then be carried out again**, also while it is still being
    /// carried out: a key in flight is dropped too. Its holder can no longer complete it,
    /// and what it has done by then stays done.
    ///
    /// # Errors
    ///
    /// [`StoreError`] says whether the key was dropped.
    pub async fn forget(&self, key: &RecordKey) -> Result<Standing, StoreError> {
        let statements = self.statements();
        let gone = self.database().ask(&statements.forget, |question| {
            question.bind(key.as_bytes()).bind(&*statements.channel)
        });
        let gone = gone.await?;
        gone.map_or(Ok(Standing::Absent), |row| answer::standing(&row))
    }

    /// For operators: gives the answer to an operation whose lease lapsed before it was
    /// completed, for example one that answers `idempotency_outcome_unknown` under
    /// [`AfterCrash::Hold`](crate::AfterCrash::Hold). Retries get it for `retention` from
    /// now.
    ///
    /// Whoever held the lease can no longer complete it: should it be alive after all, it
    /// finds this answer.
    ///
    /// Header fields are kept as by [`Record::answer`].
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
        let token = LeaseToken::random();
        for _ in 0..ROUNDS {
            let read = &self.statements().read_lapsed;
            let read = self
                .database()
                .ask(read, |question| question.bind(key.as_bytes()));
            let Some(row) = read.await? else {
                return Ok(Resolution::Absent);
            };
            let answered = column::<&[u8]>(&row, "token")? == token.as_bytes();
            match answer::found(&row)? {
                "completed" if answered => return Ok(Resolution::Resolved),
                "completed" => return Ok(Resolution::AlreadyCompleted),
                "in flight" => return Ok(Resolution::StillInFlight),
                _ => {
                    let written = self.answer_for(key, &row, response, retention, token);
                    if written.await? {
                        return Ok(Resolution::Resolved);
                    }
                }
            }
        }
        Err(StoreError::not_applied(Contended))
    }

    /// Writes the answer if what was read is still so, and says whether it did.
    async fn answer_for(
        &self,
        key: &RecordKey,
        lapsed: &PgRow,
        response: &Response<Bytes>,
        retention: Duration,
        token: LeaseToken,
    ) -> Result<bool, StoreError> {
        let fence = fence(lapsed)?;
        let record = Record::answer(fingerprint(lapsed)?, response).encoded();
        let write = self.database().ask(&self.statements().resolve, |question| {
            question
                .bind(key.as_bytes())
                .bind(number(fence))
                .bind(&*record)
                .bind(seconds(retention))
                .bind(token.as_bytes())
        });
        Ok(write.await?.is_some())
    }
}

fn fingerprint(row: &PgRow) -> Result<Fingerprint, StoreError> {
    let bytes: [u8; 33] = column(row, "fingerprint")?;
    let [version, digest @ ..] = bytes;
    Ok(Fingerprint::from_parts(version, digest))
}
