use http::Response;
use proptest::{collection::vec, prelude::*};

use super::*;
use crate::fingerprint::Fingerprint;

const REQUEST: Fingerprint = Fingerprint::custom([1; 32]);

fn compressed() -> Compressed<()> {
    Compressed::new(()).above(100)
}

fn answer(body: Vec<u8>) -> Record {
    Record::answer(REQUEST, &Response::new(body.into()))
}

fn text(bytes: usize) -> Record {
    answer(
        b"the same again, "
            .iter()
            .copied()
            .cycle()
            .take(bytes)
            .collect(),
    )
}

fn packed(record: &Record) -> Bytes {
    let packed = compressed().pack(record);
    packed.as_wrapped().expect("compressed").clone()
}

#[test]
fn large_records_get_small_and_come_back() {
    let record = text(100_000);
    let bytes = packed(&record);
    assert!(bytes.len() < 1_000, "{} bytes", bytes.len());
    let wrapped = Record::wrapped(REQUEST, bytes);
    assert_eq!(compressed().unpack(wrapped).unwrap(), record);
}

#[test]
fn what_is_small_or_does_not_shrink_stays_as_it_is() {
    let mut noise = vec![0; 5_000];
    getrandom::fill(&mut noise).unwrap();
    let too_large = text(70_000);
    let small_bound = compressed().max_record(70_000);
    assert_eq!(small_bound.pack(&too_large), too_large);
    for record in [text(100), answer(noise), Record::sealed(REQUEST)] {
        assert_eq!(compressed().pack(&record), record);
        assert_eq!(compressed().unpack(record.clone()).unwrap(), record);
    }
    assert!(compressed().pack(&text(101)).as_wrapped().is_some());
}

#[test]
fn a_bomb_is_corrupt() {
    let bomb = framed(u32::MAX, &[0xFF; 100]);
    let too_large = Unpackable::TooLarge(u32::MAX as usize);
    assert_eq!(unpack(&bomb, 64 << 20), Err(too_large));
    // One that lies about its length.
    let honest = packed(&text(100_000));
    let mut bomb = honest.to_vec();
    bomb[4..8].copy_from_slice(&1_000_u32.to_be_bytes());
    assert_eq!(unpack(&bomb, 64 << 20), Err(Unpackable::Damaged));
    bomb[4..8].copy_from_slice(&200_000_u32.to_be_bytes());
    assert_eq!(unpack(&bomb, 64 << 20), Err(Unpackable::Damaged));
    let wrapped = Record::wrapped(REQUEST, honest);
    let error = compressed().max_record(99_999).unpack(wrapped).unwrap_err();
    assert_eq!(error.kind(), crate::store::StoreErrorKind::Corrupt);
}

#[test]
fn a_record_of_another_request_is_corrupt() {
    let moved = Record::wrapped(Fingerprint::custom([2; 32]), packed(&text(1_000)));
    assert!(compressed().unpack(moved).is_err());
}

#[test]
fn damage_is_seen_and_an_unknown_version_refused() {
    let bytes = packed(&text(1_000));
    for at in 4..bytes.len() {
        let mut changed = bytes.to_vec();
        changed[at] ^= 0x40;
        assert!(unpack(&changed, 64 << 20).is_err(), "changed at {at}");
    }
    for end in 0..bytes.len() {
        assert!(unpack(&bytes[..end], 64 << 20).is_err(), "cut at {end}");
    }
    let later = [b"TIZ\x02", &bytes[4..]].concat();
    assert_eq!(unpack(&later, 64 << 20), Err(Unpackable::UnknownVersion(2)));
}

#[test]
fn what_was_compressed_by_a_later_version_is_not_called_damaged() {
    let later = b"TIR\x02 and whatever";
    let length = u32::try_from(later.len()).unwrap();
    let bytes = framed(length, &lz4_flex::block::compress(later));
    let error = unpack(&bytes, 64 << 20).unwrap_err();
    assert_eq!(error.to_string(), "a record of the unknown version 2");
}

proptest! {
    #[test]
    fn whatever_goes_in_comes_out(body in vec(vec(any::<u8>(), 0..20), 0..60), times in 1..40_usize) {
        let record = answer(body.concat().repeat(times));
        let stored = compressed().pack(&record);
        prop_assert!(stored.bytes() <= record.encoded().len() as u64);
        prop_assert_eq!(compressed().unpack(stored).unwrap(), record);
    }

    #[test]
    fn any_bytes_are_read_or_refused(length in 0..5_000_u32, packed in vec(any::<u8>(), 0..200)) {
        let _ = unpack(&framed(length, &packed), 64 << 20);
        let _ = unpack(&packed, 64 << 20);
    }
}
