//! Slots as bytes.
//!
//! Version 1, integers big-endian, times in nanoseconds:
//!
//! | bytes | what |
//! |---|---|
//! | 3 | `TIS` |
//! | 1 | version, 1 |
//! | 4 | CRC-32 (IEEE) of the fixed part behind it |
//! | 1 | state: 1 in flight, 2 done |
//! | 8 | fence |
//! | 8 | end of the lease, or of the retention |
//! | | in flight: |
//! | 8 | retention |
//! | 4 | attempt |
//! | 16 | lease token |
//! | 1 + 32 | fingerprint: version, digest |
//! | | done: |
//! | … | the record, with a checksum of its own |

use std::time::Duration;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

use super::{Done, Held, Moment, State, nanos};
use crate::{
    codec::DecodeError,
    fingerprint::Fingerprint,
    record::Record,
    store::{Fence, LeaseToken},
};

const MAGIC: &[u8; 3] = b"TIS";
const VERSION: u8 = 1;
const PREFIX: usize = 8;
const DONE_LEN: usize = PREFIX + 1 + 8 + 8;
const IN_FLIGHT_LEN: usize = DONE_LEN + 8 + 4 + 16 + 33;

const IN_FLIGHT: u8 = 1;
const DONE: u8 = 2;

pub(super) fn encode(state: &State) -> Option<Bytes> {
    match state {
        State::Free => None,
        State::InFlight(held) => Some(encode_held(held)),
        State::Done(done) => Some(encode_done(done)),
    }
}

fn encode_held(held: &Held) -> Bytes {
    let mut out = begin(IN_FLIGHT_LEN, IN_FLIGHT, held.fence, held.deadline);
    out.put_u64(nanos(held.retention));
    out.put_u32(held.attempt);
    out.put_slice(held.token.as_bytes());
    out.put_u8(held.fingerprint.version());
    out.put_slice(held.fingerprint.digest());
    seal(&mut out);
    out.freeze()
}

fn encode_done(done: &Done) -> Bytes {
    let record = done.record.encoded();
    let mut out = begin(DONE_LEN + record.len(), DONE, done.fence, done.until);
    seal(&mut out);
    out.put_slice(&record);
    out.freeze()
}

fn begin(capacity: usize, state: u8, fence: Fence, end: Moment) -> BytesMut {
    let mut out = BytesMut::with_capacity(capacity);
    out.put_slice(MAGIC);
    out.put_u8(VERSION);
    out.put_u32(0);
    out.put_u8(state);
    out.put_u64(fence.get());
    out.put_u64(end.0);
    out
}

fn seal(out: &mut BytesMut) {
    let checksum = crc32fast::hash(&out[PREFIX..]);
    out[PREFIX - 4..PREFIX].copy_from_slice(&checksum.to_be_bytes());
}

pub(super) fn decode(bytes: Bytes) -> Result<State, DecodeError> {
    if !bytes.starts_with(MAGIC) {
        return Err(DecodeError::NotARecord);
    }
    match bytes.get(3) {
        None => Err(DecodeError::NotARecord),
        Some(&VERSION) => decode_state(bytes),
        Some(&version) => Err(DecodeError::UnknownVersion(version)),
    }
}

fn decode_state(mut bytes: Bytes) -> Result<State, DecodeError> {
    let fixed = match bytes.get(PREFIX) {
        Some(&DONE) if bytes.len() > DONE_LEN => DONE_LEN,
        Some(&IN_FLIGHT) if bytes.len() == IN_FLIGHT_LEN => IN_FLIGHT_LEN,
        _ => return Err(DecodeError::Damaged),
    };
    let mut fixed = bytes.split_to(fixed);
    fixed.advance(4);
    if fixed.get_u32() != crc32fast::hash(&fixed) {
        return Err(DecodeError::Damaged);
    }
    let state = fixed.get_u8();
    let fence = Fence::new(fixed.get_u64());
    let end = Moment(fixed.get_u64());
    Ok(match state {
        DONE => State::Done(Done {
            record: Record::decode(bytes)?,
            fence,
            until: end,
        }),
        _ => State::InFlight(decode_held(fixed, fence, end)),
    })
}

fn decode_held(mut bytes: Bytes, fence: Fence, deadline: Moment) -> Held {
    let retention = Duration::from_nanos(bytes.get_u64());
    let attempt = bytes.get_u32();
    let (mut token, mut digest) = ([0; 16], [0; 32]);
    bytes.copy_to_slice(&mut token);
    let version = bytes.get_u8();
    bytes.copy_to_slice(&mut digest);
    Held {
        token: LeaseToken::from_bytes(token),
        fingerprint: Fingerprint::from_parts(version, digest),
        fence,
        attempt,
        deadline,
        retention,
    }
}
