//! May a request run? Its leader asks the store; the others follow the leader.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    claim::{claim, claim_again, claim_until},
    config::StoreFailure,
    follow::{Followed, Patience},
    leaders::Stage,
    lease::Held,
    pledge,
    recording::LiveAnswer,
    shared::Shared,
    turn::{Entered, Turn},
};
use crate::{
    event::Event,
    fingerprint::Fingerprint,
    horizon::after,
    key::Key,
    record_key::RecordKey,
    rejection::RejectionKind,
    store::{Claimed, Lease, Store, StoreError, StoreErrorKind},
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
        let patience = &mut Patience::new(&shared.node, &shared.config, may_join);
        let mut turn = loop {
            let leader = match Turn::enter(&shared.node, &key, fingerprint) {
                Entered::Leads(turn) => break turn,
                Entered::Follows(leader) => leader,
            };
            // Boxed, as all that is rare: it would make room for itself in every request.
            match Box::pin(shared.follow(&key, leader, fingerprint, patience)).await {
                Followed::Alone => {}
                Followed::Verdict(verdict) => return Asked::Answered(verdict),
                Followed::Join(answer) => return Asked::Join(answer),
                Followed::Unprotected => return Asked::Unprotected(name),
            }
        };
        let verdict = match shared.lead(&turn, &key, fingerprint, patience).await {
            Ok((Ok(lease), sent)) => return Asked::MayRun(shared.hold(turn, name, lease, sent)),
            Ok((Err(verdict), _)) => verdict,
            Err(error) => {
                let verdict = Verdict::Reject(RejectionKind::StoreUnavailable, Some(RETRY));
                // A record that cannot be read says that the operation ran: who follows has
                // to see that, and not an outage.
                let is_corrupt = error.kind() == StoreErrorKind::Corrupt;
                turn.end(|| Some(verdict.clone()).filter(|_| !is_corrupt));
                if !is_corrupt && shared.config.store_failure == StoreFailure::DangerProceed {
                    return Asked::Unprotected(name);
                }
                return Asked::Answered(verdict);
            }
        };
        turn.end(|| Some(verdict.clone()));
        Asked::Answered(verdict)
    }
}

impl<S: Store> Shared<S> {
    /// Begins to look after a lease, under which the inner service may run now.
    fn hold(&self, turn: Turn<S>, key: Key, lease: Lease, sent: Instant) -> Held<S> {
        self.config.emit(&Event::Claimed {
            key: lease.key(),
            fence: lease.fence(),
            attempt: lease.attempt(),
        });
        Held::new(turn, self.flight(key, lease, sent))
    }

    /// Claims until it is clear what to do; also when the claim was sent.
    #[expect(clippy::manual_async_fn, reason = "it would hold each argument twice")]
    fn lead(
        &self,
        turn: &Turn<S>,
        key: &RecordKey,
        fingerprint: Fingerprint,
        patience: &mut Patience<'_, S>,
    ) -> impl Future<Output = Result<(Result<Lease, Verdict>, Instant), StoreError>> {
        async move {
            loop {
                pledge::give();
                let sent = Instant::now();
                let (node, config) = (&self.node, &self.config);
                let ours = self.claim_for(sent, key, fingerprint);
                // Boxed, as all that is rare.
                let claimed = match patience.deadline().filter(|until| *until > sent) {
                    None => match claim(node, config, &ours).await {
                        Ok(claimed) => claimed,
                        Err(error) => Box::pin(claim_again(node, config, &ours, error)).await?,
                    },
                    Some(until) => {
                        let claimed = Box::pin(claim_until(node, config, &ours, until));
                        let Some(claimed) = claimed.await? else {
                            let verdict = Verdict::Reject(RejectionKind::InFlight, Some(RETRY));
                            return Ok((Err(verdict), sent));
                        };
                        claimed
                    }
                };
                if let Claimed::InFlight { fence, remaining } = claimed {
                    if patience.may_wait() {
                        pledge::take_back();
                        turn.reach(Stage::Elsewhere(after(sent, remaining)));
                        Box::pin(self.wait_elsewhere(key, fence, remaining, patience)).await;
                        // Never claimed because the time is over.
                        if patience.may_wait() {
                            turn.reach(Stage::Claiming);
                            continue;
                        }
                    }
                }
                return Ok((verdict::on_claim(claimed, fingerprint), sent));
            }
        }
    }
}

/// When to try again where nobody knows how long it will be.
const RETRY: Duration = Duration::from_secs(1);
