//! A tonic server on loopback, and what happens in it.

use std::net::SocketAddr;

use tokio::{net::TcpListener, sync::mpsc};
use tonic::transport::{Endpoint, Server, server::TcpIncoming};
use tower_idempotency::{IdempotencyLayer, MemoryStore, Store, grpc};

use crate::{
    outside::soon,
    payments::{CHARGE, CHARGE_ALL, Caller, Payments, WATCH},
};

/// A layer that all methods but `Chat` are opted in to.
pub(crate) fn layer() -> IdempotencyLayer<MemoryStore> {
    over(MemoryStore::new())
}

pub(crate) fn over<S>(store: S) -> IdempotencyLayer<S> {
    IdempotencyLayer::new(store).when(grpc::methods([CHARGE, CHARGE_ALL, WATCH]))
}

/// Serves, and connects a client.
pub(crate) async fn connect<S: Store>(layer: &IdempotencyLayer<S>, payments: Payments) -> Caller {
    connect_to(serve(layer, payments).await).await
}

pub(crate) async fn connect_to(address: SocketAddr) -> Caller {
    let endpoint = Endpoint::try_from(format!("http://{address}")).unwrap();
    Caller::new(soon(endpoint.connect()).await.unwrap())
}

pub(crate) async fn serve<S: Store>(layer: &IdempotencyLayer<S>, payments: Payments) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Server::builder().layer(layer.clone()).add_service(payments);
    tokio::spawn(router.serve_with_incoming(TcpIncoming::from(listener)));
    address
}

/// The events of a layer, one after the other.
pub(crate) struct Events(mpsc::UnboundedReceiver<&'static str>);

impl Events {
    pub(crate) fn of<S>(layer: IdempotencyLayer<S>) -> (IdempotencyLayer<S>, Self) {
        let (sender, events) = mpsc::unbounded_channel();
        let layer = layer.observer_fn(move |event| _ = sender.send(event.name()));
        (layer, Self(events))
    }

    /// Returns once `name` has happened.
    pub(crate) async fn wait_for(&mut self, name: &str) {
        while soon(self.0.recv()).await.unwrap() != name {}
    }
}
