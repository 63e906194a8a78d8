//! Payments over gRPC that are charged once: a tonic server and its client in one process.
//!
//! ```text
//! cargo run --all-features --example tonic_payments
//! ```
//!
//! The client charges, and retries as clients do: because an answer got lost, because a
//! deadline passed while the bank was still busy. In the end there is one charge per key.
//!
//! The messages and the service are written out here, so that it builds without `protoc`;
//! with `tonic-prost-build` they are generated.

use std::{
    convert::Infallible,
    error::Error,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use http::uri::PathAndQuery;
use tokio::{net::TcpListener, time::sleep};
use tonic::{
    Code, Request, Response, Status,
    body::Body,
    client::Grpc as Client,
    server::{Grpc, NamedService},
    transport::{Channel, Endpoint, Server, server::TcpIncoming},
};
use tonic_prost::ProstCodec;
use tonic_types::StatusExt as _;
use tower::{Service, service_fn};
use tower_idempotency::{IdempotencyLayer, MemoryStore, grpc, server::BoxError};

const CHARGE: &str = "/payments.v1.Payments/Charge";

#[derive(Clone, PartialEq, prost::Message)]
struct Order {
    #[prost(uint64, tag = "1")]
    amount: u64,
    /// How long the bank takes.
    #[prost(uint64, tag = "2")]
    millis: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Payment {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(uint64, tag = "2")]
    amount: u64,
}

#[derive(Clone, Default)]
struct Payments {
    ledger: Arc<Mutex<Vec<u64>>>,
}

impl Payments {
    async fn charge(self, order: Request<Order>) -> Result<Response<Payment>, Status> {
        let Order { amount, millis } = order.into_inner();
        sleep(Duration::from_millis(millis)).await;
        let mut ledger = self.ledger.lock().expect("nobody panics with the ledger");
        ledger.push(amount);
        let id = ledger.len() as u64;
        Ok(Response::new(Payment { id, amount }))
    }
}

impl NamedService for Payments {
    const NAME: &'static str = "payments.v1.Payments";
}

impl<B> Service<http::Request<B>> for Payments
where
    B: http_body::Body + Send + 'static,
    B::Error: Into<BoxError> + Send,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let payments = self.clone();
        Box::pin(async move {
            if request.uri().path() != CHARGE {
                return Ok(Status::unimplemented("no such method").into_http());
            }
            let charge = service_fn(move |order| payments.clone().charge(order));
            let mut grpc = Grpc::new(ProstCodec::<Payment, Order>::default());
            Ok(grpc.unary(charge, request).await)
        })
    }
}

/// What a generated client would be.
#[derive(Clone)]
struct PaymentsClient(Client<Channel>);

impl PaymentsClient {
    async fn charge(&mut self, order: Request<Order>) -> Result<Response<Payment>, Status> {
        let ready = self.0.ready().await;
        ready.map_err(|error| Status::unavailable(error.to_string()))?;
        let codec = ProstCodec::<Order, Payment>::default();
        let path = PathAndQuery::from_static(CHARGE);
        self.0.unary(order, path, codec).await
    }
}

/// A charge under `key`. All its attempts carry the same key.
fn keyed(key: &'static str, order: &Order) -> Request<Order> {
    let mut request = Request::new(order.clone());
    let key = key.parse().expect("visible ASCII");
    request.metadata_mut().insert("idempotency-key", key);
    request
}

fn show(what: &str, answer: &Result<Response<Payment>, Status>) {
    match answer {
        Ok(answer) => {
            let replayed = answer.metadata().contains_key("idempotent-replayed");
            let replayed = if replayed { ", replayed" } else { "" };
            println!("{what}: payment {}{replayed}", answer.get_ref().id);
        }
        Err(status) => {
            let info = status.get_details_error_info();
            let reason = info.map_or_else(String::new, |info| format!(" ({})", info.reason));
            println!("{what}: {:?}{reason}", status.code());
        }
    }
}

/// Asks until the operation has ended, as long as the server says that it may be retried.
async fn charge_patiently(
    client: &mut PaymentsClient,
    key: &'static str,
    order: &Order,
) -> Result<Response<Payment>, Status> {
    loop {
        let answer = client.charge(keyed(key, order)).await;
        match &answer {
            // RetryInfo tells the longest it may take: we look more often.
            Err(status) if status.code() == Code::Aborted => sleep(SHORTLY).await,
            _ => return answer,
        }
    }
}

const SHORTLY: Duration = Duration::from_millis(50);

async fn serve(payments: Payments) -> std::io::Result<Endpoint> {
    let idempotency = IdempotencyLayer::new(MemoryStore::new())
        .require_key()
        .when(grpc::methods([CHARGE]));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let server = Server::builder().layer(idempotency).add_service(payments);
    tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
    let endpoint = Endpoint::try_from(format!("http://{address}"));
    Ok(endpoint.expect("an address is a host"))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let payments = Payments::default();
    let endpoint = serve(payments.clone()).await?;
    let mut client = PaymentsClient(Client::new(endpoint.connect().await?));

    let order = Order {
        amount: 100,
        millis: 0,
    };
    let first = client.charge(keyed("order-1", &order)).await;
    show("first attempt", &first);
    let retry = client.charge(keyed("order-1", &order)).await;
    show("its answer was lost, so again", &retry);
    assert_eq!(retry?.get_ref(), first?.get_ref());

    let other = Order {
        amount: 999,
        millis: 0,
    };
    show(
        "another amount under that key",
        &client.charge(keyed("order-1", &other)).await,
    );

    let slow = Order {
        amount: 250,
        millis: 500,
    };
    let mut hasty = keyed("order-2", &slow);
    hasty.set_timeout(Duration::from_millis(100));
    show("a deadline too short", &client.charge(hasty).await);
    let answer = charge_patiently(&mut client, "order-2", &slow).await;
    show("and again, with patience", &answer);

    show("without a key", &client.charge(Request::new(order)).await);
    let ledger = payments
        .ledger
        .lock()
        .expect("nobody panics with the ledger");
    println!("charged: {ledger:?}");
    assert_eq!(*ledger, [100, 250]);
    Ok(())
}
