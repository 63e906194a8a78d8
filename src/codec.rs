//! Records as bytes.
//!
//! Version 1, integers big-endian:
//!
//! | bytes | what |
//! |---|---|
//! | 3 | `TIR` |
//! | 1 | version, 1 |
//! | 4 | CRC-32 (IEEE) of everything behind it |
//! | 1 | kind: 0 sealed, 1 answer, 2 answer with trailers, 3 wrapped |
//! | 1 + 32 | fingerprint: version, digest |
//! | 2 | status; 0 if sealed or wrapped |
//! | 4, 4 | length of the header fields, of the trailers |
//! | 8 | length of the body |
//! | … | header fields, trailers, body; of a wrapped record the bytes of its wrapper |
//!
//! A field is the length of its name (2), of its value (4), name, value. The body comes
//! last, so that a store can read all else without it. Anything that does not fit to the
//! byte, fails its checksum or has a version unknown here is refused.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use http::StatusCode;

use crate::{
    fields::Fields,
    fingerprint::Fingerprint,
    frames::Frames,
    record::{Answer, Content, Inner, Record},
};

const MAGIC: &[u8; 3] = b"TIR";
const VERSION: u8 = 1;
const PREFIX: usize = 8;
const HEAD: usize = 1 + 33 + 2 + 4 + 4 + 8;

const SEALED: u8 = 0;
const ANSWER: u8 = 1;
const ANSWER_WITH_TRAILERS: u8 = 2;
const WRAPPED: u8 = 3;

/// Bytes are not a record, or not a [`Slot`](crate::store::Slot), that this crate can read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// They do not begin as one does.
    #[error("not a record")]
    NotARecord,
    /// A later version of this crate wrote them.
    #[error("a record of the unknown version {0}")]
    UnknownVersion(u8),
    /// They were changed or cut after they were written.
    #[error("a damaged record")]
    Damaged,
}

pub(crate) fn encode(record: &Inner) -> Bytes {
    let (headers, trailers, body): (&[u8], &[u8], &[Bytes]) = match &record.content {
        Content::Sealed => (&[], &[], &[]),
        Content::Wrapped(bytes) => (&[], &[], std::slice::from_ref(bytes)),
        Content::Answer(answer) => (
            answer.headers.as_block(),
            answer
                .trailers
                .as_ref()
                .map_or(&[], |trailers| trailers.as_block()),
            answer.body.as_slice(),
        ),
    };
    let body_len: usize = body.iter().map(Bytes::len).sum();
    let mut out =
        BytesMut::with_capacity(PREFIX + HEAD + headers.len() + trailers.len() + body_len);
    out.put_slice(MAGIC);
    out.put_u8(VERSION);
    out.put_u32(0);
    put_head(&mut out, record);
    out.put_u32(length(headers));
    out.put_u32(length(trailers));
    out.put_u64(body_len as u64);
    out.put_slice(headers);
    out.put_slice(trailers);
    body.iter().for_each(|frame| out.put_slice(frame));
    let checksum = crc32fast::hash(&out[PREFIX..]);
    out[PREFIX - 4..PREFIX].copy_from_slice(&checksum.to_be_bytes());
    out.freeze()
}

fn put_head(out: &mut BytesMut, record: &Inner) {
    let (kind, status) = match &record.content {
        Content::Sealed => (SEALED, 0),
        Content::Wrapped(_) => (WRAPPED, 0),
        Content::Answer(answer) => match answer.trailers {
            Some(_) => (ANSWER_WITH_TRAILERS, answer.status.as_u16()),
            None => (ANSWER, answer.status.as_u16()),
        },
    };
    out.put_u8(kind);
    out.put_u8(record.fingerprint.version());
    out.put_slice(record.fingerprint.digest());
    out.put_u16(status);
}

/// A block of fields is far below 4 GiB: it has at most 32,768 of them.
fn length(block: &[u8]) -> u32 {
    u32::try_from(block.len()).unwrap_or(u32::MAX)
}

pub(crate) fn decode(mut bytes: Bytes) -> Result<Record, DecodeError> {
    if !bytes.starts_with(MAGIC) {
        return Err(DecodeError::NotARecord);
    }
    match bytes.get(3) {
        None => return Err(DecodeError::NotARecord),
        Some(&VERSION) => {}
        Some(&version) => return Err(DecodeError::UnknownVersion(version)),
    }
    if bytes.len() < PREFIX + HEAD {
        return Err(DecodeError::Damaged);
    }
    bytes.advance(4);
    if bytes.get_u32() != crc32fast::hash(&bytes) {
        return Err(DecodeError::Damaged);
    }
    decode_sections(bytes).ok_or(DecodeError::Damaged)
}

fn decode_sections(mut bytes: Bytes) -> Option<Record> {
    let kind = bytes.get_u8();
    let fingerprint_version = bytes.get_u8();
    let mut digest = [0; 32];
    bytes.copy_to_slice(&mut digest);
    let fingerprint = Fingerprint::from_parts(fingerprint_version, digest);
    let status = bytes.get_u16();
    let headers = usize::try_from(bytes.get_u32()).ok()?;
    let trailers = usize::try_from(bytes.get_u32()).ok()?;
    let body = usize::try_from(bytes.get_u64()).ok()?;
    if bytes.len() != headers.checked_add(trailers)?.checked_add(body)? {
        return None;
    }
    let headers = Fields::from_block(bytes.split_to(headers))?;
    let trailers = Fields::from_block(bytes.split_to(trailers))?;
    let content = match (kind, status) {
        (SEALED, 0) if headers.len() + trailers.len() + body == 0 => Content::Sealed,
        (WRAPPED, 0) if headers.len() + trailers.len() == 0 => Content::Wrapped(bytes),
        (ANSWER | ANSWER_WITH_TRAILERS, status) => Content::Answer(Answer {
            status: StatusCode::from_u16(status).ok()?,
            headers,
            body: Frames::from(bytes),
            trailers: match kind {
                ANSWER_WITH_TRAILERS => Some(Box::new(trailers)),
                _ if trailers.len() == 0 => None,
                _ => return None,
            },
        }),
        _ => return None,
    };
    Some(Record::new(fingerprint, content))
}

#[cfg(test)]
mod tests;
