//! What a store indexes by.

use std::{fmt, str::FromStr};

use http::Method;

use crate::{
    digest::{PartDigest, hex},
    key::Key,
    scope::Scope,
};

/// What a store indexes by: a SHA-256 over namespace, scope, method, path and key, each
/// with its length, so that no two different operations share one.
///
/// It reveals none of them, so it stands in logs and events, in hexadecimal, and an
/// operator can copy it from there into `MemoryStore::forget`.
///
/// ```
/// use http::Method;
/// use tower_idempotency::{Key, RecordKey, Scope};
///
/// let key = Key::new("order-42").unwrap();
/// let record_key = RecordKey::per_route("", &Scope::global(), &Method::POST, "/pay", &key);
/// assert_eq!(record_key.to_string().parse(), Ok(record_key));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordKey([u8; 32]);

impl RecordKey {
    /// The record key of `key` on one route: the same key on another method or path names
    /// another operation. This is [`KeySpace::PerRoute`], the default.
    ///
    /// `path` is the path as the client sent it, not decoded, without host and query. The layer
    /// knows it [under a nest](crate::server#under-routernest) only with the feature `axum`.
    #[must_use]
    pub fn per_route(
        namespace: &str,
        scope: &Scope,
        method: &Method,
        path: &str,
        key: &Key,
    ) -> Self {
        Self(PartDigest::of("record-key:v1:per-route", |digest| {
            digest
                .part(namespace)
                .part(scope.as_bytes())
                .part(method.as_str())
                .part(path)
                .part(key);
        }))
    }

    /// The record key of `key` on every route: the same key on another route is a mismatch.
    /// This is [`KeySpace::Shared`].
    #[must_use]
    pub fn shared(namespace: &str, scope: &Scope, key: &Key) -> Self {
        Self(PartDigest::of("record-key:v1:shared", |digest| {
            digest.part(namespace).part(scope.as_bytes()).part(key);
        }))
    }

    /// A record key from its bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes a store indexes by.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The key for one downstream call made on behalf of this operation.
    pub(crate) fn child(&self, label: &str) -> String {
        let digest = PartDigest::of("child-key:v1", |digest| {
            digest.part(self.0).part(label);
        });
        format!("ik_{}", hex(&digest[..16]))
    }
}

impl fmt::Display for RecordKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for RecordKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RecordKey({self})")
    }
}

/// A text is not the hexadecimal form of a [`RecordKey`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a record key is 64 hexadecimal digits")]
#[non_exhaustive]
pub struct ParseRecordKeyError;

impl FromStr for RecordKey {
    type Err = ParseRecordKeyError;

    /// Reads what `Display` wrote.
    ///
    /// # Errors
    ///
    /// If `text` is not 64 hexadecimal digits.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(ParseRecordKeyError);
        }
        let mut bytes = [0; 32];
        for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let digits = std::str::from_utf8(digits).map_err(|_| ParseRecordKeyError)?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| ParseRecordKeyError)?;
        }
        Ok(Self(bytes))
    }
}

/// How far a key reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum KeySpace {
    /// A key names one operation of one method and path, as
    /// draft-ietf-httpapi-idempotency-key-header has it. The default.
    ///
    /// The path counts as it was sent: `/a`, `/a/` and `/%61` are three. **The host does not:**
    /// where one layer serves several hosts that must not share keys, name the host in the
    /// [scope](crate::Scope::of), or give each a layer with a
    /// [`namespace`](crate::IdempotencyLayer::namespace).
    #[default]
    PerRoute,
    /// A key names one operation of the whole service, as at Stripe: using it again on
    /// another route is a mismatch.
    Shared,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn record_key(parts: &(String, String, String, String)) -> RecordKey {
        let (namespace, scope, path, key) = parts;
        let key = Key::new(key).unwrap();
        RecordKey::per_route(namespace, &Scope::new(scope), &Method::POST, path, &key)
    }

    proptest! {
        #[test]
        fn different_parts_never_agree(
            a in ("[a-b]{0,2}", "[a-b]{0,2}", "[a-b]{0,2}", "[a-b]{1,2}"),
            b in ("[a-b]{0,2}", "[a-b]{0,2}", "[a-b]{0,2}", "[a-b]{1,2}"),
        ) {
            prop_assert_eq!(a == b, record_key(&a) == record_key(&b));
        }
    }

    #[test]
    fn method_and_key_space_count() {
        let (scope, key) = (Scope::global(), Key::new("k").unwrap());
        let post = RecordKey::per_route("", &scope, &Method::POST, "/", &key);
        let patch = RecordKey::per_route("", &scope, &Method::PATCH, "/", &key);
        assert_ne!(post, patch);
        assert_ne!(post, RecordKey::shared("", &scope, &key));
    }

    /// A store is asked for these for as long as it keeps records.
    #[test]
    fn they_are_what_they_were() {
        let (scope, key) = (Scope::global(), Key::new("k").unwrap());
        let per_route = RecordKey::per_route("n", &scope, &Method::POST, "/pay", &key);
        let shared = RecordKey::shared("n", &scope, &key);
        assert_eq!(
            [per_route, shared].map(|key| key.to_string()),
            [
                "d1922f70400f944c7d5f260952964742ca783270da456d84ff9e128bda40b25c",
                "9c33a4b4cd0a036d5370ab7da337cb85b2babe8696795c3cf2ca5973f4b6fd15"
            ]
        );
    }

    #[test]
    fn what_is_not_hexadecimal_is_refused() {
        for text in ["", "00", &"0".repeat(65), &"g".repeat(64), &"é".repeat(32)] {
            assert_eq!(text.parse::<RecordKey>(), Err(ParseRecordKeyError));
        }
    }

    #[test]
    fn child_keys_differ_by_label_and_parent() {
        let (a, b) = (RecordKey([1; 32]), RecordKey([2; 32]));
        assert_eq!(a.child("charge"), a.child("charge"));
        assert_ne!(a.child("charge"), a.child("refund"));
        assert_ne!(a.child("charge"), b.child("charge"));
    }
}
