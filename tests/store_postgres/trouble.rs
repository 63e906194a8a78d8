//! Servers that die, stop or keep silent; calls that are cut off; rows that are damaged.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::{Arc, Mutex},
    task::Poll,
    time::Duration,
};

use sqlx::postgres::PgPoolOptions;
use tokio::task::JoinSet;
use tower_idempotency::{
    Store,
    store::{Claimed, Completion, StoreErrorKind, postgres::PostgresOptions},
};

use crate::{
    servers::{PostgresServer, Signal, keeper::free_port},
    stage::{
        HOUR, acquire, claim, lapse, open, pool, pool_of, random_key, record, replayed, store, url,
    },
};

/// The pool is full of connections that are dead.
#[tokio::test]
async fn a_server_that_was_killed_and_started_again_knows_every_key() {
    let mut server = PostgresServer::start();
    let pool = pool(&server.url()).await;
    let (store, held, done) = (open(&pool).await, random_key(), random_key());
    let lease = acquire(&store, &claim(&held)).await;
    let finished = acquire(&store, &claim(&done)).await;
    store
        .complete(&finished, &record("done"), HOUR)
        .await
        .unwrap();
    for _ in 0..3 {
        let idle = futures_util::future::join_all((0..5).map(|_| pool.acquire())).await;
        drop(idle);
        while pool.num_idle() < 5 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        server.signal(Signal::Kill);
        server.start_again();
        let found = store.claim(&claim(&held)).await.unwrap();
        assert!(matches!(found, Claimed::InFlight { .. }), "{found:?}");
        assert_eq!(replayed(&store, &done).await, record("done"));
        assert_eq!(store.renew(&lease).await.unwrap(), Completion::Applied);
    }
    let next = acquire(&store, &claim(&random_key())).await;
    assert!(next.fence() > lease.fence());
}

#[tokio::test]
async fn a_server_that_is_not_there_has_applied_nothing() {
    let pool = pool(&url()).await;
    open(&pool).await;
    let options = PostgresOptions::new().deadline(Duration::from_millis(300));
    let elsewhere = (*pool.connect_options()).clone().port(free_port());
    let store = options.open(pool.clone()).await.unwrap();
    pool.set_connect_options(elsewhere);
    // None of those it has is left.
    while let Some(idle) = pool.try_acquire() {
        drop(idle.detach());
    }
    let error = store.claim(&claim(&random_key())).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::NotApplied, "{error:?}");
    pool.close().await;
    let error = store.claim(&claim(&random_key())).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::NotApplied, "{error:?}");
}

/// It is kept from answering; whether it applies the claim in the end, nobody knows.
#[tokio::test]
async fn a_server_that_keeps_silent_leaves_doubt_that_a_resend_ends() {
    let server = PostgresServer::start();
    let pool = pool(&server.url()).await;
    open(&pool).await;
    let hasty = PostgresOptions::new().deadline(Duration::from_millis(300));
    let (store, key) = (hasty.open(pool.clone()).await.unwrap(), random_key());
    let asked = claim(&key);
    let mut locked = pool.begin().await.unwrap();
    let lock = "LOCK TABLE idempotency_keys";
    sqlx::query(lock).execute(&mut *locked).await.unwrap();
    let error = store.claim(&asked).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unknown, "{error:?}");
    locked.rollback().await.unwrap();
    assert_eq!(acquire(&store, &asked).await.attempt(), 1);
}

/// Nobody gets the answer to a call that another gave up.
#[tokio::test]
async fn a_call_that_is_cut_off_leaves_its_answer_to_nobody() {
    let pool = pool_of(1, &url()).await;
    let store = open(&pool).await;
    for polls in 0..30 {
        let (cut, next) = (random_key(), random_key());
        poll_times(polls % 10, store.claim(&claim(&cut))).await;
        let lease = acquire(&store, &claim(&next)).await;
        assert_eq!(lease.key(), &next);
        poll_times(polls % 10, store.complete(&lease, &record("x"), HOUR)).await;
        let completion = store.complete(&lease, &record("x"), HOUR).await.unwrap();
        assert!(
            matches!(completion, Completion::Applied | Completion::AlreadyApplied),
            "{completion:?}"
        );
        let only_within = sqlx::raw_sql("SAVEPOINT a").execute(&pool).await;
        assert!(only_within.is_err(), "after {polls} polls");
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
async fn a_damaged_record_is_corrupt_and_never_absent() {
    let (store, key, pool) = (store().await, random_key(), pool(&url()).await);
    let lease = acquire(&store, &claim(&key)).await;
    store.complete(&lease, &record("done"), HOUR).await.unwrap();
    let damage = "UPDATE idempotency_keys SET response = set_byte(response, 12, 7) WHERE key = $1";
    sqlx::query(damage)
        .bind(key.as_bytes())
        .execute(&pool)
        .await
        .unwrap();
    let error = store.claim(&claim(&key)).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Corrupt, "{error:?}");
}

/// A call that meets a stricter isolation than the usual runs again where it has to.
#[tokio::test(flavor = "multi_thread")]
async fn serializable_by_default_is_no_trouble() {
    let strict = [("default_transaction_isolation", "serializable")];
    let options = (*pool(&url()).await.connect_options())
        .clone()
        .options(strict);
    let pool = PgPoolOptions::new()
        .max_connections(8)
        .connect_with(options)
        .await
        .unwrap();
    let store = open(&pool).await;
    for _ in 0..20 {
        let key = random_key();
        let claims: Vec<_> = (0..8).map(|_| claim(&key)).collect();
        let claimed = claims.iter().map(|claim| store.claim(claim));
        let claimed = futures_util::future::join_all(claimed).await;
        let won = |claimed: &Result<_, _>| matches!(claimed, Ok(Claimed::Acquired(_)));
        assert_eq!(
            claimed.iter().filter(|claimed| won(claimed)).count(),
            1,
            "{claimed:?}"
        );
        assert!(claimed.iter().all(Result::is_ok), "{claimed:?}");
    }
}

/// Who draws a fence and is held up must not come after a higher one.
#[tokio::test(flavor = "multi_thread")]
async fn fences_of_one_key_rise_however_many_claim_it() {
    let key = random_key();
    let pool = pool_of(16, &url()).await;
    let (store, fences) = (open(&pool).await, Arc::new(Mutex::new(Vec::new())));
    let mut claimants = JoinSet::new();
    for _ in 0..16 {
        let (store, fences) = (store.clone(), Arc::clone(&fences));
        claimants.spawn(async move {
            for _ in 0..150 {
                if let Claimed::Acquired(lease) = store.claim(&claim(&key)).await.unwrap() {
                    fences.lock().unwrap().push(lease.fence());
                    store.release(&lease).await.unwrap();
                }
            }
        });
    }
    claimants.join_all().await;
    let fences = fences.lock().unwrap();
    assert!(fences.len() > 20, "{}", fences.len());
    let falls = fences.windows(2).find(|pair| pair[0] >= pair[1]);
    assert_eq!(falls, None, "of {}", fences.len());
}

/// Of many that take over, all wait for one another's commits and one wins.
#[tokio::test(flavor = "multi_thread")]
async fn a_takeover_raises_the_fence() {
    let (store, key, pool) = (store().await, random_key(), pool(&url()).await);
    let mut last = acquire(&store, &claim(&key)).await;
    for attempt in 2..6 {
        lapse(&pool, &key).await;
        let next = acquire(&store, &claim(&key)).await;
        assert!(next.fence() > last.fence());
        assert_eq!(next.attempt(), attempt);
        last = next;
    }
}

/// Not all days have 24 hours where clocks change in spring and autumn.
#[tokio::test]
async fn a_renewed_lease_is_kept_for_as_long_whatever_the_time_zone() {
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    let zoned = PgPoolOptions::new().after_connect(|connection, _| {
        Box::pin(async move {
            let zone = "SET TIME ZONE 'Europe/Berlin'";
            sqlx::raw_sql(zone).execute(connection).await.map(drop)
        })
    });
    let pool = zoned.connect(&url()).await.unwrap();
    let store = open(&pool).await;
    // Of these, some end on the other side of a change.
    for days in [60, 120, 180, 240, 300] {
        let (key, retention) = (random_key(), DAY * days);
        let lease = acquire(&store, &claim(&key).retained_for(retention)).await;
        assert_eq!(store.renew(&lease).await.unwrap(), Completion::Applied);
        let kept = "SELECT extract(epoch FROM kept_until - lease_until)::float8
             FROM idempotency_keys WHERE key = $1";
        let kept = sqlx::query_scalar::<_, f64>(kept).bind(key.as_bytes());
        let off = kept.fetch_one(&pool).await.unwrap() - retention.as_secs_f64();
        assert!(off.abs() < 1.0, "{off} s after {days} days");
    }
}

/// As one to a primary that became a standby, or one that its last user left in disorder.
#[tokio::test]
async fn a_connection_that_takes_nothing_is_not_used_again() {
    for trouble in [
        "SET default_transaction_read_only = on",
        "BEGIN; SELECT 1 / 0",
        "DEALLOCATE ALL",
    ] {
        let pool = pool_of(1, &url()).await;
        let (store, key) = (open(&pool).await, random_key());
        acquire(&store, &claim(&random_key())).await;
        let _ = sqlx::raw_sql(trouble).execute(&pool).await;
        let error = store.claim(&claim(&key)).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::NotApplied, "{error:?}");
        acquire(&store, &claim(&key)).await;
    }
}

/// A `begin` that was cancelled hands its connection on with the transaction open. What is written
/// there would be rolled back with it.
#[tokio::test]
async fn a_transaction_that_somebody_left_open_holds_no_key() {
    let (pool, key) = (pool_of(1, &url()).await, random_key());
    let (store, other) = (open(&pool).await, store().await);
    // For longer than a busy machine takes for the next answer.
    let left_open = "BEGIN; SELECT pg_sleep(1)";
    sqlx::raw_sql(left_open).execute(&pool).await.unwrap();
    let lease = acquire(&store, &claim(&key)).await;
    let found = other.claim(&claim(&key)).await.unwrap();
    assert!(matches!(found, Claimed::InFlight { .. }), "{found:?}");
    sqlx::raw_sql(left_open).execute(&pool).await.unwrap();
    let completion = store.complete(&lease, &record("done"), HOUR).await;
    assert_eq!(completion.unwrap(), Completion::Applied);
    assert_eq!(replayed(&other, &key).await, record("done"));
}
