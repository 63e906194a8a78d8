//! A store whose wire can be cut.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use tower_idempotency::{
    MemoryStore, Record, RecordKey, Store,
    store::{Claim, Claimed, Completion, Fence, Lease, StoreError},
};

/// What happens to one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    None,
    /// The call never arrives, and the client knows.
    Refused,
    /// The call never arrives, and the client does not know.
    LostRequest,
    /// The call arrives, its reply does not.
    LostReply,
    /// The call arrives; the reply never comes, and no error either.
    Silence,
    /// The call arrives, its reply [`LATE`].
    Late,
    Corrupt,
}

/// By how much a late reply is late.
pub const LATE: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    Claim,
    Complete,
    Release,
    Renew,
    Settled,
}

/// A memory store behind a wire: each call of a verb meets the next fault planned for it,
/// and then the lasting one.
#[derive(Clone)]
pub struct FaultStore {
    pub memory: MemoryStore,
    plan: Arc<Mutex<Plan>>,
}

#[derive(Default)]
struct Plan {
    next: Vec<(Verb, VecDeque<Fault>)>,
    lasting: Vec<(Verb, Fault)>,
    calls: Vec<Verb>,
}

impl FaultStore {
    pub fn new() -> Self {
        Self {
            memory: MemoryStore::new(),
            plan: Arc::default(),
        }
    }

    /// The next calls of `verb` meet these.
    pub fn next(&self, verb: Verb, faults: impl IntoIterator<Item = Fault>) {
        let faults = faults.into_iter().collect();
        self.plan.lock().unwrap().next.push((verb, faults));
    }

    /// All calls of `verb` meet this from now on.
    pub fn lasting(&self, verb: Verb, fault: Fault) {
        let mut plan = self.plan.lock().unwrap();
        plan.lasting.retain(|(other, _)| *other != verb);
        plan.lasting.push((verb, fault));
    }

    pub fn calls(&self, verb: Verb) -> usize {
        let plan = self.plan.lock().unwrap();
        plan.calls.iter().filter(|called| **called == verb).count()
    }

    fn meet(&self, verb: Verb) -> Fault {
        let mut plan = self.plan.lock().unwrap();
        plan.calls.push(verb);
        let planned = plan.next.iter_mut().filter(|(of, _)| *of == verb);
        let next = planned.filter_map(|(_, faults)| faults.pop_front()).next();
        let lasting = plan.lasting.iter().find(|(of, _)| *of == verb);
        next.or(lasting.map(|(_, fault)| *fault))
            .unwrap_or(Fault::None)
    }

    async fn through<T>(
        &self,
        verb: Verb,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        match self.meet(verb) {
            Fault::None => call.await,
            Fault::Refused => Err(StoreError::not_applied("refused")),
            Fault::LostRequest => Err(StoreError::unknown("lost")),
            Fault::Corrupt => Err(StoreError::corrupt("garbled")),
            Fault::LostReply => {
                let _ = call.await;
                Err(StoreError::unknown("lost"))
            }
            Fault::Silence => {
                let _ = call.await;
                std::future::pending().await
            }
            Fault::Late => {
                let reply = call.await;
                tokio::time::sleep(LATE).await;
                reply
            }
        }
    }
}

impl Store for FaultStore {
    async fn claim(&self, claim: &Claim<'_>) -> Result<Claimed, StoreError> {
        self.through(Verb::Claim, self.memory.claim(claim)).await
    }

    async fn complete(
        &self,
        lease: &Lease,
        record: &Record,
        retention: Duration,
    ) -> Result<Completion, StoreError> {
        self.through(
            Verb::Complete,
            self.memory.complete(lease, record, retention),
        )
        .await
    }

    async fn release(&self, lease: &Lease) -> Result<Completion, StoreError> {
        self.through(Verb::Release, self.memory.release(lease))
            .await
    }

    async fn renew(&self, lease: &Lease) -> Result<Completion, StoreError> {
        self.through(Verb::Renew, self.memory.renew(lease)).await
    }

    async fn settled(
        &self,
        key: &RecordKey,
        fence: Fence,
        limit: Duration,
    ) -> Result<(), StoreError> {
        self.through(Verb::Settled, self.memory.settled(key, fence, limit))
            .await
    }
}
