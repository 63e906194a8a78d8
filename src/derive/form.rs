//! How a digest is written as a key.

use uuid::Uuid;

use crate::{digest, key::Key};

pub(super) fn hex(digest: &[u8; 32]) -> Key {
    key(&digest::hex(digest))
}

pub(super) fn short(digest: &[u8; 32]) -> Key {
    key(&format!("ik_{}", digest::hex(&digest[..16])))
}

pub(super) fn uuid8(digest: &[u8; 32]) -> Key {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    uuid(Uuid::new_v8(bytes))
}

pub(crate) fn uuid(uuid: Uuid) -> Key {
    key(&uuid.to_string())
}

#[expect(clippy::expect_used, reason = "hexadecimal digits are a key")]
fn key(text: &str) -> Key {
    Key::new(text).expect("hexadecimal digits are a key")
}
