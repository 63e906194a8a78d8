//! Claiming a key over an unreliable wire.

use std::{sync::Arc, time::Duration};

use tokio::time::{self, Instant};

use super::{
    call::{Call, call, call_within},
    config::Config,
    insist::Insistence,
    node::Node,
};
use crate::{
    event::{Cause, Event, Verb},
    store::{Claim, Claimed, Completion, Lease, OwnedClaim, Store, StoreError, StoreErrorKind},
};

/// Sends a claim; by `until`, if that is given, an answer is no use any more.
pub(super) fn claim<'a, S: Store>(
    node: &'a Node<S>,
    config: &'a Config,
    claim: &'a Claim<'a>,
    until: Option<Instant>,
) -> Call<'a, impl Future<Output = Result<Claimed, StoreError>>> {
    let limit = match until {
        Some(until) => config.store_deadline.min(until - Instant::now()),
        None => config.store_deadline,
    };
    let sent = node.store.claim(claim);
    call_within(config, limit, Verb::Claim, claim.key(), sent)
}

/// Sends the same claim again while the store does not answer, `error` at first, and until
/// it is of no use any more: the lease token makes a resend harmless.
///
/// If nobody knows in the end whether the claim was applied, the request is refused, and
/// the key is given back in the background as soon as the store can be reached.
pub(super) async fn claim_again<S: Store>(
    node: &Arc<Node<S>>,
    config: &Arc<Config>,
    again: &Claim<'_>,
    until: Option<Instant>,
    mut error: StoreError,
) -> Result<Claimed, StoreError> {
    let mut in_doubt = false;
    let mut pause = FIRST_PAUSE;
    for attempt in 1.. {
        in_doubt |= error.kind() == StoreErrorKind::Unknown;
        let is_over = until.is_some_and(|until| Instant::now() + pause >= until);
        if is_over || attempt >= config.store_attempts || !is_worth_resending(&error) {
            break;
        }
        time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
        error = match claim(node, config, again, until).await {
            Ok(claimed) => return Ok(claimed),
            Err(error) => error,
        };
    }
    if in_doubt {
        let given_back = give_back(Arc::clone(node), Arc::clone(config), again.owned());
        node.tasks.spawn(given_back);
    }
    Err(error)
}

const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

fn is_worth_resending(error: &StoreError) -> bool {
    matches!(
        error.kind(),
        StoreErrorKind::NotApplied | StoreErrorKind::Unknown
    )
}

/// Finds out what became of a claim in doubt, and releases the key if it was won.
async fn give_back<S: Store>(node: Arc<Node<S>>, config: Arc<Config>, again: OwnedClaim) {
    let again = again.as_claim();
    let mut insistence = Insistence::new(&node, &config);
    while insistence.again().await {
        match claim(&node, &config, &again, None).await {
            // Not ours after all, but lapsed: what was attempted must not be forgotten.
            Ok(Claimed::Acquired(lease)) if lease.attempt() > 1 => return,
            Ok(Claimed::Acquired(lease)) => {
                if release(&node, &config, &lease).await {
                    return;
                }
            }
            // Somebody else has it, or it is done: nothing of ours stands there.
            Ok(_) => return,
            Err(_) => {}
        }
    }
    config.emit(&Event::Abandoned { key: again.key() });
}

async fn release<S: Store>(node: &Node<S>, config: &Config, lease: &Lease) -> bool {
    let key = lease.key();
    let released = call(config, Verb::Release, key, node.store.release(lease)).await;
    if let Ok(Completion::Applied) = released {
        let cause = Cause::ClaimUnconfirmed;
        config.emit(&Event::Released { key, cause });
    }
    released.is_ok()
}
