//! Asking on: with a leader to follow, another node at it, or a store that does not answer.

use std::{pin::Pin, sync::Arc};

use tokio::time::Instant;

use super::{
    ask::{Asked, RETRY, answered},
    claim::{claim_again, claim_until},
    follow::{Followed, Patience},
    leaders::{Leader, Stage},
    pledge,
    shared::Shared,
    turn::{Entered, Turn},
};
use crate::{
    fingerprint::Fingerprint,
    horizon::after,
    key::Key,
    record_key::RecordKey,
    rejection::RejectionKind,
    store::{Claimed, OwnedClaim, Store, StoreError},
    verdict::Verdict,
};

/// A request that goes on asking, as its first claim did not settle what to do, or as it never
/// made one. Boxed, as it is rare, and would make room for itself in every request.
pub(super) struct Asker<S> {
    shared: Arc<Shared<S>>,
    key: RecordKey,
    fingerprint: Fingerprint,
    patience: Patience<S>,
}

pub(super) type Asking<S> = Pin<Box<dyn Future<Output = Asked<S>> + Send>>;

impl<S: Store> Asker<S> {
    pub(super) fn new(
        shared: Arc<Shared<S>>,
        key: RecordKey,
        fingerprint: Fingerprint,
        may_join: bool,
    ) -> Self {
        let patience = Patience::new(&shared.node, &shared.config, may_join);
        Self {
            shared,
            key,
            fingerprint,
            patience,
        }
    }

    /// Follows, until that has told what to do or nobody else leads.
    pub(super) fn follow(mut self, name: Key, mut leader: Leader) -> Asking<S> {
        Box::pin(async move {
            let turn = loop {
                let (key, patience) = (&self.key, &mut self.patience);
                let followed = self.shared.follow(key, leader, self.fingerprint, patience);
                match followed.await {
                    Followed::Alone => {}
                    Followed::Verdict(verdict) => return Asked::Answered(verdict),
                    Followed::Join(answer) => return Asked::Join(answer),
                    Followed::Unprotected => return Asked::Unprotected(name),
                }
                match Turn::enter(&self.shared.node, key, self.fingerprint) {
                    Entered::Follows(next) => leader = next,
                    Entered::Leads(turn) => break turn,
                }
            };
            let (claimed, sent) = self.claim().await;
            self.lead(turn, name, claimed, sent).await
        })
    }

    /// Leads on when the first claim, `ours`, did not reach the store, or found another node
    /// at it.
    pub(super) fn insist(
        self,
        turn: Turn<S>,
        name: Key,
        ours: OwnedClaim,
        claimed: Result<Claimed, StoreError>,
        sent: Instant,
    ) -> Asking<S> {
        Box::pin(async move {
            let Shared { node, config } = &*self.shared;
            let claimed = match claimed {
                Ok(claimed) => Ok(claimed),
                Err(error) => claim_again(node, config, &ours.as_claim(), error).await,
            };
            self.lead(turn, name, claimed.map(Some), sent).await
        })
    }

    /// Waits and claims until it is clear what to do; the claim sent at `sent` has come to
    /// `claimed`.
    async fn lead(
        mut self,
        turn: Turn<S>,
        name: Key,
        mut claimed: Result<Option<Claimed>, StoreError>,
        mut sent: Instant,
    ) -> Asked<S> {
        loop {
            let Some(mut found) = claimed.transpose() else {
                let verdict = Verdict::Reject(RejectionKind::InFlight, Some(RETRY));
                return answered(turn, verdict);
            };
            // Never claimed again because the time is over.
            if !self.waits(&turn, &mut found, sent).await {
                return self.shared.heed(turn, name, found, self.fingerprint, sent);
            }
            (claimed, sent) = self.claim().await;
        }
    }

    /// Waits while another node is at it; whether to claim then. If not, `found` is put right:
    /// less is left by then.
    async fn waits(
        &mut self,
        turn: &Turn<S>,
        found: &mut Result<Claimed, StoreError>,
        sent: Instant,
    ) -> bool {
        let Ok(Claimed::InFlight { fence, remaining }) = found else {
            return false;
        };
        if !self.patience.may_wait() {
            return false;
        }
        pledge::take_back();
        let lapses = after(sent, *remaining);
        turn.reach(Stage::Elsewhere(lapses));
        let (key, patience) = (&self.key, &mut self.patience);
        let waiting = (self.shared).wait_elsewhere(key, *fence, *remaining, patience);
        waiting.await;
        let may_claim = self.patience.may_wait();
        match may_claim {
            true => turn.reach(Stage::Claiming),
            false => *remaining = lapses - Instant::now(),
        }
        may_claim
    }

    /// Claims, for as long as patience lasts if it has begun; and when that was sent.
    async fn claim(&self) -> (Result<Option<Claimed>, StoreError>, Instant) {
        pledge::give();
        let sent = Instant::now();
        let Shared { node, config } = &*self.shared;
        let ours = self.shared.claim_for(sent, &self.key, self.fingerprint);
        let until = self.patience.deadline().filter(|until| *until > sent);
        let claimed = claim_until(node, config, &ours, until).await;
        (claimed, sent)
    }
}
