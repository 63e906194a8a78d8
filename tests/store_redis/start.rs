//! What is refused, and warned of, at the start.

use std::{
    io::{self, BufRead as _, BufReader, Write as _},
    net::TcpListener,
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use tower_idempotency::{
    RedisStore, Store as _,
    store::{Completion, StoreErrorKind, redis::RedisOpenError},
};

use crate::{
    scene::{claim, complete, kind, record, replayed, won},
    servers::{RedisCluster, RedisServer},
};

async fn refused(url: String) -> RedisOpenError {
    RedisStore::connect(url).await.expect_err("it is refused")
}

#[tokio::test]
async fn an_evicting_server_is_refused() {
    let server = RedisServer::start();
    for policy in [
        "allkeys-lru",
        "volatile-lru",
        "allkeys-random",
        "volatile-ttl",
    ] {
        server.cli(&format!("CONFIG SET maxmemory-policy {policy}"));
        let error = refused(server.url()).await;
        assert!(matches!(&error, RedisOpenError::Evicts { policy: named, .. } if named == policy));
        assert!(
            error
                .to_string()
                .contains("set maxmemory-policy to noeviction")
        );
    }
    server.cli("CONFIG SET maxmemory-policy noeviction");
    RedisStore::connect(server.url()).await.unwrap();
}

#[tokio::test]
async fn a_server_that_says_nothing_about_itself_is_refused() {
    let server = RedisServer::start_with(&["--rename-command", "INFO", ""]);
    let error = refused(server.url()).await;
    assert!(matches!(error, RedisOpenError::Silent { .. }));
    assert!(error.to_string().contains("ACL SETUSER"));
}

#[tokio::test]
async fn a_server_that_is_not_there_is_named() {
    let address = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().to_string()
    };
    let error = refused(format!("redis://:secret@{address}")).await;
    let text = error.to_string();
    assert!(
        text.starts_with(&format!("{address} does not answer: ")),
        "{text}"
    );
    assert!(text.contains("refused"), "{text}");
    assert!(!format!("{text} {error:?}").contains("secret"));

    let text = refused("http://localhost".to_owned()).await.to_string();
    assert!(text.contains("not the address"), "{text}");
    // These tests have no TLS.
    let text = refused("rediss://localhost".to_owned()).await.to_string();
    assert!(text.contains("TLS"), "{text}");
    let nowhere = RedisStore::connect_cluster([format!("redis://{address}")]).await;
    let text = nowhere.unwrap_err().to_string();
    assert!(
        text.contains("does not answer") && text.contains("refused"),
        "{text}"
    );
    let none = RedisStore::connect_cluster(Vec::<String>::new()).await;
    assert!(matches!(none, Err(RedisOpenError::NoAddress)));
}

#[tokio::test]
async fn a_password_is_used_and_not_shown() {
    let server = RedisServer::start();
    server.cli("CONFIG SET requirepass hush+hush");
    let port = server.port();
    let url = |password: &str| format!("redis://:{password}@127.0.0.1:{port}");
    let store = RedisStore::connect(url("hush+hush")).await.unwrap();
    won(claim(&store, 1).await);
    assert!(!format!("{store:?}").contains("hush"));
    let error = refused(url("hurry")).await;
    assert!(!format!("{error} {error:?}").contains("hurry"), "{error}");
    assert!(matches!(error, RedisOpenError::Unreachable { .. }));
}

#[tokio::test]
async fn each_constructor_wants_its_kind_of_server() {
    let (server, cluster) = (RedisServer::start(), RedisCluster::start());
    let error = refused(cluster.urls().remove(0)).await;
    assert!(matches!(error, RedisOpenError::InCluster { .. }), "{error}");
    assert!(error.to_string().contains("connect_cluster"));
    let error = RedisStore::connect_cluster([server.url()])
        .await
        .unwrap_err();
    assert!(error.to_string().contains("RedisStore::connect"), "{error}");
}

/// A server that says nothing but this about itself.
fn server_saying(info: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            while let Some(Ok(line)) = lines.next() {
                let reply = match line.as_str() {
                    "INFO" => format!("${}\r\n{info}\r\n", info.len()),
                    "CLIENT" => "+OK\r\n".to_owned(),
                    _ => continue,
                };
                if (&stream).write_all(reply.as_bytes()).is_err() {
                    break;
                }
            }
        }
    });
    format!("redis://{address}")
}

#[tokio::test]
async fn a_server_older_than_6_2_is_refused() {
    for info in [
        "redis_version:6.0.16\r\n",
        "redis_version:5.9.9\r\n",
        "\r\n",
    ] {
        let error = refused(server_saying(info)).await;
        assert!(matches!(error, RedisOpenError::TooOld { .. }), "{error}");
        assert!(error.to_string().contains("6.2"), "{error}");
    }
    for info in ["redis_version:6.2.0\r\n", "redis_version:10.0.1\r\n"] {
        RedisStore::connect(server_saying(info)).await.unwrap();
    }
}

#[tokio::test]
async fn a_32_bit_build_is_refused() {
    let url = server_saying("redis_version:7.0.0\r\narch_bits:32\r\n");
    let error = refused(url).await;
    assert!(matches!(error, RedisOpenError::Narrow { .. }), "{error}");
}

/// What is logged on this thread.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

async fn warned(url: String) -> String {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(move || writer.clone())
        .finish();
    let guard = tracing::subscriber::set_default(subscriber);
    RedisStore::connect(url).await.unwrap();
    drop(guard);
    log.text()
}

#[tokio::test]
async fn what_might_break_the_promise_is_warned_of() {
    let server = RedisServer::start();
    assert_eq!(warned(server.url()).await, "");
    let forgetful = RedisServer::start_with(&["--appendonly", "no"]);
    assert!(warned(forgetful.url()).await.contains("append-only file"));
    let of = server.port().to_string();
    let replica = RedisServer::start_with(&["--replicaof", "127.0.0.1", &of]);
    assert!(warned(replica.url()).await.contains("is a replica"));
    let secretive = server_saying("redis_version:7.0.0\r\n");
    assert!(
        warned(secretive)
            .await
            .contains("cannot tell whether the server evicts")
    );
}

/// The rights that the documentation names.
fn rights() -> String {
    let docs = include_str!("../../src/store/redis/mod.rs");
    let (_, rights) = docs.split_once("ACL SETUSER app").unwrap();
    let (rights, _) = rights.split_once("```").unwrap();
    let words = rights.split_whitespace().filter(|word| *word != "//!");
    words.collect::<Vec<_>>().join(" ")
}

#[tokio::test]
async fn a_user_needs_only_the_rights_that_the_documentation_names() {
    let (server, cluster) = (RedisServer::start(), RedisCluster::start());
    let user = format!("ACL SETUSER app on >pass resetchannels {}", rights());
    let port = |server: &RedisServer| {
        assert_eq!(server.cli(&user), "OK");
        // Redis 7.0 does not know it, and then nobody is refused.
        server.cli("ACL SETUSER app +client|setinfo");
        format!("redis://app:pass@127.0.0.1:{}", server.port())
    };
    let urls: Vec<_> = cluster.nodes.iter().map(port).collect();
    for store in [
        RedisStore::connect(port(&server)).await.unwrap(),
        RedisStore::connect_cluster(urls).await.unwrap(),
    ] {
        let lease = won(claim(&store, 1).await);
        assert_eq!(store.renew(&lease).await.unwrap(), Completion::Applied);
        let limit = Duration::from_millis(500);
        store
            .settled(lease.key(), lease.fence(), limit)
            .await
            .unwrap();
        complete(&store, &lease, &record("done")).await;
        assert_eq!(replayed(claim(&store, 1).await), record("done"));
        store.forget(lease.key()).await.unwrap();
        let lease = won(claim(&store, 1).await);
        assert_eq!(store.release(&lease).await.unwrap(), Completion::Applied);
        let store = store.wait_replicas(1, Duration::from_millis(10));
        assert_eq!(kind(claim(&store, 1).await), StoreErrorKind::Unknown);
    }
    for server in cluster.nodes.iter().chain([&server]) {
        assert_eq!(server.cli("ACL LOG"), "", "somebody was refused");
    }
}
