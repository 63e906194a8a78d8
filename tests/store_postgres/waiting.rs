//! Waiting: nobody sleeps past the end of a lease because nobody was told of it.

use std::{sync::Arc, time::Duration};

use sqlx::postgres::PgPoolOptions;
use tokio::time::Instant;
use tower_idempotency::{PostgresStore, Store, store::Completion};

use crate::{
    ledger::terminate,
    proxy::Proxy,
    servers::PostgresServer,
    stage::{HOUR, acquire, claim, open, pool, random_key, record, store, url},
};

/// Until the store listens, and knows that it hears.
async fn listens(store: &PostgresStore) {
    let key = random_key();
    let lease = acquire(store, &claim(&key)).await;
    loop {
        let began = Instant::now();
        store.settled(&key, lease.fence(), HOUR).await.unwrap();
        // Who is not sure to hear looks again soon.
        if began.elapsed() > Duration::from_secs(2) {
            return;
        }
    }
}

/// A waiter that is told just as it begins to wait. Who misses that sleeps for seconds.
#[tokio::test(flavor = "multi_thread")]
async fn no_completion_is_missed_by_who_begins_to_wait() {
    let (node, other) = (Arc::new(store().await), store().await);
    listens(&other).await;
    let began = Instant::now();
    for round in 0..500_u32 {
        let key = random_key();
        let lease = acquire(&node, &claim(&key)).await;
        let (completing, completed) = (Arc::clone(&node), lease.clone());
        let completing = tokio::spawn(async move {
            for _ in 0..round % 8 {
                tokio::task::yield_now().await;
            }
            completing
                .complete(&completed, &record("done"), HOUR)
                .await
                .unwrap()
        });
        other.settled(&key, lease.fence(), HOUR).await.unwrap();
        assert_eq!(completing.await.unwrap(), Completion::Applied);
    }
    let missed = began.elapsed().as_secs() / 5;
    assert!(missed < 8, "about {missed} of 500 were missed");
}

/// As by a transaction that completes the key, and is slow to commit.
#[tokio::test]
async fn who_waits_for_a_locked_row_does_not_outsleep_the_limit() {
    let (store, key, pool) = (store().await, random_key(), pool(&url()).await);
    let lease = acquire(&store, &claim(&key)).await;
    let mut locking = pool.begin().await.unwrap();
    sqlx::query("SELECT key FROM idempotency_keys WHERE key = $1 FOR UPDATE")
        .bind(key.as_bytes())
        .execute(&mut *locking)
        .await
        .unwrap();
    let (began, limit) = (Instant::now(), Duration::from_millis(100));
    store.settled(&key, lease.fence(), limit).await.unwrap();
    let waited = began.elapsed();
    assert!(waited < Duration::from_secs(5), "{waited:?}");
}

/// Nobody is told of keys that nobody waits for.
#[tokio::test]
async fn completing_tells_only_where_somebody_waits() {
    let (store, pool) = (store().await, pool(&url()).await);
    let mut listener = sqlx::postgres::PgListener::connect(&url()).await.unwrap();
    listener.listen("idempotency_keys:public").await.unwrap();
    let (quiet, awaited) = (random_key(), random_key());
    let lease = acquire(&store, &claim(&quiet)).await;
    store
        .complete(&lease, &record("quiet"), HOUR)
        .await
        .unwrap();
    let lease = acquire(&store, &claim(&awaited)).await;
    let flag = "UPDATE idempotency_keys SET waiting = true WHERE key = $1";
    sqlx::query(flag)
        .bind(awaited.as_bytes())
        .execute(&pool)
        .await
        .unwrap();
    store.complete(&lease, &record("told"), HOUR).await.unwrap();
    loop {
        let told = listener.recv().await.unwrap().payload().to_owned();
        assert_ne!(told, quiet.to_string());
        if told == awaited.to_string() {
            return;
        }
    }
}

/// Those who wait are told even if the connection they listen on is cut.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_connection_is_replaced() {
    let server = PostgresServer::start();
    let pool = pool(&server.url()).await;
    let (store, key) = (Arc::new(open(&pool).await), random_key());
    listens(&store).await;
    let lease = acquire(&store, &claim(&key)).await;
    let listening = "SELECT pid FROM pg_stat_activity WHERE query LIKE 'LISTEN%'";
    let pid = sqlx::query_scalar(listening)
        .fetch_one(&pool)
        .await
        .unwrap();
    let waiting = Arc::clone(&store);
    let fence = lease.fence();
    let waiting = tokio::spawn(async move { waiting.settled(&key, fence, HOUR).await });
    let waits = "SELECT waiting FROM idempotency_keys WHERE key = $1";
    while !sqlx::query_scalar::<_, bool>(waits)
        .bind(key.as_bytes())
        .fetch_one(&pool)
        .await
        .unwrap()
    {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    terminate(&pool, pid).await;
    waiting.await.unwrap().unwrap();
    listens(&store).await;
}

/// As behind a pooler that pools by transaction: what is told does not arrive.
#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_hear_looks_again_soon() {
    let proxy = Proxy::deaf(&url()).await;
    let store = open(&pool(&proxy.url()).await).await;
    let key = random_key();
    let lease = acquire(&store, &claim(&key)).await;
    let began = Instant::now();
    for _ in 0..10 {
        store.settled(&key, lease.fence(), HOUR).await.unwrap();
    }
    let slept = began.elapsed();
    assert!(slept < Duration::from_secs(25), "as if it heard: {slept:?}");
}

/// As where passwords change: who listens connects as the pool does by then.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_connection_is_replaced_by_one_with_the_options_of_now() {
    let server = PostgresServer::start();
    let pool = pool(&server.url()).await;
    sqlx::raw_sql("CREATE ROLE former SUPERUSER LOGIN")
        .execute(&pool)
        .await
        .unwrap();
    let options = (*pool.connect_options()).clone();
    let used = PgPoolOptions::new().connect_lazy_with(options.clone().username("former"));
    let store = open(&used).await;
    listens(&store).await;
    used.set_connect_options(options);
    sqlx::raw_sql(
        "ALTER ROLE former NOLOGIN;
         SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'former'",
    )
    .execute(&pool)
    .await
    .unwrap();
    tokio::time::timeout(Duration::from_secs(20), listens(&store))
        .await
        .expect("it listens again");
}
