//! One connection before there is a pool, which would wait, and then not know for what.

use std::{
    io::{self, ErrorKind},
    time::Duration,
};

use sqlx::{Connection as _, Error, PgConnection, postgres::PgConnectOptions};
use tokio::time::sleep;

use super::setup::PostgresOpenError;

/// How long a server may take to start, or to answer.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// Whether there is a server that lets us in. One that says that it is starting, or has no
/// room, is asked again.
pub(super) async fn reach(options: &PgConnectOptions) -> Result<(), PostgresOpenError> {
    reach_until(options, sleep(PATIENCE)).await
}

/// The same, until `patience` is over.
async fn reach_until(
    options: &PgConnectOptions,
    patience: impl Future<Output = ()>,
) -> Result<(), PostgresOpenError> {
    let mut refusal = None;
    let asked = tokio::select! {
        asked = ask_until_ready(options, &mut refusal) => Some(asked),
        () = patience => None,
    };
    let source = match asked {
        Some(Ok(())) => return Ok(()),
        Some(Err(error)) => error,
        None => refusal.unwrap_or_else(no_answer),
    };
    let server = match options.get_socket() {
        Some(socket) => socket.display().to_string(),
        None => format!("{}:{}", options.get_host(), options.get_port()),
    };
    Err(PostgresOpenError::Unreachable { server, source })
}

fn no_answer() -> Error {
    let words = format!("no answer within {PATIENCE:?}");
    Error::Io(io::Error::new(ErrorKind::TimedOut, words))
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

/// What to do about `error`, if there is something to be said; goes behind the name of the
/// server.
pub(super) fn remedy(error: &Error) -> &'static str {
    const OTHER: &str = ": is it a PostgreSQL server?";
    const TLS: &str = ": name sqlx in your own Cargo.toml with one of its features for TLS, or \
                       correct sslmode and certificates";
    match error {
        Error::Io(error) => match error.kind() {
            ErrorKind::ConnectionRefused => ": start it, or correct host and port",
            ErrorKind::TimedOut
            | ErrorKind::UnexpectedEof
            | ErrorKind::ConnectionReset
            | ErrorKind::BrokenPipe => OTHER,
            _ => ": correct host and port, or the way there",
        },
        Error::Tls(_) => TLS,
        Error::Protocol(_) => OTHER,
        Error::Database(error) => match error.code().as_deref() {
            Some("28000") if is_unencrypted(error.message()) => {
                ": correct its pg_hba.conf, or use TLS: name sqlx in your own Cargo.toml with \
                 one of its features for that"
            }
            Some("28000" | "28P01") => ": correct user and password, or its pg_hba.conf",
            Some("08P01") if error.message().contains("startup parameter") => {
                ": if this is PgBouncer, set its ignore_startup_parameters = extra_float_digits"
            }
            Some("3D000") => ": create the database, or correct its name",
            Some("53300") => ": raise its max_connections, or make pools smaller",
            Some("57P03") => ": it takes no connections yet, try later",
            _ => "",
        },
        _ => "",
    }
}

/// Whether `message` tells that, in the words of PostgreSQL or of those before 14.
fn is_unencrypted(message: &str) -> bool {
    message.contains("no encryption") || message.contains("SSL off")
}

#[cfg(test)]
mod tests;
