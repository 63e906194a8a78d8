//! The shared store as one node reaches it.

use std::{
    collections::HashMap,
    future::pending,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::sync::{Notify, oneshot};
use tower_idempotency::{
    Record, RecordKey, Store,
    store::{Claim, Claimed, Completion, Fence, Lease, StoreError},
};

use super::{
    node::{Clock, World},
    verb::{Reply, Told, Verb},
};

pub struct Link {
    world: World,
    life: usize,
    clock: Arc<Clock>,
    sends: Arc<Notify>,
    /// How many calls there were, by verb and key.
    calls: Mutex<HashMap<(u64, RecordKey), u64>>,
}

impl Link {
    pub fn new(world: World, life: usize, clock: Arc<Clock>, sends: Arc<Notify>) -> Self {
        Self {
            world,
            life,
            clock,
            sends,
            calls: Mutex::default(),
        }
    }

    async fn call(&self, verb: Verb) -> Reply {
        let count = {
            let mut calls = self.calls.lock().unwrap();
            let count = calls.entry((verb.number(), *verb.key())).or_default();
            *count += 1;
            *count
        };
        let (reply, told) = oneshot::channel();
        let from = self.clock.now();
        let fine = {
            let mut network = self.world.lock();
            network.ledger.lives[self.life].last_call = from;
            network.send(from, self.life, count, verb, reply)
        };
        let _trouble = (!fine).then(|| Trouble::begin(self));
        self.sends.notify_one();
        match told.await {
            Ok(told) => told,
            Err(_) => pending().await,
        }
    }

    async fn complete_or_so(&self, verb: Verb) -> Result<Completion, StoreError> {
        match self.call(verb).await? {
            Told::Completion(completion) => Ok(completion),
            told => unreachable!("{told:?}"),
        }
    }
}

impl Store for Link {
    async fn claim(&self, claim: &Claim<'_>) -> Result<Claimed, StoreError> {
        match self.call(Verb::Claim(claim.owned())).await? {
            Told::Claimed(claimed) => Ok(claimed),
            told => unreachable!("{told:?}"),
        }
    }

    async fn complete(
        &self,
        lease: &Lease,
        record: &Record,
        retention: Duration,
    ) -> Result<Completion, StoreError> {
        self.complete_or_so(Verb::Complete(lease.clone(), record.clone(), retention))
            .await
    }

    async fn release(&self, lease: &Lease) -> Result<Completion, StoreError> {
        self.complete_or_so(Verb::Release(lease.clone())).await
    }

    async fn renew(&self, lease: &Lease) -> Result<Completion, StoreError> {
        self.complete_or_so(Verb::Renew(lease.clone())).await
    }

    async fn settled(
        &self,
        key: &RecordKey,
        fence: Fence,
        limit: Duration,
    ) -> Result<(), StoreError> {
        self.call(Verb::Settled(*key, fence, limit))
            .await
            .map(|_| ())
    }
}

/// A call that does not come through as it should, for as long as its caller does not know.
struct Trouble<'a>(&'a Link, usize);

impl<'a> Trouble<'a> {
    fn begin(link: &'a Link) -> Self {
        let mut network = link.world.lock();
        let troubles = &mut network.ledger.lives[link.life].troubles;
        troubles.push((link.clock.now(), u64::MAX));
        Self(link, troubles.len() - 1)
    }
}

impl Drop for Trouble<'_> {
    fn drop(&mut self) {
        let Self(link, which) = self;
        let now = link.clock.now();
        link.world.lock().ledger.lives[link.life].troubles[*which].1 = now;
    }
}
