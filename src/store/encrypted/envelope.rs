//! A record sealed: what of it is written, and what it is bound to.
//!
//! Version 1, integers big-endian:
//!
//! | bytes | what |
//! |---|---|
//! | 3 | `TIE` |
//! | 1 | version, 1 |
//! | 4 | id of the key |
//! | 8 | fence of the lease that wrote it |
//! | 24 | nonce |
//! | … | the encoded record, encrypted |
//! | 16 | tag |
//!
//! Authenticated with it: all before the nonce, the record key, and the fingerprint. The store
//! does not tell the fence of a completed key, so the record brings it along.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use chacha20poly1305::{AeadInOut as _, Tag, XNonce};

use super::EncryptionKeys;
use crate::{
    codec::DecodeError, fingerprint::Fingerprint, record::Record, record_key::RecordKey,
    store::Lease,
};

const MAGIC: &[u8; 3] = b"TIE";
const VERSION: u8 = 1;
const HEAD: usize = 3 + 1 + 4 + 8;
const NONCE: usize = 24;
const TAG: usize = 16;

/// Why a sealed record does not open.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unopened {
    #[error("an encrypted record of the unknown version {0}")]
    UnknownVersion(u8),
    #[error("a record encrypted with the unknown key {0}: add it with also_opens")]
    UnknownKey(u32),
    #[error("an encrypted record that was damaged, moved, or sealed with another secret")]
    NotAuthentic,
    #[error(transparent)]
    Unreadable(#[from] DecodeError),
}

/// Whether `bytes` claim to be a sealed record.
pub(super) fn is_sealed(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC)
}

/// The record as it is written under `lease`.
pub(super) fn seal(
    keys: &EncryptionKeys,
    lease: &Lease,
    record: &Record,
) -> Result<Record, String> {
    let (id, cipher) = keys.writing();
    let mut nonce = [0; NONCE];
    getrandom::fill(&mut nonce).map_err(|error| error.to_string())?;
    let plain = record.encoded();
    let mut out = BytesMut::with_capacity(HEAD + NONCE + plain.len() + TAG);
    out.put_slice(MAGIC);
    out.put_u8(VERSION);
    out.put_u32(id);
    out.put_u64(lease.fence().get());
    let bound = bound(&out, lease.key(), record.fingerprint());
    out.put_slice(&nonce);
    out.put_slice(&plain);
    let body = &mut out[HEAD + NONCE..];
    let tag = cipher
        .encrypt_inout_detached(&XNonce::from(nonce), &bound, body.into())
        .map_err(|error| error.to_string())?;
    out.put_slice(&tag);
    Ok(Record::wrapped(record.fingerprint(), out.freeze()))
}

/// The record in `bytes`, if it was sealed for this key and request.
pub(super) fn open(
    keys: &EncryptionKeys,
    key: &RecordKey,
    fingerprint: Fingerprint,
    bytes: &Bytes,
) -> Result<Record, Unopened> {
    if let Some(version) = bytes.get(3).filter(|version| **version != VERSION) {
        return Err(Unopened::UnknownVersion(*version));
    }
    if bytes.len() < HEAD + NONCE + TAG {
        return Err(Unopened::NotAuthentic);
    }
    let id = (&bytes[4..]).get_u32();
    let cipher = keys.find(id).ok_or(Unopened::UnknownKey(id))?;
    let (head, sealed) = bytes.split_at(HEAD);
    let (nonce, sealed) = sealed.split_at(NONCE);
    let (sealed, tag) = sealed.split_at(sealed.len() - TAG);
    let mut plain = sealed.to_vec();
    let (nonce, tag) = (XNonce::try_from(nonce), Tag::try_from(tag));
    let (Ok(nonce), Ok(tag)) = (nonce, tag) else {
        return Err(Unopened::NotAuthentic);
    };
    let bound = bound(head, key, fingerprint);
    cipher
        .decrypt_inout_detached(&nonce, &bound, plain.as_mut_slice().into(), &tag)
        .map_err(|_| Unopened::NotAuthentic)?;
    let record = Record::decode(plain.into())?;
    if record.fingerprint() == fingerprint {
        Ok(record)
    } else {
        Err(Unopened::NotAuthentic)
    }
}

/// What is authenticated with a record; each part has one length.
fn bound(head: &[u8], key: &RecordKey, fingerprint: Fingerprint) -> Vec<u8> {
    let version = [fingerprint.version()];
    let parts = [head, key.as_bytes(), &version, fingerprint.digest()];
    [&b"tower-idempotency encrypted record"[..], &parts.concat()].concat()
}

#[cfg(test)]
mod tests;
