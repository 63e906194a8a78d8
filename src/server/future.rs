//! The futures of the service.

use std::{
    fmt,
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::Response;
use pin_project_lite::pin_project;
use tokio::runtime::Handle;

use super::{flow::once, pledge, response_body::ResponseBody};

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
        // Its body is read to see whether it has a key.
        Reading { reading: Reading<ResponseFuture<F, B, E>> },
        Keyed { keyed: Keyed<Response<ResponseBody<B>>, E> },
    }
}

/// What comes of a request is not known before its body is.
type Reading<T> = Pin<Box<dyn Future<Output = T> + Send>>;

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

    pub(super) fn reading(reading: Reading<Self>) -> Self {
        Self {
            kind: Kind::Reading { reading },
        }
    }

    pub(super) fn keyed(keyed: Keyed<Response<ResponseBody<B>>, E>) -> Self {
        Self {
            kind: Kind::Keyed { keyed },
        }
    }
}

impl<F, B, E> Future for ResponseFuture<F, B, E>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<ResponseBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut kind = self.project().kind;
        loop {
            match kind.as_mut().project() {
                KindProj::Passed { future } => {
                    let response = ready!(future.poll(cx))?;
                    return Poll::Ready(Ok(response.map(ResponseBody::passed)));
                }
                KindProj::Refused { response } => {
                    return Poll::Ready(Ok(once(response).map(ResponseBody::bytes)));
                }
                KindProj::Reading { reading } => {
                    let read = ready!(reading.as_mut().poll(cx));
                    kind.set(read.kind);
                }
                KindProj::Keyed { keyed } => return keyed.poll(cx),
            }
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
    /// Goes on as a task of its own.
    fn detach(self: Pin<Box<Self>>);
}

/// Runs `flow`, which was pledged, for as long as it is.
pub(super) async fn run_on(mut flow: Pin<Box<impl Flow>>) {
    let mut pledged = true;
    let to_its_end = poll_fn(|cx| {
        let polled = pledge::polling(&mut pledged, || flow.as_mut().poll(cx));
        // One that has nothing to see to any more has no client to wait for either.
        if polled.is_ready() || !pledged {
            return Poll::Ready(());
        }
        Poll::Pending
    });
    to_its_end.await;
}

type BoxFlow<T, E> = Pin<Box<dyn Flow<Output = Result<T, E>>>>;

/// A keyed request while its client waits.
pub(super) struct Keyed<T, E> {
    flow: Option<BoxFlow<T, E>>,
    pledged: bool,
}

impl<T, E> Keyed<T, E> {
    pub(super) fn new(flow: BoxFlow<T, E>) -> Self {
        Self {
            flow: Some(flow),
            pledged: false,
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<T, E>> {
        // Not put back if it panics: what has panicked must not be run on.
        let flow = self.flow.take();
        let mut flow = flow.unwrap_or_else(|| unreachable!("polled after completion"));
        let polled = pledge::polling(&mut self.pledged, || flow.as_mut().poll(cx));
        if polled.is_pending() {
            self.flow = Some(flow);
        }
        polled
    }
}

impl<T, E> Drop for Keyed<T, E> {
    fn drop(&mut self) {
        let Some(flow) = self.flow.take().filter(|_| self.pledged) else {
            return;
        };
        // Without a runtime nothing can run on: whoever holds the lease says so.
        if Handle::try_current().is_ok() {
            flow.detach();
        }
    }
}
