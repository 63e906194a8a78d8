//! What the requests of one service share.

use std::sync::Arc;

use tokio::time::Instant;

use super::{config::Config, flight::Flight, node::Node};
use crate::{
    fingerprint::Fingerprint,
    key::Key,
    record_key::RecordKey,
    store::{Claim, Lease, Store},
};

/// What the requests of one service share.
#[derive(Debug)]
pub(super) struct Shared<S> {
    pub(super) node: Arc<Node<S>>,
    pub(super) config: Arc<Config>,
}

impl<S: Store> Shared<S> {
    /// A claim that is sent now.
    pub(super) fn claim_for<'a>(
        &self,
        now: Instant,
        key: &'a RecordKey,
        fingerprint: Fingerprint,
    ) -> Claim<'a> {
        Claim::at(now, key, fingerprint)
            .lease_for(self.config.lease)
            .retained_for(self.config.retention)
            .after_crash(self.config.after_crash)
    }

    /// The operation under a lease that was won by a claim sent at `sent`.
    pub(super) fn flight(&self, key: Key, lease: Lease, sent: Instant) -> Arc<Flight> {
        let config = Arc::clone(&self.config);
        Arc::new(Flight::new(key, lease, config, &self.node.clock, sent))
    }
}
