//! Behind PgBouncer.

use std::sync::OnceLock;

use sqlx::{PgPool, postgres::PgConnectOptions};
use tower_idempotency::{
    PostgresStore, Store as _,
    store::{Completion, conformance::Harness, postgres::PostgresOpenError},
    store_conformance,
};

use crate::{
    ledger::Ledger,
    servers::PgBouncer,
    stage::{HOUR, acquire, claim, open, pool, random_key, record, replayed, url},
};

/// What `sqlx` needs, and what an error says of it.
const LETS_IN: &str = "ignore_startup_parameters = extra_float_digits";

/// A pooler before the server of all tests.
fn pooler(settings: &[&str]) -> PgBouncer {
    let server: PgConnectOptions = url().parse().unwrap();
    PgBouncer::start(server.get_port(), settings)
}

/// One that pools by transaction if it can, else by session.
fn pooled() -> String {
    static POOLER: OnceLock<PgBouncer> = OnceLock::new();
    let start = || match PgBouncer::tracks_statements() {
        true => pooler(&[
            LETS_IN,
            "pool_mode=transaction",
            "max_prepared_statements=100",
        ]),
        false => pooler(&[LETS_IN, "pool_mode=session"]),
    };
    POOLER.get_or_init(start).url()
}

struct Pooled;

impl Harness for Pooled {
    type Store = PostgresStore;

    async fn client(&self) -> PostgresStore {
        open(&pool(&pooled()).await).await
    }

    /// A store whose pooler was switched off.
    async fn unreachable(&self) -> Option<PostgresStore> {
        let pooler = pooler(&[LETS_IN]);
        let pool = PgPool::connect(&pooler.url()).await.unwrap();
        Some(PostgresStore::new(pool).await.unwrap())
    }
}

store_conformance!(pooled, Pooled);

#[tokio::test]
async fn writes_and_record_are_committed_together() {
    let pool = pool(&pooled()).await;
    let (store, ledger, key) = (open(&pool).await, Ledger::new(&pool).await, random_key());
    let lease = acquire(&store, &claim(&key)).await;
    store.save(&lease, "charged", "yes").await.unwrap();
    let mut transaction = store.begin(&lease).await.unwrap();
    ledger.enter(&mut transaction, "a").await;
    let saved = store.saved(&lease, "charged").await.unwrap();
    assert_eq!(saved.as_deref(), Some(&b"yes"[..]));
    transaction.commit_with_answer();
    assert!(ledger.entries().await.is_empty());
    let completed = store.complete(&lease, &record("paid"), HOUR).await;
    assert_eq!(completed.unwrap(), Completion::Applied);
    assert_eq!(ledger.entries().await, ["a"]);
    assert_eq!(replayed(&store, &key).await, record("paid"));
}

/// As PgBouncer did in each version before 1.21.
#[tokio::test]
async fn a_pooler_that_mixes_up_statements_is_refused() {
    let mut settings = vec![LETS_IN, "pool_mode=transaction"];
    if PgBouncer::tracks_statements() {
        settings.push("max_prepared_statements=0");
    }
    let pooler = pooler(&settings);
    for url in [
        pooler.url(),
        pooler.url(),
        format!("{}?statement-cache-capacity=0", pooler.url()),
    ] {
        let error = PostgresStore::connect(&url).await.unwrap_err();
        let refused = matches!(error, PostgresOpenError::MixedUp { .. });
        assert!(refused, "{url}: {error:?}");
        assert!(error.to_string().contains("max_prepared_statements"));
    }
}

#[tokio::test]
async fn a_pooler_that_lets_nobody_in_is_told_what_to_do() {
    let pooler = pooler(&["pool_mode=session"]);
    let error = PostgresStore::connect(&pooler.url()).await.unwrap_err();
    let refused = matches!(error, PostgresOpenError::Unreachable { .. });
    assert!(refused, "{error:?}");
    assert!(error.to_string().ends_with(LETS_IN), "{error}");
}
