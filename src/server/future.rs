//! The futures of the service.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::Response;
use pin_project_lite::pin_project;
use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;

use super::{config::Config, response_body::ResponseBody};
use crate::{event::Event, record_key::RecordKey};

pin_project! {
    /// The response future of [`Idempotency`](super::Idempotency).
    ///
    /// Dropped after the key was claimed, it hands the operation to a task of its own, in
    /// which it runs to its end.
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<F, B, E> {
        #[pin]
        kind: Kind<F, B, E>,
    }
}

pin_project! {
    #[project = KindProj]
    enum Kind<F, B, E> {
        Passed { #[pin] future: F },
        Refused { response: Option<Response<Bytes>> },
        Keyed { flow: HungUp<Response<ResponseBody<B>>, E> },
    }
}

impl<F, B, E> ResponseFuture<F, B, E> {
    pub(super) fn passed(future: F) -> Self {
        Self {
            kind: Kind::Passed { future },
        }
    }

    pub(super) fn refused(response: Response<Bytes>) -> Self {
        Self {
            kind: Kind::Refused {
                response: Some(response),
            },
        }
    }

    pub(super) fn keyed(flow: BoxFlow<Response<ResponseBody<B>>, E>) -> Self {
        Self {
            kind: Kind::Keyed {
                flow: HungUp(Some(flow)),
            },
        }
    }
}

impl<F, B, E> Future for ResponseFuture<F, B, E>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<ResponseBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().kind.project() {
            KindProj::Passed { future } => {
                let response = ready!(future.poll(cx))?;
                Poll::Ready(Ok(response.map(ResponseBody::passed)))
            }
            KindProj::Refused { response } => {
                let response = response.take().unwrap_or_default();
                Poll::Ready(Ok(response.map(ResponseBody::bytes)))
            }
            KindProj::Keyed { flow } => flow.poll(cx),
        }
    }
}

impl<F, B, E> fmt::Debug for ResponseFuture<F, B, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

/// The way of a keyed request, which may have to go on without its client.
pub(super) trait Flow: Future + Send {
    /// The client is gone: ends, or runs on by itself.
    fn hang_up(self: Pin<Box<Self>>);
}

type BoxFlow<T, E> = Pin<Box<dyn Flow<Output = Result<T, E>>>>;

/// Tells a flow when its client hangs up.
struct HungUp<T, E>(Option<BoxFlow<T, E>>);

impl<T, E> HungUp<T, E> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<T, E>> {
        // Not put back if it panics: what has panicked must not be run on.
        let mut flow = self
            .0
            .take()
            .unwrap_or_else(|| unreachable!("polled after completion"));
        let polled = flow.as_mut().poll(cx);
        if polled.is_pending() {
            self.0 = Some(flow);
        }
        polled
    }
}

impl<T, E> Drop for HungUp<T, E> {
    fn drop(&mut self) {
        if let Some(flow) = self.0.take() {
            flow.hang_up();
        }
    }
}

pin_project! {
    /// Two stages of one request: until its body has arrived nothing has happened, and it
    /// can be dropped; from then on it claims and executes, and must not be.
    pub(super) struct Staged<A, Next, B> {
        detached: Detached,
        next: Option<Next>,
        #[pin]
        stage: Stage<A, B>,
    }
}

pin_project! {
    #[project = StageProj]
    enum Stage<A, B> {
        Before { #[pin] future: A },
        After { #[pin] future: B },
    }
}

/// What it takes to run on without a client.
pub(super) struct Detached {
    pub(super) record_key: RecordKey,
    pub(super) config: Arc<Config>,
    pub(super) tasks: TaskTracker,
}

impl<A, Next, B> Staged<A, Next, B> {
    pub(super) fn new(detached: Detached, before: A, next: Next) -> Self {
        Self {
            detached,
            next: Some(next),
            stage: Stage::Before { future: before },
        }
    }
}

impl<A, Next, B> Future for Staged<A, Next, B>
where
    A: Future,
    Next: FnOnce(A::Output) -> B,
    B: Future,
{
    type Output = B::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if let StageProj::Before { future } = this.stage.as_mut().project() {
            let before = ready!(future.poll(cx));
            let next = this
                .next
                .take()
                .unwrap_or_else(|| unreachable!("taken once"));
            this.stage.set(Stage::After {
                future: next(before),
            });
        }
        match this.stage.project() {
            StageProj::After { future } => future.poll(cx),
            StageProj::Before { .. } => unreachable!("the first stage has ended"),
        }
    }
}

impl<A, Next, B> Flow for Staged<A, Next, B>
where
    A: Future + Send + 'static,
    Next: FnOnce(A::Output) -> B + Send + 'static,
    B: Future + Send + 'static,
    B::Output: Send + 'static,
{
    fn hang_up(self: Pin<Box<Self>>) {
        if let Stage::Before { .. } = self.stage {
            return;
        }
        // Without a runtime nothing can run on: whoever holds the lease says so.
        if Handle::try_current().is_ok() {
            let key = &self.detached.record_key;
            self.detached.config.emit(&Event::Detached { key });
            let tasks = self.detached.tasks.clone();
            tasks.spawn(async move { drop(self.await) });
        }
    }
}
