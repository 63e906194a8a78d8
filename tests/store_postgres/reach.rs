//! Why a server lets nobody in. What else may keep from it stands with the unit itself.

use std::error::Error as _;

use tower_idempotency::{PostgresStore, store::postgres::PostgresOpenError};

use crate::stage::url;

/// What is said of the server there, and why.
async fn unreachable(url: &str) -> (String, String) {
    let error = PostgresStore::connect(url).await.unwrap_err();
    assert!(
        matches!(error, PostgresOpenError::Unreachable { .. }),
        "{error:?}"
    );
    assert!(!format!("{error} {error:?}").contains("secret"), "{error}");
    (error.to_string(), error.source().unwrap().to_string())
}

#[tokio::test]
async fn no_such_database() {
    let server = url().strip_suffix("/postgres").unwrap().to_owned();
    let (said, why) = unreachable(&format!("{server}/nowhere")).await;
    assert!(said.contains(": create the database, or"), "{said}");
    assert!(why.contains(r#""nowhere" does not exist"#), "{why}");
}

#[tokio::test]
async fn no_such_user() {
    let (said, why) = unreachable(&url().replace("postgres@", "nobody:secret@")).await;
    assert!(said.contains(": correct user and password"), "{said}");
    assert!(why.contains(r#"role "nobody" does not exist"#), "{why}");
}

/// The clock runs on while all wait.
#[tokio::test(start_paused = true)]
async fn nobody_answers() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (said, why) = unreachable(&format!("postgres://postgres:secret@{address}/none")).await;
    assert!(said.contains("is it a PostgreSQL server?"), "{said}");
    assert!(why.contains("no answer within 5s"), "{why}");
}
