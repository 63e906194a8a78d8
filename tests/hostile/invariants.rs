//! What holds for any bytes whatever. Shared with the fuzz targets.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use tower_idempotency::{HeaderKey, Record, store::Slot};

/// Reading never panics, and what can be read has one form only.
pub(crate) fn decode_record(bytes: &[u8]) {
    let Ok(record) = Record::decode(Bytes::copy_from_slice(bytes)) else {
        return;
    };
    assert_eq!(record.encoded(), bytes);
    assert!(record.bytes() <= bytes.len() as u64);
    let has_no_answer = record.is_sealed() || record.as_wrapped().is_some();
    assert_eq!(record.status().is_none(), has_no_answer);
    let _ = (record.headers(), record.trailers(), format!("{record:?}"));
}

/// The same behind a prefix that fits, so that more than the checksum is tried.
pub(crate) fn decode_sections(sections: &[u8]) {
    let checksum = crc32fast::hash(sections).to_be_bytes();
    decode_record(&[b"TIR\x01", &checksum[..], sections].concat());
}

/// Of slots too.
pub(crate) fn decode_slot(bytes: &[u8]) {
    if let Ok(slot) = Slot::decode(Bytes::copy_from_slice(bytes)) {
        assert_eq!(slot.encoded().as_deref(), Some(bytes));
    }
}

/// The same behind a prefix that fits the fixed part: of a record, of a lease.
pub(crate) fn decode_slot_sections(sections: &[u8]) {
    for fixed in [17, 78] {
        if let Some(head) = sections.get(..fixed) {
            let prefix = [b"TIS\x01", &crc32fast::hash(head).to_be_bytes()[..]].concat();
            decode_slot(&[&prefix, sections].concat());
            decode_slot(&[&prefix, head].concat());
        }
    }
}

/// Neither parser panics; what the strict one takes, the tolerant one takes as the same
/// key; and a key says no more than its field did.
pub(crate) fn key_header(lines: &[&[u8]]) {
    let mut headers = HeaderMap::new();
    for line in lines {
        // `http` lets no other bytes through to us.
        let Ok(value) = HeaderValue::from_bytes(line) else {
            return;
        };
        headers.append("idempotency-key", value);
    }
    let strict = HeaderKey::new().strict().find(&headers);
    let tolerant = HeaderKey::new().find(&headers);
    if strict.is_ok() {
        assert_eq!(strict, tolerant);
    }
    assert_eq!(matches!(tolerant, Ok(None)), lines.is_empty());
    if let Ok(Some(key)) = tolerant {
        let text = key.as_str();
        assert_eq!(text.as_bytes(), key.as_ref());
        assert!((1..=255).contains(&text.len()));
        assert!(text.len() <= lines[0].len());
        assert!(text.bytes().all(|byte| matches!(byte, b' '..=b'~')));
    }
}
