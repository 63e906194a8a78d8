//! Each verb is one atomic step, however many come at once.

use std::sync::Arc;

use tokio::task::JoinSet;

use super::{
    Harness,
    scene::{LONG, Scene, claim, record, replayed, won},
};
use crate::{
    record_key::RecordKey,
    store::{Claimed, Completion, Lease, Standing, Store},
};

const CLAIMANTS: usize = 16;
const ROUNDS: usize = 8;

/// Of many claims of one free key exactly one acquires it; the others see its lease.
pub async fn concurrent_claims_have_one_winner<H: Harness>(harness: &H) {
    for _ in 0..ROUNDS {
        let scene = Scene::new(harness).await;
        let lease = one_winner(claim_all_at_once(&scene).await);
        assert_eq!(lease.attempt(), 1);
    }
}

/// Of many claims of one lapsed key exactly one takes it over; the others see its lease.
pub async fn concurrent_takeovers_have_one_winner<H: Harness>(harness: &H) {
    let scene = Scene::new(harness).await;
    let lost = scene.acquire_and_lapse().await;
    let lease = one_winner(claim_all_at_once(&scene).await);
    assert_eq!(lease.attempt(), 2);
    assert!(lease.fence() > lost.fence());
}

/// When a slow owner completes while others take over, either the completion is refused,
/// or everybody gets its record.
pub async fn completion_and_takeover_exclude_each_other<H: Harness>(harness: &H) {
    let scene = Scene::new(harness).await;
    let lease = scene.acquire_and_lapse().await;
    let record = record("late");
    let (claimed, completion) =
        tokio::join!(claim_all_at_once(&scene), scene.complete(&lease, &record));
    let taken_over = claimed.iter().filter(|claimed| is_won(claimed)).count();
    match completion {
        Completion::Applied => assert_eq!(taken_over, 0, "{claimed:?}"),
        Completion::Lost(Standing::InFlight { .. }) => assert_eq!(taken_over, 1),
        other => panic!("{other:?}"),
    }
    let found = scene.found(&scene.claim()).await;
    match completion {
        Completion::Applied => assert_eq!(replayed(found), record),
        _ => assert!(matches!(found, Claimed::InFlight { .. }), "{found:?}"),
    }
}

/// When an owner sends its completion several times at once, one is applied and the others
/// had been.
pub async fn concurrent_completions_of_the_owner_agree<H: Harness>(harness: &H) {
    let scene = Scene::new(harness).await;
    let lease = scene.acquire().await;
    let mut tasks = JoinSet::new();
    for i in 0..CLAIMANTS {
        let (store, lease) = (client(&scene, i), lease.clone());
        tasks.spawn(async move { store.complete(&lease, &record("first"), LONG).await });
    }
    let completions = tasks.join_all().await;
    let completions = completions.into_iter().map(|all| all.expect("complete"));
    let (applied, already): (Vec<_>, Vec<_>) =
        completions.partition(|completion| *completion == Completion::Applied);
    assert_eq!(applied.len(), 1);
    assert!(already.iter().all(|all| *all == Completion::AlreadyApplied));
}

async fn claim_all_at_once<H: Harness>(scene: &Scene<'_, H>) -> Vec<Claimed> {
    let mut tasks = JoinSet::new();
    for i in 0..CLAIMANTS {
        tasks.spawn(claim_once(client(scene, i), scene.key));
    }
    tasks.join_all().await
}

async fn claim_once(store: Arc<impl Store>, key: RecordKey) -> Claimed {
    store.claim(&claim(&key)).await.expect("claim")
}

fn client<H: Harness>(scene: &Scene<'_, H>, i: usize) -> Arc<H::Store> {
    Arc::clone(if i % 2 == 0 {
        &scene.node
    } else {
        &scene.other
    })
}

fn is_won(claimed: &Claimed) -> bool {
    matches!(claimed, Claimed::Acquired(_))
}

#[track_caller]
fn one_winner(claimed: Vec<Claimed>) -> Lease {
    let (mut winners, others): (Vec<_>, Vec<_>) = claimed.into_iter().partition(is_won);
    assert_eq!(winners.len(), 1, "{winners:?}");
    let lease = won(winners.remove(0));
    for other in others {
        match other {
            Claimed::InFlight { fence, .. } => assert_eq!(fence, lease.fence()),
            other => panic!("a loser found {other:?}"),
        }
    }
    lease
}
