//! What stands under a key: a header of fixed size, and the record behind it.
//!
//! `lua/record.lua` describes the header and is the only one to write it. Here it is read
//! where it came with a record.

use std::time::Duration;

use bytes::{Buf as _, Bytes};

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
pub(super) fn record(mut value: Bytes, fence: Fence) -> Result<Option<Record>, StoreError> {
    if value.is_empty() {
        return Ok(None);
    }
    let header = Header::read(&value)?;
    if !header.is_completed || header.fence != fence {
        return Ok(None);
    }
    value.advance(HEADER);
    let record = Record::decode(value).map_err(StoreError::corrupt)?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::StoreErrorKind;

    const REQUEST: Fingerprint = Fingerprint::custom([1; 32]);

    fn value(state: u8, fence: u64) -> Vec<u8> {
        let mut value = vec![b'0'; HEADER];
        (value[0], value[1]) = (VERSION, state);
        value[19..52].copy_from_slice(&fingerprint(REQUEST));
        value[52..60].copy_from_slice(&fence.to_be_bytes());
        value.extend_from_slice(&Record::sealed(REQUEST).encoded());
        value
    }

    fn read(value: Vec<u8>, fence: u64) -> Result<Option<Record>, StoreErrorKind> {
        record(value.into(), Fence::new(fence)).map_err(|error| error.kind())
    }

    #[test]
    fn a_record_is_that_of_the_lease_which_completed_it() {
        let kept = Record::sealed(REQUEST);
        assert_eq!(read(value(COMPLETED, 7), 7), Ok(Some(kept)));
        assert_eq!(read(value(COMPLETED, 8), 7), Ok(None));
        assert_eq!(read(value(b'F', 7), 7), Ok(None));
        assert_eq!(read(Vec::new(), 7), Ok(None));
    }

    #[test]
    fn what_is_not_a_record_is_corrupt() {
        let mut later = value(COMPLETED, 7);
        later[0] = b'2';
        let mut cut = value(COMPLETED, 7);
        cut.pop();
        for value in [later, cut, vec![b'1'; HEADER - 1]] {
            assert_eq!(read(value, 7), Err(StoreErrorKind::Corrupt));
        }
    }

    #[test]
    fn durations_are_bounded() {
        assert_eq!(micros(Duration::from_millis(3)), "3000");
        assert_eq!(micros(Duration::from_nanos(1_999)), "1");
        assert_eq!(micros(Duration::MAX), "3155760000000000");
    }
}
