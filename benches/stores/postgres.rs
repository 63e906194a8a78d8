//! PostgreSQL: the two bare statements, and the layer.

use bytes::Bytes;
use http::Response;
use sha2::{Digest as _, Sha256};
use sqlx::{AssertSqlSafe, PgPool, Row as _, SqlSafeStr as _, SqlStr, postgres::PgPoolOptions};
use tower_idempotency::{Fingerprint, PostgresStore, Record};

use crate::{
    layered::{self, Handler},
    load::{AsyncAsk, CLIENTS, Effort, report},
    servers::PostgresServer,
    variant::KIB,
};

pub async fn measure(effort: &Effort) {
    let server = PostgresServer::start();
    let pool = PgPoolOptions::new()
        .max_connections(16)
        .test_before_acquire(false);
    let pool = pool.connect(&server.url()).await.expect("a pool");
    PostgresStore::migrate(&pool).await.expect("a table");
    let store = PostgresStore::new(pool.clone()).await.expect("a store");
    let (first, replay) = layered::over(store).await;

    let bare = Bare::new(pool);
    let handler = Handler::new();
    for client in 0..CLIENTS {
        let fence = bare.claim(OLD + client).await;
        bare.complete(OLD + client, fence).await;
    }
    let rates = effort
        .compare(Pair(bare.clone(), handler.clone()), first)
        .await;
    report("PostgreSQL, first requests", rates);
    report(
        "PostgreSQL, replays",
        effort.compare(Claim(bare, handler), replay).await,
    );
}

const OLD: u64 = 1 << 40;

/// The statements of the store, with nothing around them.
#[derive(Clone)]
struct Bare {
    pool: PgPool,
    claim: SqlStr,
    complete: SqlStr,
    record: Bytes,
}

impl Bare {
    fn new(pool: PgPool) -> Self {
        let standing = include_str!("../../src/store/postgres/sql/standing.sql");
        let statement = |text: &str| {
            let text = without_comments(text)
                .replace("{standing}", &without_comments(standing))
                .replace(", {age}", "")
                .replace("{keys}", "public.idempotency_keys")
                .replace("{fences}", "public.idempotency_fences");
            AssertSqlSafe(text).into_sql_str()
        };
        let response = Response::new(Bytes::from(vec![b'x'; KIB]));
        let record = Record::answer(Fingerprint::custom([0; 32]), &response);
        Self {
            pool,
            claim: statement(include_str!("../../src/store/postgres/sql/claim.sql")),
            complete: statement(include_str!("../../src/store/postgres/sql/complete.sql")),
            record: Bytes::copy_from_slice(&record.encoded()),
        }
    }

    /// The fence, if it is acquired.
    async fn claim(&self, number: u64) -> Option<i64> {
        let asked = sqlx::query(self.claim.clone())
            .bind(bytes::<32>(number))
            .bind([7_u8; 33])
            .bind(bytes::<16>(number))
            .bind(30.0)
            .bind(86_400.0)
            .bind(true)
            .bind(i64::from_ne_bytes(number.to_ne_bytes()));
        let row = asked.fetch_one(&self.pool).await.expect("an answer");
        row.get("fence")
    }

    async fn complete(&self, number: u64, fence: Option<i64>) {
        let asked = sqlx::query(self.complete.clone())
            .bind(bytes::<32>(number))
            .bind(bytes::<16>(number))
            .bind(fence)
            .bind(&*self.record)
            .bind(86_400.0)
            .bind("channel");
        let row = asked.fetch_one(&self.pool).await.expect("an answer");
        assert_eq!(row.get::<&str, _>("found"), "applied");
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

/// The claim of a key that was completed.
struct Claim(Bare, Handler);

impl AsyncAsk for Claim {
    async fn ask(&self, client: u64, _number: u64) {
        self.1.answer(OLD + client).await;
        self.0.claim(OLD + client).await;
    }
}

/// As random as a digest.
fn bytes<const N: usize>(number: u64) -> [u8; N] {
    let digest = Sha256::digest(number.to_be_bytes());
    std::array::from_fn(|i| digest[i])
}

fn without_comments(text: &str) -> String {
    let lines = text.lines().map(str::trim);
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with("--"));
    lines.collect::<Vec<_>>().join(" ")
}
