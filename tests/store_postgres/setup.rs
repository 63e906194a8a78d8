//! Which servers are taken, and which are refused with the remedy.

use std::time::Duration;

use http::Response;
use sqlx::{AssertSqlSafe, PgPool, postgres::PgPoolOptions};
use tower_idempotency::{
    PostgresStore, Store,
    store::{
        Claimed, Completion, Resolution,
        postgres::{PostgresOpenError, PostgresOptions},
    },
};

use crate::{
    servers::PostgresServer,
    stage::{HOUR, acquire, claim, pool, random_key, random_name, record, replayed, url},
};

/// A database of its own.
async fn database() -> PgPool {
    let name = random_name("db");
    let create = format!("CREATE DATABASE {name}");
    sqlx::raw_sql(AssertSqlSafe(create))
        .execute(&pool(&url()).await)
        .await
        .unwrap();
    let server = url().strip_suffix("/postgres").unwrap().to_owned();
    pool(&format!("{server}/{name}")).await
}

async fn run(pool: &PgPool, sql: &'static str) {
    sqlx::raw_sql(sql).execute(pool).await.unwrap();
}

async fn refused(pool: &PgPool) -> String {
    PostgresStore::new(pool.clone())
        .await
        .unwrap_err()
        .to_string()
}

#[tokio::test]
async fn a_table_that_is_not_there_is_refused_until_migrated() {
    let pool = database().await;
    let error = refused(&pool).await;
    assert!(error.contains("PostgresOptions::migrate"), "{error}");
    PostgresStore::migrate(&pool).await.unwrap();
    PostgresStore::new(pool).await.unwrap();
}

#[tokio::test]
async fn several_nodes_migrate_at_once() {
    for _ in 0..5 {
        let pool = database().await;
        let migrations = (0..5).map(|_| PostgresStore::migrate(&pool));
        for migrated in futures_util::future::join_all(migrations).await {
            migrated.unwrap();
        }
        PostgresStore::new(pool).await.unwrap();
    }
}

#[tokio::test]
async fn a_table_of_another_version_is_neither_used_nor_changed() {
    let pool = database().await;
    PostgresStore::migrate(&pool).await.unwrap();
    run(
        &pool,
        "COMMENT ON TABLE idempotency_keys IS 'tower-idempotency schema 99'",
    )
    .await;
    let error = refused(&pool).await;
    assert!(error.contains("schema 99"), "{error}");
    let error = PostgresStore::migrate(&pool).await.unwrap_err();
    assert!(
        matches!(error, PostgresOpenError::OtherSchema { .. }),
        "{error}"
    );
    run(&pool, "COMMENT ON TABLE idempotency_keys IS NULL").await;
    let error = PostgresStore::migrate(&pool).await.unwrap_err();
    assert!(
        matches!(error, PostgresOpenError::OtherSchema { .. }),
        "{error}"
    );
}

/// Whatever the search path of a connection.
#[tokio::test]
async fn a_schema_may_have_any_name() {
    let pool = database().await;
    let options = PostgresOptions::new().schema("my \"own\" 'schema'");
    let error = options.migrate(&pool).await.unwrap_err();
    assert!(
        matches!(error, PostgresOpenError::Server(_)),
        "it must exist: {error}"
    );
    run(&pool, r#"CREATE SCHEMA "my ""own"" 'schema'""#).await;
    options.migrate(&pool).await.unwrap();
    options.migrate(&pool).await.unwrap();
    assert!(
        PostgresStore::new(pool.clone()).await.is_err(),
        "it is in no search path"
    );
    let (store, key) = (options.open(pool.clone()).await.unwrap(), random_key());
    let lease = acquire(&store, &claim(&key)).await;
    store.save(&lease, "a", "b").await.unwrap();
    let mut transaction = store.begin(&lease).await.unwrap();
    sqlx::query("SET LOCAL search_path TO pg_catalog")
        .execute(&mut *transaction)
        .await
        .unwrap();
    transaction.commit_with_answer();
    store.complete(&lease, &record("done"), HOUR).await.unwrap();
    assert_eq!(replayed(&store, &key).await, record("done"));
    assert_eq!(store.sweep().await.unwrap(), 0);
}

#[tokio::test]
async fn a_server_that_may_forget_is_refused() {
    let pool = database().await;
    PostgresStore::migrate(&pool).await.unwrap();
    run(&pool, "ALTER TABLE idempotency_keys SET UNLOGGED").await;
    let error = refused(&pool).await;
    assert!(error.contains("SET LOGGED"), "{error}");
    run(&pool, "ALTER TABLE idempotency_keys SET LOGGED").await;
    let options = (*pool.connect_options())
        .clone()
        .options([("synchronous_commit", "off")]);
    let hasty = PgPoolOptions::new().connect_with(options).await.unwrap();
    let error = refused(&hasty).await;
    assert!(error.contains("synchronous_commit=off"), "{error}");
    PostgresOptions::new()
        .danger_volatile()
        .open(hasty)
        .await
        .unwrap();
    PostgresStore::new(pool).await.unwrap();
}

#[tokio::test]
async fn a_server_without_fsync_is_refused() {
    let server = PostgresServer::start_with(&["fsync=off"]);
    let error = PostgresStore::connect(&server.url()).await.unwrap_err();
    assert!(error.to_string().contains("fsync=off"), "{error}");
    let store = PostgresOptions::new()
        .danger_volatile()
        .connect(&server.url())
        .await;
    acquire(&store.unwrap(), &claim(&random_key())).await;
}

/// A server that became a standby under a store that was open gives no answers either.
#[tokio::test]
async fn a_standby_is_refused() {
    let mut server = PostgresServer::start();
    let store = PostgresStore::connect(&server.url()).await.unwrap();
    let key = random_key();
    let lease = acquire(&store, &claim(&key)).await;
    store.complete(&lease, &record("done"), HOUR).await.unwrap();
    server.become_standby();
    let error = PostgresStore::connect(&server.url()).await.unwrap_err();
    assert!(matches!(error, PostgresOpenError::Standby), "{error}");
    assert!(error.to_string().contains("primary"), "{error}");
    let pool = pool(&server.url()).await;
    let error = PostgresStore::new(pool).await.unwrap_err();
    assert!(matches!(error, PostgresOpenError::Standby), "{error}");
    let claimed: Result<Claimed, _> = store.claim(&claim(&key)).await;
    claimed.unwrap_err();
}

#[tokio::test]
async fn a_role_needs_only_the_rights_that_the_documentation_names() {
    let (owner, role) = (database().await, random_name("role"));
    PostgresStore::migrate(&owner).await.unwrap();
    let documentation = include_str!("../../src/store/postgres/mod.rs").lines();
    let rights = documentation.filter_map(|line| line.strip_prefix("//! GRANT "));
    let rights: String = rights.map(|right| format!("GRANT {right}")).collect();
    let create = format!("CREATE ROLE {role} LOGIN; {rights}");
    let create = create.replace(" app;", &format!(" {role};"));
    sqlx::raw_sql(AssertSqlSafe(create))
        .execute(&owner)
        .await
        .unwrap();
    let options = (*owner.connect_options()).clone().username(&role);
    let pool = PgPoolOptions::new().connect_with(options).await.unwrap();
    PostgresStore::migrate(&pool).await.unwrap();
    let (store, key) = (PostgresStore::new(pool).await.unwrap(), random_key());
    let lease = acquire(&store, &claim(&key)).await;
    assert_eq!(store.renew(&lease).await.unwrap(), Completion::Applied);
    store.save(&lease, "step", "one").await.unwrap();
    assert!(store.saved(&lease, "step").await.unwrap().is_some());
    let soon = Duration::from_millis(10);
    store.settled(&key, lease.fence(), soon).await.unwrap();
    store.begin(&lease).await.unwrap().commit_with_answer();
    let completion = store.complete(&lease, &record("done"), HOUR).await;
    assert_eq!(completion.unwrap(), Completion::Applied);
    assert_eq!(replayed(&store, &key).await, record("done"));
    store.forget(&key).await.unwrap();
    let lease = acquire(&store, &claim(&key).lease_for(Duration::ZERO)).await;
    let resolved = store.resolve(&key, &Response::default(), HOUR).await;
    assert_eq!(resolved.unwrap(), Resolution::Resolved);
    assert!(store.release(&lease).await.is_ok());
    store.sweep().await.unwrap();
}

/// The password is in the URL, and stays there.
#[tokio::test]
async fn nothing_shown_has_the_password() {
    let url = url().replace("postgres@", "postgres:secret@");
    let store = PostgresStore::connect(&url).await.unwrap();
    let unreachable = "postgres://postgres:secret@127.0.0.1:1/none";
    let error = PgPoolOptions::new().acquire_timeout(Duration::from_millis(50));
    let error = error.connect_lazy(unreachable).unwrap();
    let error = PostgresStore::new(error).await.unwrap_err();
    let shown = format!("{store:?} {error:?} {error} {:?}", PostgresOptions::new());
    assert!(!shown.contains("secret"), "{shown}");
    assert!(shown.contains("public"), "{shown}");
}
