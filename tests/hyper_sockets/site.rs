//! A server on its socket with one handler, and all a test may want to know of it.

use std::{convert::Infallible, time::Duration};

use http::{Request, Response};
use hyper::body::Incoming;
use tokio::sync::mpsc;
use tower::ServiceBuilder;
use tower_idempotency::{Drained, Event, IdempotencyLayer, MemoryStore, server::RequestBody};

use crate::outside::{AnyBody, Connection, Gate, Runs, Server, full, raw_post, soon};

pub(crate) type Layer = IdempotencyLayer<MemoryStore>;

pub(crate) struct Site {
    pub(crate) server: Server,
    pub(crate) layer: Layer,
    pub(crate) runs: Runs,
    happened: mpsc::UnboundedReceiver<&'static str>,
}

#[derive(Clone, Copy)]
pub(crate) enum Over {
    Http1,
    Http2,
}

impl Site {
    /// Serves `handler`; the first that it is called counts, whatever becomes of it.
    pub(crate) async fn serving<F, R>(over: Over, layer: Layer, handler: F) -> Self
    where
        F: Fn() -> R + Clone + Send + 'static,
        R: Future<Output = Response<AnyBody>> + Send,
    {
        let runs = Runs::default();
        let (sender, happened) = mpsc::unbounded_channel();
        let layer = layer.observer_fn(move |event| _ = sender.send(name(event)));
        let counted = runs.clone();
        let service = ServiceBuilder::new().layer(layer.clone()).service_fn(
            move |_: Request<RequestBody<Incoming>>| {
                counted.add();
                let answer = handler();
                async move { Ok::<_, Infallible>(answer.await) }
            },
        );
        let server = match over {
            Over::Http1 => Server::http1(service).await,
            Over::Http2 => Server::http2(service).await,
        };
        Self {
            server,
            layer,
            runs,
            happened,
        }
    }

    /// Serves what `answer` makes.
    pub(crate) async fn answering<F>(over: Over, answer: F) -> Self
    where
        F: Fn() -> Response<AnyBody> + Clone + Send + 'static,
    {
        Self::serving(over, layer(), move || std::future::ready(answer())).await
    }

    /// Serves `done` to whoever passes the gate.
    pub(crate) async fn gated(over: Over, gate: &Gate) -> Self {
        let gate = gate.clone();
        let handler = move || {
            let gate = gate.clone();
            async move {
                gate.pass().await;
                Response::new(full("done"))
            }
        };
        Self::serving(over, layer(), handler).await
    }

    pub(crate) async fn connect(&self) -> Connection {
        Connection::open(self.server.address).await
    }

    /// Waits for the next event of this name.
    pub(crate) async fn happens(&mut self, event: &str) {
        let events = &mut self.happened;
        soon(async { while events.recv().await.unwrap() != event {} }).await;
    }

    /// Whatever was left running has ended.
    pub(crate) async fn drained(&self) {
        let drained = self.layer.drain(Duration::from_secs(30)).await;
        assert_eq!(drained, Drained::Complete);
    }

    /// A retry over HTTP/1.1 gets `text` from the record, and the handler ran once.
    pub(crate) async fn replays(&self, text: &str) {
        let retry = self.connect().await.ask(&raw_post("k", "1")).await;
        assert_eq!((retry.text(), retry.is_replay()), (text, true));
        assert_eq!(self.runs.count(), 1);
    }
}

pub(crate) fn layer() -> Layer {
    IdempotencyLayer::new(MemoryStore::new())
}

fn name(event: &Event<'_>) -> &'static str {
    match event {
        Event::Detached { .. } => "detached",
        Event::Recorded { .. } => "recorded",
        Event::Rejected { .. } => "rejected",
        _ => "something else",
    }
}
