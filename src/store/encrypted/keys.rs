//! The keys that records are encrypted with.

use std::fmt;

use chacha20poly1305::{KeyInit as _, XChaCha20Poly1305};

/// The key that writes, and those that only open. They are wiped from memory when dropped;
/// `Debug` shows nothing of them.
///
/// A key is 32 random bytes from a secret store, not a password.
pub struct EncryptionKeys {
    writes: Key,
    opens: Vec<Key>,
}

struct Key {
    id: u32,
    /// Boxed, so that moving it leaves no copy behind.
    cipher: Box<XChaCha20Poly1305>,
}

impl EncryptionKeys {
    /// Records are written, and opened, with this key. `id` is any number that no other key
    /// of yours has or had; it is written into each record.
    #[must_use]
    pub fn new(id: u32, secret: &[u8; 32]) -> Self {
        Self {
            writes: Key::new(id, secret),
            opens: Vec::new(),
        }
    }

    /// Records written with this key are opened, too: an earlier key, or the next one.
    ///
    /// # Panics
    ///
    /// If another key has this `id`.
    #[must_use]
    pub fn also_opens(mut self, id: u32, secret: &[u8; 32]) -> Self {
        assert!(self.find(id).is_none(), "two keys have the id {id}");
        self.opens.push(Key::new(id, secret));
        self
    }

    /// The key that writes, and its id.
    pub(super) fn writing(&self) -> (u32, &XChaCha20Poly1305) {
        (self.writes.id, &self.writes.cipher)
    }

    pub(super) fn find(&self, id: u32) -> Option<&XChaCha20Poly1305> {
        let all = std::iter::once(&self.writes).chain(&self.opens);
        let found = all.into_iter().find(|key| key.id == id);
        found.map(|key| &*key.cipher)
    }
}

impl Key {
    fn new(id: u32, secret: &[u8; 32]) -> Self {
        Self {
            id,
            cipher: Box::new(XChaCha20Poly1305::new(secret.into())),
        }
    }
}

impl fmt::Debug for EncryptionKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EncryptionKeys").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "two keys have the id 7")]
    fn an_id_has_one_key() {
        let keys = EncryptionKeys::new(7, &[1; 32]).also_opens(8, &[2; 32]);
        let _ = keys.also_opens(7, &[3; 32]);
    }

    #[test]
    fn debug_shows_nothing() {
        let keys = EncryptionKeys::new(7, &[1; 32]);
        assert_eq!(format!("{keys:?}"), "EncryptionKeys { .. }");
    }
}
