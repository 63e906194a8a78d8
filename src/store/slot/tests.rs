mod history;

use std::time::Duration;

use bytes::Bytes;
use http::Response;

use super::{Held, Moment, Slot, State};
use crate::{
    codec::DecodeError,
    fingerprint::Fingerprint,
    record::Record,
    record_key::RecordKey,
    store::{
        AfterCrash, Claim, Claimed, Completion, Fence, Lease, LeaseToken, Resolution, Standing,
    },
};

const KEY: RecordKey = RecordKey::from_bytes([7; 32]);
const LEASE: Duration = Duration::from_secs(10);
const RETENTION: Duration = Duration::from_secs(25);

fn request(number: u8) -> Fingerprint {
    Fingerprint::custom([number; 32])
}

fn claim(number: u8) -> Claim<'static> {
    let claim = Claim::new(&KEY, request(number));
    claim.lease_for(LEASE).retained_for(RETENTION)
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn answer(number: u8) -> Record {
    Record::answer(request(1), &Response::new(Bytes::from(vec![number; 3])))
}

fn acquire(slot: &mut Slot, fence: u64, now: u64) -> Lease {
    match slot.claim(&claim(1), Fence::new(fence), seconds(now)) {
        Claimed::Acquired(lease) => lease,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_fence_is_above_that_of_what_stood_here() {
    let mut slot = Slot::new();
    assert_eq!(acquire(&mut slot, 5, 0).fence(), Fence::new(5));
    // Lapsed: taken over, by a store whose clock went back.
    let lease = acquire(&mut slot, 3, 10);
    assert_eq!(lease.fence(), Fence::new(6));
    slot.complete(&lease, &answer(1), RETENTION, seconds(11));
    // Expired, and not collected.
    assert_eq!(acquire(&mut slot, 4, 36).fence(), Fence::new(7));
}

#[test]
fn a_fence_without_its_token_owns_nothing() {
    let mut slot = Slot::new();
    let lease = acquire(&mut slot, 1, 0);
    let forged = claim(1).won(lease.fence(), lease.attempt());
    let lost = Completion::Lost(Standing::InFlight { remaining: LEASE });
    assert_eq!(slot.renew(&forged, Duration::ZERO), lost);
    assert_eq!(slot.release(&forged, Duration::ZERO), lost);
    let completion = slot.complete(&forged, &answer(1), RETENTION, Duration::ZERO);
    assert_eq!(completion, lost);
}

#[test]
fn a_slot_says_from_when_on_it_is_gone() {
    let mut slot = Slot::new();
    assert_eq!(slot.gone_at(), None);
    let lease = acquire(&mut slot, 1, 5);
    assert_eq!(slot.gone_at(), Some(seconds(5) + LEASE + RETENTION));
    slot.complete(&lease, &answer(1), seconds(60), seconds(6));
    assert_eq!(slot.gone_at(), Some(seconds(66)));
    assert_eq!(slot.standing(seconds(65)), Standing::Completed(answer(1)));
    assert_eq!(slot.standing(seconds(66)), Standing::Absent);
    slot.forget(seconds(66));
    assert_eq!(slot, Slot::new());
}

#[test]
fn times_beyond_the_clock_last_for_ever() {
    let mut slot = Slot::new();
    let claim = claim(1).lease_for(Duration::MAX);
    let won = slot.claim(&claim, Fence::new(1), Duration::MAX);
    assert!(matches!(won, Claimed::Acquired(_)));
    assert_eq!(
        slot.settles_in(Fence::new(1), Duration::MAX),
        Duration::ZERO
    );
    let mut slot = Slot::new();
    let won = slot.claim(&claim, Fence::new(u64::MAX), seconds(1));
    assert!(matches!(won, Claimed::Acquired(_)));
    let remaining = slot.settles_in(Fence::new(u64::MAX), seconds(1));
    assert!(remaining > seconds(500 * 365 * 24 * 3600));
    let again = slot.claim(&claim, Fence::new(1), seconds(1));
    assert!(matches!(again, Claimed::Acquired(lease) if lease.fence().get() == u64::MAX));
}

fn samples() -> [Slot; 2] {
    let mut held = Slot::new();
    let claim = claim(1);
    let won = held.claim(&claim, Fence::new(0x0102_0304_0506_0708), seconds(3));
    let mut done = held.clone();
    if let Claimed::Acquired(lease) = won {
        done.complete(&lease, &answer(9), RETENTION, seconds(4));
    }
    [held, done]
}

#[test]
fn what_is_written_is_read() {
    assert_eq!(Slot::new().encoded(), None);
    for slot in samples() {
        assert_eq!(Slot::decode(slot.encoded().unwrap()), Ok(slot));
    }
}

#[test]
fn every_cut_and_every_changed_byte_is_refused() {
    for slot in samples() {
        let bytes = slot.encoded().unwrap();
        for end in 0..bytes.len() {
            assert!(Slot::decode(bytes.slice(..end)).is_err(), "cut at {end}");
        }
        let longer = [&bytes[..], b"\0"].concat();
        assert_eq!(Slot::decode(longer.into()), Err(DecodeError::Damaged));
        for at in 0..bytes.len() {
            let mut changed = bytes.to_vec();
            changed[at] ^= 0x10;
            assert!(Slot::decode(changed.into()).is_err(), "changed at {at}");
        }
    }
    let later = Bytes::from_static(b"TIS\x02");
    assert_eq!(Slot::decode(later), Err(DecodeError::UnknownVersion(2)));
}

/// Written by version 0.1.0 and never changed: what a released version wrote stays readable.
const IN_FLIGHT_V1: &[u8] = include_bytes!("../../../tests/data/slot_v1_in_flight.bin");

#[test]
fn golden_slots_are_read_and_written_to_the_byte() {
    let slot = Slot(State::InFlight(Held {
        token: LeaseToken::from_bytes([0xAB; 16]),
        fingerprint: request(1),
        fence: Fence::new(0x0102_0304_0506_0708),
        attempt: 1,
        deadline: Moment::at(seconds(13)),
        retention: RETENTION,
    }));
    assert_eq!(slot.encoded().unwrap(), IN_FLIGHT_V1);
    let golden = Bytes::from_static(IN_FLIGHT_V1);
    assert_eq!(Slot::decode(golden), Ok(slot));
}

#[test]
fn neither_debug_form_shows_the_token() {
    let shown = format!("{:?}", samples());
    assert!(shown.contains("LeaseToken(…)"), "{shown}");
}
