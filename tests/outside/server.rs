//! A server on a loopback socket that tells when a connection has ended.

use std::net::SocketAddr;

use http::{Request, Response};
use http_body::Body;
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
};
use tower::Service;
use tower_idempotency::server::BoxError;

use super::soon;

#[derive(Clone, Copy)]
enum Protocol {
    Http1,
    Http2,
}

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    ended: mpsc::UnboundedReceiver<()>,
}

impl Server {
    pub(crate) async fn http1<S, B>(service: S) -> Self
    where
        S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
        S::Future: Send,
        S::Error: Into<BoxError>,
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<BoxError>,
    {
        Self::start(service, Protocol::Http1).await
    }

    pub(crate) async fn http2<S, B>(service: S) -> Self
    where
        S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
        S::Future: Send,
        S::Error: Into<BoxError>,
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<BoxError>,
    {
        Self::start(service, Protocol::Http2).await
    }

    async fn start<S, B>(service: S, protocol: Protocol) -> Self
    where
        S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
        S::Future: Send,
        S::Error: Into<BoxError>,
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<BoxError>,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, ended) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (service, sender) = (service.clone(), sender.clone());
                tokio::spawn(async move {
                    serve(stream, service, protocol).await;
                    _ = sender.send(());
                });
            }
        });
        Self { address, ended }
    }

    /// Returns once the server is through with a connection.
    pub(crate) async fn connection_ended(&mut self) {
        soon(self.ended.recv()).await.unwrap();
    }
}

/// How a connection ends is the client's affair.
async fn serve<S, B>(stream: TcpStream, service: S, protocol: Protocol)
where
    S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<BoxError>,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    let (stream, service) = (TokioIo::new(stream), TowerToHyperService::new(service));
    match protocol {
        Protocol::Http1 => {
            let connection = http1::Builder::new().serve_connection(stream, service);
            drop(connection.await);
        }
        Protocol::Http2 => {
            let server = http2::Builder::new(TokioExecutor::new());
            drop(server.serve_connection(stream, service).await);
        }
    }
}
