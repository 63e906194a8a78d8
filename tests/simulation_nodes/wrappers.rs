//! What lies around the store of a node, and what the node then makes of a record.

use std::time::Duration;

use futures_util::FutureExt as _;
use tower_idempotency::{
    Record, RecordKey, SharedStore, Store,
    store::{
        Cached, Claim, Claimed, Completion, Compressed, Encrypted, EncryptionKeys, Fence, Lease,
        Resilient, StoreError,
    },
};

use super::{chance::Chance, link::Link, verb::Found};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wrappers {
    pub cached: bool,
    pub resilient: bool,
    compressed: bool,
    ring: Option<Ring>,
}

/// The encryption keys of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ring {
    writes: u32,
    /// It opens what was written with the other key, too.
    opens_both: bool,
    opens_plain: bool,
}

const KEYS: u32 = 2;

/// Reads whatever any node wrote.
pub const ALL: Wrappers = Wrappers {
    cached: false,
    resilient: false,
    compressed: true,
    ring: Some(Ring {
        writes: 0,
        opens_both: true,
        opens_plain: true,
    }),
};

impl Wrappers {
    /// What most nodes of a world have.
    pub fn draw(chance: &mut Chance) -> Self {
        let ring = Ring {
            writes: 0,
            opens_both: true,
            opens_plain: false,
        };
        Self {
            cached: false,
            resilient: false,
            compressed: chance.percent(25),
            ring: chance.percent(25).then_some(ring),
        }
    }

    /// Those of one node: as keys are changed, or wrappers put on and taken off.
    pub fn like(common: &Self, chance: &mut Chance) -> Self {
        let ring = common.ring.filter(|_| !chance.percent(10));
        Self {
            cached: chance.percent(10),
            resilient: chance.percent(10),
            compressed: common.compressed && !chance.percent(20),
            ring: ring.map(|_| Ring {
                writes: u32::from(chance.percent(30)),
                opens_both: chance.percent(70),
                opens_plain: chance.percent(50),
            }),
        }
    }

    pub fn around(&self, link: Link) -> SharedStore {
        let mut store = SharedStore::new(link);
        if self.resilient {
            // Its pauses are drawn by chance, and not from the seed.
            let resilient = Resilient::new(store).opens_after(4);
            store = SharedStore::new(resilient.backoff(Duration::ZERO, Duration::ZERO));
        }
        if let Some(ring) = self.ring {
            store = SharedStore::new(ring.around(store));
        }
        if self.compressed {
            store = SharedStore::new(Compressed::new(store).above(0));
        }
        match self.cached {
            true => SharedStore::new(Cached::new(store)),
            false => store,
        }
    }

    /// What the node makes of a record: one of a wrapper that it lacks is sealed to it.
    pub fn read(&self, key: &RecordKey, record: &Record) -> Found {
        let mut record = record.clone();
        if let Some(ring) = self.ring {
            if !ring.opens(written_with(&record)) {
                return Found::Corrupt;
            }
            record = through(|shown| ring.around(shown), key, record);
        }
        if self.compressed {
            record = through(Compressed::new, key, record);
        }
        let body = || String::from_utf8(record.body().concat()).unwrap();
        Found::Record(record.status().map(|_| body()))
    }
}

impl Ring {
    fn opens(&self, key: Option<u32>) -> bool {
        match key {
            Some(key) => key == self.writes || self.opens_both,
            None => self.opens_plain,
        }
    }

    fn around<S>(&self, store: S) -> Encrypted<S> {
        let secret = |id: u32| [u8::try_from(id).unwrap(); 32];
        let mut keys = EncryptionKeys::new(self.writes, &secret(self.writes));
        if self.opens_both {
            let other = KEYS - 1 - self.writes;
            keys = keys.also_opens(other, &secret(other));
        }
        let store = Encrypted::new(store, keys);
        match self.opens_plain {
            true => store.danger_open_plain(),
            false => store,
        }
    }
}

/// The id of the key that a record is encrypted with.
fn written_with(record: &Record) -> Option<u32> {
    let bytes = record.as_wrapped()?;
    let id = bytes.strip_prefix(b"TIE\x01")?.first_chunk()?;
    Some(u32::from_be_bytes(*id))
}

/// What a record is above a wrapper that can read it.
fn through<S: Store>(wrap: impl FnOnce(Shown) -> S, key: &RecordKey, record: Record) -> Record {
    let fingerprint = record.fingerprint();
    let store = wrap(Shown(record));
    let claimed = store.claim(&Claim::new(key, fingerprint)).now_or_never();
    match claimed {
        Some(Ok(Claimed::Completed { record, .. })) => record,
        claimed => panic!("a record that does not open: {claimed:?}"),
    }
}

/// A store that has nothing but this.
struct Shown(Record);

impl Store for Shown {
    async fn claim(&self, _: &Claim<'_>) -> Result<Claimed, StoreError> {
        let (record, remaining) = (self.0.clone(), Duration::MAX);
        Ok(Claimed::completed(record, remaining))
    }

    async fn complete(&self, _: &Lease, _: &Record, _: Duration) -> Result<Completion, StoreError> {
        unreachable!("it is only read")
    }

    async fn release(&self, _: &Lease) -> Result<Completion, StoreError> {
        unreachable!("it is only read")
    }

    async fn renew(&self, _: &Lease) -> Result<Completion, StoreError> {
        unreachable!("it is only read")
    }

    async fn settled(&self, _: &RecordKey, _: Fence, _: Duration) -> Result<(), StoreError> {
        unreachable!("it is only read")
    }
}
