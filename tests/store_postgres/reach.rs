//! Why no connection can be made.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional},
    net::{TcpListener, TcpStream},
    time::Instant,
};
use tower_idempotency::{PostgresStore, store::postgres::PostgresOpenError};

use crate::stage::url;

/// What is said of the server there.
async fn unreachable(url: &str) -> String {
    let error = PostgresStore::connect(url).await.unwrap_err();
    assert!(
        matches!(error, PostgresOpenError::Unreachable { .. }),
        "{error:?}"
    );
    assert!(!format!("{error} {error:?}").contains("secret"), "{error}");
    error.to_string()
}

#[tokio::test]
async fn nobody_listens() {
    let before = Instant::now();
    let said = unreachable("postgres://postgres:secret@127.0.0.1:1/none").await;
    assert!(before.elapsed() < Duration::from_secs(4), "at once");
    assert!(said.contains("127.0.0.1:1: Connection refused"), "{said}");
    assert!(said.contains("correct host and port"), "{said}");
}

#[tokio::test]
async fn no_such_database() {
    let server = url().strip_suffix("/postgres").unwrap().to_owned();
    let said = unreachable(&format!("{server}/nowhere")).await;
    assert!(
        said.contains(r#""nowhere" does not exist: create"#),
        "{said}"
    );
}

#[tokio::test]
async fn no_such_user() {
    let said = unreachable(&url().replace("postgres@", "nobody:secret@")).await;
    assert!(said.contains(r#"role "nobody" does not exist"#), "{said}");
    assert!(said.contains("correct user and password"), "{said}");
}

/// A server that reads what comes, says this, and ends the connection.
async fn saying(answer: &'static [u8]) -> String {
    let (listener, url) = listener().await;
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            say(client, answer).await;
        }
    });
    url
}

async fn say(mut client: TcpStream, answer: &[u8]) {
    assert!(client.read(&mut [0; 1024]).await.unwrap() > 0);
    client.write_all(answer).await.unwrap();
}

async fn listener() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (
        listener,
        format!("postgres://postgres:secret@{address}/postgres"),
    )
}

#[tokio::test]
async fn something_else_listens() {
    for answer in [&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], b"-ERR\r\n", b""] {
        let said = unreachable(&saying(answer).await).await;
        assert!(said.contains("is it a PostgreSQL server?"), "{said}");
    }
}

/// The clock runs on while all wait.
#[tokio::test(start_paused = true)]
async fn nobody_answers() {
    let (_listener, url) = listener().await;
    let said = unreachable(&url).await;
    assert!(said.contains("no answer within 5s"), "{said}");
}

const STARTING: &[u8] =
    b"E\0\0\0\x3eSFATAL\0VFATAL\0C57P03\0Mthe database system is starting up\0\0";

#[tokio::test]
async fn a_server_that_starts_is_waited_for() {
    let (listener, starting) = listener().await;
    let address = url().split(['@', '/']).nth(3).unwrap().to_owned();
    tokio::spawn(async move {
        say(listener.accept().await.unwrap().0, STARTING).await;
        while let Ok((mut client, _)) = listener.accept().await {
            let mut server = TcpStream::connect(&address).await.unwrap();
            tokio::spawn(async move { copy_bidirectional(&mut client, &mut server).await });
        }
    });
    PostgresStore::connect(&starting).await.unwrap();
}

#[tokio::test]
async fn a_server_that_never_ends_starting() {
    let said = unreachable(&saying(STARTING).await).await;
    assert!(
        said.contains("the database system is starting up"),
        "{said}"
    );
}
