//! What operators do by hand.

use std::time::Duration;

use bytes::Bytes;
use http::Response;

use super::{
    RedisStore,
    fault::{Restless, Unexpected},
    packing::{self, Header, micros},
    script::{self, Answer, Call, Script},
    verbs::LOOKS,
};
use crate::{
    record::Record,
    record_key::RecordKey,
    store::{Resolution, Standing, StoreError, StoreErrorKind},
};

impl RedisStore {
    /// For operators: drops whatever stands under `key`, and says what it was.
    ///
    /// **The operation can then be carried out again**, also while it is still being
    /// carried out: a key in flight is dropped too. Its holder can no longer complete it,
    /// and what it has done by then stays done.
    ///
    /// # Errors
    ///
    /// [`StoreError`] says whether it was dropped. What cannot be read is dropped too, and
    /// reported as [`Corrupt`](StoreErrorKind::Corrupt).
    pub async fn forget(&self, key: &RecordKey) -> Result<Standing, StoreError> {
        let forgotten = self.forget_readable(key).await;
        if let Err(error) = &forgotten {
            if error.kind() == StoreErrorKind::Corrupt {
                self.operate(&script::DROP, key, &[]).await?;
            }
        }
        forgotten
    }

    async fn forget_readable(&self, key: &RecordKey) -> Result<Standing, StoreError> {
        for _ in 0..LOOKS {
            let seen = self.look(key).await?;
            let (standing, fence, state) = match (seen.answer, seen.into_record()?) {
                (Answer::Absent, _) => return Ok(Standing::Absent),
                (Answer::InFlight { fence, remaining }, _) => {
                    (Standing::InFlight { remaining }, fence, b"F")
                }
                (Answer::Completed { fence, .. }, Some(record)) => {
                    (Standing::Completed(record), fence, b"C")
                }
                _ => continue,
            };
            let fence = fence.to_string();
            let arguments = [fence.as_bytes(), state, self.channel()];
            let answer = self.operate(&script::FORGET, key, &arguments).await?;
            if answer == Answer::Applied {
                return Ok(standing);
            }
        }
        Err(StoreError::not_applied(Restless))
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
        let retention = micros(retention);
        for _ in 0..LOOKS {
            let seen = self.look(key).await?;
            match seen.answer {
                Answer::InFlight { remaining, .. } if remaining.is_zero() => {}
                other => return resolution(other),
            }
            let lapsed = Header::read(&seen.value)?;
            let record = Record::answer(lapsed.fingerprint, response).encoded();
            let fence = lapsed.fence.to_string();
            let fingerprint = packing::fingerprint(lapsed.fingerprint);
            let arguments: [&[u8]; 4] = [
                fence.as_bytes(),
                &fingerprint,
                retention.as_bytes(),
                &record,
            ];
            match self.operate(&script::RESOLVE, key, &arguments).await? {
                Answer::Changed => {}
                other => return resolution(other),
            }
        }
        Err(StoreError::not_applied(Restless))
    }

    async fn operate(
        &self,
        script: &'static Script,
        key: &RecordKey,
        arguments: &[&[u8]],
    ) -> Result<Answer, StoreError> {
        let call = Call {
            script,
            key: &self.name(key),
            arguments,
            replicas: self.replicas(),
            brings_value: false,
        };
        let reply = self.run(&call).await?;
        self.confirm(&reply)?;
        Ok(reply.answer)
    }
}

fn resolution(answer: Answer) -> Result<Resolution, StoreError> {
    Ok(match answer {
        Answer::Applied => Resolution::Resolved,
        Answer::InFlight { .. } => Resolution::StillInFlight,
        Answer::Completed { .. } => Resolution::AlreadyCompleted,
        Answer::Absent => Resolution::Absent,
        _ => return Err(StoreError::unknown(Unexpected)),
    })
}
