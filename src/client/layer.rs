//! The layer that gives requests their keys.

use std::{fmt, sync::Arc};

use http::{HeaderName, Method, request::Parts};
use tower_layer::Layer;

use super::{
    field::Field,
    make_key::{KeyError, MakeKey, UuidV7},
    service::SetIdempotencyKey,
    use_key::UseKey,
};
use crate::key::Key;

/// Gives outgoing requests an `Idempotency-Key`. **It belongs outside of what retries:** see
/// the [module documentation](crate::client).
///
/// The key of a request is, in this order:
///
/// 1. what the caller put into the header, which is left as it is, whatever it holds;
/// 2. that of [`UseKey`] among the extensions, for this one call;
/// 3. a [`Key`] among the extensions, as an earlier attempt has it;
/// 4. what [`make_key`](Self::make_key) makes, if the [method](Self::methods) is enabled.
///
/// The key is then a [`Key`] among the extensions of the request, and of the response.
///
/// The service's error is a boxed error: that of the inner service, as it was, or a
/// [`KeyError`] if there is no legal key, and nothing was sent.
///
/// ```
/// use http::{Method, header::HeaderName};
/// use tower_idempotency::client::{SetIdempotencyKeyLayer, UuidV4};
///
/// let layer = SetIdempotencyKeyLayer::new()
///     .make_key(UuidV4::new())
///     .methods([Method::POST])
///     .header(HeaderName::from_static("x-request-key"));
/// ```
///
/// Cheap to clone.
#[derive(Clone)]
pub struct SetIdempotencyKeyLayer(Arc<Config>);

/// What all services of a layer share.
#[derive(Clone)]
pub(super) struct Config {
    maker: Arc<dyn MakeKey>,
    methods: Arc<[Method]>,
    field: Field,
}

impl SetIdempotencyKeyLayer {
    /// POST, PUT and PATCH get a UUID of version 7 in `Idempotency-Key`.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(Config {
            maker: Arc::new(UuidV7::new()),
            methods: [Method::POST, Method::PUT, Method::PATCH].into(),
            field: Field::new(),
        }))
    }

    fn set(mut self, change: impl FnOnce(&mut Config)) -> Self {
        change(Arc::make_mut(&mut self.0));
        self
    }

    /// Makes the keys. Default: [`UuidV7`].
    #[must_use]
    pub fn make_key(self, maker: impl MakeKey) -> Self {
        self.set(|config| config.maker = Arc::new(maker))
    }

    /// Makes the keys by a function.
    ///
    /// ```
    /// use tower_idempotency::{Key, client::SetIdempotencyKeyLayer};
    ///
    /// let layer = SetIdempotencyKeyLayer::new()
    ///     .make_key_fn(|parts| Ok(Key::new(parts.uri.path().trim_matches('/'))?));
    /// ```
    #[must_use]
    pub fn make_key_fn<F>(self, maker: F) -> Self
    where
        F: Fn(&Parts) -> Result<Key, KeyError> + Send + Sync + 'static,
    {
        self.make_key(ByFn(maker))
    }

    /// The methods whose requests get a key. Default: POST, PUT and PATCH. A key that the
    /// caller chose is sent with any method.
    #[must_use]
    pub fn methods(self, methods: impl IntoIterator<Item = Method>) -> Self {
        self.set(|config| config.methods = methods.into_iter().collect())
    }

    /// The header that carries the key. Default: `Idempotency-Key`.
    #[must_use]
    pub fn header(self, header: HeaderName) -> Self {
        self.set(|config| config.field = config.field.clone().name(header))
    }

    /// Sends every key in quotes, as [draft-ietf-httpapi-idempotency-key-header] asks.
    /// Default: only keys that hold a space, `"`, `,`, `;` or `\` are; most services take
    /// quotes for a part of the key.
    ///
    /// [draft-ietf-httpapi-idempotency-key-header]: https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/
    #[must_use]
    pub fn quoted(self) -> Self {
        self.set(|config| config.field = config.field.clone().quoted())
    }
}

impl Default for SetIdempotencyKeyLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for SetIdempotencyKeyLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SetIdempotencyKeyLayer")
            .field("methods", &self.0.methods)
            .field("field", &self.0.field)
            .finish_non_exhaustive()
    }
}

impl<S> Layer<S> for SetIdempotencyKeyLayer {
    type Service = SetIdempotencyKey<S>;

    fn layer(&self, inner: S) -> Self::Service {
        SetIdempotencyKey::new(inner, Arc::clone(&self.0))
    }
}

impl Config {
    /// Gives a request its key; which one it has.
    pub(super) fn give_key(&self, parts: &mut Parts) -> Result<Option<Key>, KeyError> {
        let key = if self.field.is_in(&parts.headers) {
            self.field.read(&parts.headers)
        } else {
            self.new_key(parts)?
        };
        match key.clone() {
            Some(key) => parts.extensions.insert(key),
            None => parts.extensions.remove(),
        };
        Ok(key)
    }

    fn new_key(&self, parts: &mut Parts) -> Result<Option<Key>, KeyError> {
        let key = self.chosen_or_made(parts)?;
        if let Some(key) = &key {
            self.field.write(key, &mut parts.headers)?;
        }
        Ok(key)
    }

    fn chosen_or_made(&self, parts: &Parts) -> Result<Option<Key>, KeyError> {
        if let Some(chosen) = parts.extensions.get::<UseKey>() {
            Ok(Some(chosen.key()?))
        } else if let Some(key) = parts.extensions.get::<Key>() {
            Ok(Some(key.clone()))
        } else if self.methods.contains(&parts.method) {
            self.maker.make_key(parts).map(Some)
        } else {
            Ok(None)
        }
    }
}

/// A function in the place of a [`MakeKey`].
struct ByFn<F>(F);

impl<F> MakeKey for ByFn<F>
where
    F: Fn(&Parts) -> Result<Key, KeyError> + Send + Sync + 'static,
{
    fn make_key(&self, parts: &Parts) -> Result<Key, KeyError> {
        (self.0)(parts)
    }
}
