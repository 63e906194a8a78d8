//! Any bytes as a record, or a slot: `cargo +nightly fuzz run decode_record`.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[allow(dead_code)]
#[path = "../../tests/hostile/invariants.rs"]
mod invariants;

fuzz_target!(|bytes: &[u8]| {
    invariants::decode_record(bytes);
    invariants::decode_slot(bytes);
    invariants::decode_sections(bytes);
    invariants::decode_slot_sections(bytes);
});
