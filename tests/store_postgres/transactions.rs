//! Exactly once: the handler's writes and the record of its answer, or neither.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use tower_idempotency::{
    Fingerprint, MemoryStore, PostgresStore, RecordKey, Store,
    store::{
        Claim, Claimed, Completion, Fence, Lease, Standing, StoreErrorKind,
        postgres::{BeginError, PostgresOptions},
    },
};

use crate::{
    ledger::{Ledger, pid, terminate},
    proxy::{Cut, Proxy},
    stage::{HOUR, acquire, claim, lapse, open, pool, pool_of, random_key, record, replayed, url},
};

/// A store, its ledger, and a key that is held.
struct Scene {
    pool: sqlx::PgPool,
    store: PostgresStore,
    ledger: Ledger,
    key: RecordKey,
    lease: Lease,
}

impl Scene {
    async fn new() -> Self {
        Self::over(&url()).await
    }

    async fn over(url: &str) -> Self {
        let pool = pool(url).await;
        let (store, ledger, key) = (open(&pool).await, Ledger::new(&pool).await, random_key());
        let lease = acquire(&store, &claim(&key)).await;
        Self {
            pool,
            store,
            ledger,
            key,
            lease,
        }
    }

    /// The handler: writes an entry, and hands its transaction back.
    async fn handle(&self, lease: &Lease, entry: &str) {
        let mut transaction = self.store.begin(lease).await.unwrap();
        self.ledger.enter(&mut transaction, entry).await;
        transaction.commit_with_answer();
    }

    async fn complete(&self) -> Completion {
        self.complete_for(&self.lease).await
    }

    async fn complete_for(&self, lease: &Lease) -> Completion {
        let completed = self.store.complete(lease, &record("paid"), HOUR).await;
        completed.unwrap()
    }

    async fn take_over(&self) -> Lease {
        lapse(&self.pool, &self.key).await;
        acquire(&self.store, &claim(&self.key)).await
    }
}

#[tokio::test]
async fn writes_and_record_are_committed_together() {
    let scene = Scene::new().await;
    let mut transaction = scene.store.begin(&scene.lease).await.unwrap();
    scene.ledger.enter(&mut transaction, "a").await;
    transaction.commit_with_answer();
    assert!(scene.ledger.entries().await.is_empty());
    assert_eq!(scene.complete().await, Completion::Applied);
    assert_eq!(scene.ledger.entries().await, ["a"]);
    assert_eq!(replayed(&scene.store, &scene.key).await, record("paid"));
}

#[tokio::test]
async fn a_transaction_that_is_dropped_is_rolled_back_and_the_answer_recorded() {
    let scene = Scene::new().await;
    let mut transaction = scene.store.begin(&scene.lease).await.unwrap();
    scene.ledger.enter(&mut transaction, "a").await;
    drop(transaction);
    assert_eq!(scene.complete().await, Completion::Applied);
    assert!(scene.ledger.entries().await.is_empty());
    assert_eq!(replayed(&scene.store, &scene.key).await, record("paid"));
}

#[tokio::test]
async fn a_release_rolls_back() {
    let scene = Scene::new().await;
    scene.handle(&scene.lease, "a").await;
    let released = scene.store.release(&scene.lease).await.unwrap();
    assert_eq!(released, Completion::Applied);
    assert!(scene.ledger.entries().await.is_empty());
    let next = acquire(&scene.store, &claim(&scene.key)).await;
    scene.handle(&next, "a").await;
    assert_eq!(scene.complete_for(&next).await, Completion::Applied);
    assert_eq!(scene.ledger.entries().await, ["a"]);
}

#[tokio::test]
async fn a_zombie_rolls_back_what_it_wrote() {
    let scene = Scene::new().await;
    scene.handle(&scene.lease, "zombie").await;
    let next = scene.take_over().await;
    let lost = scene.complete().await;
    let in_flight = matches!(lost, Completion::Lost(Standing::InFlight { .. }));
    assert!(in_flight, "{lost:?}");
    scene.handle(&next, "second").await;
    assert_eq!(scene.complete_for(&next).await, Completion::Applied);
    assert_eq!(scene.ledger.entries().await, ["second"]);
}

#[tokio::test]
async fn a_zombie_that_comes_after_the_record_rolls_back_and_gets_it() {
    let scene = Scene::new().await;
    scene.handle(&scene.lease, "zombie").await;
    let next = scene.take_over().await;
    scene.handle(&next, "second").await;
    assert_eq!(scene.complete_for(&next).await, Completion::Applied);
    let lost = Completion::Lost(Standing::Completed(record("paid")));
    assert_eq!(scene.complete().await, lost);
    assert_eq!(scene.ledger.entries().await, ["second"]);
}

#[tokio::test]
async fn the_lease_is_renewed_while_the_transaction_is_open() {
    let scene = Scene::new().await;
    let mut transaction = scene.store.begin(&scene.lease).await.unwrap();
    scene.ledger.enter(&mut transaction, "a").await;
    let renewed = scene.store.renew(&scene.lease).await.unwrap();
    assert_eq!(renewed, Completion::Applied);
    transaction.commit_with_answer();
    let renewed = scene.store.renew(&scene.lease).await.unwrap();
    assert_eq!(renewed, Completion::Applied);
    assert_eq!(scene.complete().await, Completion::Applied);
}

/// While a commit is under way, nobody can tell: who takes over waits for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_takeover_waits_for_an_open_commit_and_replays() {
    let scene = Arc::new(Scene::new().await);
    scene.handle(&scene.lease, "a").await;
    lapse(&scene.pool, &scene.key).await;
    let held = scene.ledger.hold_up().await;
    let completing = Arc::clone(&scene);
    let completing = tokio::spawn(async move { completing.complete().await });
    let pid = scene.ledger.held_up().await;
    let taking_over = Arc::clone(&scene);
    let taking_over =
        tokio::spawn(async move { replayed(&taking_over.store, &taking_over.key).await });
    scene.ledger.waited_for(pid).await;
    held.rollback().await.unwrap();
    assert_eq!(completing.await.unwrap(), Completion::Applied);
    assert_eq!(taking_over.await.unwrap(), record("paid"));
    assert_eq!(scene.ledger.entries().await, ["a"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_fails_frees_the_way_for_a_takeover() {
    let scene = Arc::new(Scene::new().await);
    scene.handle(&scene.lease, "first").await;
    lapse(&scene.pool, &scene.key).await;
    let held = scene.ledger.hold_up().await;
    let completing = Arc::clone(&scene);
    let completing = tokio::spawn(async move {
        let lease = &completing.lease;
        completing
            .store
            .complete(lease, &record("paid"), HOUR)
            .await
    });
    let pid = scene.ledger.held_up().await;
    let taking_over = Arc::clone(&scene);
    let taking_over =
        tokio::spawn(async move { acquire(&taking_over.store, &claim(&taking_over.key)).await });
    scene.ledger.waited_for(pid).await;
    terminate(&scene.pool, pid).await;
    let unknown = completing.await.unwrap().unwrap_err();
    assert_eq!(unknown.kind(), StoreErrorKind::Unknown);
    let next = taking_over.await.unwrap();
    assert_eq!(next.attempt(), 2);
    drop(held);
    let found_out = scene.complete().await;
    let lost = matches!(found_out, Completion::Lost(Standing::InFlight { .. }));
    assert!(lost, "{found_out:?}");
    scene.handle(&next, "second").await;
    assert_eq!(scene.complete_for(&next).await, Completion::Applied);
    assert_eq!(scene.ledger.entries().await, ["second"]);
}

#[tokio::test]
async fn a_connection_lost_before_the_commit_leaves_neither() {
    let scene = Scene::new().await;
    let mut transaction = scene.store.begin(&scene.lease).await.unwrap();
    scene.ledger.enter(&mut transaction, "a").await;
    let pid = pid(&mut transaction).await;
    transaction.commit_with_answer();
    terminate(&scene.pool, pid).await;
    assert_eq!(scene.complete().await, Completion::RolledBack);
    assert!(scene.ledger.entries().await.is_empty());
    let found = scene.store.claim(&claim(&scene.key)).await.unwrap();
    assert!(matches!(found, Claimed::InFlight { .. }), "{found:?}");
    let released = scene.store.release(&scene.lease).await.unwrap();
    assert_eq!(released, Completion::Applied);
}

/// A constraint that is checked at the end, and does not hold.
#[tokio::test]
async fn a_commit_that_is_refused_leaves_neither() {
    let scene = Scene::new().await;
    let mut transaction = scene.store.begin(&scene.lease).await.unwrap();
    scene.ledger.enter(&mut transaction, "twice").await;
    scene.ledger.enter(&mut transaction, "twice").await;
    transaction.commit_with_answer();
    assert_eq!(scene.complete().await, Completion::RolledBack);
    assert_eq!(scene.complete().await, Completion::RolledBack);
    assert!(scene.ledger.entries().await.is_empty());
}

/// A handler that went on after an error.
#[tokio::test]
async fn a_transaction_that_failed_midway_leaves_neither() {
    let scene = Scene::new().await;
    let mut transaction = scene.store.begin(&scene.lease).await.unwrap();
    scene.ledger.enter(&mut transaction, "a").await;
    sqlx::query("SELECT 1 / 0")
        .execute(&mut *transaction)
        .await
        .unwrap_err();
    transaction.commit_with_answer();
    assert_eq!(scene.complete().await, Completion::RolledBack);
    assert!(scene.ledger.entries().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_reply_was_lost_is_found_out() {
    for (cut, found_out, entries) in [
        (Cut::Reply, Completion::AlreadyApplied, &["a"][..]),
        (Cut::Request, Completion::RolledBack, &[]),
    ] {
        let proxy = Proxy::start(&url()).await;
        let scene = Scene::over(&proxy.url()).await;
        scene.handle(&scene.lease, "a").await;
        proxy.cut_next_commit(cut);
        let unknown = scene
            .store
            .complete(&scene.lease, &record("paid"), HOUR)
            .await;
        assert_eq!(
            unknown.unwrap_err().kind(),
            StoreErrorKind::Unknown,
            "{cut:?}"
        );
        assert_eq!(scene.complete().await, found_out);
        assert_eq!(scene.ledger.entries().await, entries);
        let next = scene.store.claim(&claim(&scene.key)).await.unwrap();
        match cut {
            Cut::Reply => assert!(matches!(next, Claimed::Completed { .. }), "{next:?}"),
            _ => assert!(matches!(next, Claimed::InFlight { .. }), "{next:?}"),
        }
    }
}

/// The call is cut off at its deadline while the commit is under way, and asked again.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_is_still_open_is_waited_for() {
    let mut scene = Scene::new().await;
    let hasty = PostgresOptions::new().deadline(Duration::from_millis(300));
    scene.store = hasty.open(scene.pool.clone()).await.unwrap();
    scene.handle(&scene.lease, "a").await;
    let held = scene.ledger.hold_up().await;
    for _ in 0..3 {
        let unknown = scene
            .store
            .complete(&scene.lease, &record("paid"), HOUR)
            .await;
        assert_eq!(unknown.unwrap_err().kind(), StoreErrorKind::Unknown);
    }
    held.rollback().await.unwrap();
    let found_out = loop {
        if let Ok(found_out) = scene
            .store
            .complete(&scene.lease, &record("paid"), HOUR)
            .await
        {
            break found_out;
        }
    };
    assert_eq!(found_out, Completion::AlreadyApplied);
    assert_eq!(scene.ledger.entries().await, ["a"]);
}

/// Wherever a completion is cut off, the next one says what became of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_completion_may_be_cancelled_anywhere() {
    for polls in 0..40 {
        let scene = Scene::new().await;
        scene.handle(&scene.lease, "a").await;
        let record = record("paid");
        poll_times(polls, scene.store.complete(&scene.lease, &record, HOUR)).await;
        let completion = scene.complete().await;
        let entries = scene.ledger.entries().await;
        match completion {
            Completion::Applied | Completion::AlreadyApplied => assert_eq!(entries, ["a"]),
            Completion::RolledBack => assert!(entries.is_empty(), "{entries:?}"),
            other => panic!("after {polls} polls: {other:?}"),
        }
    }
}

/// `begin` of `sqlx` would leave the next borrower an open transaction.
#[tokio::test]
async fn a_cancelled_begin_leaves_no_open_transaction() {
    let pool = pool_of(1, &url()).await;
    let store = open(&pool).await;
    for polls in 0..30 {
        let key = random_key();
        let lease = acquire(&store, &claim(&key)).await;
        // A connection that is new, or not back yet, would take other polls each time.
        drop(store.begin(&lease).await.unwrap());
        while pool.num_idle() == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        poll_times(polls, store.begin(&lease)).await;
        let only_within = sqlx::raw_sql("SAVEPOINT a").execute(&pool).await;
        assert!(only_within.is_err(), "after {polls} polls");
        assert_eq!(store.release(&lease).await.unwrap(), Completion::Applied);
    }
}

/// To find out about a pooler, opening begins one as well.
#[tokio::test]
async fn an_opening_that_is_cancelled_leaves_no_open_transaction() {
    let pool = pool_of(2, &url()).await;
    open(&pool).await;
    for polls in 0..40 {
        let both = futures_util::future::join_all([pool.acquire(), pool.acquire()]);
        drop(both.await);
        while pool.num_idle() < 2 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        poll_times(polls, PostgresOptions::new().open(pool.clone())).await;
        for mut connection in [pool.acquire().await.unwrap(), pool.acquire().await.unwrap()] {
            let only_within = sqlx::raw_sql("SAVEPOINT a").execute(&mut *connection).await;
            assert!(only_within.is_err(), "after {polls} polls");
        }
    }
}

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

#[tokio::test]
async fn who_does_not_hold_the_key_here_gets_no_transaction() {
    let scene = Scene::new().await;
    let (memory, claim) = (
        MemoryStore::new(),
        Claim::new(&scene.key, Fingerprint::custom([0; 32])),
    );
    let Claimed::Acquired(elsewhere) = memory.claim(&claim).await.unwrap() else {
        panic!("not acquired");
    };
    let not_held = scene.store.begin(&elsewhere).await;
    assert!(matches!(not_held, Err(BeginError::NotHeld)), "{not_held:?}");
    let unprotected = scene.store.begin(&claim.won(Fence::new(0), 1)).await;
    assert!(
        matches!(unprotected, Err(BeginError::Unprotected)),
        "{unprotected:?}"
    );
    scene.take_over().await;
    let lost = scene.store.begin(&scene.lease).await;
    assert!(matches!(lost, Err(BeginError::NotHeld)), "{lost:?}");
}

#[tokio::test]
async fn there_is_one_transaction_for_an_operation() {
    let scene = Scene::new().await;
    let first = scene.store.begin(&scene.lease).await.unwrap();
    let second = scene.store.begin(&scene.lease).await;
    assert!(
        matches!(second, Err(BeginError::AlreadyBegun)),
        "{second:?}"
    );
    drop(first);
    scene.handle(&scene.lease, "a").await;
    let third = scene.store.begin(&scene.lease).await;
    assert!(matches!(third, Err(BeginError::AlreadyBegun)), "{third:?}");
    assert_eq!(scene.complete().await, Completion::Applied);
    assert_eq!(scene.ledger.entries().await, ["a"]);
}

/// A handler that answers while a task of its own still has the transaction.
#[tokio::test]
async fn an_answer_given_while_the_transaction_is_open_is_not_recorded() {
    let scene = Scene::new().await;
    let mut transaction = scene.store.begin(&scene.lease).await.unwrap();
    scene.ledger.enter(&mut transaction, "a").await;
    assert_eq!(scene.complete().await, Completion::RolledBack);
    transaction.commit_with_answer();
    assert_eq!(scene.complete().await, Completion::RolledBack);
    assert!(scene.ledger.entries().await.is_empty());
}
