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
    ledger::Call,
    node::{Clock, World},
    shadow::{Shadow, variant_of},
    transaction::Transaction,
    verb::{Found, Reply, Told, Verb},
    wrappers::Wrappers,
};

tokio::task_local! {
    /// The request whose task it is, while its client waits.
    pub static REQUEST: usize;
}

pub struct Link {
    world: World,
    life: usize,
    wrappers: Wrappers,
    clock: Arc<Clock>,
    sends: Arc<Notify>,
    /// How many calls there were, by verb and key.
    calls: Mutex<HashMap<(u64, RecordKey), u64>>,
}

impl Link {
    pub fn new(
        world: World,
        life: usize,
        wrappers: Wrappers,
        clock: Arc<Clock>,
        sends: Arc<Notify>,
    ) -> Self {
        Self {
            world,
            life,
            wrappers,
            clock,
            sends,
            calls: Mutex::default(),
        }
    }

    async fn call(&self, verb: Verb) -> Reply {
        let count = {
            let mut calls = self.calls.lock().unwrap();
            let count = calls.entry((verb.kind() as u64, *verb.key())).or_default();
            *count += 1;
            *count
        };
        let (key, (reply, told)) = (*verb.key(), oneshot::channel());
        let from = self.clock.now();
        let (fine, number) = {
            let mut network = self.world.lock();
            let call = self.begins(&verb, &network.shadow, from);
            network.ledger.calls.push(call);
            let number = network.ledger.calls.len() - 1;
            (network.send(from, self.life, count, verb, reply), number)
        };
        let _trouble = (!fine).then(|| Trouble::begin(self));
        self.sends.notify_one();
        let Ok(told) = told.await else {
            return pending().await;
        };
        let call = &mut self.world.lock().ledger.calls[number];
        call.heard = Some((self.clock.now(), Found::of(&told, &key, &self.wrappers)));
        if let Ok(Told::Claimed(Claimed::Acquired(lease))) = &told {
            call.fence = lease.fence().get();
        }
        told
    }

    fn begins(&self, verb: &Verb, shadow: &Shadow, sent: u64) -> Call {
        let variant = match verb {
            Verb::Claim(claim) => variant_of(&shadow.variants, claim.as_claim().fingerprint()),
            _ => 0,
        };
        Call {
            life: self.life,
            request: REQUEST.try_with(|request| *request).ok(),
            key: shadow.keys[verb.key()],
            kind: verb.kind(),
            token: verb.token(),
            fence: verb.fence(),
            variant,
            sent,
            heard: None,
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
        let (lease, record) = (lease.clone(), record.clone());
        let brings = Transaction::goes_with(&lease);
        self.complete_or_so(Verb::Complete(lease, record, retention, brings))
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
