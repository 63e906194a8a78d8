//! Large records made small.

use std::{fmt, time::Duration};

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

use super::{
    Claim, Claimed, Completion, Fence, Lease, Store, StoreError,
    wrapping::{opened, told},
};
use crate::{codec::DecodeError, record::Record, record_key::RecordKey};

/// Compresses large records before they reach a store, with LZ4.
///
/// LZ4 packs JSON and text to a third or so at hundreds of megabytes a second, which an async
/// thread can bear; it is pure, safe Rust, and its output is bounded before it is made. An
/// answer that would not get smaller by an eighth, as one that is compressed already, is kept
/// as it is.
///
/// # What it promises
///
/// A record comes back as it went in. However a record in the store was tampered with, reading
/// it takes little more memory than [`max_record`](Self::max_record): one that would is
/// *corrupt*.
///
/// # Where it belongs
///
/// Above [`Encrypted`](super::Encrypted), as `Compressed<Encrypted<S>>`: what is encrypted does
/// not get smaller. What the length of an answer then gives away is said there. Below
/// [`Cached`](super::Cached), which then replays without unpacking.
///
/// It can be put on, or taken off with [`above`](Self::above) at `usize::MAX`, over a store
/// that has records already.
///
/// ```
/// # #[cfg(feature = "memory")] {
/// use tower_idempotency::{IdempotencyLayer, MemoryStore, store::Compressed};
///
/// let store = Compressed::new(MemoryStore::new()).above(4096);
/// let idempotency = IdempotencyLayer::new(store);
/// # }
/// ```
#[derive(Clone)]
pub struct Compressed<S> {
    store: S,
    above: usize,
    max_record: usize,
}

const MAGIC: &[u8; 3] = b"TIZ";
const VERSION: u8 = 1;
/// Magic, version, and the length of the record unpacked (4 bytes, big-endian).
const HEAD: usize = 8;

impl<S> Compressed<S> {
    /// Keeps records above 1 KiB compressed in `store`, unless they are larger than 64 MiB.
    #[must_use]
    pub fn new(store: S) -> Self {
        Self {
            store,
            above: 1024,
            max_record: 64 << 20,
        }
    }

    /// Records of at most so many bytes are kept as they are; 1 KiB by default.
    #[must_use]
    pub fn above(mut self, bytes: usize) -> Self {
        self.above = bytes;
        self
    }

    /// Records of more bytes than that are kept as they are, and none is unpacked to more;
    /// 64 MiB by default. Lower it only once no larger record is left.
    #[must_use]
    pub fn max_record(mut self, bytes: u32) -> Self {
        self.max_record = usize::try_from(bytes).unwrap_or(usize::MAX);
        self
    }

    /// The store inside, for what it can do beyond [`Store`].
    #[must_use]
    pub fn get_ref(&self) -> &S {
        &self.store
    }

    /// The store inside, with the records as they are.
    #[must_use]
    pub fn into_inner(self) -> S {
        self.store
    }

    fn pack(&self, record: &Record) -> Record {
        // Nothing that large shrinks below the bound.
        if record.bytes() <= self.above as u64 || record.bytes() > self.max_record as u64 {
            return record.clone();
        }
        let plain = record.encoded();
        match u32::try_from(plain.len()) {
            Ok(length) if plain.len() <= self.max_record => {
                let packed = lz4_flex::block::compress(&plain);
                // Less would not be worth the unpacking.
                if HEAD + packed.len() < plain.len() - plain.len() / 8 {
                    return Record::wrapped(record.fingerprint(), framed(length, &packed));
                }
                record.clone()
            }
            _ => record.clone(),
        }
    }

    fn unpack(&self, record: Record) -> Result<Record, StoreError> {
        match record.as_wrapped() {
            Some(bytes) if bytes.starts_with(MAGIC) => {
                let unpacked = unpack(bytes, self.max_record).map_err(StoreError::corrupt)?;
                if unpacked.fingerprint() == record.fingerprint() {
                    Ok(unpacked)
                } else {
                    Err(StoreError::corrupt(Unpackable::Damaged))
                }
            }
            _ => Ok(record),
        }
    }
}

/// Why a compressed record cannot be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum Unpackable {
    #[error("a compressed record of the unknown version {0}")]
    UnknownVersion(u8),
    #[error("a record of {0} bytes when unpacked, above max_record")]
    TooLarge(usize),
    #[error("a damaged compressed record")]
    Damaged,
    #[error(transparent)]
    Unreadable(#[from] DecodeError),
}

fn framed(length: u32, packed: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(HEAD + packed.len());
    out.put_slice(MAGIC);
    out.put_u8(VERSION);
    out.put_u32(length);
    out.put_slice(packed);
    out.freeze()
}

fn unpack(bytes: &[u8], max_record: usize) -> Result<Record, Unpackable> {
    let (head, packed) = bytes.split_at_checked(HEAD).ok_or(Unpackable::Damaged)?;
    if head[3] != VERSION {
        return Err(Unpackable::UnknownVersion(head[3]));
    }
    let length = usize::try_from((&head[4..]).get_u32()).unwrap_or(usize::MAX);
    if length > max_record {
        return Err(Unpackable::TooLarge(length));
    }
    let mut plain = vec![0; length];
    match lz4_flex::block::decompress_into(packed, &mut plain) {
        Ok(unpacked) if unpacked == length => Ok(Record::decode(plain.into())?),
        _ => Err(Unpackable::Damaged),
    }
}

impl<S> fmt::Debug for Compressed<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compressed")
            .field("above", &self.above)
            .field("max_record", &self.max_record)
            .finish_non_exhaustive()
    }
}

impl<S: Store> Store for Compressed<S> {
    async fn claim(&self, claim: &Claim<'_>) -> Result<Claimed, StoreError> {
        let claimed = self.store.claim(claim).await?;
        opened(claimed, |record| self.unpack(record))
    }

    async fn complete(
        &self,
        lease: &Lease,
        record: &Record,
        retention: Duration,
    ) -> Result<Completion, StoreError> {
        let packed = self.pack(record);
        let completion = self.store.complete(lease, &packed, retention).await?;
        Ok(told(completion, |record| self.unpack(record)))
    }

    async fn release(&self, lease: &Lease) -> Result<Completion, StoreError> {
        let completion = self.store.release(lease).await?;
        Ok(told(completion, |record| self.unpack(record)))
    }

    async fn renew(&self, lease: &Lease) -> Result<Completion, StoreError> {
        let completion = self.store.renew(lease).await?;
        Ok(told(completion, |record| self.unpack(record)))
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

#[cfg(test)]
mod tests;
