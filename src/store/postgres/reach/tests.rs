//! Servers of this process, which say what they are told to. No clock decides anything.

use std::{
    error::Error as _,
    future::{pending, ready},
    sync::Arc,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::Notify,
};

use super::*;

const STARTING: &[u8] =
    b"E\0\0\0\x3eSFATAL\0VFATAL\0C57P03\0Mthe database system is starting up\0\0";

/// Let in, and ready for a query.
const READY: &[u8] = b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I";

async fn listener() -> (TcpListener, PgConnectOptions) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let url = format!("postgres://postgres:secret@{address}/postgres");
    (listener, url.parse().unwrap())
}

/// Reads what comes, says this, and ends the connection.
async fn say(mut client: TcpStream, answer: &[u8]) {
    assert!(client.read(&mut [0; 1024]).await.unwrap() > 0);
    client.write_all(answer).await.unwrap();
}

/// A server that says each of these to one client, and nothing to the next, of which it tells.
async fn saying(answers: &'static [&[u8]]) -> (PgConnectOptions, Arc<Notify>) {
    let (listener, options) = listener().await;
    let all_said = Arc::new(Notify::new());
    let told = Arc::clone(&all_said);
    tokio::spawn(async move {
        for answer in answers {
            say(listener.accept().await.unwrap().0, answer).await;
        }
        let _client = listener.accept().await.unwrap();
        told.notify_one();
        pending::<()>().await;
    });
    (options, all_said)
}

/// Why there is no connection, and why that is: two lines of a log, so neither repeats the other.
fn chain(reached: Result<(), PostgresOpenError>) -> (String, String) {
    let error = reached.unwrap_err();
    assert!(!format!("{error:?}").contains("secret"), "{error:?}");
    let (said, Some(why)) = (error.to_string(), error.source()) else {
        panic!("{error} has no source");
    };
    let root = why.source().unwrap_or(why).to_string();
    assert!(!said.contains(&root), "{said}: {root}");
    (said, why.to_string())
}

#[tokio::test]
async fn nobody_listens() {
    let options = "postgres://postgres:secret@127.0.0.1:1/none"
        .parse()
        .unwrap();
    let (said, why) = chain(reach_until(&options, pending()).await);
    assert!(said.ends_with("127.0.0.1:1: start it, or correct host and port"));
    assert!(why.contains("Connection refused"), "{why}");
}

/// As a managed server may want it; the features of `sqlx` are those of the program.
#[tokio::test]
async fn tls_is_wanted_and_not_there() {
    let (_listener, options) = listener().await;
    let options = options.ssl_mode(sqlx::postgres::PgSslMode::Require);
    let (said, why) = chain(reach_until(&options, pending()).await);
    assert!(said.contains("name sqlx in your own Cargo.toml"), "{said}");
    assert!(why.contains("TLS"), "{why}");
}

const UNENCRYPTED: &[u8] = b"E\0\0\0\x4eSFATAL\0VFATAL\0C28000\0Mno pg_hba.conf entry for \
    host \"::1\", no encryption\0\0";

#[tokio::test]
async fn a_server_may_let_in_only_by_tls() {
    let (options, _) = saying(&[UNENCRYPTED]).await;
    let options = options.ssl_mode(sqlx::postgres::PgSslMode::Disable);
    let (said, why) = chain(reach_until(&options, pending()).await);
    assert!(said.contains("name sqlx in your own Cargo.toml"), "{said}");
    assert!(why.contains("no encryption"), "{why}");
}

/// As where a name is not known.
#[test]
fn there_is_no_way() {
    let error = Error::Io(io::Error::other("name not known"));
    assert_eq!(remedy(&error), ": correct host and port, or the way there");
}

#[tokio::test]
async fn something_else_listens() {
    let others: [&[&[u8]]; 3] = [
        &[b"HTTP/1.1 400 Bad Request\r\n\r\n"],
        &[b"-ERR\r\n"],
        &[b""],
    ];
    for answers in others {
        let (options, _) = saying(answers).await;
        let (said, _) = chain(reach_until(&options, pending()).await);
        assert!(said.ends_with(": is it a PostgreSQL server?"), "{said}");
    }
}

/// As PgBouncer says it.
const UNWANTED: &[u8] = b"E\0\0\0\x46SFATAL\0C08P01\0Munsupported startup parameter: \
    extra_float_digits\0\0";

#[tokio::test]
async fn a_pooler_takes_no_parameter_it_does_not_know() {
    let (options, _) = saying(&[UNWANTED]).await;
    let (said, why) = chain(reach_until(&options, pending()).await);
    assert!(
        said.ends_with("ignore_startup_parameters = extra_float_digits"),
        "{said}"
    );
    assert!(why.contains("unsupported startup parameter"), "{why}");
}

#[tokio::test]
async fn nobody_answers() {
    let (_listener, options) = listener().await;
    let (said, why) = chain(reach_until(&options, ready(())).await);
    assert!(said.ends_with(": is it a PostgreSQL server?"), "{said}");
    assert!(why.contains("no answer within 5s"), "{why}");
}

#[tokio::test]
async fn a_server_that_starts_is_waited_for() {
    let (options, _) = saying(&[STARTING, STARTING, READY]).await;
    reach_until(&options, pending()).await.unwrap();
}

/// It is asked again and again, and what it last said is told when patience is over.
#[tokio::test]
async fn a_server_that_never_ends_starting() {
    let (options, all_said) = saying(&[STARTING, STARTING]).await;
    let (_, why) = chain(reach_until(&options, all_said.notified()).await);
    assert!(why.contains("the database system is starting up"), "{why}");
}
