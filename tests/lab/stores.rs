//! Stores that other processes see.

#[cfg(any(feature = "redis", feature = "postgres", feature = "sqlite"))]
mod scenes {
    use std::time::Duration;

    use tokio::time::sleep;

    use crate::{
        lab::{Lab, request},
        outside::soon,
    };

    /// What one lab did, another replays.
    pub(super) async fn shares(store: &str) {
        let settings = [("LAB_STORE", store), ("LAB_SCOPE", "global")];
        let (one, other) = (Lab::start(&settings).await, Lab::start(&settings).await);
        let first = one.ask("/effect", "k").await;
        let second = other.ask("/effect", "k").await;
        assert_eq!((first.status, second.status), (200, 200));
        assert_eq!(first.body, second.body);
        assert!(!first.is_replay() && second.is_replay());
        assert_eq!((one.effects().len(), other.effects().len()), (1, 0));
    }

    /// What one lab had begun when it was killed, another takes over.
    pub(super) async fn is_taken_over(store: &str) {
        let settings = [("LAB_STORE", store), ("LAB_LEASE_MS", "500")];
        let mut lab = Lab::start(&settings).await;
        let mut client = lab.connect().await;
        let target = "/effect?sleep_ms=60000";
        let hanging = request("POST", target, "idempotency-key: k\r\n", "1");
        client.send(&hanging).await;
        lab.until_effects(1).await;
        lab.signal("-KILL").await;
        lab.exited().await;

        let after = lab.restarted_with(&settings).await;
        let mut retries = Vec::new();
        let taken_over = async {
            while after.effects().len() < 2 {
                let mut retry = after.connect().await;
                retry.send(&hanging).await;
                retries.push(retry);
                sleep(Duration::from_millis(50)).await;
            }
        };
        soon(taken_over).await;
        let effects = after.effects();
        assert!(effects[1].starts_with("k 2 "), "{effects:?}");
    }

    /// Without its store a lab refuses, and runs nothing.
    pub(super) async fn refuses(lab: &Lab) {
        let refused = lab.ask("/effect", "k").await;
        assert_eq!(refused.status, 503);
        assert_eq!(refused.code(), "idempotency_store_unavailable");
        assert!(lab.effects().is_empty());
    }

    /// When its store is there again, it runs.
    pub(super) async fn recovers(lab: &Lab) {
        let recovered = async {
            while lab.ask("/effect", "k").await.status != 200 {
                sleep(Duration::from_millis(50)).await;
            }
        };
        soon(recovered).await;
        assert_eq!(lab.effects().len(), 1);
    }
}

#[cfg(feature = "redis")]
mod redis {
    use std::process::Stdio;

    use tokio::io::{AsyncBufReadExt as _, BufReader};

    use super::scenes::{is_taken_over, recovers, refuses, shares};
    use crate::{
        lab::{Lab, command},
        outside::soon,
        servers::{RedisCluster, RedisServer, Signal},
    };

    #[tokio::test]
    async fn two_labs_share_their_keys() {
        let server = RedisServer::start();
        shares(&server.url()).await;
    }

    #[tokio::test]
    async fn so_they_do_on_a_cluster() {
        let cluster = RedisCluster::start();
        shares(&cluster.urls().join(",")).await;
    }

    #[tokio::test]
    async fn a_lab_that_was_killed_is_taken_over() {
        let server = RedisServer::start();
        is_taken_over(&server.url()).await;
    }

    #[tokio::test]
    async fn without_its_store_a_lab_refuses_and_recovers() {
        let mut server = RedisServer::start();
        let lab = Lab::start(&[("LAB_STORE", &server.url())]).await;
        server.signal(Signal::Kill);
        refuses(&lab).await;
        server.start_again();
        recovers(&lab).await;
    }

    #[tokio::test]
    async fn what_the_store_warns_of_is_seen() {
        let server = RedisServer::start_with(&["--appendonly", "no"]);
        let mut command = command(&[("LAB_STORE", &server.url())]);
        let lab = command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut lab = lab.spawn().unwrap();
        let mut lines = BufReader::new(lab.stdout.take().unwrap()).lines();
        let first_line = soon(lines.next_line()).await.unwrap().unwrap();
        assert!(first_line.starts_with("listening on "), "{first_line}");
        lab.start_kill().unwrap();
        let said = soon(lab.wait_with_output()).await.unwrap().stderr;
        let said = String::from_utf8(said).unwrap();
        assert!(said.contains("WARN tower_idempotency"), "{said}");
        assert!(said.contains("append-only file"), "{said}");
        assert!(!said.contains('\x1b'), "{said}");
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_exits_2() {
        let url = "redis://:secret@127.0.0.1:1";
        let output = soon(command(&[("LAB_STORE", url)]).output()).await.unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("127.0.0.1:1 does not answer"), "{said}");
        assert!(!said.contains("secret"), "{said}");
    }
}

#[cfg(feature = "postgres")]
mod postgres {
    use super::scenes::{is_taken_over, recovers, refuses, shares};
    use crate::{
        lab::{Lab, command},
        outside::soon,
        servers::{PostgresServer, Signal},
    };

    #[tokio::test]
    async fn two_labs_share_their_keys() {
        let server = PostgresServer::start();
        shares(&server.url()).await;
    }

    #[tokio::test]
    async fn a_lab_that_was_killed_is_taken_over() {
        let server = PostgresServer::start();
        is_taken_over(&server.url()).await;
    }

    #[tokio::test]
    async fn without_its_store_a_lab_refuses_and_recovers() {
        let mut server = PostgresServer::start();
        let lab = Lab::start(&[("LAB_STORE", &server.url())]).await;
        server.signal(Signal::Kill);
        refuses(&lab).await;
        server.start_again();
        recovers(&lab).await;
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_exits_2() {
        let url = "postgres://postgres:secret@127.0.0.1:1/none";
        let output = soon(command(&[("LAB_STORE", url)]).output()).await.unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        let words = ["127.0.0.1:1: start it", "Connection refused"];
        assert!(words.iter().all(|words| said.contains(words)), "{said}");
        assert!(!said.contains("secret"), "{said}");
    }
}

#[cfg(feature = "sqlite")]
mod sqlite {
    use std::path::Path;

    use super::scenes::shares;
    use crate::{
        lab::{Lab, command},
        outside::soon,
    };

    /// A directory of its own; gone when dropped.
    struct Place(std::path::PathBuf);

    impl Place {
        fn new(name: &str) -> Self {
            let name = format!("{name}-{}", std::process::id());
            let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
            std::fs::create_dir_all(&place).unwrap();
            Self(place)
        }

        fn store(&self) -> String {
            format!("sqlite:{}/keys.db", self.0.display())
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            drop(std::fs::remove_dir_all(&self.0));
        }
    }

    #[tokio::test]
    async fn two_labs_share_a_file() {
        let place = Place::new("two-labs");
        shares(&place.store()).await;
    }

    #[tokio::test]
    async fn what_a_killed_lab_answered_is_replayed() {
        let place = Place::new("killed-lab");
        let store = place.store();
        let settings = [("LAB_STORE", store.as_str())];
        let mut lab = Lab::start(&settings).await;
        let first = lab.ask("/effect", "k").await;
        lab.signal("-KILL").await;
        lab.exited().await;
        let lab = lab.restarted_with(&settings).await;
        let second = lab.ask("/effect", "k").await;
        assert!(second.is_replay());
        assert_eq!(first.body, second.body);
        assert_eq!(lab.effects().len(), 1);
    }

    #[tokio::test]
    async fn a_directory_that_is_missing_exits_2() {
        let settings = [("LAB_STORE", "sqlite:/nowhere/at/all/keys.db")];
        let output = soon(command(&settings).output()).await.unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("make its directory"), "{said}");
    }
}

#[cfg(not(feature = "redis"))]
#[tokio::test]
async fn a_store_that_was_not_built_in_is_named() {
    let asked = crate::lab::command(&[("LAB_STORE", "redis://localhost")]).output();
    let output = crate::outside::soon(asked).await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("without the feature redis"), "{said}");
}
