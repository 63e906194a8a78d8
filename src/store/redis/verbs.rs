//! The verbs of a store, each one script in one round trip.

use std::time::Duration;

use super::{
    RedisStore,
    fault::{Restless, Unconfirmed, Unexpected},
    packing::{self, micros},
    script::{self, Answer, Call, Replicas, Reply, Script},
};
use crate::{
    record::Record,
    record_key::RecordKey,
    store::{AfterCrash, Claim, Claimed, Completion, Fence, Lease, Standing, Store, StoreError},
};

/// How often to look at a key that changes each time between its script and the look at its
/// value, which come in one pipeline but not in one step.
pub(super) const LOOKS: usize = 8;

impl Store for RedisStore {
    async fn claim(&self, claim: &Claim<'_>) -> Result<Claimed, StoreError> {
        for _ in 0..LOOKS {
            let reply = self.send_claim(claim).await?;
            return Ok(match reply.answer {
                Answer::Acquired { fence, attempt } => {
                    self.confirm(&reply)?;
                    Claimed::Acquired(claim.won(fence, attempt))
                }
                Answer::Completed { remaining, .. } => match reply.into_record()? {
                    Some(record) => Claimed::Completed { record, remaining },
                    None => continue,
                },
                Answer::InFlight { fence, remaining } => Claimed::InFlight { fence, remaining },
                Answer::Mismatch => Claimed::Mismatch,
                Answer::Unknown => Claimed::Unknown,
                _ => return Err(StoreError::unknown(Unexpected)),
            });
        }
        Err(StoreError::not_applied(Restless))
    }

    async fn complete(
        &self,
        lease: &Lease,
        record: &Record,
        retention: Duration,
    ) -> Result<Completion, StoreError> {
        let fingerprint = packing::fingerprint(record.fingerprint());
        let retention = micros(retention);
        let encoded = record.encoded();
        let more: [&[u8]; 4] = [&fingerprint, retention.as_bytes(), self.channel(), &encoded];
        self.end(&script::COMPLETE, lease, &more, self.replicas())
            .await
    }

    async fn release(&self, lease: &Lease) -> Result<Completion, StoreError> {
        let more = [self.channel()];
        let ended = self.end(&script::RELEASE, lease, &more, None).await?;
        Ok(match ended {
            // What was in the way went before it was looked at.
            Completion::Lost(Standing::Absent) => Completion::AlreadyApplied,
            ended => ended,
        })
    }

    async fn renew(&self, lease: &Lease) -> Result<Completion, StoreError> {
        let duration = micros(lease.duration());
        let more = [duration.as_bytes()];
        self.end(&script::RENEW, lease, &more, None).await
    }

    async fn settled(
        &self,
        key: &RecordKey,
        fence: Fence,
        limit: Duration,
    ) -> Result<(), StoreError> {
        let settled = tokio::time::timeout(limit, self.until_settled(key, fence)).await;
        settled.unwrap_or(Ok(()))
    }
}

impl RedisStore {
    async fn send_claim(&self, claim: &Claim<'_>) -> Result<Reply, StoreError> {
        let token = claim.token();
        let (lease, retention) = (micros(claim.lease()), micros(claim.retention()));
        let call = Call {
            script: &script::CLAIM,
            key: &self.name(claim.key()),
            arguments: &[
                token.as_bytes(),
                &packing::fingerprint(claim.fingerprint()),
                lease.as_bytes(),
                retention.as_bytes(),
                match claim.crash_mode() {
                    AfterCrash::Takeover => b"takeover",
                    AfterCrash::Hold => b"hold",
                },
            ],
            replicas: self.replicas(),
            brings_value: true,
        };
        self.run(&call).await
    }

    /// Runs a verb of the owner of a lease; `more` follows token and fence.
    async fn end(
        &self,
        script: &'static Script,
        lease: &Lease,
        more: &[&[u8]],
        replicas: Option<Replicas>,
    ) -> Result<Completion, StoreError> {
        let fence = lease.fence().to_string();
        let mut arguments: Vec<&[u8]> = Vec::with_capacity(2 + more.len());
        let token = lease.token();
        arguments.extend([token.as_bytes(), fence.as_bytes()]);
        arguments.extend(more);
        let call = Call {
            script,
            key: &self.name(lease.key()),
            arguments: &arguments,
            replicas,
            brings_value: false,
        };
        let reply = self.run(&call).await?;
        Ok(match reply.answer {
            Answer::Applied => {
                self.confirm(&reply)?;
                Completion::Applied
            }
            Answer::AlreadyApplied => {
                self.confirm(&reply)?;
                Completion::AlreadyApplied
            }
            lost => Completion::Lost(self.standing(lease.key(), lost).await?),
        })
    }

    /// What an answer says stands there. A record is fetched; should the key change
    /// meanwhile, that is what stands there now.
    pub(super) async fn standing(
        &self,
        key: &RecordKey,
        mut answer: Answer,
    ) -> Result<Standing, StoreError> {
        for _ in 0..LOOKS {
            match answer {
                Answer::Absent => return Ok(Standing::Absent),
                Answer::InFlight { remaining, .. } => return Ok(Standing::InFlight { remaining }),
                Answer::Completed { .. } => {}
                _ => return Err(StoreError::unknown(Unexpected)),
            }
            let reply = self.look(key).await?;
            answer = reply.answer;
            if let Some(record) = reply.into_record()? {
                return Ok(Standing::Completed(record));
            }
        }
        Err(StoreError::not_applied(Restless))
    }

    /// What stands there, and its value.
    pub(super) async fn look(&self, key: &RecordKey) -> Result<Reply, StoreError> {
        let call = Call {
            script: &script::LOOK,
            key: &self.name(key),
            arguments: &[],
            replicas: None,
            brings_value: true,
        };
        self.run(&call).await
    }

    /// Fails if the replicas the store waits for do not have the write. It is done all the
    /// same: sent again it is waited for again.
    pub(super) fn confirm(&self, reply: &Reply) -> Result<(), StoreError> {
        let (Some(replicas), Some(confirmed)) = (self.replicas(), reply.confirmed) else {
            return Ok(());
        };
        if confirmed >= u64::from(replicas.wanted) {
            return Ok(());
        }
        let wanted = replicas.wanted;
        Err(StoreError::unknown(Unconfirmed { confirmed, wanted }))
    }
}
