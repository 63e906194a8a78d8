//! May a request run? Its leader asks the store; the others follow the leader.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    asker::{Asker, Asking},
    claim::claim,
    config::StoreFailure,
    lease::Held,
    pledge,
    recording::LiveAnswer,
    shared::Shared,
    turn::{Entered, Turn},
};
use crate::{
    event::Event,
    fingerprint::Fingerprint,
    key::Key,
    record_key::RecordKey,
    rejection::RejectionKind,
    store::{Claim, Claimed, Lease, Store, StoreError, StoreErrorKind},
    verdict::{self, Verdict},
};

/// What became of the question whether a request may run.
pub(super) enum Asked<S: Store> {
    /// Under this lease.
    MayRun(Held<S>),
    /// The store cannot be reached, and this route chose to run all the same.
    Unprotected(Key),
    /// It may not.
    Answered(Verdict),
    /// The answer is there, and still grows.
    Join(Arc<LiveAnswer>),
}

/// Leads the requests with one key, or follows the one that does, until it is clear what
/// to do. The client calls that key `name`, and may join an answer that still grows or not.
#[expect(clippy::manual_async_fn, reason = "it would hold each argument twice")]
pub(super) fn ask<S: Store>(
    shared: Arc<Shared<S>>,
    key: RecordKey,
    name: Key,
    fingerprint: Fingerprint,
    may_join: bool,
) -> impl Future<Output = Asked<S>> + Send {
    async move {
        let turn = match Turn::enter(&shared.node, &key, fingerprint) {
            Entered::Leads(turn) => turn,
            Entered::Follows(leader) => {
                let asker = Asker::new(shared, key, fingerprint, may_join);
                return asker.follow(name, leader).await;
            }
        };
        pledge::give();
        let sent = Instant::now();
        let ours = shared.claim_for(sent, &key, fingerprint);
        let claimed = claim(&shared.node, &shared.config, &ours).await;
        match shared.heed_first(turn, name, &ours, claimed, sent, may_join) {
            Ok(asked) => asked,
            Err(asking) => asking.await,
        }
    }
}

impl<S: Store> Shared<S> {
    /// Does what the first claim has come to, which mostly settles it.
    fn heed_first(
        self: &Arc<Self>,
        turn: Turn<S>,
        name: Key,
        ours: &Claim<'_>,
        claimed: Result<Claimed, StoreError>,
        sent: Instant,
        may_join: bool,
    ) -> Result<Asked<S>, Asking<S>> {
        let (key, fingerprint) = (*ours.key(), ours.fingerprint());
        match claimed {
            Ok(Claimed::InFlight { .. }) | Err(_) => {
                let asker = Asker::new(Arc::clone(self), key, fingerprint, may_join);
                Err(asker.insist(turn, name, ours.owned(), claimed, sent))
            }
            claimed => Ok(self.heed(turn, name, claimed, fingerprint, sent)),
        }
    }

    /// Does what a claim sent at `sent` has come to.
    pub(super) fn heed(
        &self,
        turn: Turn<S>,
        name: Key,
        claimed: Result<Claimed, StoreError>,
        fingerprint: Fingerprint,
        sent: Instant,
    ) -> Asked<S> {
        let claimed = match claimed {
            Ok(claimed) => claimed,
            Err(error) => return self.without_store(turn, name, &error),
        };
        match verdict::on_claim(claimed, fingerprint) {
            Ok(lease) => Asked::MayRun(self.hold(turn, name, lease, sent)),
            Err(verdict) => answered(turn, verdict),
        }
    }

    /// Begins to look after a lease, under which the inner service may run now.
    fn hold(&self, turn: Turn<S>, key: Key, lease: Lease, sent: Instant) -> Held<S> {
        self.config.emit(&Event::Claimed {
            key: lease.key(),
            fence: lease.fence(),
            attempt: lease.attempt(),
        });
        Held::new(turn, self.flight(key, lease, sent))
    }

    fn without_store(&self, mut turn: Turn<S>, name: Key, error: &StoreError) -> Asked<S> {
        let verdict = Verdict::Reject(RejectionKind::StoreUnavailable, Some(RETRY));
        // A record that cannot be read says that the operation ran: who follows has to see
        // that, and not an outage.
        let is_corrupt = error.kind() == StoreErrorKind::Corrupt;
        turn.end(|| Some(verdict.clone()).filter(|_| !is_corrupt));
        if !is_corrupt && self.config.store_failure == StoreFailure::DangerProceed {
            return Asked::Unprotected(name);
        }
        Asked::Answered(verdict)
    }
}

/// Tells the followers too.
pub(super) fn answered<S: Store>(mut turn: Turn<S>, verdict: Verdict) -> Asked<S> {
    turn.end(|| Some(verdict.clone()));
    Asked::Answered(verdict)
}

/// When to try again where nobody knows how long it will be.
pub(super) const RETRY: Duration = Duration::from_secs(1);
