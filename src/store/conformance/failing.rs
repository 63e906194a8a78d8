//! Law 8, and what is left when a verb is cut short.

use std::{future::poll_fn, pin::pin, task::Poll, time::Duration};

use tokio::time::timeout;

use super::{
    Harness,
    scene::{LONG, REQUEST, Scene, random_key, record, replayed, won},
};
use crate::store::{Claim, Claimed, Completion, Fence, Store, StoreError, StoreErrorKind};

/// A verb is dropped after each of so many polls.
const POLLS: usize = 6;

/// A claim that was dropped midway was made or was not: sent again, it gets the lease, and
/// others wait for it.
pub async fn cancelled_claim_leaves_no_half_state<H: Harness>(harness: &H) {
    for polls in 0..POLLS {
        let scene = Scene::new(harness).await;
        let claim = scene.claim();
        poll_times(polls, scene.node.claim(&claim)).await;
        let lease = won(scene.found(&claim).await);
        assert_eq!(lease.attempt(), 1, "after {polls} polls");
        let found = scene.other_found(&scene.claim()).await;
        assert!(matches!(found, Claimed::InFlight { .. }), "{found:?}");
        let completion = scene.complete(&lease, &record("first")).await;
        assert_eq!(completion, Completion::Applied, "after {polls} polls");
    }
}

/// A completion that was dropped midway was made or was not: until it is sent again, the
/// key is in flight or has the whole record.
pub async fn cancelled_completion_leaves_no_half_state<H: Harness>(harness: &H) {
    for polls in 0..POLLS {
        let scene = Scene::new(harness).await;
        let lease = scene.acquire().await;
        let record = record("first");
        poll_times(polls, scene.node.complete(&lease, &record, LONG)).await;
        match scene.other_found(&scene.claim()).await {
            Claimed::InFlight { fence, .. } => assert_eq!(fence, lease.fence()),
            Claimed::Completed { record: found, .. } => assert_eq!(found, record),
            other => panic!("after {polls} polls: {other:?}"),
        }
        let completion = scene.complete(&lease, &record).await;
        assert!(
            is_applied(&completion),
            "after {polls} polls: {completion:?}"
        );
        assert_eq!(replayed(scene.other_found(&scene.claim()).await), record);
    }
}

/// A release that was dropped midway was made or was not: sent again, the key is free.
pub async fn cancelled_release_leaves_no_half_state<H: Harness>(harness: &H) {
    for polls in 0..POLLS {
        let scene = Scene::new(harness).await;
        let lease = scene.acquire().await;
        poll_times(polls, scene.node.release(&lease)).await;
        let completion = scene.release(&lease).await;
        assert!(
            is_applied(&completion),
            "after {polls} polls: {completion:?}"
        );
        let next = scene.take_over().await;
        assert!(next.fence() > lease.fence(), "after {polls} polls");
    }
}

/// If the engine is not there, every verb says so with an error and soon; only a waiter
/// may also return as if it had waited. Nothing is ever acquired.
///
/// Holds for a harness without an unreachable store.
pub async fn unreachable_store_says_so<H: Harness>(harness: &H) {
    let Some(store) = harness.unreachable().await else {
        return;
    };
    let key = random_key();
    let claim = Claim::new(&key, REQUEST);
    let lease = claim.won(Fence::new(1), 1);
    assert_fails("claim", store.claim(&claim)).await;
    assert_fails("complete", store.complete(&lease, &record("lost"), LONG)).await;
    assert_fails("release", store.release(&lease)).await;
    assert_fails("renew", store.renew(&lease)).await;
    let settled = store.settled(&key, lease.fence(), harness.tick());
    let settled = timeout(PATIENCE, settled).await;
    assert!(settled.is_ok(), "settled hangs");
}

const PATIENCE: Duration = Duration::from_secs(60);

async fn assert_fails<T: std::fmt::Debug>(
    verb: &str,
    call: impl Future<Output = Result<T, StoreError>>,
) {
    let Ok(result) = timeout(PATIENCE, call).await else {
        panic!("{verb} hangs");
    };
    let Err(error) = result else {
        panic!("{verb} is answered with {result:?}");
    };
    assert!(
        matches!(
            error.kind(),
            StoreErrorKind::NotApplied | StoreErrorKind::Unknown
        ),
        "{verb} fails as {:?}",
        error.kind()
    );
}

/// Polls `call` so many times, as it asks for, and drops it.
async fn poll_times<T>(polls: usize, call: impl Future<Output = T>) {
    let mut call = pin!(call);
    let mut left = polls;
    poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(());
        }
        left -= 1;
        match call.as_mut().poll(context) {
            Poll::Pending if left > 0 => Poll::Pending,
            _ => Poll::Ready(()),
        }
    })
    .await;
}

fn is_applied(completion: &Completion) -> bool {
    matches!(completion, Completion::Applied | Completion::AlreadyApplied)
}
