//! The layer. Its settings are in [`settings`](super::settings).

use std::{fmt, sync::Arc, time::Duration};

use tower_layer::Layer;

use super::{
    config::Config,
    node::{Drained, Node},
    service::Idempotency,
};
use crate::store::Store;

/// Gives a service idempotency keys. See the [module documentation](crate::server) for what
/// it guarantees and where it belongs among other layers.
///
/// **Inside of axum's `Router::nest`, enable the feature `axum`:** without it, a key that was
/// used in one nest is [answered in all of them](crate::server#under-routernest).
///
/// ```
/// # #[cfg(feature = "memory")] {
/// use std::time::Duration;
/// use tower_idempotency::{IdempotencyLayer, MemoryStore};
///
/// let layer = IdempotencyLayer::new(MemoryStore::new())
///     .require_key()
///     .retention(Duration::from_secs(7 * 24 * 60 * 60));
/// # }
/// ```
///
/// Cheap to clone. Clones, and all services made by them, share the store, the leases of
/// this process, and what [`drain`](Self::drain) waits for.
pub struct IdempotencyLayer<S> {
    node: Arc<Node<S>>,
    config: Arc<Config>,
}

impl<S> IdempotencyLayer<S> {
    /// A layer that keeps keys in `store`, with every setting at its default.
    #[must_use]
    pub fn new(store: S) -> Self {
        Self {
            node: Arc::new(Node::new(store)),
            config: Arc::new(Config::default()),
        }
    }

    pub(super) fn set(mut self, change: impl FnOnce(&mut Config)) -> Self {
        change(Arc::make_mut(&mut self.config));
        self
    }

    /// Waits until every operation that was claimed, and every live response, has run to its
    /// end and is recorded, whether its client hung up or not; at most `deadline`.
    ///
    /// Call it at shutdown, once the server has stopped and before the runtime does: what still
    /// runs when the runtime ends is cut off, and its key stays claimed until the lease lapses.
    /// A graceful shutdown of the server may wait for a stalled client for ever: bound it, too.
    ///
    /// ```no_run
    /// # #[cfg(feature = "memory")] {
    /// # use std::time::Duration;
    /// # use tower_idempotency::{IdempotencyLayer, MemoryStore};
    /// # async fn shut_down(layer: IdempotencyLayer<MemoryStore>) {
    /// // After `axum::serve(…).with_graceful_shutdown(…)` has returned:
    /// let drained = layer.drain(Duration::from_secs(20)).await;
    /// println!("{drained:?}");
    /// # }
    /// # }
    /// ```
    pub async fn drain(&self, deadline: Duration) -> Drained {
        self.node.drain(deadline).await
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> &S {
        self.node.store()
    }
}

impl<S> Clone for IdempotencyLayer<S> {
    fn clone(&self) -> Self {
        Self {
            node: Arc::clone(&self.node),
            config: Arc::clone(&self.config),
        }
    }
}

impl<S> fmt::Debug for IdempotencyLayer<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdempotencyLayer")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl<S: Store, Svc> Layer<Svc> for IdempotencyLayer<S> {
    type Service = Idempotency<Svc, S>;

    fn layer(&self, inner: Svc) -> Self::Service {
        Idempotency::new(inner, Arc::clone(&self.node), Arc::clone(&self.config))
    }
}
