//! Whether a pooler stands before the server that would mix up prepared statements.
//!
//! Each connection numbers its statements from one. A pooler that hands a connection to the
//! server to somebody else after each transaction, and does not know of statements, has one
//! client run what another has prepared under the same number.

use std::time::Duration;

use sqlx::{
    PgConnection, PgPool,
    postgres::{PgDatabaseError, PgSeverity},
};
use tokio::time::timeout;

use super::{setup::PostgresOpenError, transaction::begin_apart};

/// How long the pool may take for two connections; else nothing is found out.
const PATIENCE: Duration = Duration::from_secs(2);

/// Refuses a pooler that mixes up statements, as far as it shows. A pool that has no room for
/// two connections shows nothing.
pub(super) async fn check(pool: &PgPool) -> Result<(), PostgresOpenError> {
    if pool.options().get_max_connections() < 2 {
        return Ok(());
    }
    match timeout(PATIENCE, prepare_on_both(pool)).await {
        Ok(Err(sqlx::Error::PoolTimedOut)) | Err(_) => Ok(()),
        Ok(prepared) => Ok(prepared?),
    }
}

/// What one connection has prepared, it runs again while another holds the connection to the
/// server on which it was prepared.
async fn prepare_on_both(pool: &PgPool) -> Result<(), sqlx::Error> {
    let mut asking = pool.acquire().await?;
    run(&mut asking).await?;
    let mut holding = begin_apart(pool).await?;
    run(&mut holding).await?;
    run(&mut asking).await
}

async fn run(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query("SELECT 1").execute(connection).await?;
    Ok(())
}

/// Whether the server says that a statement is not there, or that another one is.
pub(super) fn has_mixed_up(error: &sqlx::Error) -> bool {
    let Some(error) = error.as_database_error() else {
        return false;
    };
    let error: &PgDatabaseError = error.downcast_ref();
    match error.code() {
        "26000" | "42P05" => true,
        // The other one takes more values; a pooler that lets nobody in says it as well.
        "08P01" => error.severity() == PgSeverity::Error,
        _ => false,
    }
}
