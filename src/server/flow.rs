//! One keyed request from end to end.

use std::{
    mem,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, request::Parts, response};
use http_body::Body;
use pin_project_lite::pin_project;
use tokio::time::Instant;
use tower_service::Service;

use super::{
    BoxError,
    admission::Operation,
    ask::{Asked, ask},
    call::{Within, within},
    config::Config,
    context::Idempotency,
    flight::Flight,
    future::{Flow, run_on},
    gather::{Caught, Gather, Gathered, Panic, gather},
    inflight::Turn,
    lease::{Held, Settled},
    node::Node,
    pledge,
    reply::Protection,
    request_body::{Incoming, Receive, Received, RequestBody, receive},
    response_body::ResponseBody,
    settle::{Head, settle_unkept, settle_unread, settle_whole},
};
use crate::{
    event::{Cause, Event},
    fingerprint::Fingerprint,
    frames::Frames,
    key::Key,
    policy::{Directive, Outcome},
    record::Record,
    record_key::RecordKey,
    rejection::RejectionKind,
    store::{Claim, Fence, Lease, Store},
    verdict::Verdict,
};

/// What the requests of one service share.
#[derive(Debug)]
pub(super) struct Shared<S> {
    pub(super) node: Arc<Node<S>>,
    pub(super) config: Arc<Config>,
}

pub(super) type Answered<B, E> = Result<Response<ResponseBody<B>>, E>;

/// The way of a keyed request. It may be dropped while its body arrives and while it waits
/// for another; once it claims, it is pledged to run to its end.
pub(super) fn run<S, Svc, ReqB, ResB>(
    shared: Arc<Shared<S>>,
    service: Svc,
    parts: Parts,
    body: Incoming<ReqB>,
    operation: Operation,
) -> impl Flow<Output = Answered<ResB, Svc::Error>>
where
    S: Store,
    Svc: Service<Request<RequestBody<ReqB>>, Response = Response<ResB>> + Send + 'static,
    Svc::Future: Send,
    Svc::Error: Send + 'static,
    ReqB: Body<Data = Bytes> + Send + 'static,
    ReqB::Error: Into<BoxError>,
    ResB: Body<Data = Bytes> + Send + 'static,
    ResB::Error: Into<BoxError>,
{
    let Operation { key, record_key } = operation;
    let fingerprint = shared.config.begin_fingerprint(&parts);
    let arriving = receive(body, shared.config.max_request_body, fingerprint);
    let arriving = within(shared.config.body_deadline, arriving);
    let name = Some(key);
    Way {
        stage: Stage::Arriving { arriving, name },
        shared,
        key: record_key,
        message: Message::Request(Some((service, parts))),
        ask: ask::<S>,
        settle: settle_whole::<S>,
    }
}

pin_project! {
    /// See [`run`]. Not an `async fn`, which keeps room for all that it was ever given, and for
    /// each argument of what it awaits twice: it would be twice as large.
    struct Way<S, Svc, ReqB, F, ResB, E, AskFn, A, SettleFn, R>
    where
        S: Store,
    {
        #[pin]
        stage: Stage<S, ReqB, A, F, ResB, R, Answered<ResB, E>>,
        shared: Arc<Shared<S>>,
        key: RecordKey,
        // Not moved from stage to stage, as it is large.
        message: Message<Svc>,
        // These make the futures that have no name.
        ask: AskFn,
        settle: SettleFn,
    }
}

pin_project! {
    /// How far a request has come, and what it needs from there on.
    #[project = StageProj]
    enum Stage<S, ReqB, A, F, ResB, R, T>
    where
        S: Store,
    {
        // Its body arrives.
        Arriving {
            #[pin]
            arriving: Within<Receive<ReqB>>,
            name: Option<Key>,
        },
        // It asks whether it may run.
        Asking {
            #[pin]
            asking: A,
            received: Received,
            fingerprint: Fingerprint,
        },
        // The inner service is at it.
        Running {
            #[pin]
            running: Caught<F>,
            held: Option<Held<S>>,
            fingerprint: Fingerprint,
        },
        // The body of the answer comes, which is to be recorded.
        Gathering {
            #[pin]
            gathering: Gather<ResB>,
            held: Option<Held<S>>,
            fingerprint: Fingerprint,
            directive: Option<Directive>,
        },
        Recording {
            #[pin]
            recording: R,
        },
        // On a way that is rare, and would make room for itself in every request.
        Aside { aside: Pin<Box<dyn Future<Output = T> + Send>> },
    }
}

impl<S, Svc, ReqB, ResB, AskFn, A, SettleFn, R> Future
    for Way<S, Svc, ReqB, Svc::Future, ResB, Svc::Error, AskFn, A, SettleFn, R>
where
    S: Store,
    Svc: Service<Request<RequestBody<ReqB>>, Response = Response<ResB>> + Send + 'static,
    Svc::Future: Send,
    Svc::Error: Send + 'static,
    ReqB: Body<Data = Bytes> + 'static,
    ReqB::Error: Into<BoxError>,
    ResB: Body<Data = Bytes> + Send + 'static,
    ResB::Error: Into<BoxError>,
    AskFn: Fn(Arc<Shared<S>>, RecordKey, Key, Fingerprint) -> A,
    A: Future<Output = Asked<S>>,
    SettleFn: Fn(Held<S>, Head, Frames, Option<&HeaderMap>) -> R,
    R: Future<Output = (Settled, Record)>,
{
    type Output = Answered<ResB, Svc::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let way = self.project();
        let (mut stage, message) = (way.stage, way.message);
        let (shared, key) = (way.shared, way.key);
        loop {
            match stage.as_mut().project() {
                StageProj::Arriving { arriving, name } => {
                    let arrived = ready!(arriving.poll(cx));
                    match arrived.unwrap_or(Err(RejectionKind::BodyTimeout)) {
                        Ok((received, fingerprint)) => {
                            let (shared, name) = (Arc::clone(shared), once(name));
                            stage.set(Stage::Asking {
                                asking: (way.ask)(shared, *key, name, fingerprint),
                                received,
                                fingerprint,
                            });
                        }
                        Err(kind) => {
                            let verdict = Verdict::Reject(kind, None);
                            return Poll::Ready(Ok(shared.reply(key, verdict)));
                        }
                    }
                }
                StageProj::Asking {
                    asking,
                    received,
                    fingerprint,
                } => match ready!(asking.poll(cx)) {
                    Asked::MayRun(held) => {
                        let flight = Arc::clone(held.flight());
                        let (received, fingerprint) = (mem::take(received), *fingerprint);
                        let mut held = Some(held);
                        let called = catch_unwind(AssertUnwindSafe(|| {
                            stage.set(Stage::Running {
                                running: Caught::new(message.call(received, flight)),
                                held: held.take(),
                                fingerprint,
                            });
                        }));
                        if let (Err(panic), Some(held)) = (called, held) {
                            stage.set(Stage::aside(give_up(held, Err(panic))));
                        }
                    }
                    Asked::Unprotected(name) => {
                        // One that followed has not claimed.
                        pledge::give();
                        let flight = shared.unprotected(name, key, *fingerprint);
                        let running = message.call(mem::take(received), flight);
                        let answering = Arc::clone(shared).answer_unprotected(running);
                        stage.set(Stage::aside(answering));
                    }
                    Asked::Answered(verdict) => return Poll::Ready(Ok(shared.reply(key, verdict))),
                    Asked::Join(answer) => return Poll::Ready(Ok(shared.join(key, &answer))),
                },
                StageProj::Running {
                    running,
                    held,
                    fingerprint,
                } => {
                    let ran = ready!(running.poll(cx));
                    let (held, fingerprint) = (once(held), *fingerprint);
                    let Ok(Ok(response)) = ran else {
                        stage.set(Stage::aside(give_up(held, ran)));
                        continue;
                    };
                    let (answer, body) = response.into_parts();
                    let answer = message.answer(answer);
                    match shared.decide(answer) {
                        Ok(Some(told)) if told.outcome() != Outcome::Record => {
                            let head = shared.head(fingerprint, answer, Some(told));
                            let answer = message.respond(ResponseBody::passed(body));
                            let settling = settle_unread(held, head, told.outcome());
                            let giving = shared.give_after(*key, settling, fingerprint, answer);
                            stage.set(Stage::aside(giving));
                        }
                        Ok(directive) => stage.set(Stage::Gathering {
                            gathering: gather(body, shared.config.max_response_body),
                            held: Some(held),
                            fingerprint,
                            directive,
                        }),
                        // Nobody decided: as when the handler itself panics, of whose answer
                        // nothing is left either.
                        Err(panic) => {
                            drop(message.take_answer());
                            stage.set(Stage::aside(give_up(held, Err(panic))));
                        }
                    }
                }
                StageProj::Gathering {
                    gathering,
                    held,
                    fingerprint,
                    directive,
                } => {
                    let gathered = ready!(gathering.poll(cx));
                    let (held, fingerprint) = (once(held), *fingerprint);
                    let head = shared.head(fingerprint, message.head(), *directive);
                    match gathered {
                        Gathered::Whole(frames, trailers) => {
                            let trailers = trailers.as_deref();
                            stage.set(Stage::Recording {
                                recording: (way.settle)(held, head, frames, trailers),
                            });
                        }
                        Gathered::Live(frames, body) => {
                            let answer = message.take_answer();
                            let answer = shared.go_live(held, head, answer, frames, body);
                            return Poll::Ready(Ok(answer));
                        }
                        Gathered::Unkept(cause, frames, rest) => {
                            let answer = message.respond(ResponseBody::begun(&frames, rest));
                            let settling = settle_unkept(held, head, cause);
                            let giving = shared.give_after(*key, settling, fingerprint, answer);
                            stage.set(Stage::aside(giving));
                        }
                    }
                }
                StageProj::Recording { recording } => {
                    let (settled, record) = ready!(recording.poll(cx));
                    let answer = message.take_answer();
                    return Poll::Ready(Ok(shared.give(key, answer, settled, record)));
                }
                StageProj::Aside { aside } => return aside.as_mut().poll(cx),
            }
        }
    }
}

impl<S: Store, ReqB, A, F, ResB, R, T> Stage<S, ReqB, A, F, ResB, R, T> {
    fn aside(future: impl Future<Output = T> + Send + 'static) -> Self {
        let aside = Box::pin(future);
        Self::Aside { aside }
    }
}

/// The head of the request, and then of its answer; `None` once it was handed on.
enum Message<Svc> {
    /// And the instance of the service that was polled ready.
    Request(Option<(Svc, Parts)>),
    Answer(Option<response::Parts>),
}

impl<Svc> Message<Svc> {
    /// Calls the service, with the operation among the extensions of the request.
    fn call<B>(&mut self, received: Received, flight: Arc<Flight>) -> Svc::Future
    where
        Svc: Service<Request<RequestBody<B>>>,
    {
        let (mut service, mut parts) = match self {
            Self::Request(request) => once(request),
            Self::Answer(_) => unreachable!("called once"),
        };
        parts.extensions.insert(Idempotency::new(flight));
        service.call(Request::from_parts(parts, RequestBody::whole(received)))
    }

    /// The answer has come.
    fn answer(&mut self, answer: response::Parts) -> &mut response::Parts {
        *self = Self::Answer(Some(answer));
        self.head()
    }

    fn head(&mut self) -> &mut response::Parts {
        match self {
            Self::Answer(Some(answer)) => answer,
            Self::Answer(None) | Self::Request(_) => unreachable!("it was answered"),
        }
    }

    fn take_answer(&mut self) -> response::Parts {
        match self {
            Self::Answer(answer) => once(answer),
            Self::Request(_) => unreachable!("it was answered"),
        }
    }

    fn respond<B>(&mut self, body: ResponseBody<B>) -> Response<ResponseBody<B>> {
        Response::from_parts(self.take_answer(), body)
    }
}

/// What a stage hands on when it is over.
pub(super) fn once<T>(value: &mut Option<T>) -> T {
    let value = value.take();
    value.unwrap_or_else(|| unreachable!("polled after completion"))
}

impl<S, Svc, ReqB, F, ResB, E, AskFn, A, SettleFn, R> Flow
    for Way<S, Svc, ReqB, F, ResB, E, AskFn, A, SettleFn, R>
where
    Self: Future + Send + 'static,
    S: Store,
{
    fn detach(self: Pin<Box<Self>>) {
        let way = self.as_ref().project_ref();
        way.shared.config.emit(&Event::Detached { key: way.key });
        let shared = Arc::clone(way.shared);
        shared.node.tasks.spawn(run_on(self));
    }
}

impl<S: Store> Shared<S> {
    /// A claim that is sent now.
    pub(super) fn claim_for<'a>(
        &self,
        now: Instant,
        key: &'a RecordKey,
        fingerprint: Fingerprint,
    ) -> Claim<'a> {
        Claim::at(now, key, fingerprint)
            .lease_for(self.config.lease)
            .retained_for(self.config.retention)
            .after_crash(self.config.after_crash)
    }

    /// Begins to look after a lease, under which the inner service may run now.
    pub(super) fn hold(&self, turn: Turn<S>, key: Key, lease: Lease, sent: Instant) -> Held<S> {
        self.config.emit(&Event::Claimed {
            key: lease.key(),
            fence: lease.fence(),
            attempt: lease.attempt(),
        });
        Held::new(turn, self.flight(key, lease, sent))
    }

    /// The store did not say whether a request may run, and it does: under a lease in name
    /// only.
    fn unprotected(
        &self,
        key: Key,
        record_key: &RecordKey,
        fingerprint: Fingerprint,
    ) -> Arc<Flight> {
        self.config.emit(&Event::Unprotected { key: record_key });
        let now = Instant::now();
        let claim = self.claim_for(now, record_key, fingerprint);
        self.flight(key, claim.won(Fence::new(0), 1), now)
    }

    async fn answer_unprotected<B, E>(
        self: Arc<Self>,
        running: impl Future<Output = Result<Response<B>, E>>,
    ) -> Answered<B, E> {
        let running = {
            // No leader is under way, by which a drain would know of it.
            let _known = Arc::clone(&self.node.unprotected);
            running.await
        };
        let mut response = running?;
        let marker = &self.config.contract.replay_header;
        response.headers_mut().remove(marker);
        Ok(self.mark(response.map(ResponseBody::passed), Protection::Unprotected))
    }

    fn flight(&self, key: Key, lease: Lease, sent: Instant) -> Arc<Flight> {
        let config = Arc::clone(&self.config);
        Arc::new(Flight::new(key, lease, config, &self.node.clock, sent))
    }
}

/// The inner service returned an error, or panicked: releases the key, and passes that on.
pub(super) async fn give_up<S: Store, B, E>(
    held: Held<S>,
    failed: Result<Result<Response<B>, E>, Panic>,
) -> Answered<B, E> {
    let cause = match failed {
        Ok(_) => Cause::ServiceError,
        Err(_) => Cause::Panic,
    };
    held.release(cause).await;
    let answered = failed.unwrap_or_else(|panic| resume_unwind(panic));
    answered.map(|response| response.map(ResponseBody::passed))
}

#[cfg(all(test, feature = "memory"))]
mod tests {
    use super::*;
    use crate::store::MemoryStore;
    use http_body_util::Full;
    use std::{convert::Infallible, future::Ready};

    #[derive(Clone)]
    struct Small;

    impl Service<Request<RequestBody<Full<Bytes>>>> for Small {
        type Response = Response<Full<Bytes>>;
        type Error = Infallible;
        type Future = Ready<Result<Self::Response, Infallible>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: Request<RequestBody<Full<Bytes>>>) -> Self::Future {
            std::future::ready(Ok(Response::default()))
        }
    }

    #[tokio::test]
    async fn a_request_on_its_way_takes_a_kilobyte() {
        let shared = Arc::new(Shared {
            node: Arc::new(Node::new(MemoryStore::new())),
            config: Arc::new(Config::default()),
        });
        let (parts, body) = Request::new(Full::new(Bytes::new())).into_parts();
        let operation = Operation {
            key: Key::new("k").unwrap(),
            record_key: RecordKey::from_bytes([0; 32]),
        };
        let way = run(shared, Small, parts, Incoming::Arriving(body), operation);
        assert!(size_of_val(&way) <= 1016, "{} bytes", size_of_val(&way));
        assert!(way.await.is_ok());
    }
}
