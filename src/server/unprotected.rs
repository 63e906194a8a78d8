//! A request that runs although the store cannot be reached.

use std::sync::Arc;

use http::Response;
use tokio::time::Instant;

use super::{
    flight::Flight, flow::Answered, reply::Protection, response_body::ResponseBody, shared::Shared,
};
use crate::{
    event::Event,
    fingerprint::Fingerprint,
    key::Key,
    record_key::RecordKey,
    store::{Fence, Store},
};

impl<S: Store> Shared<S> {
    /// The store did not say whether a request may run, and it does: under a lease in name
    /// only.
    pub(super) fn unprotected(
        &self,
        key: Key,
        record_key: &RecordKey,
        fingerprint: Fingerprint,
    ) -> Arc<Flight> {
        self.config.emit(&Event::Unprotected { key: record_key });
        let now = Instant::now();
        let claim = self.claim_for(now, record_key, fingerprint);
        self.flight(key, claim.won(Fence::new(0), 1), now)
    }

    /// Its answer, marked as one that a retry may not find.
    pub(super) async fn answer_unprotected<B, E>(
        self: Arc<Self>,
        running: impl Future<Output = Result<Response<B>, E>>,
    ) -> Answered<B, E> {
        // No leader is under way, by which a drain would know of it.
        let known = Arc::clone(&self.node.unprotected);
        let mut running = Box::pin(running);
        // By itself: what `running.await` comes to leaks if its drop panics.
        let answered = running.as_mut().await;
        drop(running);
        drop(known);
        let mut response = answered?;
        self.take_ours(response.headers_mut());
        Ok(self.mark(response.map(ResponseBody::passed), Protection::Unprotected))
    }
}
