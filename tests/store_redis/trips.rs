//! How many round trips a request costs.

use std::{convert::Infallible, future::ready};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use tower::{Layer as _, ServiceExt as _, service_fn};
use tower_idempotency::{IdempotencyLayer, RedisStore};

use crate::{
    scene::{acquire, claim, complete, record, replayed, scene},
    servers::{RedisServer, Signal},
};

/// What a server counted: scripts run, their texts sent, and how often it read from a
/// client. What arrives in one go is read at once.
#[derive(Debug, PartialEq)]
struct Counted {
    scripts: u64,
    texts: u64,
    reads: u64,
}

impl Counted {
    fn at(server: &RedisServer) -> Self {
        let (commands, stats) = (server.cli("INFO commandstats"), server.cli("INFO stats"));
        let calls = |name: &str| number(&commands, &format!("cmdstat_{name}:calls="));
        Self {
            scripts: calls("evalsha"),
            texts: calls("eval"),
            reads: number(&stats, "total_reads_processed:"),
        }
    }

    /// What was counted between two looks, without the looks.
    fn between(before: &Self, after: &Self) -> Self {
        Self {
            scripts: after.scripts - before.scripts,
            texts: after.texts - before.texts,
            reads: after.reads - before.reads - READS_OF_A_LOOK,
        }
    }
}

/// Two commands of `redis-cli`; it is read from a last time as it leaves.
const READS_OF_A_LOOK: u64 = 4;

fn number(text: &str, field: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(field));
    let digits = line.unwrap_or("0").split(',').next().unwrap();
    digits.trim().parse().unwrap()
}

fn trips(trips: u64) -> Counted {
    Counted {
        scripts: trips,
        texts: 0,
        reads: trips,
    }
}

async fn ask(layer: &IdempotencyLayer<RedisStore>, key: &str) -> bool {
    let handler = |_| ready(Ok::<_, Infallible>(Response::new(Full::from("charged"))));
    let request = Request::post("/").header("idempotency-key", key);
    let request = request.body(Full::<Bytes>::default()).unwrap();
    let answer = layer
        .layer(service_fn(handler))
        .oneshot(request)
        .await
        .unwrap();
    answer.headers().contains_key("idempotent-replayed")
}

#[tokio::test]
async fn a_first_request_costs_two_and_a_replay_one() {
    let (server, store) = scene().await;
    let layer = IdempotencyLayer::new(store);
    // The server learns the scripts.
    assert!(!ask(&layer, "a").await);

    let before = Counted::at(&server);
    assert!(!ask(&layer, "b").await);
    let between = Counted::at(&server);
    assert!(ask(&layer, "b").await);
    let after = Counted::at(&server);
    assert_eq!(Counted::between(&before, &between), trips(2));
    assert_eq!(Counted::between(&between, &after), trips(1));
}

#[tokio::test]
async fn a_script_is_sent_as_text_only_when_the_server_does_not_know_it() {
    let (mut server, store) = scene().await;
    let look = |server: &RedisServer| Counted::at(server).texts;
    acquire(&store, 1).await;
    acquire(&store, 2).await;
    assert_eq!(look(&server), 1);

    server.cli("SCRIPT FLUSH");
    let lease = acquire(&store, 3).await;
    assert_eq!(look(&server), 2);
    complete(&store, &lease, &record("kept")).await;
    assert_eq!(look(&server), 3);

    server.signal(Signal::Kill);
    server.start_again();
    // The dead connection may be noticed only by using it.
    let _ = claim(&store, 3).await;
    assert_eq!(replayed(claim(&store, 3).await), record("kept"));
    assert!(look(&server) > 0);
}
