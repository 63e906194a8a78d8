//! The key of one call.

use std::fmt;

use crate::key::{InvalidKey, Key};

/// An extension that gives one call its key, in the place of the one the layer would make.
///
/// ```
/// use http::Request;
/// use tower_idempotency::client::UseKey;
///
/// let request = Request::post("https://api.example/v1/charges")
///     .extension(UseKey::new("order-42"))
///     .body(());
/// ```
///
/// Text that is not a legal key makes the call fail with a
/// [`KeyError`](crate::client::KeyError), and nothing is sent. The method of the request does
/// not matter.
#[derive(Clone)]
pub struct UseKey(Result<Key, InvalidKey>);

impl UseKey {
    /// The key with this text.
    #[must_use]
    pub fn new(key: impl AsRef<str>) -> Self {
        Self(Key::new(key))
    }

    pub(super) fn key(&self) -> Result<Key, InvalidKey> {
        self.0.clone()
    }
}

impl From<Key> for UseKey {
    fn from(key: Key) -> Self {
        Self(Ok(key))
    }
}

impl fmt::Debug for UseKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("UseKey").field(&self.0).finish()
    }
}
