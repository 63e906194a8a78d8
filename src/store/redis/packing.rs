//! What stands under a key: a header of fixed size, and the record behind it.
//!
//! `lua/record.lua` describes the header and is the only one to write it. Here it is read
//! where it came with a record.

use std::time::Duration;

use bytes::Bytes;

use super::fault::NotARecord;
use crate::{
    fingerprint::Fingerprint,
    record::Record,
    store::{Fence, StoreError},
};

const HEADER: usize = 80;
const VERSION: u8 = b'1';
const COMPLETED: u8 = b'C';

/// The record under a key, if `value` is what a lease with this fence completed; `None` if
/// the key has changed meanwhile.
pub(super) fn record(value: &Bytes, fence: Fence) -> Result<Option<Record>, StoreError> {
    if value.is_empty() {
        return Ok(None);
    }
    let header = Header::read(value)?;
    if !header.is_completed || header.fence != fence {
        return Ok(None);
    }
    let record = Record::decode(value.slice(HEADER..)).map_err(StoreError::corrupt)?;
    Ok(Some(record))
}

/// What the header tells besides what scripts decide by.
pub(super) struct Header {
    pub(super) is_completed: bool,
    pub(super) fingerprint: Fingerprint,
    pub(super) fence: Fence,
}

impl Header {
    pub(super) fn read(value: &[u8]) -> Result<Self, StoreError> {
        Self::parse(value).ok_or_else(|| StoreError::corrupt(NotARecord))
    }

    fn parse(value: &[u8]) -> Option<Self> {
        let header = value.get(..HEADER).filter(|header| header[0] == VERSION)?;
        let digest = header[20..52].try_into().ok()?;
        let fence = header[52..60].try_into().ok()?;
        Some(Self {
            is_completed: header[1] == COMPLETED,
            fingerprint: Fingerprint::from_parts(header[19], digest),
            fence: Fence::new(u64::from_be_bytes(fence)),
        })
    }
}

/// A fingerprint as the header has it.
pub(super) fn fingerprint(fingerprint: Fingerprint) -> [u8; 33] {
    let mut bytes = [0; 33];
    bytes[0] = fingerprint.version();
    bytes[1..].copy_from_slice(fingerprint.digest());
    bytes
}

/// A duration as an argument of a script. A century stands for all longer ones: sums of
/// them stay below 2^53 microseconds.
pub(super) fn micros(duration: Duration) -> String {
    const CENTURY: Duration = Duration::from_secs(36_525 * 24 * 60 * 60);
    duration.min(CENTURY).as_micros().to_string()
}
