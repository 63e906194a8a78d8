//! Creating the table, and telling whether a server can be trusted with keys.

use sqlx::{AssertSqlSafe, PgPool, Row as _, postgres::PgRow};

use super::{
    pooler::has_mixed_up,
    reach::remedy,
    statements::{TABLE, identifier},
};

/// The text of [`PostgresStore::SCHEMA`](super::PostgresStore::SCHEMA).
pub(super) const SCHEMA: &str = include_str!("schema.sql");

/// What the comment on a table of this version says.
const COMMENT: &str = "tower-idempotency schema 1";

/// Serialises those that migrate at once.
const MIGRATION: i64 = 0x746F_7765_7269_6465;

/// Why a server was not taken as a store. The text says what to do about it. Print it with
/// `{}`: `expect`, and a `main` that returns it, show `Debug` instead.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PostgresOpenError {
    /// No connection could be made; the text has the remedy where there is one. A pool of your
    /// own does not say why, and is [`Server`](Self::Server).
    #[error("no connection to the PostgreSQL server at {server}{}", remedy(source))]
    #[non_exhaustive]
    Unreachable {
        /// Where it was looked for: host and port, or the directory of its socket.
        server: String,
        /// What happened.
        source: sqlx::Error,
    },
    /// It could not be asked.
    #[error("the PostgreSQL server could not be asked")]
    Server(#[source] sqlx::Error),
    /// A pooler stands before it that mixes up prepared statements: one client would run those
    /// of another.
    #[error(
        "the pooler before the PostgreSQL server mixes up prepared statements: have it keep track of them (PgBouncer 1.21: max_prepared_statements) or pool by session, or go past it"
    )]
    #[non_exhaustive]
    MixedUp {
        /// What the server said.
        source: sqlx::Error,
    },
    /// It is a standby, which takes no writes.
    #[error(
        "the PostgreSQL server is a standby: connect to the primary (with several hosts: target_session_attrs=read-write)"
    )]
    Standby,
    /// It may forget what it acknowledged.
    #[error(
        "{setting}: the PostgreSQL server may forget keys it acknowledged, and then carries operations out twice: {remedy}, or accept it with PostgresOptions::danger_volatile"
    )]
    #[non_exhaustive]
    Volatile {
        /// What makes it forget.
        setting: &'static str,
        /// What to do about it.
        remedy: &'static str,
    },
    /// There is no table.
    #[error(
        "there is no table {table}: call PostgresOptions::migrate, or run PostgresStore::SCHEMA"
    )]
    #[non_exhaustive]
    NotMigrated {
        /// Where it was looked for.
        table: String,
    },
    /// The table is of another version of this crate, or of something else.
    #[error(
        "the table {table} is {found:?}, and this version of tower-idempotency needs {COMMENT:?}: call PostgresOptions::migrate of the newer one"
    )]
    #[non_exhaustive]
    OtherSchema {
        /// The table.
        table: String,
        /// Its comment, which says what it is.
        found: Option<String>,
    },
}

impl From<sqlx::Error> for PostgresOpenError {
    fn from(error: sqlx::Error) -> Self {
        if has_mixed_up(&error) {
            Self::MixedUp { source: error }
        } else {
            Self::Server(error)
        }
    }
}

/// What stands at the server.
struct Health {
    row: PgRow,
}

impl Health {
    async fn ask(pool: &PgPool, table: &str) -> Result<Self, sqlx::Error> {
        let asked = sqlx::query(include_str!("sql/health.sql")).bind(table);
        let row = asked.fetch_one(pool).await?;
        Ok(Self { row })
    }

    fn text(&self, column: &str) -> Result<Option<String>, sqlx::Error> {
        self.row.try_get(column)
    }

    fn is(&self, column: &str) -> Result<bool, sqlx::Error> {
        let is: Option<bool> = self.row.try_get(column)?;
        Ok(is == Some(true))
    }

    fn check_durable(&self) -> Result<(), PostgresOpenError> {
        let volatile = |setting, remedy| Err(PostgresOpenError::Volatile { setting, remedy });
        if self.text("synchronous_commit")?.as_deref() == Some("off") {
            return volatile(
                "synchronous_commit=off",
                "set it to on for this role or database",
            );
        }
        if self.text("fsync")?.as_deref() == Some("off") {
            return volatile("fsync=off", "set it to on");
        }
        if self.is("unlogged")? {
            return volatile("unlogged table", "ALTER TABLE idempotency_keys SET LOGGED");
        }
        Ok(())
    }
}

/// Whether data may be lost.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Durability {
    Required,
    Waived,
}

/// The name `table` is looked up by; without a schema, by the search path.
fn name(schema: Option<&str>) -> String {
    match schema {
        Some(schema) => format!("{}.{TABLE}", identifier(schema)),
        None => TABLE.to_owned(),
    }
}

/// The schema of the table, if it is one that keys can be trusted to.
pub(super) async fn check(
    pool: &PgPool,
    schema: Option<&str>,
    durability: Durability,
) -> Result<String, PostgresOpenError> {
    let table = name(schema);
    let health = Health::ask(pool, &table).await?;
    if health.is("standby")? {
        return Err(PostgresOpenError::Standby);
    }
    let Some(schema) = health.text("schema")? else {
        return Err(PostgresOpenError::NotMigrated { table });
    };
    let found = health.text("comment")?;
    if found.as_deref() != Some(COMMENT) {
        return Err(PostgresOpenError::OtherSchema { table, found });
    }
    if durability == Durability::Required {
        health.check_durable()?;
    }
    Ok(schema)
}

/// Creates what is not there yet.
pub(super) async fn migrate(pool: &PgPool, schema: Option<&str>) -> Result<(), PostgresOpenError> {
    let table = name(schema);
    let health = Health::ask(pool, &table).await?;
    if health.is("standby")? {
        return Err(PostgresOpenError::Standby);
    }
    let exists = health.text("schema")?.is_some();
    match health.text("comment")? {
        Some(found) if found == COMMENT => return Ok(()),
        found if exists => return Err(PostgresOpenError::OtherSchema { table, found }),
        _ => {}
    }
    let path = match schema {
        Some(schema) => format!("SET LOCAL search_path TO {};", identifier(schema)),
        None => String::new(),
    };
    // Sent as one, and so one transaction.
    let all = format!("SELECT pg_advisory_xact_lock({MIGRATION}); {path} {SCHEMA}");
    sqlx::raw_sql(AssertSqlSafe(all)).execute(pool).await?;
    Ok(())
}
