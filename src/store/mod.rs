//! Where keys and answers are kept: the contract of a store, the stores there are, and the
//! wrappers that go around them.
//!
//! # Which store
//!
//! | store | who sees its keys | what they survive |
//! |---|---|---|
//! | [`MemoryStore`] | one process | nothing |
//! | [`sqlite`] | the processes of one machine | `kill -9`, a power failure |
//! | [`redis`] | all nodes | what the server's settings and its failover let survive |
//! | [`postgres`] | all nodes | all that the database survives; effects can be exactly once |
//! | your own, made with a [`Slot`] | | |
//!
//! The page of each says what breaks its promise. Any of them can be wrapped, in this order
//! from the outside in:
//!
//! | wrapper | for | mind |
//! |---|---|---|
//! | [`Cached`] | frequent replays without a round trip | a key that an operator drops from the store is replayed for up to a minute |
//! | [`Compressed`] | large answers | the length of a compressed answer can give away a part of it |
//! | [`Encrypted`] | answers that the store must not read | the encryption keys are yours to keep and to rotate |
//! | [`Resilient`] | a store that may be slow or down | the layer's own deadline must be longer than all attempts together |
//!
//! ```
//! # #[cfg(all(feature = "memory", feature = "compression", feature = "encryption"))] {
//! use tower_idempotency::{
//!     IdempotencyLayer, MemoryStore,
//!     store::{Cached, Compressed, Encrypted, EncryptionKeys, Resilient},
//! };
//!
//! # let (remote, secret) = (MemoryStore::new(), [7; 32]);
//! let keys = EncryptionKeys::new(1, &secret);
//! let store = Cached::new(Compressed::new(Encrypted::new(Resilient::new(remote), keys)));
//! let layer = IdempotencyLayer::new(store);
//! # }
//! ```
//!
//! # The laws
//!
//! 1. [`claim`](Store::claim) is one atomic step. An absent key is acquired. The lease token
//!    of the lease that holds the key gets that same lease again: a resend is harmless.
//!    Another fingerprint is a mismatch, whatever the state. A completed key yields its
//!    record, a key in flight the time left. A lapsed lease is taken over with a higher
//!    fence and the attempt one up, or, under [`AfterCrash::Hold`], is unknown.
//! 2. [`complete`](Store::complete), [`release`](Store::release) and [`renew`](Store::renew)
//!    compare lease token and fence in the same atomic step as the write. A lease that was
//!    lost is refused, with what stands there now. The owner may repeat a call. Completing
//!    an absent key is refused.
//! 3. A fence never restarts for the life of the store: not on release, not on expiry, not
//!    on restart.
//! 4. Time is the store's own clock. Only durations cross the border. Deadlines inside the
//!    record decide; whatever expiry the engine offers only collects garbage.
//! 5. Retention starts at completion. An expired key is as if never seen.
//! 6. Keys in flight are never evicted. A full store refuses new claims.
//! 7. [`settled`](Store::settled) returns when the claim may have ended. It may return
//!    early; it must not sleep past the end.
//! 8. An error says what happened: *not applied*, *full* (not applied, and asking again does not
//!    help), *unknown*, *corrupt*. A corrupt record is never "absent".
//!
//! A [`Slot`] holds these laws for one key, so that a store need only add an atomic step, a
//! clock and fences. The `conformance` feature holds them as a test suite for any store.
//! Every verb may be cancelled at any await point, so a verb is one statement, one script or
//! one critical section.

mod cached;
mod claim;
#[cfg(feature = "compression")]
mod compressed;
#[cfg(feature = "conformance")]
pub mod conformance;
#[cfg(feature = "encryption")]
mod encrypted;
mod error;
mod lease;
#[cfg(feature = "memory")]
mod memory;
#[cfg(feature = "postgres")]
pub mod postgres;
mod random;
#[cfg(feature = "redis")]
pub mod redis;
mod resilient;
mod resolution;
mod shared;
mod slot;
#[cfg(feature = "sqlite")]
pub mod sqlite;
#[cfg(any(feature = "compression", feature = "encryption"))]
mod wrapping;

use std::time::Duration;

use crate::{record::Record, record_key::RecordKey};

#[cfg(feature = "compression")]
pub use self::compressed::Compressed;
#[cfg(feature = "encryption")]
pub use self::encrypted::{Encrypted, EncryptionKeys};
#[cfg(feature = "memory")]
pub use self::memory::MemoryStore;
#[cfg(feature = "postgres")]
pub use self::postgres::PostgresStore;
#[cfg(feature = "redis")]
pub use self::redis::RedisStore;
#[cfg(feature = "sqlite")]
pub use self::sqlite::SqliteStore;
pub use self::{
    cached::Cached,
    claim::{AfterCrash, Claim, Claimed, OwnedClaim},
    error::{StoreError, StoreErrorKind},
    lease::{Completion, Fence, Lease, LeaseToken, Standing},
    resilient::Resilient,
    resolution::Resolution,
    shared::SharedStore,
    slot::Slot,
};

/// Keeps keys, leases and records. See the [module documentation](self) for the laws an
/// implementation must hold.
///
/// Implementors write plain `async fn`.
pub trait Store: Send + Sync + 'static {
    /// Tries to become the one who executes.
    ///
    /// # Errors
    ///
    /// [`StoreError`] says whether the claim was applied. The caller may resend it.
    fn claim(&self, claim: &Claim<'_>) -> impl Future<Output = Result<Claimed, StoreError>> + Send;

    /// Ends a lease with a record, kept for `retention` from now.
    ///
    /// # Errors
    ///
    /// [`StoreError`] says whether the record was written. The caller may resend it.
    fn complete(
        &self,
        lease: &Lease,
        record: &Record,
        retention: Duration,
    ) -> impl Future<Output = Result<Completion, StoreError>> + Send;

    /// Ends a lease without a record: the key is free again. Where the key is absent it is
    /// free already: [`Completion::AlreadyApplied`].
    ///
    /// # Errors
    ///
    /// [`StoreError`] says whether the key was released. The caller may resend it.
    fn release(&self, lease: &Lease)
    -> impl Future<Output = Result<Completion, StoreError>> + Send;

    /// Prolongs a lease to its full duration from now, also if it lapsed and nobody took
    /// the key over.
    ///
    /// # Errors
    ///
    /// [`StoreError`] says whether the lease was prolonged. The caller may resend it.
    fn renew(&self, lease: &Lease) -> impl Future<Output = Result<Completion, StoreError>> + Send;

    /// Waits until the claim seen with `fence` may have ended: it was completed or
    /// released, its lease lapsed, or `limit` is over. May return early.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the store cannot tell. The caller looks again by claiming.
    fn settled(
        &self,
        key: &RecordKey,
        fence: Fence,
        limit: Duration,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;
}
