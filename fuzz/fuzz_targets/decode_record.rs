//! Any bytes as a record: `cargo +nightly fuzz run decode_record`.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[allow(dead_code)]
#[path = "../../tests/hostile/invariants.rs"]
mod invariants;

fuzz_target!(|bytes: &[u8]| {
    invariants::decode_record(bytes);
    invariants::decode_sections(bytes);
});
