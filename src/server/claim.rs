//! Claiming a key over an unreliable wire.

use std::sync::Arc;

use tokio::time::{self, Instant};

use super::{
    call::{Call, call},
    config::Config,
    insist::{Insistence, Owed, insist, release},
    node::Node,
    pauses::Pauses,
};
use crate::{
    event::{Cause, Verb},
    store::{Claim, Claimed, OwnedClaim, Store, StoreError, StoreErrorKind},
};

/// Sends a claim.
pub(super) fn claim<'a, S: Store>(
    node: &'a Node<S>,
    config: &'a Config,
    claim: &'a Claim<'a>,
) -> Call<'a, impl Future<Output = Result<Claimed, StoreError>>> {
    call(config, Verb::Claim, claim.key(), node.store.claim(claim))
}

/// Claims, for one that has waited and will not wait longer than `until`: `None` if the store
/// has not answered by then. That says nothing of the store; the key is given back.
pub(super) async fn claim_until<S: Store>(
    node: &Arc<Node<S>>,
    config: &Arc<Config>,
    ours: &Claim<'_>,
    until: Option<Instant>,
) -> Result<Option<Claimed>, StoreError> {
    let claiming = async {
        match claim(node, config, ours).await {
            Ok(claimed) => Ok(claimed),
            Err(error) => claim_again(node, config, ours, error).await,
        }
    };
    let Some(until) = until else {
        return claiming.await.map(Some);
    };
    if let Ok(claimed) = time::timeout_at(until, claiming).await {
        return claimed.map(Some);
    }
    doubt(node, config, ours);
    Ok(None)
}

/// Sends the same claim again while the store does not answer, `error` at first: the lease
/// token makes a resend harmless.
///
/// If nobody knows in the end whether the claim was applied, the request is refused, and
/// the key is given back in the background as soon as the store can be reached.
pub(super) async fn claim_again<S: Store>(
    node: &Arc<Node<S>>,
    config: &Arc<Config>,
    again: &Claim<'_>,
    mut error: StoreError,
) -> Result<Claimed, StoreError> {
    let mut in_doubt = false;
    let mut pauses = Pauses::resending();
    for attempt in 1.. {
        in_doubt |= error.is_in_doubt();
        if attempt >= config.store_attempts || !is_worth_resending(&error) {
            break;
        }
        time::sleep(pauses.next()).await;
        error = match claim(node, config, again).await {
            Ok(claimed) => return Ok(claimed),
            Err(error) => error,
        };
    }
    if in_doubt {
        doubt(node, config, again);
    }
    Err(error)
}

/// Has a claim given back of which nobody knows whether it was applied.
fn doubt<S: Store>(node: &Arc<Node<S>>, config: &Arc<Config>, claim: &Claim<'_>) {
    let given_back = give_back(Arc::clone(node), Arc::clone(config), claim.owned());
    node.tasks.spawn(given_back);
}

fn is_worth_resending(error: &StoreError) -> bool {
    matches!(
        error.kind(),
        StoreErrorKind::NotApplied | StoreErrorKind::Unknown
    )
}

/// Finds out what became of a claim in doubt, and releases the key if it was won.
fn give_back<S: Store>(
    node: Arc<Node<S>>,
    config: Arc<Config>,
    again: OwnedClaim,
) -> impl Future<Output = ()> {
    // Made now: the task may be dropped without having begun.
    let owed = Owed::new(&config, again.as_claim().key());
    async move {
        let again = again.as_claim();
        let mut insistence = Insistence::new(&node, &config);
        while insistence.again().await {
            match claim(&node, &config, &again).await {
                // A takeover, which is left to lapse: a release would forget what was attempted.
                Ok(Claimed::Acquired(lease)) if lease.attempt() > 1 => return,
                // Not claimed again: once it is released, that would win the key anew.
                Ok(Claimed::Acquired(lease)) => {
                    drop(insistence);
                    let cause = Cause::ClaimUnconfirmed;
                    if release(&node, &config, &lease, cause).await.is_ok()
                        || insist(&node, &config, &lease, cause).await.is_some()
                    {
                        owed.given();
                    }
                    return;
                }
                // Somebody else has it, or it is done: nothing of ours stands there.
                Ok(_) => return owed.given(),
                // Nor could it be released.
                Err(error) if error.kind() == StoreErrorKind::Corrupt => return,
                Err(_) => {}
            }
        }
    }
}
