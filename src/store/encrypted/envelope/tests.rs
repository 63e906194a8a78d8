use http::Response;

use super::*;
use crate::store::{Claim, Fence};

const KEY: RecordKey = RecordKey::from_bytes([7; 32]);
const REQUEST: Fingerprint = Fingerprint::custom([1; 32]);

fn keys() -> EncryptionKeys {
    EncryptionKeys::new(7, &[1; 32])
}

fn lease() -> Lease {
    Claim::new(&KEY, REQUEST).won(Fence::new(9), 1)
}

fn answer() -> Record {
    let body = Bytes::from_static(b"a secret answer");
    Record::answer(REQUEST, &Response::new(body))
}

fn sealed() -> Bytes {
    let sealed = seal(&keys(), &lease(), &answer()).unwrap();
    sealed.as_wrapped().unwrap().clone()
}

fn opened(bytes: impl Into<Bytes>) -> Result<Record, Unopened> {
    open(&keys(), &KEY, REQUEST, &bytes.into())
}

#[test]
fn what_was_sealed_opens() {
    for record in [answer(), Record::sealed(REQUEST)] {
        let sealed = seal(&keys(), &lease(), &record).unwrap();
        assert_eq!(sealed.fingerprint(), REQUEST);
        let bytes = sealed.as_wrapped().unwrap();
        assert_eq!(opened(bytes.clone()), Ok(record));
    }
}

#[test]
fn what_is_written_hides_the_answer_and_is_never_the_same() {
    let (one, two) = (sealed(), sealed());
    assert!(!one.windows(6).any(|bytes| bytes == b"secret"));
    let common = one.iter().zip(&two).filter(|(one, two)| one == two).count();
    assert!(common < HEAD + one.len() / 4, "{common} of {}", one.len());
}

#[test]
fn no_byte_can_be_changed_and_none_cut() {
    let sealed = sealed();
    for at in 0..sealed.len() {
        let mut changed = sealed.to_vec();
        changed[at] ^= 1;
        assert!(opened(changed).is_err(), "changed at {at}");
    }
    for end in 0..sealed.len() {
        assert!(opened(sealed.slice(..end)).is_err(), "cut at {end}");
    }
    let longer = [&sealed[..], b"\0"].concat();
    assert_eq!(opened(longer), Err(Unopened::NotAuthentic));
}

#[test]
fn a_record_opens_for_its_own_key_and_request_only() {
    let elsewhere = RecordKey::from_bytes([8; 32]);
    let moved = open(&keys(), &elsewhere, REQUEST, &sealed());
    assert_eq!(moved, Err(Unopened::NotAuthentic));
    for other in [
        Fingerprint::custom([2; 32]),
        Fingerprint::from_parts(1, *REQUEST.digest()),
    ] {
        let passed_off = open(&keys(), &KEY, other, &sealed());
        assert_eq!(passed_off, Err(Unopened::NotAuthentic));
    }
}

#[test]
fn the_fence_is_authenticated() {
    let mut bytes = sealed().to_vec();
    assert_eq!(bytes[8..16], 9_u64.to_be_bytes());
    bytes[8..16].copy_from_slice(&10_u64.to_be_bytes());
    assert_eq!(opened(bytes), Err(Unopened::NotAuthentic));
}

#[test]
fn keys_are_rotated() {
    let (old, new) = ((7, [1; 32]), (8, [2; 32]));
    let sealed_with = |keys: &EncryptionKeys| seal(keys, &lease(), &answer()).unwrap();
    let before = sealed_with(&EncryptionKeys::new(old.0, &old.1));
    let rotated = EncryptionKeys::new(new.0, &new.1).also_opens(old.0, &old.1);
    let after = sealed_with(&rotated);
    let opens = |keys: &EncryptionKeys, record: &Record| {
        open(keys, &KEY, REQUEST, record.as_wrapped().unwrap())
    };
    assert_eq!(opens(&rotated, &before), Ok(answer()));
    assert_eq!(opens(&rotated, &after), Ok(answer()));
    let dropped = EncryptionKeys::new(new.0, &new.1);
    assert_eq!(opens(&dropped, &after), Ok(answer()));
    assert_eq!(opens(&dropped, &before), Err(Unopened::UnknownKey(7)));
    // The id is only a name: the secret decides.
    let impostor = EncryptionKeys::new(7, &[3; 32]);
    assert_eq!(opens(&impostor, &before), Err(Unopened::NotAuthentic));
}

#[test]
fn an_unknown_version_fails_closed() {
    let mut later = sealed().to_vec();
    later[3] = 2;
    assert_eq!(opened(later), Err(Unopened::UnknownVersion(2)));
}

/// Written by version 0.1.0 and never changed.
#[test]
fn golden_records_open() {
    let golden = Bytes::from_static(include_bytes!(
        "../../../../tests/data/record_v1_encrypted.bin"
    ));
    assert_eq!(opened(golden), Ok(answer()));
}
