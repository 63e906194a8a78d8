//! A fresh response body: is it whole, does it still grow, can it be kept?

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame};
use pin_project_lite::pin_project;

use super::{BoxError, response_body::Rest};
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

/// Reads a body whose exact size is known and within the limit to its end; reads any other
/// for as long as it has something at once.
pub(super) async fn gather<B>(body: B, limit: u64) -> Gathered<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    match body.size_hint().exact() {
        Some(size) if size <= limit => gather_known(body, size).await,
        Some(_) => {
            let rest = Rest::Body(Box::pin(body));
            Gathered::Unkept(Cause::OverLimit, Frames::new(), rest)
        }
        None => gather_unknown(Box::pin(body), limit).await,
    }
}

async fn gather_known<B>(body: B, size: u64) -> Gathered<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    let mut body = pin!(body);
    let mut gathering = Gathering::new(size);
    match std::future::poll_fn(|cx| gathering.poll_step(body.as_mut(), cx)).await {
        Step::End => Gathered::Whole(gathering.frames, gathering.trailers),
        Step::Failed(error) => gathering.broken(error),
        Step::TooLarge => gathering.broken(LongerThanAnnounced.into()),
    }
}

async fn gather_unknown<B>(mut body: Pin<Box<B>>, limit: u64) -> Gathered<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    let mut gathering = Gathering::new(limit);
    let step = std::future::poll_fn(|cx| match gathering.poll_step(body.as_mut(), cx) {
        Poll::Ready(step) => Poll::Ready(Some(step)),
        Poll::Pending => Poll::Ready(None),
    });
    match step.await {
        None => Gathered::Live(gathering.frames, body),
        Some(Step::End) => Gathered::Whole(gathering.frames, gathering.trailers),
        Some(Step::TooLarge) => {
            Gathered::Unkept(Cause::OverLimit, gathering.frames, Rest::Body(body))
        }
        Some(Step::Failed(error)) => gathering.broken(error),
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the response body is longer than it announced")]
struct LongerThanAnnounced;

enum Step {
    End,
    TooLarge,
    Failed(BoxError),
}

struct Gathering {
    frames: Frames,
    /// Boxed, as hardly any answer has them.
    trailers: Option<Box<HeaderMap>>,
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

    fn poll_step<B>(&mut self, mut body: Pin<&mut B>, cx: &mut Context<'_>) -> Poll<Step>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        loop {
            match ready!(poll_caught(body.as_mut(), cx)) {
                None => return Poll::Ready(Step::End),
                Some(Err(error)) => return Poll::Ready(Step::Failed(error)),
                Some(Ok(frame)) => self.take(frame),
            }
            if self.room.is_none() {
                return Poll::Ready(Step::TooLarge);
            }
        }
    }

    fn take(&mut self, frame: Frame<Bytes>) {
        match frame.into_data() {
            Ok(data) => {
                self.room = self
                    .room
                    .and_then(|room| room.checked_sub(data.len() as u64));
                self.frames.push(data);
            }
            Err(frame) => self.trailers = frame.into_trailers().ok().map(Box::new),
        }
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
    match catch_unwind(AssertUnwindSafe(|| body.poll_frame(cx))) {
        Ok(polled) => polled.map_err(Into::into),
        Err(_) => Poll::Ready(Some(Err(BodyPanicked.into()))),
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the response body panicked")]
struct BodyPanicked;

/// The output of the future that `make` makes, or what one of the two panicked with.
pub(super) fn caught<F: Future>(make: impl FnOnce() -> F) -> Caught<F> {
    match catch_unwind(AssertUnwindSafe(make)) {
        Ok(future) => Caught::Made { future },
        Err(panic) => Caught::Panicked { panic: Some(panic) },
    }
}

pin_project! {
    /// See [`caught`]. Not an `async fn`, which would hold its future twice.
    #[project = CaughtProj]
    #[must_use = "futures do nothing unless polled"]
    pub(super) enum Caught<F> {
        Made { #[pin] future: F },
        Panicked { panic: Option<Panic> },
    }
}

/// What a panic carries.
pub(super) type Panic = Box<dyn Any + Send>;

impl<F: Future> Future for Caught<F> {
    type Output = Result<F::Output, Panic>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let polled = match self.project() {
            CaughtProj::Made { future } => catch_unwind(AssertUnwindSafe(|| future.poll(cx))),
            CaughtProj::Panicked { panic } => panic.take().map_or(Ok(Poll::Pending), Err),
        };
        match polled {
            Ok(polled) => polled.map(Ok),
            Err(panic) => Poll::Ready(Err(panic)),
        }
    }
}
