//! Redis: the two bare scripts on one connection, and the layer.

use bytes::Bytes;
use http::Response;
use redis::{Client, Script, aio::MultiplexedConnection};
use tower_idempotency::{Fingerprint, Record, RedisStore};

use crate::{
    layered::{self, Handler},
    load::{AsyncAsk, CLIENTS, Effort, report},
    servers::RedisServer,
    variant::KIB,
};

pub async fn measure(effort: &Effort) {
    // What is measured is neither the disk nor a rewrite of its file.
    let options = [
        "--appendfsync",
        "everysec",
        "--auto-aof-rewrite-percentage",
        "0",
    ];
    let server = RedisServer::start_with(&options);
    let store = RedisStore::connect(server.url()).await.expect("a store");
    let (first, replay) = layered::over(store).await;

    let bare = Bare::new(&server).await;
    let handler = Handler::new();
    for client in 0..CLIENTS {
        let fence = bare.claim(OLD + client).await;
        bare.complete(OLD + client, fence).await;
    }
    let rates = effort
        .compare(Pair(bare.clone(), handler.clone()), first)
        .await;
    report("Redis, first requests", rates);
    report(
        "Redis, replays",
        effort.compare(Replay(bare, handler), replay).await,
    );
}

const OLD: u64 = 1 << 40;

/// The scripts of the store, with nothing around them.
#[derive(Clone)]
struct Bare {
    wire: MultiplexedConnection,
    claim: String,
    complete: String,
    record: Bytes,
}

impl Bare {
    async fn new(server: &RedisServer) -> Self {
        let client = Client::open(server.url()).expect("a client");
        let mut wire = client
            .get_multiplexed_async_connection()
            .await
            .expect("a connection");
        let claim = Script::new(concat!(
            include_str!("../../src/store/redis/lua/record.lua"),
            include_str!("../../src/store/redis/lua/claim.lua"),
        ));
        let complete = Script::new(concat!(
            include_str!("../../src/store/redis/lua/record.lua"),
            include_str!("../../src/store/redis/lua/complete.lua"),
        ));
        for script in [&claim, &complete] {
            let loaded = script.prepare_invoke().load_async(&mut wire).await;
            loaded.expect("a script");
        }
        let response = Response::new(Bytes::from(vec![b'x'; KIB]));
        let record = Record::answer(Fingerprint::custom([0; 32]), &response);
        Self {
            wire,
            claim: claim.get_hash().to_owned(),
            complete: complete.get_hash().to_owned(),
            record: Bytes::copy_from_slice(&record.encoded()),
        }
    }

    /// The fence, if it is acquired.
    async fn claim(&self, number: u64) -> u64 {
        let mut asked = redis::cmd("EVALSHA");
        asked
            .arg(&self.claim)
            .arg(1)
            .arg(key(number))
            .arg(&token(number));
        asked
            .arg(&[7_u8; 33])
            .arg(30_000_000_u64)
            .arg(86_400_000_000_u64)
            .arg("takeover");
        let answer = asked.query_async(&mut self.wire.clone()).await;
        let (_, fence, _): (String, u64, u64) = answer.expect("an answer");
        fence
    }

    async fn complete(&self, number: u64, fence: u64) {
        let mut asked = redis::cmd("EVALSHA");
        asked
            .arg(&self.complete)
            .arg(1)
            .arg(key(number))
            .arg(&token(number));
        asked
            .arg(fence)
            .arg(&[7_u8; 33])
            .arg(86_400_000_000_u64)
            .arg("channel");
        asked.arg(&*self.record);
        let answer = asked.query_async(&mut self.wire.clone()).await;
        let (word,): (String,) = answer.expect("an answer");
        assert_eq!(word, "applied");
    }

    /// The claim of a key that was completed, and its value, in one trip.
    async fn replay(&self, number: u64) {
        let key = key(number);
        let mut asked = redis::pipe();
        let claim = asked.cmd("EVALSHA").arg(&self.claim).arg(1).arg(&key);
        let claim = claim
            .arg(&token(number))
            .arg(&[7_u8; 33])
            .arg(30_000_000_u64);
        claim.arg(86_400_000_000_u64).arg("takeover");
        asked.cmd("GETRANGE").arg(&key).arg(0).arg(-1);
        let answer = asked.query_async(&mut self.wire.clone()).await;
        let (_, value): ((String, u64, u64), Vec<u8>) = answer.expect("an answer");
        assert!(value.len() > KIB);
    }
}

/// Claim, answer and complete.
struct Pair(Bare, Handler);

impl AsyncAsk for Pair {
    async fn ask(&self, _client: u64, number: u64) {
        let fence = self.0.claim(number).await;
        self.1.answer(number).await;
        self.0.complete(number, fence).await;
    }
}

struct Replay(Bare, Handler);

impl AsyncAsk for Replay {
    async fn ask(&self, client: u64, _number: u64) {
        self.1.answer(OLD + client).await;
        self.0.replay(OLD + client).await;
    }
}

/// As long as those of the store. What pads it is a constant: to format that would cost as
/// much as a tenth of the call.
fn key(number: u64) -> String {
    const PADDING: &str = "idempotency:000000000000000000000000000000000000000000000000";
    format!("{PADDING}{number:016x}")
}

fn token(number: u64) -> [u8; 16] {
    u128::from(number).to_be_bytes()
}
