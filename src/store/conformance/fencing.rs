//! Law 3: a fence never restarts.

use super::{
    Harness,
    scene::{Scene, record, won},
};
use crate::store::{Completion, Lease, Standing};

/// Each takeover is the next attempt, under a higher fence.
pub async fn each_takeover_raises_fence_and_attempt<H: Harness>(harness: &H) {
    let scene = Scene::new(harness).await;
    let mut last = scene.acquire_and_lapse().await;
    for attempt in 2..=3 {
        let lease = won(scene.other_found(&scene.short_claim()).await);
        assert_eq!(lease.attempt(), attempt);
        assert_higher(&lease, &last);
        scene.pass(3).await;
        last = lease;
    }
}

/// The fence goes on rising when the key was released in between. The attempts begin anew.
pub async fn fence_never_restarts_after_release<H: Harness>(harness: &H) {
    let scene = Scene::new(harness).await;
    let mut last = scene.acquire().await;
    for _ in 0..5 {
        scene.release(&last).await;
        let lease = scene.take_over().await;
        assert_higher(&lease, &last);
        assert_eq!(lease.attempt(), 1);
        last = lease;
    }
}

/// The fence goes on rising when a record expired in between.
pub async fn fence_never_restarts_after_completion_expired<H: Harness>(harness: &H) {
    let scene = Scene::new(harness).await;
    let first = scene.acquire().await;
    let retention = scene.ticks(1);
    scene
        .complete_for(&first, &record("first"), retention)
        .await;
    scene.pass(3).await;
    assert_higher(&scene.take_over().await, &first);
}

/// The fence goes on rising when the key lapsed, was kept, and expired in between.
pub async fn fence_never_restarts_after_a_lapsed_key_expired<H: Harness>(harness: &H) {
    let scene = Scene::new(harness).await;
    let claim = scene.claim().lease_for(scene.ticks(1));
    let first = won(scene.found(&claim.retained_for(scene.ticks(1))).await);
    scene.pass(4).await;
    assert_higher(&scene.take_over().await, &first);
}

/// A node that was away for a whole generation of the key finds its lease lost: after a
/// release, after a record expired, and in the generation after that.
pub async fn zombie_of_an_earlier_generation_is_refused<H: Harness>(harness: &H) {
    let scene = Scene::new(harness).await;
    let zombie = scene.acquire_and_lapse().await;
    let second = scene.take_over().await;
    scene.release(&second).await;
    assert_refused(&scene, &zombie, "after a release").await;
    let third = scene.take_over().await;
    let retention = scene.ticks(1);
    let answer = record("third");
    let completion = scene.complete_for(&third, &answer, retention).await;
    assert_eq!(completion, Completion::Applied);
    scene.pass(3).await;
    assert_refused(&scene, &zombie, "after a record expired").await;
    assert_refused(&scene, &third, "after its own record expired").await;
    let fourth = scene.take_over().await;
    assert_refused(&scene, &zombie, "in a later generation").await;
    assert_refused(&scene, &third, "in a later generation").await;
    let completion = scene.complete(&fourth, &record("fourth")).await;
    assert_eq!(completion, Completion::Applied);
}

async fn assert_refused<H: Harness>(scene: &Scene<'_, H>, zombie: &Lease, when: &str) {
    match scene.complete(zombie, &record("zombie")).await {
        Completion::Lost(Standing::Absent | Standing::InFlight { .. }) => {}
        other => panic!("a zombie was not refused {when}: {other:?}"),
    }
}

#[track_caller]
fn assert_higher(lease: &Lease, last: &Lease) {
    assert!(
        lease.fence() > last.fence(),
        "fence {} after {}",
        lease.fence(),
        last.fence()
    );
}
