//! Law 7: waiters are woken, and none sleeps past the end.

use std::time::Duration;

use tokio::{
    join,
    time::{Instant, timeout},
};

use super::{
    Harness,
    scene::{LONG, Scene, random_key, record, won},
};
use crate::store::{Fence, Store};

/// A waiter on another node returns soon after the key is completed.
pub async fn settled_wakes_on_completion<H: Harness>(harness: &H) {
    let scene = Scene::new(harness).await;
    let lease = scene.acquire().await;
    let end = async {
        scene.pass(2).await;
        scene.complete(&lease, &record("first")).await;
    };
    join!(assert_settles_within(&scene, 6, lease.fence()), end);
}

/// A waiter on another node returns soon after the key is released.
pub async fn settled_wakes_on_release<H: Harness>(harness: &H) {
    let scene = Scene::new(harness).await;
    let lease = scene.acquire().await;
    let end = async {
        scene.pass(2).await;
        scene.release(&lease).await;
    };
    join!(assert_settles_within(&scene, 6, lease.fence()), end);
}

/// A waiter returns soon after the lease lapsed, though nobody does anything.
pub async fn settled_wakes_on_lapse<H: Harness>(harness: &H) {
    let scene = Scene::new(harness).await;
    let lease = won(scene.found(&scene.short_claim()).await);
    assert_settles_within(&scene, 6, lease.fence()).await;
}

/// A waiter for one lease does not wait for the next.
pub async fn settled_wakes_on_takeover<H: Harness>(harness: &H) {
    let scene = Scene::new(harness).await;
    let lease = won(scene.found(&scene.short_claim()).await);
    let end = async {
        scene.pass(3).await;
        won(scene.found(&scene.claim()).await);
    };
    join!(assert_settles_within(&scene, 7, lease.fence()), end);
}

/// All waiters return, on both nodes.
pub async fn settled_wakes_every_waiter<H: Harness>(harness: &H) {
    let scene = Scene::new(harness).await;
    let lease = scene.acquire().await;
    let fence = lease.fence();
    let end = async {
        scene.pass(2).await;
        scene.complete(&lease, &record("first")).await;
    };
    join!(
        assert_settles_within(&scene, 6, fence),
        assert_settles_within(&scene, 6, fence),
        assert_settled(&*scene.node, &scene, 6, fence, LONG),
        assert_settled(&*scene.node, &scene, 6, fence, LONG),
        end,
    );
}

/// A waiter returns when its limit is over, though the key stays in flight.
pub async fn settled_does_not_outsleep_the_limit<H: Harness>(harness: &H) {
    let scene = Scene::new(harness).await;
    let fence = scene.acquire().await.fence();
    let limit = scene.ticks(3);
    assert_settled(&*scene.other, &scene, 5, fence, limit).await;
    assert_settled(&*scene.other, &scene, 3, fence, Duration::ZERO).await;
}

/// A waiter returns soon if there is nothing to wait for: the key is absent, completed, or
/// held under another fence.
pub async fn settled_does_not_wait_for_what_is_over<H: Harness>(harness: &H) {
    let scene = Scene::new(harness).await;
    let lost = scene.acquire_and_lapse().await;
    let lease = scene.take_over().await;
    assert_settles_within(&scene, 3, lost.fence()).await;
    scene.complete(&lease, &record("second")).await;
    assert_settles_within(&scene, 3, lease.fence()).await;
    let key = random_key();
    let settled = scene.other.settled(&key, lease.fence(), LONG);
    let settled = timeout(scene.ticks(3), settled).await;
    assert!(settled.is_ok(), "a waiter sleeps on an absent key");
}

async fn assert_settles_within<H: Harness>(scene: &Scene<'_, H>, ticks: u32, fence: Fence) {
    assert_settled(&*scene.other, scene, ticks, fence, LONG).await;
}

/// Waits as a server does: returning early only means to look again.
async fn assert_settled<H: Harness>(
    store: &H::Store,
    scene: &Scene<'_, H>,
    ticks: u32,
    fence: Fence,
    limit: Duration,
) {
    let start = Instant::now();
    let settled = timeout(LONG * 2, store.settled(&scene.key, fence, limit)).await;
    settled.expect("a waiter sleeps for ever").expect("settled");
    let slept = start.elapsed();
    let most = scene.ticks(ticks);
    assert!(slept <= most, "a waiter slept {slept:?} of {most:?}");
}
