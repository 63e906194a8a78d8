//! Any two texts as JSON: `cargo +nightly fuzz run json_fingerprint`.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/hostile/json.rs"]
mod json;

// No text of JSON has this byte, so it parts them.
fuzz_target!(|bytes: &[u8]| {
    let (a, b) = match bytes.iter().position(|&byte| byte == 0xff) {
        Some(border) => (&bytes[..border], &bytes[border + 1..]),
        None => (bytes, bytes),
    };
    json::fingerprints(a, b);
});
