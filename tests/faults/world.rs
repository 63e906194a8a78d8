//! Nodes that serve the same keys, what their handlers did, and what must be true of it.

use std::{
    collections::{HashMap, HashSet},
    convert::Infallible,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::join_all;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};
use tower::{Layer as _, ServiceExt as _, service_fn, util::BoxCloneSyncService};
use tower_idempotency::{
    Event, Idempotency, IdempotencyLayer, Observer, Store, server::RequestBody,
};

use crate::outside::{Answer, post, whole};

pub(crate) const LEASE: Duration = Duration::from_secs(1);
/// A store that is silent for as long is asked again.
pub(crate) const STORE_DEADLINE: Duration = Duration::from_millis(150);
/// How long a busy machine may take.
const PATIENCE: Duration = Duration::from_secs(10);

type Service = BoxCloneSyncService<Request<Full<Bytes>>, Answer, Infallible>;

/// One node: a layer over a store, and a handler whose answer is another each time.
#[derive(Clone)]
pub(crate) struct Node(Service);

/// What happened in a world of nodes.
#[derive(Clone, Default)]
pub(crate) struct World(Arc<Happened>);

#[derive(Default)]
struct Happened {
    runs: Mutex<Vec<Run>>,
    /// What nodes answered as theirs.
    answers: Mutex<HashMap<String, HashSet<String>>>,
    claims: AtomicUsize,
    /// While it is true, handlers that took over wait.
    takeovers_wait: watch::Sender<bool>,
}

/// A handler that was started.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Run {
    key: String,
    fence: u64,
    attempt: u32,
}

impl World {
    pub(crate) fn node(&self, store: impl Store) -> Node {
        let world = self.clone();
        let handler = service_fn(move |request: Request<RequestBody<Full<Bytes>>>| {
            let run = world.begin(&request);
            let world = world.clone();
            async move { Ok::<_, Infallible>(world.end(run).await) }
        });
        let layer = IdempotencyLayer::new(store)
            .lease(LEASE)
            .store_deadline(STORE_DEADLINE)
            .observer(self.clone());
        let service = layer.layer(handler);
        Node(BoxCloneSyncService::new(service_fn(move |request| {
            let service = service.clone();
            async move { Ok(whole(service.oneshot(request).await.unwrap()).await) }
        })))
    }

    /// The handler starts.
    fn begin<B>(&self, request: &Request<B>) -> Run {
        let operation = request.extensions().get::<Idempotency>().unwrap();
        let run = Run {
            key: operation.key().as_str().to_owned(),
            fence: operation.fence().get(),
            attempt: operation.attempt(),
        };
        self.0.runs.lock().unwrap().push(run.clone());
        run
    }

    /// The handler ends. Under a key that says so, the first of all fails.
    async fn end(&self, run: Run) -> Response<Full<Bytes>> {
        if run.attempt > 1 {
            let mut wait = self.0.takeovers_wait.subscribe();
            wait.wait_for(|wait| !wait).await.unwrap();
        }
        let mut response = Response::new(Full::from(format!("by {}", run.fence)));
        if run.key.contains("fails") && self.runs_of(&run.key) == 1 {
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        }
        response
    }

    /// Has handlers that take over wait, or go on.
    pub(crate) fn takeovers_wait(&self, wait: bool) {
        self.0.takeovers_wait.send_replace(wait);
    }

    fn runs_of(&self, key: &str) -> usize {
        let runs = self.0.runs.lock().unwrap();
        runs.iter().filter(|run| run.key == key).count()
    }

    /// Waits until a handler has taken over.
    pub(crate) async fn until_takeover(&self) {
        let takes_over = |run: &Run| run.attempt > 1;
        while !self.0.runs.lock().unwrap().iter().any(takes_over) {
            sleep(Duration::from_millis(1)).await;
        }
    }

    /// Waits until handlers were started as often.
    pub(crate) async fn until_runs(&self, count: usize) {
        while self.0.runs.lock().unwrap().len() < count {
            sleep(Duration::from_millis(1)).await;
        }
    }

    /// Asks a node once, and notes what it answers as the answer to be kept.
    pub(crate) async fn ask(&self, node: &Node, key: &str) -> Answer {
        let answer = node.0.clone().oneshot(post("/", key, "pay")).await.unwrap();
        let marked = answer.headers.contains_key("idempotency-status");
        if answer.status.is_success() && !marked {
            let mut answers = self.0.answers.lock().unwrap();
            let of_key = answers.entry(key.to_owned()).or_default();
            of_key.insert(answer.text().to_owned());
        }
        answer
    }

    /// Asks until the key is answered.
    pub(crate) async fn ask_until_answered(&self, node: &Node, key: &str) {
        while !self.ask(node, key).await.status.is_success() {
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// As many clients as it takes for each to have so many keys, which it asks all nodes for
    /// at once.
    pub(crate) fn clients<const N: usize>(
        &self,
        nodes: &[Node; N],
        keys: &[String],
        each: usize,
    ) -> Vec<JoinHandle<()>> {
        let clients = keys.chunks(each).map(|keys| {
            let (world, nodes, keys) = (self.clone(), nodes.clone(), keys.to_vec());
            tokio::spawn(async move {
                for key in keys {
                    let asked = nodes.iter().map(|it| world.ask_until_answered(it, &key));
                    join_all(asked).await;
                }
            })
        });
        clients.collect()
    }

    /// All is well again: every key is settled within a lease and a second, and all that
    /// happened is within the promise.
    pub(crate) async fn check(&self, node: &Node, keys: &[String]) {
        let began = Instant::now();
        let mut healed = began;
        for key in keys {
            loop {
                let sent = Instant::now();
                let answer = timeout(PATIENCE, self.ask(node, key)).await.expect(key);
                if answer.status.is_success() {
                    break;
                }
                let status = answer.text().to_owned();
                // Too busy to answer in time is not well yet.
                if status.contains("idempotency_store_unavailable") {
                    healed = sent;
                    assert!(began.elapsed() < PATIENCE, "{key}: {status}");
                }
                // What counts is when it was asked, however long the answer took.
                let late = sent - healed;
                assert!(late <= LEASE + Duration::from_secs(1), "{key}: {status}");
                sleep(Duration::from_millis(20)).await;
            }
        }
        let runs = self.0.runs.lock().unwrap();
        let fences: HashSet<_> = runs.iter().map(|run| (&run.key, run.fence)).collect();
        assert_eq!(
            fences.len(),
            runs.len(),
            "two runs under one fence: {runs:?}"
        );
        // Not a run without a claim that was confirmed.
        assert_eq!(runs.len(), self.0.claims.load(Ordering::SeqCst));
        // Whoever ran last held the key; those before had lost it, or given it back.
        for (key, answers) in &*self.0.answers.lock().unwrap() {
            let fences = runs
                .iter()
                .filter(|run| run.key == *key)
                .map(|run| run.fence);
            let last = format!("by {}", fences.max().unwrap());
            assert_eq!(answers, &HashSet::from([last]), "{key}");
        }
    }
}

impl Observer for World {
    fn observe(&self, event: &Event<'_>) {
        if let Event::Claimed { .. } = event {
            self.0.claims.fetch_add(1, Ordering::SeqCst);
        }
    }
}
