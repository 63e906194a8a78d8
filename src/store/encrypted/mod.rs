//! Records that the store cannot read.

mod envelope;
mod keys;

use std::{fmt, sync::Arc, time::Duration};

pub use self::keys::EncryptionKeys;
use super::{
    Claim, Claimed, Completion, Fence, Lease, Store, StoreError,
    wrapping::{opened, told},
};
use crate::{record::Record, record_key::RecordKey};

/// Encrypts records before they reach a store: XChaCha20-Poly1305, with a random nonce for
/// each.
///
/// # What it promises
///
/// Whoever reads the store, its disk, its backups or its wire learns nothing of an answer but
/// its length. Whoever writes there cannot make up an answer, change one, or move one to another
/// key or request: such a record does not open, and is *corrupt*, never absent. Record key,
/// fence, fingerprint, key id and version of the format are authenticated with it.
///
/// # What it does not
///
/// * The store still sees record keys, fingerprints, fences and times. The first two are
///   digests; whoever can guess a whole request can tell whether it was made.
/// * Whoever writes in the store can still drop a key, and with it let an operation be carried out
///   again, or put an earlier record of the same key and request back.
/// * Where [`Compressed`](super::Compressed) lies above, the length of an answer with a secret in
///   it tells something of that to an attacker who can choose another part of the answer.
///
/// # Keys
///
/// A key has a number, which is written into each record. To change it: first let all nodes
/// open with the new key ([`EncryptionKeys::also_opens`]), then let all write with it, and
/// drop the old one once the longest retention is over. A record whose key is missing is
/// corrupt, and says so.
///
/// To begin with a store that has records already, see
/// [`danger_open_plain`](Self::danger_open_plain).
///
/// ```
/// # #[cfg(feature = "memory")] {
/// use tower_idempotency::{
///     IdempotencyLayer, MemoryStore,
///     store::{Encrypted, EncryptionKeys},
/// };
///
/// # let (this_year, last_year) = ([1; 32], [2; 32]);
/// let keys = EncryptionKeys::new(2026, &this_year).also_opens(2025, &last_year);
/// let store = Encrypted::new(MemoryStore::new(), keys);
/// let idempotency = IdempotencyLayer::new(store);
/// # }
/// ```
#[derive(Clone)]
pub struct Encrypted<S> {
    store: S,
    keys: Arc<EncryptionKeys>,
    opens_plain: bool,
}

impl<S> Encrypted<S> {
    /// Keeps encrypted records in `store`.
    #[must_use]
    pub fn new(store: S, keys: EncryptionKeys) -> Self {
        Self {
            store,
            keys: Arc::new(keys),
            opens_plain: false,
        }
    }

    /// Also takes records that are not encrypted, from before there were keys. Off by default.
    ///
    /// **This lowers the guarantee**: who writes in the store can make up answers. Take it
    /// away once the longest retention is over.
    #[must_use]
    pub fn danger_open_plain(mut self) -> Self {
        self.opens_plain = true;
        self
    }

    /// The store inside, for what it can do beyond [`Store`]. It sees encrypted records only.
    ///
    /// **An answer that an operator's `resolve` leaves there is not encrypted,** and so it is
    /// corrupt, unless with [`danger_open_plain`](Self::danger_open_plain).
    #[must_use]
    pub fn get_ref(&self) -> &S {
        &self.store
    }

    /// The store inside, with the records as they are.
    #[must_use]
    pub fn into_inner(self) -> S {
        self.store
    }

    fn open(&self, key: &RecordKey, record: Record) -> Result<Record, StoreError> {
        match record.as_wrapped() {
            Some(bytes) if envelope::is_sealed(bytes) => {
                envelope::open(&self.keys, key, record.fingerprint(), bytes)
                    .map_err(StoreError::corrupt)
            }
            _ if self.opens_plain => Ok(record),
            _ => Err(StoreError::corrupt("a record that is not encrypted")),
        }
    }
}

impl<S> fmt::Debug for Encrypted<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encrypted").finish_non_exhaustive()
    }
}

impl<S: Store> Store for Encrypted<S> {
    async fn claim(&self, claim: &Claim<'_>) -> Result<Claimed, StoreError> {
        let claimed = self.store.claim(claim).await?;
        opened(claimed, |record| self.open(claim.key(), record))
    }

    async fn complete(
        &self,
        lease: &Lease,
        record: &Record,
        retention: Duration,
    ) -> Result<Completion, StoreError> {
        let sealed = envelope::seal(&self.keys, lease, record).map_err(StoreError::not_applied)?;
        let completion = self.store.complete(lease, &sealed, retention).await?;
        Ok(told(completion, |record| self.open(lease.key(), record)))
    }

    async fn release(&self, lease: &Lease) -> Result<Completion, StoreError> {
        let completion = self.store.release(lease).await?;
        Ok(told(completion, |record| self.open(lease.key(), record)))
    }

    async fn renew(&self, lease: &Lease) -> Result<Completion, StoreError> {
        let completion = self.store.renew(lease).await?;
        Ok(told(completion, |record| self.open(lease.key(), record)))
    }

    async fn settled(
        &self,
        key: &RecordKey,
        fence: Fence,
        limit: Duration,
    ) -> Result<(), StoreError> {
        self.store.settled(key, fence, limit).await
    }
}
