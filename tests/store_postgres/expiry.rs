//! What is gone is cleared away, and nothing else.

use std::time::Duration;

use tokio::time::Instant;
use tower_idempotency::{
    RecordKey, Store,
    store::{AfterCrash, Claimed, Completion, postgres::PostgresOptions},
};

use crate::{
    servers::PostgresServer,
    stage::{HOUR, acquire, claim, open, pool, random_key, random_name, record, url},
};

const MOMENT: Duration = Duration::from_millis(1);

/// A store in a schema of its own, which nobody else sweeps.
async fn alone(options: PostgresOptions) -> (tower_idempotency::PostgresStore, sqlx::PgPool) {
    let (pool, schema) = (pool(&url()).await, random_name("alone"));
    let create = sqlx::AssertSqlSafe(format!("CREATE SCHEMA {schema}"));
    sqlx::raw_sql(create).execute(&pool).await.unwrap();
    let with_path = (*pool.connect_options())
        .clone()
        .options([("search_path", &schema)]);
    let pool = sqlx::PgPool::connect_with(with_path).await.unwrap();
    options.migrate(&pool).await.unwrap();
    (options.open(pool.clone()).await.unwrap(), pool)
}

async fn rows(pool: &sqlx::PgPool) -> i64 {
    let count = sqlx::query_scalar("SELECT count(*) FROM idempotency_keys");
    count.fetch_one(pool).await.unwrap()
}

/// Makes every row one that may be looked at.
async fn let_look(pool: &sqlx::PgPool) {
    let look = sqlx::query("UPDATE idempotency_keys SET expires_at = clock_timestamp()");
    look.execute(pool).await.unwrap();
}

#[tokio::test]
async fn what_is_gone_is_cleared_away_and_nothing_else() {
    let (store, pool) = alone(PostgresOptions::new().sweep_by_hand()).await;
    let keys: Vec<RecordKey> = (0..5).map(|_| random_key()).collect();
    let held = acquire(&store, &claim(&keys[0])).await;
    let lapsed = claim(&keys[1]).lease_for(MOMENT).retained_for(HOUR);
    acquire(&store, &lapsed).await;
    let kept = acquire(&store, &claim(&keys[2])).await;
    store.complete(&kept, &record("kept"), HOUR).await.unwrap();
    let expired = acquire(&store, &claim(&keys[3])).await;
    store
        .complete(&expired, &record("expired"), MOMENT)
        .await
        .unwrap();
    let gone = claim(&keys[4]).lease_for(MOMENT).retained_for(MOMENT);
    acquire(&store, &gone).await;
    tokio::time::sleep(MOMENT * 20).await;
    let_look(&pool).await;
    assert_eq!((store.sweep().await.unwrap(), rows(&pool).await), (2, 3));
    assert_eq!(store.renew(&held).await.unwrap(), Completion::Applied);
    let hold = claim(&keys[1]).after_crash(AfterCrash::Hold);
    assert_eq!(store.claim(&hold).await.unwrap(), Claimed::Unknown);
    let found = store.claim(&claim(&keys[2])).await.unwrap();
    assert!(matches!(found, Claimed::Completed { .. }), "{found:?}");
}

#[tokio::test]
async fn it_is_cleared_away_by_itself() {
    let (store, pool) = alone(PostgresOptions::new().sweep_every(MOMENT * 20)).await;
    let key = random_key();
    acquire(&store, &claim(&key).lease_for(MOMENT).retained_for(MOMENT)).await;
    let began = Instant::now();
    while rows(&pool).await > 0 {
        assert!(
            began.elapsed() < Duration::from_secs(60),
            "nobody clears it away"
        );
        tokio::time::sleep(MOMENT * 5).await;
    }
}

/// Two nodes share the work, batch by batch.
#[tokio::test(flavor = "multi_thread")]
async fn many_are_cleared_away_in_batches_by_two_nodes() {
    let (store, pool) = alone(PostgresOptions::new().sweep_by_hand()).await;
    let fill = "INSERT INTO idempotency_keys
         (key, fingerprint, token, fence, attempt, lease_until, kept_until, expires_at)
         SELECT int8send(n), '', '', n, 1, t, t, t
         FROM generate_series(1, 2500) AS n, (SELECT clock_timestamp() AS t) AS now";
    sqlx::query(fill).execute(&pool).await.unwrap();
    let lease = acquire(&store, &claim(&random_key())).await;
    let (one, other) = tokio::join!(store.sweep(), store.sweep());
    assert_eq!(one.unwrap() + other.unwrap(), 2500);
    assert_eq!(rows(&pool).await, 1);
    assert_eq!(store.renew(&lease).await.unwrap(), Completion::Applied);
}

/// Each node looks every minute, and a table may be large.
#[tokio::test]
async fn what_is_kept_is_not_looked_at() {
    let (store, used) = alone(PostgresOptions::new().sweep_by_hand()).await;
    let fill = "INSERT INTO idempotency_keys
         (key, fingerprint, token, fence, attempt, lease_until, kept_until, expires_at)
         SELECT int8send(n), '', '', n, 1, t, t, t
         FROM generate_series(1, 20000) AS n,
             (SELECT clock_timestamp() + interval '1 hour' AS t) AS later;
         ANALYZE idempotency_keys";
    sqlx::raw_sql(fill).execute(&used).await.unwrap();
    let schema: String = sqlx::query_scalar("SELECT current_schema()")
        .fetch_one(&used)
        .await
        .unwrap();
    assert_eq!(store.sweep().await.unwrap(), 0);
    // What a connection has counted is there once it has ended.
    used.close().await;
    let looked = "SELECT seq_scan + idx_scan > 0, seq_tup_read + idx_tup_fetch
         FROM pg_stat_user_tables WHERE schemaname = $1";
    let pool = pool(&url()).await;
    let looked = || {
        sqlx::query_as::<_, (bool, i64)>(looked)
            .bind(&schema)
            .fetch_one(&pool)
    };
    let rows = loop {
        match looked().await.unwrap() {
            (true, rows) => break rows,
            (false, _) => tokio::time::sleep(MOMENT * 10).await,
        }
    };
    assert!(rows < 100, "{rows} rows");
}

/// A row that somebody is at is left for the next time.
#[tokio::test]
async fn a_row_that_is_in_use_is_skipped() {
    let (store, pool) = alone(PostgresOptions::new().sweep_by_hand()).await;
    for _ in 0..2 {
        let key = random_key();
        acquire(&store, &claim(&key).lease_for(MOMENT).retained_for(MOMENT)).await;
    }
    tokio::time::sleep(MOMENT * 20).await;
    let mut used = pool.begin().await.unwrap();
    let lock = "SELECT key FROM idempotency_keys LIMIT 1 FOR UPDATE";
    sqlx::query(lock).execute(&mut *used).await.unwrap();
    assert_eq!(store.sweep().await.unwrap(), 1);
    used.rollback().await.unwrap();
    assert_eq!(store.sweep().await.unwrap(), 1);
}

/// Completing and renewing touch no index, and replays touch nothing.
#[tokio::test]
async fn completing_is_a_heap_only_update_and_a_replay_writes_nothing() {
    let server = PostgresServer::start();
    let pool = pool(&server.url()).await;
    let store = open(&pool).await;
    let keys: Vec<RecordKey> = (0..200).map(|_| random_key()).collect();
    for key in &keys {
        let lease = acquire(&store, &claim(key)).await;
        store.renew(&lease).await.unwrap();
        let day = Duration::from_secs(24 * 3600);
        store.complete(&lease, &record("done"), day).await.unwrap();
    }
    let written = "SELECT pg_current_wal_insert_lsn()::text, pg_current_snapshot()::text";
    let written = || sqlx::query_as::<_, (String, String)>(written).fetch_one(&pool);
    loop {
        let before = written().await.unwrap();
        for key in &keys {
            let found = store.claim(&claim(key)).await.unwrap();
            assert!(matches!(found, Claimed::Completed { .. }), "{found:?}");
        }
        // The server itself writes now and then.
        if before == written().await.unwrap() {
            break;
        }
    }
    let updates = "SELECT pg_stat_get_tuples_updated(oid), pg_stat_get_tuples_hot_updated(oid) \
        FROM pg_class WHERE oid = 'idempotency_keys'::regclass";
    loop {
        let updates = sqlx::query_as::<_, (i64, i64)>(updates);
        let (all, heap_only) = updates.fetch_one(&pool).await.unwrap();
        if all >= 400 {
            assert_eq!((all, heap_only), (400, 400));
            return;
        }
        // Sessions report what they did with a delay.
        tokio::time::sleep(MOMENT * 50).await;
    }
}
