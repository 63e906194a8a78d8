//! Keys as the `agentidemp` packages of crates.io and PyPI derive them, byte for byte.
//!
//! **Different parts can make one key here.** Parts are joined by a zero byte, so a part that
//! holds one, or a content that looks like a joined list, meets another:
//!
//! ```
//! use tower_idempotency::derive::{Derivation, compat::agentidemp::scoped_key};
//!
//! assert_eq!(scoped_key("a", ["b", "c"]), scoped_key("a", ["b\0c"]));
//!
//! let key = |parts: &[&str]| Derivation::v1().scope("a").parts(parts).short();
//! assert_ne!(key(&["b", "c"]), key(&["b\0c"]));
//! ```

use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::{derive::form, key::Key};

/// `ik_` and the first 32 hexadecimal digits of the SHA-256 of `content`.
///
/// ```
/// use tower_idempotency::derive::compat::agentidemp::sha256_hex;
///
/// assert_eq!(sha256_hex("abc").as_str(), "ik_ba7816bf8f01cfea414140de5dae2223");
/// ```
#[must_use]
pub fn sha256_hex(content: impl AsRef<[u8]>) -> Key {
    form::short(&Sha256::digest(content).into())
}

/// `ik_` and the first 32 hexadecimal digits of the SHA-256 of `scope`, a zero byte and
/// `content`.
#[must_use]
pub fn scoped_sha256_hex(scope: impl AsRef<[u8]>, content: impl AsRef<[u8]>) -> Key {
    scoped_key(scope, [content])
}

/// `ik_` and the first 32 hexadecimal digits of the SHA-256 of `scope` and, each after a zero
/// byte, `parts`.
#[must_use]
pub fn scoped_key<P: AsRef<[u8]>>(
    scope: impl AsRef<[u8]>,
    parts: impl IntoIterator<Item = P>,
) -> Key {
    let digest = Sha256::new_with_prefix(scope);
    let digest = parts.into_iter().fold(digest, |digest, part| {
        digest.chain_update([0]).chain_update(part)
    });
    form::short(&digest.finalize().into())
}

/// The UUID of version 5 (RFC 9562, SHA-1) of `name` in `namespace`, hyphenated.
#[must_use]
pub fn uuid5_key(namespace: Uuid, name: impl AsRef<[u8]>) -> Key {
    form::uuid(Uuid::new_v5(&namespace, name.as_ref()))
}
