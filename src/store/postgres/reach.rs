//! One connection before there is a pool, which would wait, and then not know for what.

use std::{io::ErrorKind, time::Duration};

use sqlx::{
    Connection as _, Error, PgConnection, error::DatabaseError, postgres::PgConnectOptions,
};
use tokio::time::{sleep, timeout};

use super::setup::PostgresOpenError;

/// How long a server may take to start, or to answer.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// Whether there is a server that lets us in. One that says that it is starting, or has no
/// room, is asked again.
pub(super) async fn reach(options: &PgConnectOptions) -> Result<(), PostgresOpenError> {
    let mut refusal = None;
    let asked = timeout(PATIENCE, ask_until_ready(options, &mut refusal)).await;
    let error = match asked {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(error)) => error,
        Err(_) => refusal.unwrap_or_else(|| Error::Io(ErrorKind::TimedOut.into())),
    };
    let server = match options.get_socket() {
        Some(socket) => socket.display().to_string(),
        None => format!("{}:{}", options.get_host(), options.get_port()),
    };
    let reason = reason(&error);
    Err(PostgresOpenError::Unreachable {
        server,
        reason,
        error,
    })
}

async fn ask_until_ready(
    options: &PgConnectOptions,
    refusal: &mut Option<Error>,
) -> Result<(), Error> {
    loop {
        match PgConnection::connect_with(options).await {
            Ok(connection) => {
                // Whether it hears of our leaving does not matter.
                drop(connection.close().await);
                return Ok(());
            }
            Err(Error::Database(error)) if error.is_transient_in_connect_phase() => {
                *refusal = Some(Error::Database(error));
            }
            Err(error) => return Err(error),
        }
        sleep(Duration::from_millis(100)).await;
    }
}

/// What went wrong, and what to do about it.
fn reason(error: &Error) -> String {
    const OTHER: &str = "is it a PostgreSQL server?";
    match error {
        Error::Io(error) => match error.kind() {
            ErrorKind::ConnectionRefused => {
                format!("{error}: start it, or correct host and port")
            }
            ErrorKind::TimedOut => format!("no answer within {PATIENCE:?}: {OTHER}"),
            ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => {
                format!("{error}: {OTHER}")
            }
            _ => error.to_string(),
        },
        Error::Protocol(error) => format!("{error}: {OTHER}"),
        Error::Database(error) => refused(&**error),
        other => other.to_string(),
    }
}

fn refused(error: &dyn DatabaseError) -> String {
    let remedy = match error.code().as_deref() {
        Some("28000" | "28P01") => ": correct user and password, or its pg_hba.conf",
        Some("3D000") => ": create it, or correct the name",
        Some("53300") => ": raise its max_connections, or make pools smaller",
        _ => "",
    };
    format!("{}{remedy}", error.message())
}
