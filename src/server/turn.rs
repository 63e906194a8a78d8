//! The leadership of one request.

use std::{num::NonZeroU64, sync::Arc};

use super::{
    leaders::{Leader, Stage},
    node::Node,
};
use crate::{fingerprint::Fingerprint, record_key::RecordKey, store::Store, verdict::Verdict};

/// What a request is among those with its key.
pub(super) enum Entered<S: Store> {
    Leads(Turn<S>),
    Follows(Leader),
}

/// The leadership of one request. Dropped before its end, the followers go on alone.
pub(super) struct Turn<S: Store> {
    node: Arc<Node<S>>,
    key: RecordKey,
    /// `None` once it has ended.
    id: Option<NonZeroU64>,
}

impl<S: Store> Turn<S> {
    /// Leads the requests with this key, or follows the one that does.
    pub(super) fn enter(
        node: &Arc<Node<S>>,
        key: &RecordKey,
        fingerprint: Fingerprint,
    ) -> Entered<S> {
        match node.leaders.lead(key, fingerprint, &node.clock) {
            Ok(id) => Entered::Leads(Self {
                node: Arc::clone(node),
                key: *key,
                id: NonZeroU64::new(id),
            }),
            Err(leader) => Entered::Follows(leader),
        }
    }

    pub(super) fn node(&self) -> &Arc<Node<S>> {
        &self.node
    }

    /// Leaves its leadership, which goes on, to another.
    pub(super) fn hand_on(mut self) -> (Arc<Node<S>>, Option<NonZeroU64>) {
        (Arc::clone(&self.node), self.id.take())
    }

    /// Tells the followers how far it has come.
    pub(super) fn reach(&self, stage: Stage) {
        if let Some(id) = self.id {
            self.node.leaders.set(&self.key, id, stage);
        }
    }

    /// Tells the followers what it came to.
    pub(super) fn end(&mut self, verdict: impl FnOnce() -> Option<Verdict>) {
        if let Some(id) = self.id.take() {
            self.node.leaders.remove(&self.key, id, verdict);
        }
    }
}

impl<S: Store> Drop for Turn<S> {
    fn drop(&mut self) {
        self.end(|| None);
    }
}
