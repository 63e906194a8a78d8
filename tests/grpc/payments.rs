//! The service under test, written by hand as `tonic-build` would, and its client.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::{Stream, StreamExt as _};
use http_body::Body as HttpBody;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{
    Request, Response, Status, Streaming,
    body::Body,
    client::Grpc as Client,
    codec::CompressionEncoding,
    metadata::AsciiMetadataValue,
    server::{Grpc, NamedService},
    transport::Channel,
};
use tonic_prost::ProstCodec;
use tower::{Service, service_fn};
use tower_idempotency::server::BoxError;

pub(crate) const CHARGE: &str = "/payments.v1.Payments/Charge";
pub(crate) const CHARGE_ALL: &str = "/payments.v1.Payments/ChargeAll";
pub(crate) const WATCH: &str = "/payments.v1.Payments/Watch";
pub(crate) const CHAT: &str = "/payments.v1.Payments/Chat";

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Order {
    #[prost(uint64, tag = "1")]
    pub(crate) amount: u64,
    #[prost(string, tag = "2")]
    pub(crate) note: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Paid {
    #[prost(uint64, tag = "1")]
    pub(crate) run: u64,
    #[prost(uint64, tag = "2")]
    pub(crate) amount: u64,
}

pub(crate) fn order(amount: u64) -> Order {
    // Long enough to be worth compressing.
    let note = "a note that repeats itself, ".repeat(20);
    Order { amount, note }
}

type Answering<T> = Pin<Box<dyn Future<Output = Result<Response<T>, Status>> + Send>>;
type Charge = dyn Fn(Request<Order>) -> Answering<Paid> + Send + Sync;
type Paids = Pin<Box<dyn Stream<Item = Result<Paid, Status>> + Send>>;
type Watch = dyn Fn(Request<Order>) -> Paids + Send + Sync;

#[derive(Clone)]
pub(crate) struct Payments {
    charge: Arc<Charge>,
    watch: Arc<Watch>,
}

impl Payments {
    pub(crate) fn new<F, A>(charge: F) -> Self
    where
        F: Fn(Request<Order>) -> A + Send + Sync + 'static,
        A: Future<Output = Result<Response<Paid>, Status>> + Send + 'static,
    {
        Self {
            charge: Arc::new(move |request| Box::pin(charge(request))),
            watch: Arc::new(|_| Box::pin(futures_util::stream::empty())),
        }
    }

    pub(crate) fn watching<S>(watch: impl Fn() -> S + Send + Sync + 'static) -> Self
    where
        S: Stream<Item = Result<Paid, Status>> + Send + 'static,
    {
        Self {
            watch: Arc::new(move |_| Box::pin(watch())),
            ..Self::new(|_| async { Err(Status::internal("not asked for")) })
        }
    }

    async fn charge_all(
        self,
        mut orders: Request<Streaming<Order>>,
    ) -> Result<Response<Paid>, Status> {
        let mut sum = order(0);
        while let Some(order) = orders.get_mut().message().await? {
            sum.amount += order.amount;
        }
        (self.charge)(Request::new(sum)).await
    }

    /// Answers each order before it looks for the next.
    fn chat(orders: Request<Streaming<Order>>) -> Paids {
        let orders = orders.into_inner().enumerate();
        Box::pin(orders.map(|(run, order)| {
            let (run, amount) = (run as u64, order?.amount);
            Ok(Paid { run, amount })
        }))
    }

    async fn answer<B>(self, request: http::Request<B>) -> http::Response<Body>
    where
        B: HttpBody + Send + 'static,
        B::Error: Into<BoxError> + Send,
    {
        let mut grpc = Grpc::new(ProstCodec::<Paid, Order>::default())
            .accept_compressed(CompressionEncoding::Gzip)
            .accept_compressed(CompressionEncoding::Deflate);
        match request.uri().path() {
            CHARGE => {
                let charge = service_fn(move |order| (self.charge)(order));
                grpc.unary(charge, request).await
            }
            CHARGE_ALL => {
                let charge_all = service_fn(move |orders| self.clone().charge_all(orders));
                grpc.client_streaming(charge_all, request).await
            }
            WATCH => {
                let watch = service_fn(move |order| {
                    let paids = (self.watch)(order);
                    async move { Ok(Response::new(paids)) }
                });
                grpc.server_streaming(watch, request).await
            }
            _ => {
                let chat = service_fn(|orders| {
                    let paids = Self::chat(orders);
                    async move { Ok(Response::new(paids)) }
                });
                grpc.streaming(chat, request).await
            }
        }
    }
}

impl NamedService for Payments {
    const NAME: &'static str = "payments.v1.Payments";
}

impl<B> Service<http::Request<B>> for Payments
where
    B: HttpBody + Send + 'static,
    B::Error: Into<BoxError> + Send,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let answer = self.clone().answer(request);
        Box::pin(async move { Ok(answer.await) })
    }
}

/// A client that names its calls.
#[derive(Clone)]
pub(crate) struct Caller {
    client: Client<Channel>,
    key: Option<AsciiMetadataValue>,
    deadline: Option<Duration>,
}

impl Caller {
    pub(crate) fn new(channel: Channel) -> Self {
        Self {
            client: Client::new(channel),
            key: None,
            deadline: None,
        }
    }

    pub(crate) fn key(mut self, key: &str) -> Self {
        self.key = Some(key.parse().unwrap());
        self
    }

    pub(crate) fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }

    pub(crate) fn compressed(mut self, encoding: CompressionEncoding) -> Self {
        self.client = self.client.send_compressed(encoding);
        self
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(key) = &self.key {
            request
                .metadata_mut()
                .insert("idempotency-key", key.clone());
        }
        if let Some(deadline) = self.deadline {
            request.set_timeout(deadline);
        }
        request
    }

    pub(crate) async fn charge(&self, amount: u64) -> Result<Response<Paid>, Status> {
        let (mut client, request) = (self.client.clone(), self.request(order(amount)));
        client.ready().await.unwrap();
        let codec = ProstCodec::<Order, Paid>::default();
        client.unary(request, path(CHARGE), codec).await
    }

    pub(crate) async fn charge_all<S>(&self, orders: S) -> Result<Response<Paid>, Status>
    where
        S: Stream<Item = Order> + Send + 'static,
    {
        let (mut client, request) = (self.client.clone(), self.request(orders));
        client.ready().await.unwrap();
        let codec = ProstCodec::<Order, Paid>::default();
        client
            .client_streaming(request, path(CHARGE_ALL), codec)
            .await
    }

    pub(crate) async fn watch(&self) -> Result<Response<Streaming<Paid>>, Status> {
        let (mut client, request) = (self.client.clone(), self.request(order(1)));
        client.ready().await.unwrap();
        let codec = ProstCodec::<Order, Paid>::default();
        client.server_streaming(request, path(WATCH), codec).await
    }

    pub(crate) async fn chat(
        &self,
        orders: UnboundedReceiverStream<Order>,
    ) -> Result<Response<Streaming<Paid>>, Status> {
        let (mut client, request) = (self.client.clone(), self.request(orders));
        client.ready().await.unwrap();
        let codec = ProstCodec::<Order, Paid>::default();
        client.streaming(request, path(CHAT), codec).await
    }
}

fn path(path: &'static str) -> http::uri::PathAndQuery {
    http::uri::PathAndQuery::from_static(path)
}

pub(crate) fn is_replay<T>(response: &Response<T>) -> bool {
    let marker = response.metadata().get("idempotent-replayed");
    marker.is_some_and(|value| value == "true")
}
