//! Law 1: what a claim finds.

use super::{
    Harness,
    scene::{LONG, Scene, random_key, record, replayed, won},
};
use crate::store::{AfterCrash, Claimed, Completion};

/// A key that was never seen is acquired, as the first attempt.
pub async fn absent_key_is_acquired<H: Harness>(harness: &H) {
    let scene = Scene::new(harness).await;
    let claim = scene.claim();
    let lease = won(scene.found(&claim).await);
    assert_eq!(lease.attempt(), 1);
    assert_eq!(lease.key(), claim.key());
    assert_eq!(lease.token(), claim.token());
    assert_eq!(lease.duration(), claim.lease());
}

/// What happens to one key says nothing about another, even if they differ in one bit.
pub async fn keys_are_independent<H: Harness>(harness: &H) {
    let scene = Scene::new(harness).await;
    let lease = scene.acquire().await;
    scene.complete(&lease, &record("first")).await;
    for bit in [0, 127, 255] {
        let mut key = *scene.key.as_bytes();
        key[bit / 8] ^= 1 << (bit % 8);
        let key = crate::RecordKey::from_bytes(key);
        won(scene.found(&super::scene::claim(&key)).await);
    }
    won(scene.found(&super::scene::claim(&random_key())).await);
}

/// A key that somebody else holds is in flight, on every node, with the fence of the lease
/// and no more than its duration left.
pub async fn held_key_is_in_flight<H: Harness>(harness: &H) {
    let scene = Scene::new(harness).await;
    let lease = scene.acquire().await;
    for claimed in [
        scene.found(&scene.claim()).await,
        scene.other_found(&scene.claim()).await,
    ] {
        let Claimed::InFlight { fence, remaining } = claimed else {
            panic!("not in flight, but {claimed:?}");
        };
        assert_eq!(fence, lease.fence());
        assert!(remaining <= LONG, "{remaining:?} left of {LONG:?}");
        assert!(remaining > LONG / 2, "{remaining:?} left of {LONG:?}");
    }
}

/// The reply to a claim may be lost. Sent again with the same token, from any node, it
/// gets the same lease.
pub async fn resent_claim_gets_the_same_lease<H: Harness>(harness: &H) {
    let scene = Scene::new(harness).await;
    let claim = scene.claim();
    let lease = won(scene.found(&claim).await);
    assert_eq!(won(scene.found(&claim).await), lease);
    assert_eq!(won(scene.other_found(&claim).await), lease);
    let completion = scene.complete(&lease, &record("first")).await;
    assert_eq!(completion, Completion::Applied);
}

/// A completed key yields its record on every node, with the time it is still kept, also
/// to a late resend of the claim that was completed.
pub async fn completed_key_yields_its_record<H: Harness>(harness: &H) {
    let scene = Scene::new(harness).await;
    let claim = scene.claim();
    let lease = won(scene.found(&claim).await);
    let record = record("first");
    let completion = scene.complete(&lease, &record).await;
    assert_eq!(completion, Completion::Applied);
    match scene.found(&scene.claim()).await {
        Claimed::Completed { remaining, .. } => {
            assert!(remaining <= LONG, "{remaining:?} left of {LONG:?}");
            assert!(remaining > LONG / 2, "{remaining:?} left of {LONG:?}");
        }
        other => panic!("not completed, but {other:?}"),
    }
    assert_eq!(replayed(scene.found(&scene.claim()).await), record);
    assert_eq!(replayed(scene.other_found(&scene.claim()).await), record);
    assert_eq!(replayed(scene.found(&claim).await), record);
}

/// A released key is free: for everybody, for any request, and as a first attempt.
pub async fn released_key_is_free<H: Harness>(harness: &H) {
    let scene = Scene::new(harness).await;
    let lease = scene.acquire().await;
    assert_eq!(scene.release(&lease).await, Completion::Applied);
    let next = won(scene.other_found(&scene.other_claim()).await);
    assert_eq!(next.attempt(), 1);
}

/// Another request under the same key is a mismatch while the key is in flight, when it
/// lapsed, in both crash modes, and when it is completed.
pub async fn other_fingerprint_is_a_mismatch_in_every_state<H: Harness>(harness: &H) {
    let scene = Scene::new(harness).await;
    let hold = || scene.other_claim().after_crash(AfterCrash::Hold);
    let lease = won(scene.found(&scene.short_claim()).await);
    assert_eq!(
        scene.other_found(&scene.other_claim()).await,
        Claimed::Mismatch
    );
    scene.pass(3).await;
    assert_eq!(
        scene.other_found(&scene.other_claim()).await,
        Claimed::Mismatch
    );
    assert_eq!(scene.other_found(&hold()).await, Claimed::Mismatch);
    scene.complete(&lease, &record("first")).await;
    assert_eq!(
        scene.other_found(&scene.other_claim()).await,
        Claimed::Mismatch
    );
}

/// A retry takes a lapsed lease over, with a higher fence and as the next attempt, and is
/// then the owner.
pub async fn lapsed_lease_is_taken_over_with_a_higher_fence<H: Harness>(harness: &H) {
    let scene = Scene::new(harness).await;
    let lost = scene.acquire_and_lapse().await;
    let lease = scene.take_over().await;
    assert!(lease.fence() > lost.fence(), "{lease:?} after {lost:?}");
    assert_eq!(lease.attempt(), 2);
    assert_ne!(lease.token(), lost.token());
    let completion = scene.complete(&lease, &record("second")).await;
    assert_eq!(completion, Completion::Applied);
}

/// A mismatch does not take a lapsed lease over: its owner still completes it, and a retry
/// of the same request still takes it over.
pub async fn takeover_only_for_the_same_fingerprint<H: Harness>(harness: &H) {
    let scene = Scene::new(harness).await;
    let lost = scene.acquire_and_lapse().await;
    let other = scene.other_found(&scene.other_claim()).await;
    assert_eq!(other, Claimed::Mismatch);
    let lease = scene.take_over().await;
    assert_eq!(lease.attempt(), lost.attempt() + 1);
}

/// In hold mode a lapsed key is unknown, to every claim, until its owner completes it.
pub async fn hold_mode_answers_unknown<H: Harness>(harness: &H) {
    let scene = Scene::new(harness).await;
    let hold = || scene.claim().after_crash(AfterCrash::Hold);
    let claim = scene.short_claim().after_crash(AfterCrash::Hold);
    let lease = won(scene.found(&claim).await);
    let found = scene.other_found(&hold()).await;
    assert!(matches!(found, Claimed::InFlight { .. }), "{found:?}");
    scene.pass(3).await;
    assert_eq!(scene.other_found(&hold()).await, Claimed::Unknown);
    assert_eq!(scene.found(&hold()).await, Claimed::Unknown);
    let record = record("late");
    assert_eq!(scene.complete(&lease, &record).await, Completion::Applied);
    assert_eq!(replayed(scene.other_found(&hold()).await), record);
}

/// Whether to hold is decided by the claim that comes after the crash.
pub async fn hold_mode_is_the_choice_of_each_claim<H: Harness>(harness: &H) {
    let scene = Scene::new(harness).await;
    let lost = scene.acquire_and_lapse().await;
    let hold = scene.claim().after_crash(AfterCrash::Hold);
    assert_eq!(scene.other_found(&hold).await, Claimed::Unknown);
    assert!(scene.take_over().await.fence() > lost.fence());
}
