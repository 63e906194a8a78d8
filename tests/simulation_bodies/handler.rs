//! The inner service: does what its script says.

use std::{
    fmt::Debug,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    thread,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body as HttpBody;
use http_body_util::BodyExt as _;
use tower::Service;
use tower_idempotency::{Idempotency, store::Lease};

use crate::{
    ledger::{Body, Run},
    plan::Plan,
    script::{Script, Way},
    steps::{BoxError, Hint, Steps, bytes},
    world::{KEYS, World},
};

#[derive(Clone)]
pub struct Handler(pub Arc<World>);

type Ran = Result<Response<Steps>, BoxError>;

/// A handler at work, and then the guard, whose drop may panic.
pub struct Handling {
    work: Pin<Box<dyn Future<Output = Ran> + Send>>,
    _guard: Guard,
}

impl Future for Handling {
    type Output = Ran;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Ran> {
        self.work.as_mut().poll(cx)
    }
}

impl<B> Service<Request<B>> for Handler
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Debug,
{
    type Response = Response<Steps>;
    type Error = BoxError;
    type Future = Handling;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Handling {
        let (parts, body) = request.into_parts();
        let operation = parts.extensions.get::<Idempotency>();
        let plan = parts.extensions.get::<Arc<Plan>>().unwrap();
        let world = Arc::clone(&self.0);
        let mut ledger = world.ledger();
        let number = ledger.runs.len();
        let script = Arc::new(match plan.last {
            Some(takes) => Script::plain(number, takes),
            None => Script::draw(&mut world.chance(&[4, plan.client as u64]), number),
        });
        if let Some((operation, leaves)) = operation.zip(script.leaves) {
            let lease: &Lease = operation.as_ref();
            lease.attach(Arc::new(leaves)).unwrap();
        }
        let panics = script.way == Way::PanicsInCall;
        ledger.runs.push(Run {
            client: plan.client,
            node: plan.node,
            term: operation.map_or((KEYS, 0), |operation| {
                (world.key(operation.record_key()), operation.fence().get())
            }),
            payload: plan.payload,
            attempt: operation.map_or(0, Idempotency::attempt),
            over: panics.then(|| world.now()),
            cut: false,
            body: Body::None,
            script: Arc::clone(&script),
        });
        let run = &ledger.runs[number];
        ledger.say(world.now(), || format!("RUNS {number} {run:?}"));
        drop(ledger);
        assert!(!panics, "scripted");
        let guard = Guard {
            world: Arc::clone(&world),
            number,
            panics: script.future_drop_panics,
        };
        let work = handle(world, number, script, body, Arc::clone(plan));
        Handling {
            work: Box::pin(work),
            _guard: guard,
        }
    }
}

async fn handle<B>(
    world: Arc<World>,
    number: usize,
    script: Arc<Script>,
    body: B,
    plan: Arc<Plan>,
) -> Ran
where
    B: HttpBody<Data = Bytes>,
    B::Error: Debug,
{
    let asked = body.collect().await.unwrap();
    let trailers = asked.trailers().cloned();
    if asked.to_bytes() != bytes(&plan.body) || trailers != plan.trailers {
        let wrong = "the handler got another body".to_owned();
        world.ledger().wrong.push(wrong);
    }
    let mut pauses = Steps::new(script.before.clone(), Hint::Unknown);
    let _ = pauses.frame().await;
    world.ledger().runs[number].over = Some(world.now());
    match script.way {
        Way::Panics => panic!("scripted"),
        Way::Fails => return Err("scripted".into()),
        Way::PanicsInCall | Way::Answers => {}
    }
    let body = Steps::new(script.body.clone(), script.hint);
    let body = body.of_run(world, number, script.body_drop_panics);
    let mut response = Response::new(body);
    *response.status_mut() = script.status;
    *response.headers_mut() = script.headers.clone();
    if let Some(directive) = script.directive {
        response.extensions_mut().insert(directive);
    }
    Ok(response)
}

/// Notes when a handler is dropped, and whether that was before its end.
struct Guard {
    world: Arc<World>,
    number: usize,
    panics: bool,
}

impl Drop for Guard {
    fn drop(&mut self) {
        let now = self.world.now();
        let mut ledger = self.world.ledger();
        let run = &mut ledger.runs[self.number];
        run.cut = run.over.is_none();
        run.over.get_or_insert(now);
        drop(ledger);
        if self.panics && !thread::panicking() {
            panic!("scripted");
        }
    }
}
