//! Law 2: only the owner of a lease ends or prolongs it.

use super::{
    Harness,
    scene::{LONG, Scene, claim, random_key, record, replayed, won},
};
use crate::store::{Claimed, Completion, Fence, Lease, Standing};

/// A lease that was taken over cannot complete: not while the new owner is at it, not
/// after it completed. What the new owner wrote stands.
pub async fn lost_lease_cannot_complete<H: Harness>(harness: &H) {
    let scene = Scene::new(harness).await;
    let lost = scene.acquire_and_lapse().await;
    let lease = scene.take_over().await;
    let completion = scene.complete(&lost, &record("zombie")).await;
    assert!(is_lost_to_another_lease(&completion), "{completion:?}");
    let record = record("second");
    assert_eq!(scene.complete(&lease, &record).await, Completion::Applied);
    assert_eq!(
        scene.complete(&lost, &super::scene::record("zombie")).await,
        Completion::Lost(Standing::Completed(record.clone()))
    );
    assert_eq!(replayed(scene.found(&scene.claim()).await), record);
}

/// A lease that was taken over cannot release the key of its new owner.
pub async fn lost_lease_cannot_release<H: Harness>(harness: &H) {
    let scene = Scene::new(harness).await;
    let lost = scene.acquire_and_lapse().await;
    let lease = scene.take_over().await;
    let completion = scene.release(&lost).await;
    assert!(is_lost_to_another_lease(&completion), "{completion:?}");
    assert_held_by(&scene, &lease).await;
}

/// A lease that was taken over cannot prolong the lease of the new owner, nor its own.
pub async fn lost_lease_cannot_renew<H: Harness>(harness: &H) {
    let scene = Scene::new(harness).await;
    let lost = scene.acquire_and_lapse().await;
    let lease = won(scene.other_found(&scene.short_claim()).await);
    let completion = scene.renew(&lost).await;
    assert!(is_lost_to_another_lease(&completion), "{completion:?}");
    scene.pass(3).await;
    assert!(scene.take_over().await.fence() > lease.fence());
}

/// Whoever lost a lease is told what stands there now: a lease with its time left, a record,
/// or nothing.
pub async fn losing_says_what_stands_there_now<H: Harness>(harness: &H) {
    let scene = Scene::new(harness).await;
    let lost = scene.acquire_and_lapse().await;
    let lease = scene.take_over().await;
    let Completion::Lost(Standing::InFlight { remaining }) = scene.renew(&lost).await else {
        panic!("not lost to another lease");
    };
    assert!(remaining > LONG / 2 && remaining <= LONG, "{remaining:?}");
    let record = record("second");
    scene.complete(&lease, &record).await;
    let standing = Completion::Lost(Standing::Completed(record));
    assert_eq!(scene.renew(&lost).await, standing);
    assert_eq!(scene.release(&lost).await, standing);
}

/// The right token with another fence is not the owner.
pub async fn token_alone_proves_nothing<H: Harness>(harness: &H) {
    let scene = Scene::new(harness).await;
    let claim = scene.claim();
    let lease = won(scene.found(&claim).await);
    let fence = Fence::new(lease.fence().get() + 1);
    assert_owns_nothing(&scene, &claim.won(fence, 1), &lease).await;
}

/// The right fence with another token is not the owner.
pub async fn fence_alone_proves_nothing<H: Harness>(harness: &H) {
    let scene = Scene::new(harness).await;
    let lease = scene.acquire().await;
    assert_owns_nothing(&scene, &scene.claim().won(lease.fence(), 1), &lease).await;
}

/// The reply to a completion may be lost. Sent again by the owner it is accepted, and the
/// first record stands.
pub async fn repeated_completion_is_accepted<H: Harness>(harness: &H) {
    let scene = Scene::new(harness).await;
    let lease = scene.acquire().await;
    let record = record("first");
    assert_eq!(scene.complete(&lease, &record).await, Completion::Applied);
    for _ in 0..2 {
        let completion = scene.complete(&lease, &record).await;
        assert_eq!(completion, Completion::AlreadyApplied);
    }
    let again = scene.complete(&lease, &super::scene::record("again")).await;
    assert_eq!(again, Completion::AlreadyApplied);
    assert_eq!(replayed(scene.other_found(&scene.claim()).await), record);
}

/// The reply to a release may be lost. Sent again it is accepted as long as the key is
/// free, and refused once somebody else has it.
pub async fn repeated_release_is_accepted<H: Harness>(harness: &H) {
    let scene = Scene::new(harness).await;
    let lease = scene.acquire().await;
    assert_eq!(scene.release(&lease).await, Completion::Applied);
    assert_eq!(scene.release(&lease).await, Completion::AlreadyApplied);
    let next = scene.take_over().await;
    let completion = scene.release(&lease).await;
    assert!(is_lost_to_another_lease(&completion), "{completion:?}");
    assert_held_by(&scene, &next).await;
}

/// Nothing can be completed that is not there: neither after a release nor out of the
/// blue. The key stays absent.
pub async fn completing_an_absent_key_is_refused<H: Harness>(harness: &H) {
    let scene = Scene::new(harness).await;
    let lease = scene.acquire().await;
    scene.release(&lease).await;
    let lost = Completion::Lost(Standing::Absent);
    assert_eq!(scene.complete(&lease, &record("zombie")).await, lost);
    won(scene.other_found(&scene.claim()).await);

    let key = random_key();
    let forged = claim(&key).won(lease.fence(), 1);
    assert_eq!(scene.complete(&forged, &record("forged")).await, lost);
    won(scene.other_found(&claim(&key)).await);
}

/// Nothing can be prolonged that is not there. The key stays absent.
pub async fn renewing_an_absent_key_is_refused<H: Harness>(harness: &H) {
    let scene = Scene::new(harness).await;
    let lease = scene.acquire().await;
    scene.release(&lease).await;
    let lost = Completion::Lost(Standing::Absent);
    assert_eq!(scene.renew(&lease).await, lost);
    won(scene.other_found(&scene.claim()).await);
}

/// A completed key is done, also for its owner: it can be neither released nor renewed.
pub async fn completed_key_is_neither_released_nor_renewed<H: Harness>(harness: &H) {
    let scene = Scene::new(harness).await;
    let lease = scene.acquire().await;
    let record = record("first");
    scene.complete(&lease, &record).await;
    let lost = Completion::Lost(Standing::Completed(record.clone()));
    assert_eq!(scene.release(&lease).await, lost);
    assert_eq!(scene.renew(&lease).await, lost);
    assert_eq!(replayed(scene.found(&scene.claim()).await), record);
}

/// An owner that was slow, but whom nobody took over, still completes.
pub async fn owner_completes_after_a_lapse_nobody_noticed<H: Harness>(harness: &H) {
    let scene = Scene::new(harness).await;
    let lease = scene.acquire_and_lapse().await;
    let record = record("late");
    assert_eq!(scene.complete(&lease, &record).await, Completion::Applied);
    assert_eq!(replayed(scene.other_found(&scene.claim()).await), record);
}

/// An owner that was slow, but whom nobody took over, gets its whole lease back.
pub async fn owner_renews_after_a_lapse_nobody_noticed<H: Harness>(harness: &H) {
    let scene = Scene::new(harness).await;
    let claim = scene.claim().lease_for(scene.ticks(4));
    let lease = won(scene.found(&claim).await);
    scene.pass(5).await;
    assert_eq!(scene.renew(&lease).await, Completion::Applied);
    assert_held_by(&scene, &lease).await;
}

async fn assert_owns_nothing<H: Harness>(scene: &Scene<'_, H>, forged: &Lease, lease: &Lease) {
    for completion in [
        scene.complete(forged, &record("forged")).await,
        scene.release(forged).await,
        scene.renew(forged).await,
    ] {
        assert!(is_lost_to_another_lease(&completion), "{completion:?}");
    }
    assert_held_by(scene, lease).await;
    let completion = scene.complete(lease, &record("first")).await;
    assert_eq!(completion, Completion::Applied);
}

async fn assert_held_by<H: Harness>(scene: &Scene<'_, H>, lease: &Lease) {
    match scene.other_found(&scene.claim()).await {
        Claimed::InFlight { fence, .. } => assert_eq!(fence, lease.fence()),
        other => panic!("not in flight, but {other:?}"),
    }
}

fn is_lost_to_another_lease(completion: &Completion) -> bool {
    matches!(completion, Completion::Lost(Standing::InFlight { .. }))
}
