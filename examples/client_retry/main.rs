//! A client whose payments are lost on the way, with `reqwest`: each is charged once.
//!
//! ```text
//! cargo run --features client --example client_retry     # shows what it does, and ends
//! ```

mod relay;

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{Request, Response, StatusCode},
    routing::post,
};
use tokio::net::TcpListener;
use tower::{BoxError, Service, ServiceBuilder, ServiceExt as _, retry::RetryLayer};
use tower_idempotency::{
    IdempotencyLayer, Key, MemoryStore,
    client::{IdempotentRetry, SetIdempotencyKeyLayer, UseKey},
};

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let ledger = Ledger::default();
    let server = serve(ledger.clone()).await?;
    let pay = format!("http://{}/pay", relay::start(server).await?);
    let client = client();

    println!("A payment whose answer is lost:");
    let payment = Request::post(&pay).body(Bytes::from("100"))?;
    let response = client.clone().oneshot(payment).await?;
    show(response).await?;
    assert_eq!(ledger.charges(), 1);

    println!("A payment that meets a busy service, under a key of its own:");
    let payment = Request::post(&pay).extension(UseKey::new("order-42"));
    let response = client
        .clone()
        .oneshot(payment.body(Bytes::from("busy"))?)
        .await?;
    show(response).await?;
    assert_eq!(ledger.charges(), 2);

    println!("A payment whose key is none:");
    let payment = Request::post(&pay).extension(UseKey::new("order\n42"));
    let error = client
        .oneshot(payment.body(Bytes::from("100"))?)
        .await
        .err();
    println!("  {}", error.ok_or("it was sent")?);

    println!("Two payments, {} charges.", ledger.charges());
    Ok(())
}

/// `reqwest` as a service of `http` requests, with keys and retries around it.
fn client()
-> impl Service<Request<Bytes>, Response = Response<reqwest::Body>, Error = BoxError> + Clone {
    let http = reqwest::Client::builder()
        // A connection for each attempt, so that there is one to be cut.
        .pool_max_idle_per_host(0)
        .build()
        .expect("no TLS to be set up");
    ServiceBuilder::new()
        .layer(SetIdempotencyKeyLayer::new())
        .layer(RetryLayer::new(
            IdempotentRetry::new().backoff(Duration::from_millis(50), Duration::from_secs(5)),
        ))
        .map_request(|request: Request<Bytes>| {
            if let Some(key) = request.extensions().get::<Key>() {
                println!("  sent under {}", key.as_str());
            }
            request
        })
        .service_fn(move |request: Request<Bytes>| {
            let http = http.clone();
            async move {
                let response = http.execute(request.try_into()?).await?;
                Ok::<_, reqwest::Error>(Response::from(response))
            }
        })
}

async fn show(response: Response<reqwest::Body>) -> reqwest::Result<()> {
    let response = reqwest::Response::from(response);
    println!("  {} {}", response.status(), response.text().await?);
    Ok(())
}

/// The charges that were made.
#[derive(Clone, Default)]
struct Ledger {
    charges: Arc<AtomicU32>,
    asked: Arc<AtomicU32>,
}

impl Ledger {
    fn charges(&self) -> u32 {
        self.charges.load(Ordering::SeqCst)
    }
}

/// Charges, unless it is busy, which it is the first time.
async fn pay(State(ledger): State<Ledger>, order: String) -> (StatusCode, String) {
    if order == "busy" && ledger.asked.fetch_add(1, Ordering::SeqCst) == 0 {
        println!("  the service is busy");
        return (StatusCode::SERVICE_UNAVAILABLE, "later".to_owned());
    }
    let charge = ledger.charges.fetch_add(1, Ordering::SeqCst) + 1;
    println!("  the card is charged");
    (StatusCode::CREATED, format!("charge {charge}"))
}

async fn serve(ledger: Ledger) -> std::io::Result<SocketAddr> {
    let app = Router::new()
        .route("/pay", post(pay))
        .layer(IdempotencyLayer::new(MemoryStore::new()).require_key())
        .with_state(ledger);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move { axum::serve(listener, app).await });
    Ok(address)
}
