//! What handlers write: a table whose commits a test can hold up.

use std::time::Duration;

use sqlx::{AssertSqlSafe, PgConnection, PgPool};

use crate::stage::random_name;

pub(crate) struct Ledger {
    name: String,
    /// Whoever holds this advisory lock holds up commits.
    gate: i64,
    pool: PgPool,
}

impl Ledger {
    pub(crate) async fn new(pool: &PgPool) -> Self {
        let name = random_name("ledger");
        let gate = i64::from_str_radix(&name[7..22], 16).unwrap();
        let create = format!(
            "CREATE TABLE {name} (entry text NOT NULL UNIQUE DEFERRABLE INITIALLY DEFERRED);
             CREATE FUNCTION {name}_gate() RETURNS trigger LANGUAGE plpgsql AS $$
                 BEGIN PERFORM pg_advisory_xact_lock({gate}); RETURN NULL; END $$;
             CREATE CONSTRAINT TRIGGER gate AFTER INSERT ON {name} DEFERRABLE INITIALLY DEFERRED
                 FOR EACH ROW EXECUTE FUNCTION {name}_gate();"
        );
        sqlx::raw_sql(AssertSqlSafe(create))
            .execute(pool)
            .await
            .unwrap();
        let pool = pool.clone();
        Self { name, gate, pool }
    }

    pub(crate) async fn enter(&self, connection: &mut PgConnection, entry: &str) {
        let insert = format!("INSERT INTO {} VALUES ($1)", self.name);
        let insert = sqlx::query(AssertSqlSafe(insert)).bind(entry);
        insert.execute(connection).await.unwrap();
    }

    pub(crate) async fn entries(&self) -> Vec<String> {
        let select = format!("SELECT entry FROM {} ORDER BY entry", self.name);
        let entries = sqlx::query_scalar(AssertSqlSafe(select));
        entries.fetch_all(&self.pool).await.unwrap()
    }

    /// Holds up all commits until what is returned is dropped, or the closure is called.
    pub(crate) async fn hold_up(&self) -> sqlx::Transaction<'static, sqlx::Postgres> {
        let mut held = self.pool.begin().await.unwrap();
        let lock = sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(self.gate);
        lock.execute(&mut *held).await.unwrap();
        held
    }

    /// Waits until somebody's commit is held up; the process id of its server.
    pub(crate) async fn held_up(&self) -> i32 {
        let [high, low] = [self.gate >> 32, self.gate & 0xFFFF_FFFF];
        let waiting = "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND NOT granted \
             AND classid::bigint = $1 AND objid::bigint = $2";
        loop {
            let waiting = sqlx::query_scalar(waiting).bind(high).bind(low);
            if let Some(pid) = waiting.fetch_optional(&self.pool).await.unwrap() {
                return pid;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until somebody waits for the server process `pid`.
    pub(crate) async fn waited_for(&self, pid: i32) {
        let waits = "SELECT EXISTS (SELECT FROM pg_stat_activity \
             WHERE $1 = ANY (pg_blocking_pids(pid)))";
        let waits = || sqlx::query_scalar::<_, bool>(waits).bind(pid);
        while !waits().fetch_one(&self.pool).await.unwrap() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// Ends the server process behind a connection.
pub(crate) async fn terminate(pool: &PgPool, pid: i32) {
    let terminate = sqlx::query("SELECT pg_terminate_backend($1, 5000)").bind(pid);
    terminate.execute(pool).await.unwrap();
}

pub(crate) async fn pid(connection: &mut PgConnection) -> i32 {
    let pid = sqlx::query_scalar("SELECT pg_backend_pid()");
    pid.fetch_one(connection).await.unwrap()
}
