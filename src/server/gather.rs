//! A fresh response body: is it whole, does it still grow, can it be kept?

use std::{
    any::Any,
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{HeaderMap, Response};
use http_body::{Body, Frame};
use pin_project_lite::pin_project;

use super::{BoxError, flow::once, response_body::Rest};
use crate::{event::Cause, frames::Frames};

/// What a fresh response body turned out to be.
pub(super) enum Gathered<B> {
    /// All there.
    Whole(Frames, Option<Box<HeaderMap>>),
    /// It still grows; this much has come.
    Live(Frames, Pin<Box<B>>),
    /// Larger than may be kept, or broken off; this much has come.
    Unkept(Cause, Frames, Rest<B>),
}

/// The exact size of a body, if that is known. A body that panics does not tell.
pub(super) fn exact_size(body: &impl Body) -> Option<u64> {
    let size = || body.size_hint().exact();
    catch_unwind(AssertUnwindSafe(size)).unwrap_or_default()
}

/// Reads a body whose exact size is known and within the limit to its end; reads any other
/// for as long as it has something at once.
pub(super) fn gather<B: Body>(body: B, size: Option<u64>, limit: u64) -> Gather<B> {
    match size {
        Some(size) if size <= limit => Gather::Known {
            body,
            gathering: Gathering::new(size),
        },
        Some(_) => Gather::OverLimit {
            body: Some(Box::pin(body)),
        },
        None => Gather::Unknown {
            body: Some(Box::pin(body)),
            gathering: Gathering::new(limit),
        },
    }
}

pin_project! {
    /// See [`gather`].
    #[project = GatherProj]
    #[must_use = "futures do nothing unless polled"]
    pub(super) enum Gather<B> {
        Known { #[pin] body: B, gathering: Gathering },
        Unknown { body: Option<Pin<Box<B>>>, gathering: Gathering },
        OverLimit { body: Option<Pin<Box<B>>> },
    }
}

impl<B> Future for Gather<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Output = Gathered<B>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Gathered<B>> {
        Poll::Ready(match self.project() {
            GatherProj::Known { body, gathering } => {
                let step = ready!(gathering.poll_step(body, cx));
                let gathering = mem::take(gathering);
                match step {
                    Step::End if gathering.room == Some(0) => {
                        Gathered::Whole(gathering.frames, gathering.trailers)
                    }
                    Step::Failed(error) => gathering.broken(error),
                    Step::End | Step::TooLarge => gathering.broken(NotAsAnnounced.into()),
                }
            }
            GatherProj::Unknown { body, gathering } => {
                let mut body = once(body);
                let step = gathering.poll_step(body.as_mut(), cx);
                let gathering = mem::take(gathering);
                match step {
                    Poll::Pending => Gathered::Live(gathering.frames, body),
                    Poll::Ready(Step::End) => Gathered::Whole(gathering.frames, gathering.trailers),
                    Poll::Ready(Step::TooLarge) => {
                        let rest = Rest::Body(body);
                        Gathered::Unkept(Cause::OverLimit, gathering.frames, rest)
                    }
                    Poll::Ready(Step::Failed(error)) => gathering.broken(error),
                }
            }
            GatherProj::OverLimit { body } => {
                let rest = Rest::Body(once(body));
                Gathered::Unkept(Cause::OverLimit, Frames::new(), rest)
            }
        })
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the response body is not as long as it announced")]
struct NotAsAnnounced;

enum Step {
    End,
    TooLarge,
    Failed(BoxError),
}

#[derive(Default)]
pub(super) struct Gathering {
    frames: Frames,
    /// Boxed, as hardly any answer has them.
    trailers: Option<Box<HeaderMap>>,
    /// How many bytes may still come; `None` once more have come.
    room: Option<u64>,
}

impl Gathering {
    fn new(room: u64) -> Self {
        Self {
            frames: Frames::new(),
            trailers: None,
            room: Some(room),
        }
    }

    fn broken<B>(self, error: BoxError) -> Gathered<B> {
        Gathered::Unkept(Cause::BodyFailed, self.frames, Rest::Error(Some(error)))
    }

    /// Trailers are the end: a stream of tonic has more behind the status it failed with, if it is
    /// asked.
    fn poll_step<B>(&mut self, mut body: Pin<&mut B>, cx: &mut Context<'_>) -> Poll<Step>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        loop {
            match ready!(poll_caught(body.as_mut(), cx)) {
                None => return Poll::Ready(Step::End),
                Some(Err(error)) => return Poll::Ready(Step::Failed(error)),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.take(data),
                    Err(frame) => {
                        self.trailers = frame.into_trailers().ok().map(Box::new);
                        return Poll::Ready(Step::End);
                    }
                },
            }
            if self.room.is_none() {
                return Poll::Ready(Step::TooLarge);
            }
        }
    }

    fn take(&mut self, data: Bytes) {
        self.room = self
            .room
            .and_then(|room| room.checked_sub(data.len() as u64));
        self.frames.push(data);
    }
}

/// Polls a body; a panic in it is a failure of the body like any other.
pub(super) fn poll_caught<B>(
    body: Pin<&mut B>,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<Frame<Bytes>, BoxError>>>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    let poll = || body.poll_frame(cx).map_err(Into::into);
    catch_unwind(AssertUnwindSafe(poll))
        .unwrap_or_else(|_| Poll::Ready(Some(Err(BodyPanicked.into()))))
}

#[derive(Debug, thiserror::Error)]
#[error("the response body panicked")]
struct BodyPanicked;

pin_project! {
    /// The output of a future, or what it panicked with. Not an `async fn`, which would hold its
    /// future twice.
    #[must_use = "futures do nothing unless polled"]
    pub(super) struct Caught<F> {
        #[pin]
        future: F,
    }
}

impl<F> Caught<F> {
    pub(super) fn new(future: F) -> Self {
        Self { future }
    }
}

/// What a panic carries.
pub(super) type Panic = Box<dyn Any + Send>;

/// What an inner service came to.
pub(super) type Ran<B, E> = Result<Result<Response<B>, E>, Panic>;

impl<F: Future> Future for Caught<F> {
    type Output = Result<F::Output, Panic>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let future = self.project().future;
        match catch_unwind(AssertUnwindSafe(|| future.poll(cx))) {
            Ok(polled) => polled.map(Ok),
            Err(panic) => Poll::Ready(Err(panic)),
        }
    }
}
