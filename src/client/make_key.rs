//! What names an operation.

use std::{fmt, sync::Arc};

use http::request::Parts;
use tower::BoxError;
use uuid::Uuid;

use crate::{
    derive::{Derivation, uuid_key},
    key::{InvalidKey, Key},
};

/// Makes the key of a request that has none.
///
/// [`UuidV7`] is the default. Called once per operation; attempts share its key.
///
/// ```
/// use http::request::Parts;
/// use tower_idempotency::{
///     Key,
///     client::{KeyError, MakeKey, SetIdempotencyKeyLayer},
/// };
///
/// #[derive(Clone)]
/// struct OrderNumber(String);
///
/// /// The key is the number of the order, which the caller put into the extensions.
/// struct ByOrder;
///
/// impl MakeKey for ByOrder {
///     fn make_key(&self, parts: &Parts) -> Result<Key, KeyError> {
///         let order = parts.extensions.get::<OrderNumber>();
///         let order = order.ok_or_else(|| KeyError::new("a request without an order"))?;
///         Ok(Key::new(format!("order-{}", order.0))?)
///     }
/// }
///
/// let layer = SetIdempotencyKeyLayer::new().make_key(ByOrder);
/// ```
pub trait MakeKey: Send + Sync + 'static {
    /// A key for the request with this head.
    ///
    /// # Errors
    ///
    /// [`KeyError`] if there is no legal one: the request is not sent.
    fn make_key(&self, parts: &Parts) -> Result<Key, KeyError>;
}

impl<M: MakeKey + ?Sized> MakeKey for Arc<M> {
    fn make_key(&self, parts: &Parts) -> Result<Key, KeyError> {
        (**self).make_key(parts)
    }
}

/// A request was not sent, because it has no legal key.
///
/// It never holds the key.
#[derive(Debug, thiserror::Error)]
#[error("the request was not sent: {0}")]
pub struct KeyError(#[source] BoxError);

impl KeyError {
    /// There is no key, because of `reason`.
    pub fn new(reason: impl Into<BoxError>) -> Self {
        Self(reason.into())
    }
}

impl From<InvalidKey> for KeyError {
    fn from(invalid: InvalidKey) -> Self {
        Self::new(invalid)
    }
}

/// A new UUID of version 7 for each operation: the time in milliseconds, then 74 bits, part
/// counter and part random, so that keys made one after the other lie close together in an index.
///
/// **The server learns when the key was made.** [`UuidV4`] says nothing.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct UuidV7;

impl UuidV7 {
    /// The default.
    #[must_use]
    pub fn new() -> Self {
        Self
    }
}

impl MakeKey for UuidV7 {
    fn make_key(&self, _: &Parts) -> Result<Key, KeyError> {
        Ok(uuid_key(Uuid::now_v7()))
    }
}

/// A new UUID of version 4 for each operation: 122 random bits.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct UuidV4;

impl UuidV4 {
    /// Nothing but random bits.
    #[must_use]
    pub fn new() -> Self {
        Self
    }
}

impl MakeKey for UuidV4 {
    fn make_key(&self, _: &Parts) -> Result<Key, KeyError> {
        Ok(uuid_key(Uuid::new_v4()))
    }
}

/// The key is derived: from a scope, the method, path and query, and the [`Derivation`] that
/// the caller put into the extensions of the request, which holds the content.
///
/// Bodies are streams, and a layer does not read them; so a request without a `Derivation` is
/// not sent. **First read [when a derived key is wrong](crate::derive#when-a-derived-key-is-wrong).**
///
/// ```
/// use http::Request;
/// use tower_idempotency::{
///     client::{DerivedKey, SetIdempotencyKeyLayer},
///     derive::Derivation,
/// };
///
/// let layer = SetIdempotencyKeyLayer::new().make_key(DerivedKey::new("tenant-42"));
///
/// let body = r#"{"invoice":2041}"#;
/// let request = Request::post("https://api.example/v1/charges")
///     .extension(Derivation::v1().part(body))
///     .body(body);
/// ```
#[derive(Clone)]
pub struct DerivedKey {
    scope: Arc<[u8]>,
}

impl DerivedKey {
    /// Derives the keys of the operations of `scope`: a tenant or user, for example.
    #[must_use]
    pub fn new(scope: impl AsRef<[u8]>) -> Self {
        Self {
            scope: scope.as_ref().into(),
        }
    }
}

impl MakeKey for DerivedKey {
    fn make_key(&self, parts: &Parts) -> Result<Key, KeyError> {
        let content = parts.extensions.get::<Derivation>().cloned();
        let content = content.ok_or_else(|| KeyError::new("no content to derive its key from"))?;
        let target = parts
            .uri
            .path_and_query()
            .map_or("/", |target| target.as_str());
        let whole = content
            .scope(&self.scope)
            .method(&parts.method)
            .path(target);
        Ok(whole.short())
    }
}

impl fmt::Debug for DerivedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DerivedKey").finish_non_exhaustive()
    }
}
