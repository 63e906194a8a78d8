//! The memory store behind a wire that is slow, and fails.

use std::{future::pending, sync::Arc, time::Duration};

use tokio::time::sleep;
use tower_idempotency::{
    Record, RecordKey, Store, Verb,
    store::{Claim, Claimed, Completion, Fence, Lease, StoreError},
};

use crate::{
    fate::{Fate, Fault},
    leases::Over,
    ledger::millis,
    script::Leaves,
    world::World,
};

#[derive(Clone)]
pub struct Wire {
    world: Arc<World>,
    node: usize,
}

impl Wire {
    pub fn new(world: &Arc<World>, node: usize) -> Self {
        let world = Arc::clone(world);
        Self { world, node }
    }

    /// Sends a call of `verb` (`None` waits for a key to be settled), about the lease of
    /// `fence` if it is about one.
    async fn send<T: Send + 'static>(
        &self,
        verb: Option<Verb>,
        key: &RecordKey,
        fence: Option<u64>,
        call: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, StoreError> {
        let key = self.world.key(key);
        let number = verb.map_or(0, |verb| verb as u64 + 1);
        let number = self.world.ledger().number(self.node, key, number);
        let mut fate = Fate::of(&self.world, number);
        if (verb, fate.fault) == (Some(Verb::Claim), Fault::Late) {
            // Of that claim nobody could ever know.
            fate.fault = Fault::Silence;
        }
        self.world.say(|| format!("{number:?} {fate:?} {fence:?}"));
        let mut asking = Asking {
            world: &self.world,
            key,
            fence,
            claims: verb == Some(Verb::Claim),
            since: self.world.now(),
        };
        let (there, back) = (fate.there, fate.back);
        let there_and_back = async move {
            pass(there).await;
            let answer = call.await;
            pass(back).await;
            answer
        };
        let answer = match fate.fault {
            Fault::None => there_and_back.await,
            Fault::LostReply | Fault::Silence => {
                let _ = there_and_back.await;
                Err(StoreError::unknown("lost"))
            }
            Fault::Refused => Err(StoreError::not_applied("refused")),
            Fault::LostRequest | Fault::Hang => Err(StoreError::unknown("lost")),
            Fault::Late => {
                tokio::spawn(async move {
                    pass(2 * back).await;
                    there_and_back.await
                });
                pending().await
            }
        };
        if let Fault::Silence | Fault::Hang = fate.fault {
            return pending().await;
        }
        asking.claims &= answer.is_err();
        answer
    }
}

impl World {
    async fn renew(&self, lease: &Lease) -> Result<Completion, StoreError> {
        let done = self.memory.renew(lease).await;
        if let Ok(Completion::Applied) = done {
            let (term, lasts) = (self.term(lease), lease.duration());
            self.ledger().renewed(term, lasts, self.now());
        }
        done
    }

    /// What is told of a transaction that was rolled back.
    async fn roll_back(&self, lease: &Lease) -> Result<Completion, StoreError> {
        Ok(match self.renew(lease).await? {
            Completion::Applied => Completion::RolledBack,
            lost => lost,
        })
    }
}

async fn pass(time: u64) {
    if time > 0 {
        sleep(Duration::from_millis(time)).await;
    }
}

/// A call on its way; what its node then knows was so at some time since it was sent.
struct Asking<'a> {
    world: &'a World,
    key: usize,
    fence: Option<u64>,
    /// It is a claim, and brings no answer.
    claims: bool,
    since: u64,
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        let (now, mut ledger) = (self.world.now(), self.world.ledger());
        ledger.heard(self.key, self.fence, self.since, now);
        if self.claims {
            ledger.unclaimed.push((self.key, self.since, now));
        }
    }
}

impl Store for Wire {
    async fn claim(&self, claim: &Claim<'_>) -> Result<Claimed, StoreError> {
        let (world, claim) = (Arc::clone(&self.world), claim.owned());
        let key = *claim.as_claim().key();
        let call = async move {
            let claim = claim.as_claim();
            let found = world.memory.claim(&claim).await;
            world.say(|| format!("{found:?}"));
            if let Ok(Claimed::Acquired(lease)) = &found {
                world.ledger().acquired(&world, lease, &claim);
            }
            found
        };
        self.send(Some(Verb::Claim), &key, None, call).await
    }

    async fn complete(
        &self,
        lease: &Lease,
        record: &Record,
        retention: Duration,
    ) -> Result<Completion, StoreError> {
        let (world, of) = (Arc::clone(&self.world), lease.clone());
        let (record, term) = (record.clone(), world.term(lease));
        world.ledger().sends_complete(term, &record, retention);
        let call = async move {
            if of.attached().as_deref() == Some(&Leaves::RolledBack) {
                return world.roll_back(&of).await;
            }
            let done = world.memory.complete(&of, &record, retention).await;
            if let Ok(Completion::Applied) = done {
                let now = world.now();
                let over = Over::Completed(now, now + millis(retention), record);
                world.ledger().ended(term, over, now);
            }
            done
        };
        let fence = Some(lease.fence().get());
        self.send(Some(Verb::Complete), lease.key(), fence, call)
            .await
    }

    async fn release(&self, lease: &Lease) -> Result<Completion, StoreError> {
        let (world, of) = (Arc::clone(&self.world), lease.clone());
        let term = world.term(lease);
        world.ledger().sends_release(term);
        let call = async move {
            let done = world.memory.release(&of).await;
            if let Ok(Completion::Applied) = done {
                let now = world.now();
                world.ledger().ended(term, Over::Released(now), now);
            }
            done
        };
        let fence = Some(lease.fence().get());
        self.send(Some(Verb::Release), lease.key(), fence, call)
            .await
    }

    async fn renew(&self, lease: &Lease) -> Result<Completion, StoreError> {
        let (world, of) = (Arc::clone(&self.world), lease.clone());
        let call = async move { world.renew(&of).await };
        let fence = Some(lease.fence().get());
        self.send(Some(Verb::Renew), lease.key(), fence, call).await
    }

    async fn settled(
        &self,
        key: &RecordKey,
        fence: Fence,
        limit: Duration,
    ) -> Result<(), StoreError> {
        let (world, of) = (Arc::clone(&self.world), *key);
        let call = async move { world.memory.settled(&of, fence, limit).await };
        self.send(None, key, Some(fence.get()), call).await
    }
}
