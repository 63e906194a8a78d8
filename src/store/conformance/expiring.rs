//! Laws 4 and 5: leases lapse, records expire, each at its deadline.

use super::{
    Harness,
    scene::{Scene, record, replayed, won},
};
use crate::store::{AfterCrash, Claimed, Completion, Standing};

/// A lease stands until its deadline and not beyond it.
pub async fn lease_lapses_at_its_deadline<H: Harness>(harness: &H) {
    let scene = Scene::new(harness).await;
    let claim = scene.claim().lease_for(scene.ticks(4));
    won(scene.found(&claim).await);
    scene.pass(1).await;
    match scene.other_found(&scene.claim()).await {
        Claimed::InFlight { remaining, .. } => {
            assert!(remaining <= scene.ticks(3), "{remaining:?} left");
        }
        other => panic!("not in flight before the deadline, but {other:?}"),
    }
    scene.pass(4).await;
    scene.take_over().await;
}

/// A renewed lease stands beyond its first deadline, and lapses at the new one.
pub async fn renewed_lease_outlives_its_first_deadline<H: Harness>(harness: &H) {
    let scene = Scene::new(harness).await;
    let claim = scene.claim().lease_for(scene.ticks(4));
    let lease = won(scene.found(&claim).await);
    for _ in 0..2 {
        scene.pass(2).await;
        assert_eq!(scene.renew(&lease).await, Completion::Applied);
    }
    scene.pass(2).await;
    let found = scene.other_found(&scene.claim()).await;
    assert!(matches!(found, Claimed::InFlight { .. }), "{found:?}");
    scene.pass(3).await;
    assert_eq!(scene.take_over().await.attempt(), 2);
}

/// A record is kept for its retention from the completion on and no longer, however long
/// ago the claim was and whatever lease and retention that had. A claim is told how much of
/// it is left.
pub async fn retention_starts_at_completion<H: Harness>(harness: &H) {
    let scene = Scene::new(harness).await;
    let claim = scene.claim().retained_for(scene.ticks(1));
    let lease = won(scene.found(&claim).await);
    scene.pass(4).await;
    let record = record("first");
    let retention = scene.ticks(4);
    let completion = scene.complete_for(&lease, &record, retention).await;
    assert_eq!(completion, Completion::Applied);
    scene.pass(2).await;
    let found = scene.other_found(&scene.claim()).await;
    let Claimed::Completed { remaining, .. } = found else {
        panic!("not completed, but {found:?}");
    };
    assert!(remaining <= scene.ticks(2), "{remaining:?} left");
    assert_eq!(replayed(found), record);
    scene.pass(3).await;
    assert_eq!(scene.take_over().await.attempt(), 1);
}

/// An expired record is as if it never was: any request gets the key, as a first attempt,
/// and the owner of the record is nobody special.
pub async fn expired_key_is_as_if_never_seen<H: Harness>(harness: &H) {
    let scene = Scene::new(harness).await;
    let lease = scene.acquire().await;
    let retention = scene.ticks(1);
    scene
        .complete_for(&lease, &record("first"), retention)
        .await;
    scene.pass(3).await;
    let completion = scene.complete(&lease, &record("again")).await;
    assert_eq!(completion, Completion::Lost(Standing::Absent));
    let next = won(scene.other_found(&scene.other_claim()).await);
    assert_eq!(next.attempt(), 1);
    let found = scene.found(&scene.claim()).await;
    assert_eq!(found, Claimed::Mismatch, "the new request has the key");
}

/// A key that lapsed and was never taken over is kept for the retention of its claim, from
/// the end of the lease on. Then it is as if never seen: its owner cannot complete it, and for a
/// release it is free already.
pub async fn lapsed_key_is_kept_for_its_retention_and_no_longer<H: Harness>(harness: &H) {
    let scene = Scene::new(harness).await;
    let hold = || scene.claim().after_crash(AfterCrash::Hold);
    let claim = scene.claim().lease_for(scene.ticks(2));
    let lease = won(scene.found(&claim.retained_for(scene.ticks(4))).await);
    scene.pass(4).await;
    assert_eq!(scene.other_found(&hold()).await, Claimed::Unknown);
    scene.pass(4).await;
    let completion = scene.complete(&lease, &record("zombie")).await;
    assert_eq!(completion, Completion::Lost(Standing::Absent));
    assert_eq!(scene.release(&lease).await, Completion::AlreadyApplied);
    assert_eq!(won(scene.other_found(&hold()).await).attempt(), 1);
}
