use std::collections::HashSet;

use bytes::{BufMut as _, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use proptest::{collection::vec, option, prelude::*};

use super::{DecodeError, HEAD, PREFIX};
use crate::{
    fields::Fields,
    fingerprint::Fingerprint,
    record::{Answer, Content, Record},
};

/// Written by version 0.1.0 and never changed: a status 201, fields with a duplicate, a
/// value that is not UTF-8 and an empty one, trailers with a duplicate, and a body of all
/// 256 bytes. A later version of the format gets files of its own.
const ANSWER_V1: &[u8] = include_bytes!("../../tests/data/record_v1.bin");

/// Of the same age: a sealed record with a fingerprint of a user's own making.
const SEALED_V1: &[u8] = include_bytes!("../../tests/data/record_v1_sealed.bin");

/// And what a wrapper made of one.
const WRAPPED_V1: &[u8] = include_bytes!("../../tests/data/record_v1_wrapped.bin");

// Offsets into a record.
const KIND: usize = PREFIX;
const STATUS: usize = KIND + 1 + 33;
const HEADERS_LEN: usize = STATUS + 2;
const TRAILERS_LEN: usize = HEADERS_LEN + 4;
const BODY_LEN: usize = TRAILERS_LEN + 4;

fn fields(fields: &[(&'static str, &[u8])]) -> Fields {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(*name, HeaderValue::from_bytes(value).unwrap());
    }
    Fields::pack(&headers, |_| true)
}

fn answer_v1() -> Record {
    let body: Vec<u8> = (0..=u8::MAX).collect();
    let answer = Answer {
        status: StatusCode::CREATED,
        headers: fields(&[
            ("content-type", b"application/octet-stream"),
            ("x-tag", b"first"),
            ("x-tag", b"second"),
            ("x-name", b"caf\xe9 \xff"),
            ("x-empty", b""),
        ]),
        body: body.chunks(100).map(Bytes::copy_from_slice).collect(),
        trailers: Some(Box::new(fields(&[
            ("x-checksum", b"9a0364b9"),
            ("x-checksum", b"00ff"),
        ]))),
    };
    Record::new(
        Fingerprint::from_parts(1, std::array::from_fn(|at| u8::try_from(at).unwrap())),
        Content::Answer(answer),
    )
}

fn sealed_v1() -> Record {
    let digest = std::array::from_fn(|at| 31 - u8::try_from(at).unwrap());
    Record::sealed(Fingerprint::custom(digest))
}

fn wrapped_v1() -> Record {
    Record::wrapped(sealed_v1().fingerprint(), Bytes::from_iter(0..=u8::MAX))
}

fn decode(bytes: &[u8]) -> Result<Record, DecodeError> {
    Record::decode(Bytes::copy_from_slice(bytes))
}

/// The sample after `change`, with a checksum that fits: damage that only the reading of
/// the sections can notice.
fn forged(sample: &[u8], change: impl FnOnce(&mut Vec<u8>)) -> Result<Record, DecodeError> {
    let mut bytes = sample.to_vec();
    change(&mut bytes);
    let checksum = crc32fast::hash(&bytes[PREFIX..]);
    bytes[PREFIX - 4..PREFIX].copy_from_slice(&checksum.to_be_bytes());
    decode(&bytes)
}

fn put(bytes: &mut [u8], at: usize, field: &[u8]) {
    bytes[at..at + field.len()].copy_from_slice(field);
}

#[test]
fn golden_records_are_read_and_written_to_the_byte() {
    for (golden, record) in [
        (ANSWER_V1, answer_v1()),
        (SEALED_V1, sealed_v1()),
        (WRAPPED_V1, wrapped_v1()),
    ] {
        assert_eq!(decode(golden), Ok(record.clone()));
        assert_eq!(record.encoded(), golden);
    }
}

#[test]
fn what_is_read_is_what_was_kept() {
    let record = decode(ANSWER_V1).unwrap();
    assert_eq!(record.status(), Some(StatusCode::CREATED));
    let tags: Vec<_> = record.headers().get_all("x-tag").iter().cloned().collect();
    assert_eq!(tags, ["first", "second"]);
    assert_eq!(record.headers()["x-name"].as_bytes(), b"caf\xe9 \xff");
    assert_eq!(record.trailers().unwrap().len(), 2);
    assert_eq!(record.body(), [Bytes::from_iter(0..=u8::MAX)]);
    assert_eq!(record.bytes(), answer_v1().bytes());
    assert!(decode(SEALED_V1).unwrap().is_sealed());
    let wrapped = decode(WRAPPED_V1).unwrap();
    assert_eq!(wrapped.as_wrapped(), wrapped_v1().as_wrapped());
    assert_eq!((wrapped.status(), wrapped.bytes()), (None, 256));
}

#[test]
fn every_cut_is_refused() {
    for sample in [ANSWER_V1, SEALED_V1, WRAPPED_V1] {
        for end in 0..sample.len() {
            let expected = match end {
                0..4 => DecodeError::NotARecord,
                _ => DecodeError::Damaged,
            };
            assert_eq!(decode(&sample[..end]), Err(expected), "cut at {end}");
        }
        assert_eq!(decode(&[sample, b"\0"].concat()), Err(DecodeError::Damaged));
    }
}

#[test]
fn every_changed_byte_is_refused() {
    for sample in [ANSWER_V1, SEALED_V1, WRAPPED_V1] {
        for at in 0..sample.len() {
            for mask in 1..=u8::MAX {
                let mut bytes = sample.to_vec();
                bytes[at] ^= mask;
                let expected = match at {
                    0..3 => DecodeError::NotARecord,
                    3 => DecodeError::UnknownVersion(bytes[3]),
                    _ => DecodeError::Damaged,
                };
                assert_eq!(decode(&bytes), Err(expected), "{mask:#x} at {at}");
            }
        }
    }
}

/// Also if the whole of a later record could be read as one of today's.
#[test]
fn an_unknown_version_fails_closed() {
    for version in (0..=u8::MAX).filter(|&version| version != super::VERSION) {
        let result = forged(ANSWER_V1, |bytes| bytes[3] = version);
        assert_eq!(result, Err(DecodeError::UnknownVersion(version)));
        let head = [b'T', b'I', b'R', version];
        assert_eq!(decode(&head), Err(DecodeError::UnknownVersion(version)));
    }
}

#[test]
fn forged_lengths_are_refused() {
    let number = |at| u32::from_be_bytes(ANSWER_V1[at..at + 4].try_into().unwrap());
    for (at, other) in [(HEADERS_LEN, TRAILERS_LEN), (TRAILERS_LEN, HEADERS_LEN)] {
        let right = number(at);
        for wrong in [0, 1, right - 1, right + 1, u32::MAX / 2, u32::MAX] {
            let result = forged(ANSWER_V1, |bytes| put(bytes, at, &wrong.to_be_bytes()));
            assert_eq!(result, Err(DecodeError::Damaged));
            // The sum still fits, but the border is within a field.
            let wrong = wrong.max(1);
            let rest = (number(at) + number(other)).saturating_sub(wrong);
            let result = forged(ANSWER_V1, |bytes| {
                put(bytes, at, &wrong.to_be_bytes());
                put(bytes, other, &rest.to_be_bytes());
            });
            assert_eq!(result, Err(DecodeError::Damaged), "{wrong} and {rest}");
        }
    }
}

#[test]
fn forged_body_lengths_are_refused() {
    let sections = u64::try_from(ANSWER_V1.len() - PREFIX - HEAD - 256).unwrap();
    for wrong in [0, 255, 257, 1 << 32, u64::MAX] {
        let result = forged(ANSWER_V1, |bytes| {
            put(bytes, BODY_LEN, &wrong.to_be_bytes());
        });
        assert_eq!(result, Err(DecodeError::Damaged), "{wrong}");
    }
    // Lengths whose sum wraps to what is there.
    let wrapping = |bytes: &mut Vec<u8>| {
        put(bytes, HEADERS_LEN, &u32::MAX.to_be_bytes());
        put(bytes, TRAILERS_LEN, &u32::MAX.to_be_bytes());
        let rest = (sections + 256).wrapping_sub(2 * u64::from(u32::MAX));
        put(bytes, BODY_LEN, &rest.to_be_bytes());
    };
    assert_eq!(forged(ANSWER_V1, wrapping), Err(DecodeError::Damaged));
}

/// Each record has one form: what decodes encodes to the same bytes.
#[test]
fn other_forms_of_a_record_are_refused() {
    let kinds = (4..=u8::MAX).map(|kind| (ANSWER_V1, KIND, vec![kind]));
    let forms = [
        (ANSWER_V1, KIND, vec![0]),
        (ANSWER_V1, KIND, vec![1]),
        (ANSWER_V1, KIND, vec![3]),
        (WRAPPED_V1, KIND, vec![0]),
        (WRAPPED_V1, STATUS, 200_u16.to_be_bytes().to_vec()),
        (SEALED_V1, KIND, vec![1]),
        (SEALED_V1, STATUS, 200_u16.to_be_bytes().to_vec()),
        (ANSWER_V1, STATUS, 0_u16.to_be_bytes().to_vec()),
        (ANSWER_V1, STATUS, 99_u16.to_be_bytes().to_vec()),
        (ANSWER_V1, STATUS, 1000_u16.to_be_bytes().to_vec()),
        (ANSWER_V1, PREFIX + HEAD + 6, b"C".to_vec()),
        (ANSWER_V1, PREFIX + HEAD + 6 + 12, b"\n".to_vec()),
    ];
    for (sample, at, form) in forms.into_iter().chain(kinds) {
        let result = forged(sample, |bytes| put(bytes, at, &form));
        assert_eq!(result, Err(DecodeError::Damaged), "{form:?} at {at}");
    }
    let sealed_with_body = |bytes: &mut Vec<u8>| {
        put(bytes, BODY_LEN, &1_u64.to_be_bytes());
        bytes.push(0);
    };
    assert_eq!(
        forged(SEALED_V1, sealed_with_body),
        Err(DecodeError::Damaged)
    );
}

/// A map of header fields has an end, beyond which `HeaderMap::append` panics.
#[test]
fn more_fields_than_a_map_holds_are_refused() {
    let result = forged(SEALED_V1, |bytes| {
        let mut block = BytesMut::new();
        for number in 0..40_000 {
            block.put_slice(&[0, 6, 0, 0, 0, 0]);
            block.put_slice(format!("x{number:05}").as_bytes());
        }
        put(bytes, KIND, &[1]);
        put(bytes, STATUS, &200_u16.to_be_bytes());
        let len = u32::try_from(block.len()).unwrap();
        put(bytes, HEADERS_LEN, &len.to_be_bytes());
        bytes.extend_from_slice(&block);
    });
    assert_eq!(
        result.map(|record| record.headers().len()),
        Err(DecodeError::Damaged)
    );
}

#[test]
fn neither_body_nor_values_are_copied() {
    let bytes = Bytes::copy_from_slice(ANSWER_V1);
    let record = Record::decode(bytes.clone()).unwrap();
    let body = bytes.len() - 256;
    assert_eq!(record.body()[0].as_ptr(), bytes[body..].as_ptr());
    let within = bytes.as_ptr_range();
    for value in record.headers().values().filter(|value| !value.is_empty()) {
        assert!(within.contains(&value.as_bytes().as_ptr()));
    }
}

fn name() -> impl Strategy<Value = HeaderName> {
    let letters: HashSet<u8> = (b'a'..=b'z').chain(b'0'..=b'9').chain(*b"-_.!~").collect();
    let letters: Vec<u8> = letters.into_iter().collect();
    prop_oneof![
        prop::sample::select(vec![
            "content-type",
            "etag",
            "location",
            "set-cookie",
            "x-a"
        ])
        .prop_map(HeaderName::from_static),
        vec(prop::sample::select(letters), 1..100)
            .prop_map(|name| HeaderName::from_bytes(&name).unwrap()),
    ]
}

fn value() -> impl Strategy<Value = HeaderValue> {
    let legal = prop_oneof![Just(b'\t'), b' '..0x7f, 0x80..=u8::MAX];
    vec(legal, 0..40).prop_map(|value| HeaderValue::from_bytes(&value).unwrap())
}

fn map() -> impl Strategy<Value = HeaderMap> {
    vec((name(), value()), 0..12).prop_map(|fields| {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(name, value);
        }
        headers
    })
}

proptest! {
    #[test]
    fn what_goes_in_comes_out(
        version: u8,
        digest: [u8; 32],
        status in 100..1000_u16,
        headers in map(),
        trailers in option::of(map()),
        frames in vec(vec(any::<u8>(), 0..50), 0..8),
    ) {
        let answer = Answer {
            status: StatusCode::from_u16(status).unwrap(),
            headers: Fields::pack(&headers, |_| true),
            body: frames.iter().cloned().map(Bytes::from).collect(),
            trailers: trailers.as_ref().map(|map| Box::new(Fields::pack(map, |_| true))),
        };
        let fingerprint = Fingerprint::from_parts(version, digest);
        let record = Record::new(fingerprint, Content::Answer(answer));
        let decoded = Record::decode(record.encoded()).unwrap();
        prop_assert_eq!(&decoded, &record);
        prop_assert_eq!(decoded.fingerprint(), fingerprint);
        prop_assert_eq!(decoded.status().map(|status| status.as_u16()), Some(status));
        // In order too, not only as a map.
        prop_assert!(decoded.headers().iter().eq(headers.iter()));
        prop_assert_eq!(decoded.trailers(), trailers);
        prop_assert_eq!(decoded.body().concat(), frames.concat());
        prop_assert_eq!(decoded.encoded(), record.encoded());
    }

    #[test]
    fn a_sealed_record_comes_out_sealed(version: u8, digest: [u8; 32]) {
        let record = Record::sealed(Fingerprint::from_parts(version, digest));
        let decoded = Record::decode(record.encoded()).unwrap();
        prop_assert!(decoded.is_sealed());
        prop_assert_eq!(decoded, record);
    }
}
