//! One keyed request from end to end.

use std::{
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, request::Parts};
use http_body::Body;
use pin_project_lite::pin_project;
use tower_service::Service;

mod steps;

use super::{
    BoxError,
    admission::Operation,
    ask::{Asked, ask},
    call::{Within, within},
    future::{Flow, run_on},
    gather::{Caught, Gather},
    lease::{Held, Settled},
    message::Message,
    request_body::{Incoming, Receive, Received, RequestBody, receive},
    response_body::ResponseBody,
    settle::{Head, Trailers, settle_whole},
    shared::Shared,
};
use crate::{
    event::Event, fingerprint::Fingerprint, frames::Frames, key::Key, policy::Directive,
    record::Record, record_key::RecordKey, store::Store,
};

pub(super) type Answered<B, E> = Result<Response<ResponseBody<B>>, E>;

/// The way of a keyed request. It may be dropped while its body arrives and while it waits
/// for another; once it claims, it is pledged to run to its end.
pub(super) fn run<S, Svc, ReqB, ResB>(
    shared: Arc<Shared<S>>,
    service: Svc,
    parts: Parts,
    body: Incoming<ReqB>,
    operation: Operation,
) -> Pin<Box<impl Flow<Output = Answered<ResB, Svc::Error>>>>
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
    Box::pin(Way {
        stage: Stage::Arriving { arriving, name },
        shared,
        key: record_key,
        message: Message::Request(Some((service, parts))),
        ask: ask::<S>,
        settle: settle_whole::<S>,
    })
}

pin_project! {
    /// See [`run`]. Not an `async fn`, which keeps room for all that it was ever given, and for
    /// each argument of what it awaits twice: it would be twice as large.
    #[project = WayProj]
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
        // Its answer is on the way to the store; the trailers are for who asked first.
        Recording {
            #[pin]
            recording: R,
            trailers: Trailers,
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
    AskFn: Fn(Arc<Shared<S>>, RecordKey, Key, Fingerprint, bool) -> A,
    A: Future<Output = Asked<S>>,
    SettleFn: Fn(Held<S>, Head, Frames, Option<&HeaderMap>) -> R,
    R: Future<Output = (Settled, Record)>,
{
    type Output = Answered<ResB, Svc::Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            let mut way = self.as_mut().project();
            let answer = match way.stage.as_mut().project() {
                StageProj::Arriving { arriving, name } => {
                    let arrived = ready!(arriving.poll(cx));
                    let name = once(name);
                    way.arrived(arrived, name)
                }
                StageProj::Asking {
                    asking,
                    received,
                    fingerprint,
                } => {
                    let asked = ready!(asking.poll(cx));
                    let (received, fingerprint) = (mem::take(received), *fingerprint);
                    way.asked(asked, received, fingerprint)
                }
                StageProj::Running {
                    running,
                    held,
                    fingerprint,
                } => {
                    let ran = ready!(running.poll(cx));
                    let (held, fingerprint) = (once(held), *fingerprint);
                    way.ran(ran, held, fingerprint)
                }
                StageProj::Gathering {
                    gathering,
                    held,
                    fingerprint,
                    directive,
                } => {
                    let gathered = ready!(gathering.poll(cx));
                    let (held, fingerprint, directive) = (once(held), *fingerprint, *directive);
                    way.gathered(gathered, held, fingerprint, directive)
                }
                StageProj::Recording {
                    recording,
                    trailers,
                } => {
                    let (settled, record) = ready!(recording.poll(cx));
                    let trailers = trailers.take();
                    Some(way.recorded(settled, record, trailers))
                }
                StageProj::Aside { aside } => return aside.as_mut().poll(cx),
            };
            if let Some(answer) = answer {
                return Poll::Ready(Ok(answer));
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

#[cfg(all(test, feature = "memory"))]
mod tests {
    use super::*;
    use crate::server::{config::Config, node::Node};
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
    async fn a_request_on_its_way_takes_720_bytes() {
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
        assert!(size_of_val(&*way) <= 720, "{} bytes", size_of_val(&*way));
        assert!(way.await.is_ok());
    }
}
