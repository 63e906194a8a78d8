//! What a handler does elsewhere under a child key is done once, though the handler runs
//! again.
#![cfg(feature = "memory")]
#![allow(clippy::unwrap_used, reason = "what fails here is a test that fails")]

mod support;

use std::{
    collections::HashMap,
    convert::Infallible,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use support::{Answer, post, post_to, send, serve};
use tokio::{runtime::Runtime, sync::Notify};
use tower::service_fn;
use tower_idempotency::{
    Idempotency, IdempotencyLayer, InFlight, Key, MemoryStore, server::RequestBody,
};

type Asked = Request<RequestBody<Full<Bytes>>>;

/// A payment provider that knows keys: it charges once for each.
#[derive(Clone, Default)]
struct Provider {
    calls: Arc<Mutex<Vec<Key>>>,
    charges: Arc<Mutex<HashMap<Key, usize>>>,
}

impl Provider {
    /// The number of the charge.
    fn charge(&self, key: Key) -> usize {
        self.calls.lock().unwrap().push(key.clone());
        let mut charges = self.charges.lock().unwrap();
        let next = charges.len() + 1;
        *charges.entry(key).or_insert(next)
    }

    fn calls(&self) -> Vec<Key> {
        self.calls.lock().unwrap().clone()
    }

    fn charges(&self) -> usize {
        self.charges.lock().unwrap().len()
    }
}

/// A process: when it is dropped, it is killed, with everything that runs in it.
struct Process {
    runtime: Runtime,
    layer: IdempotencyLayer<MemoryStore>,
}

impl Process {
    fn start(store: &MemoryStore) -> Self {
        let layer = IdempotencyLayer::new(store.clone())
            .lease(Duration::from_millis(300))
            .in_flight(InFlight::Wait(Duration::from_secs(30)));
        let runtime = Runtime::new().unwrap();
        Self { runtime, layer }
    }

    /// Runs the payment handler until it has called the provider.
    fn dies_before_it_records(self, provider: &Provider) {
        let (provider, called) = (provider.clone(), Arc::new(Notify::new()));
        let has_called = Arc::clone(&called);
        let handler = service_fn(move |request: Asked| {
            pay(&request, &provider);
            called.notify_one();
            std::future::pending::<Result<Response<Full<Bytes>>, Infallible>>()
        });
        let service = serve(&self.layer, handler);
        self.runtime.block_on(async {
            tokio::spawn(async move { send(&service, post("order-42", "100")).await });
            has_called.notified().await;
        });
    }

    /// Runs the payment handler to its end.
    fn answers(&self, provider: &Provider) -> Answer {
        let provider = provider.clone();
        let handler = service_fn(move |request: Asked| {
            let answer = pay(&request, &provider);
            async { Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(answer))) }
        });
        let service = serve(&self.layer, handler);
        let answer = send(&service, post("order-42", "100"));
        self.runtime.block_on(answer)
    }
}

fn operation(request: &Asked) -> &Idempotency {
    request.extensions().get().unwrap()
}

fn pay(request: &Asked, provider: &Provider) -> String {
    let operation = operation(request);
    let charge = provider.charge(operation.child_key("charge"));
    format!("attempt {}, charge {charge}", operation.attempt())
}

#[test]
fn killed_between_the_call_and_the_record_a_handler_charges_once() {
    let (store, provider) = (MemoryStore::new(), Provider::default());
    for _ in 0..2 {
        Process::start(&store).dies_before_it_records(&provider);
    }

    let process = Process::start(&store);
    let answer = process.answers(&provider);
    assert_eq!(answer.text(), "attempt 3, charge 1");
    let calls = provider.calls();
    assert_eq!(calls.len(), 3);
    assert!(calls.iter().all(|key| *key == calls[0]));
    assert_eq!(provider.charges(), 1);

    let replay = process.answers(&provider);
    assert_eq!((replay.is_replay(), replay.text()), (true, answer.text()));
    assert_eq!(provider.calls().len(), 3);
}

/// The children `a` and `b` of an operation.
async fn children(layer: &IdempotencyLayer<MemoryStore>, path: &str, key: &str) -> [Key; 2] {
    let children = Arc::new(Mutex::new(None));
    let told = Arc::clone(&children);
    let handler = service_fn(move |request: Asked| {
        let operation = operation(&request);
        *told.lock().unwrap() = Some(["a", "b"].map(|label| operation.child_key(label)));
        async { Ok::<_, Infallible>(Response::new(Full::<Bytes>::default())) }
    });
    send(&serve(layer, handler), post_to(path, key, "")).await;
    let told = children.lock().unwrap().take();
    told.unwrap()
}

#[tokio::test]
async fn each_label_of_each_operation_has_a_key_of_its_own() {
    let (layer, _) = support::layer();
    let mut all = Vec::new();
    for (path, key) in [("/pay", "1"), ("/pay", "2"), ("/refund", "1")] {
        all.extend(children(&layer, path, key).await);
    }
    for (i, a) in all.iter().enumerate() {
        for (j, b) in all.iter().enumerate() {
            assert_eq!(i == j, a == b, "{i} and {j}");
        }
    }
    // Another node, which has never met the operation.
    let (other, _) = support::layer();
    assert_eq!(children(&other, "/pay", "1").await, all[..2]);
}
