//! A store of your own: the whole contract over one map behind one mutex.
//!
//! It never forgets what expired, so it is for reading, not for production. Run it with
//! `cargo run --example custom_store`, and its conformance tests with
//! `cargo test --example custom_store --features conformance`.

use std::{collections::HashMap, sync::Mutex, time::Duration};

use tokio::time::{Instant, sleep};
use tower_idempotency::{
    AfterCrash, Fingerprint, Record, RecordKey, Store,
    store::{Claim, Claimed, Completion, Fence, Lease, Standing, StoreError},
};

#[derive(Debug, Default)]
struct MapStore {
    /// Every key ever claimed, and the last fence.
    keys: Mutex<(HashMap<RecordKey, Entry>, u64)>,
}

#[derive(Debug)]
struct Entry {
    lease: Lease,
    fingerprint: Fingerprint,
    lapses: Instant,
    expires: Instant,
    retention: Duration,
    record: Option<Record>,
}

impl Entry {
    fn standing(&self) -> Standing {
        match &self.record {
            Some(record) => Standing::Completed(record.clone()),
            None => Standing::InFlight {
                remaining: self.lapses - Instant::now(),
            },
        }
    }

    fn is_of(&self, lease: &Lease) -> bool {
        (self.lease.token(), self.lease.fence()) == (lease.token(), lease.fence())
    }

    fn prolong(&mut self) {
        self.lapses = Instant::now() + self.lease.duration();
        self.expires = self.lapses + self.retention;
    }
}

impl MapStore {
    /// Does `write` to the entry of `lease` if that owns it, all under one lock.
    fn as_owner(
        &self,
        lease: &Lease,
        write: impl FnOnce(&mut Entry) -> Completion,
    ) -> Result<Completion, StoreError> {
        let keys = &mut self.keys.lock().expect("no panic under the lock").0;
        Ok(match keys.get_mut(lease.key()) {
            Some(entry) if entry.expires <= Instant::now() => Completion::Lost(Standing::Absent),
            Some(entry) if entry.is_of(lease) => write(entry),
            Some(entry) => Completion::Lost(entry.standing()),
            None => Completion::Lost(Standing::Absent),
        })
    }
}

impl Store for MapStore {
    async fn claim(&self, claim: &Claim<'_>) -> Result<Claimed, StoreError> {
        let (keys, fence) = &mut *self.keys.lock().expect("no panic under the lock");
        let now = Instant::now();
        let mut attempt = 1;
        if let Some(entry) = keys
            .get_mut(claim.key())
            .filter(|entry| entry.expires > now)
        {
            if entry.fingerprint != claim.fingerprint() {
                return Ok(Claimed::Mismatch);
            }
            if let Some(record) = &entry.record {
                return Ok(Claimed::Completed(record.clone()));
            }
            if entry.lease.token() == claim.token() {
                return Ok(Claimed::Acquired(entry.lease.clone()));
            }
            if entry.lapses > now {
                return Ok(Claimed::InFlight {
                    fence: entry.lease.fence(),
                    remaining: entry.lapses - now,
                });
            }
            if claim.crash_mode() == AfterCrash::Hold {
                return Ok(Claimed::Unknown);
            }
            attempt = entry.lease.attempt() + 1;
        }
        *fence += 1;
        let lease = claim.won(Fence::new(*fence), attempt);
        let entry = Entry {
            lease: lease.clone(),
            fingerprint: claim.fingerprint(),
            lapses: now + claim.lease(),
            expires: now + claim.lease() + claim.retention(),
            retention: claim.retention(),
            record: None,
        };
        keys.insert(*claim.key(), entry);
        Ok(Claimed::Acquired(lease))
    }

    async fn complete(
        &self,
        lease: &Lease,
        record: &Record,
        retention: Duration,
    ) -> Result<Completion, StoreError> {
        self.as_owner(lease, |entry| {
            if entry.record.is_some() {
                return Completion::AlreadyApplied;
            }
            entry.record = Some(record.clone());
            entry.expires = Instant::now() + retention;
            Completion::Applied
        })
    }

    async fn release(&self, lease: &Lease) -> Result<Completion, StoreError> {
        let released = self.as_owner(lease, |entry| match &entry.record {
            Some(_) => Completion::Lost(entry.standing()),
            None => {
                entry.expires = Instant::now();
                Completion::Applied
            }
        })?;
        Ok(match released {
            Completion::Lost(Standing::Absent) => Completion::AlreadyApplied,
            released => released,
        })
    }

    async fn renew(&self, lease: &Lease) -> Result<Completion, StoreError> {
        self.as_owner(lease, |entry| match &entry.record {
            Some(_) => Completion::Lost(entry.standing()),
            None => {
                entry.prolong();
                Completion::Applied
            }
        })
    }

    /// A waiter may return early and look again, so a short sleep is a lawful wait.
    async fn settled(&self, _: &RecordKey, _: Fence, limit: Duration) -> Result<(), StoreError> {
        sleep(limit.min(Duration::from_millis(20))).await;
        Ok(())
    }
}

#[tokio::main]
async fn main() -> Result<(), StoreError> {
    let store = MapStore::default();
    let key = RecordKey::from_bytes([42; 32]);
    let request = Fingerprint::custom([1; 32]);
    let response = http::Response::new("charged".into());

    let Claimed::Acquired(lease) = store.claim(&Claim::new(&key, request)).await? else {
        unreachable!("nobody else is here");
    };
    println!("first request:  runs, with fence {}", lease.fence());
    println!(
        "meanwhile:      {:?}",
        store.claim(&Claim::new(&key, request)).await?
    );
    let record = Record::answer(request, &response);
    let completion = store
        .complete(&lease, &record, Duration::from_secs(60))
        .await?;
    println!("its answer:     {completion:?}");
    println!(
        "retry:          {:?}",
        store.claim(&Claim::new(&key, request)).await?
    );
    let other = Fingerprint::custom([2; 32]);
    println!(
        "other request:  {:?}",
        store.claim(&Claim::new(&key, other)).await?
    );
    Ok(())
}

/// The laws, as tests of this store.
#[cfg(all(test, feature = "conformance"))]
mod tests {
    use super::*;
    use tower_idempotency::{SharedStore, store::conformance::Harness, store_conformance};

    struct InProcess(SharedStore);

    impl Harness for InProcess {
        type Store = SharedStore;

        async fn client(&self) -> SharedStore {
            self.0.clone()
        }

        async fn unreachable(&self) -> Option<SharedStore> {
            None
        }
    }

    store_conformance!(
        map,
        InProcess(SharedStore::new(MapStore::default())),
        paused
    );
}
