//! Any field lines as a key: `cargo +nightly fuzz run key_header`.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[allow(dead_code)]
#[path = "../../tests/hostile/invariants.rs"]
mod invariants;

// A line feed cannot be part of a line, so it parts them.
fuzz_target!(|bytes: &[u8]| {
    let lines: Vec<&[u8]> = bytes.split(|&byte| byte == b'\n').collect();
    invariants::key_header(&lines);
});
