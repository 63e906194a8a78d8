//! Clients that transfer money, and send each request until it is answered.

use std::{
    collections::BTreeMap,
    error::Error,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::body::Body;
use http_body_util::BodyExt as _;
use hyper::{Request, StatusCode, header::CONTENT_TYPE};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::{task::JoinSet, time::sleep};
use uuid::Uuid;

use crate::{
    bank::{Order, Receipt},
    books::ACCOUNTS,
    killer::Random,
};

const CLIENTS: u64 = 16;

pub(crate) struct Clients {
    tasks: JoinSet<Result<BTreeMap<String, i64>, String>>,
    closing: Arc<AtomicBool>,
}

impl Clients {
    pub(crate) fn start(bank: SocketAddr, seed: u64) -> Self {
        let closing = Arc::new(AtomicBool::new(false));
        let mut tasks = JoinSet::new();
        // Keys of another run, with other orders under them, are still kept.
        let run = Uuid::new_v4();
        for number in 0..CLIENTS {
            let caller = Caller {
                http: Client::builder(TokioExecutor::new()).build_http(),
                bank,
            };
            let random = Random::new(seed.wrapping_add(number + 1));
            let name = format!("{run}-{number}");
            tasks.spawn(transfer_on(caller, name, random, Arc::clone(&closing)));
        }
        Self { tasks, closing }
    }

    /// Lets each finish what it has begun; the transfer that was made for each key.
    pub(crate) async fn stop(mut self) -> Result<BTreeMap<String, i64>, Box<dyn Error>> {
        self.closing.store(true, Ordering::Relaxed);
        let mut told = BTreeMap::new();
        while let Some(client) = self.tasks.join_next().await {
            told.extend(client??);
        }
        Ok(told)
    }
}

async fn transfer_on(
    caller: Caller,
    name: String,
    mut random: Random,
    closing: Arc<AtomicBool>,
) -> Result<BTreeMap<String, i64>, String> {
    let mut told = BTreeMap::new();
    let mut account =
        || i32::try_from(random.below(ACCOUNTS.unsigned_abs().into())).unwrap_or(0) + 1;
    while !closing.load(Ordering::Relaxed) {
        let (from, to) = (account(), account());
        let order = Order {
            from,
            to,
            amount: i64::from(account()),
        };
        let key = format!("{name}-{}", told.len());
        let receipt = caller.insist(&key, order).await?;
        told.insert(key, receipt.transfer);
    }
    Ok(told)
}

struct Caller {
    http: Client<HttpConnector, Body>,
    bank: SocketAddr,
}

impl Caller {
    /// Sends a request until it is answered.
    async fn insist(&self, key: &str, order: Order) -> Result<Receipt, String> {
        loop {
            match self.ask(key, order).await {
                Some((StatusCode::OK, body)) => {
                    return serde_json::from_slice(&body).map_err(|error| error.to_string());
                }
                Some((status, body)) if !may_change(status, &body) => {
                    return Err(format!(
                        "{key}: {status} {}",
                        String::from_utf8_lossy(&body)
                    ));
                }
                _ => sleep(Duration::from_millis(20)).await,
            }
        }
    }

    /// One answer, if it arrives whole.
    async fn ask(&self, key: &str, order: Order) -> Option<(StatusCode, Vec<u8>)> {
        let body = serde_json::to_vec(&order).ok()?;
        let request = Request::post(format!("http://{}/transfers", self.bank))
            .header("idempotency-key", key)
            .header(CONTENT_TYPE, "application/json")
            .body(Body::from(body))
            .ok()?;
        let response = self.http.request(request).await.ok()?;
        let status = response.status();
        let body = response.into_body().collect().await.ok()?;
        Some((status, body.to_bytes().to_vec()))
    }
}

/// Whether the same request may be answered otherwise later.
fn may_change(status: StatusCode, body: &[u8]) -> bool {
    let in_flight = || String::from_utf8_lossy(body).contains("idempotency_in_flight");
    status == StatusCode::SERVICE_UNAVAILABLE || status == StatusCode::CONFLICT && in_flight()
}
