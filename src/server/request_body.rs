//! The request body: read whole, kept as the frames that arrived.

use std::{
    error::Error,
    fmt,
    iter::successors,
    mem,
    ops::ControlFlow,
    pin::{Pin, pin},
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt as _, LengthLimitError};
use pin_project_lite::pin_project;

use super::{BoxError, whole::Whole};
use crate::{
    fingerprint::{Fingerprint, FingerprintState},
    frames::Frames,
    rejection::RejectionKind,
};

/// A request body on its way.
pub(super) enum Incoming<B> {
    Arriving(B),
    /// It was read to see whether it has a key.
    Arrived(Box<Received>),
}

/// A request body that has arrived.
#[derive(Debug, Default)]
pub(super) struct Received {
    frames: Frames,
    /// Boxed, as hardly any request has them.
    trailers: Option<Box<HeaderMap>>,
}

impl Received {
    pub(super) fn frames(&self) -> &Frames {
        &self.frames
    }

    /// Takes the next frame if there is `room` for it; `each` sees the data. Trailers are the end.
    fn take<E: Into<BoxError>>(
        &mut self,
        frame: Result<Frame<Bytes>, E>,
        room: &mut u64,
        each: impl FnOnce(&Bytes),
    ) -> Result<ControlFlow<()>, RejectionKind> {
        let frame = frame.map_err(|error| reason(&*error.into()))?;
        match frame.into_data() {
            Ok(data) => {
                let left = room.checked_sub(data.len() as u64);
                *room = left.ok_or(RejectionKind::PayloadTooLarge)?;
                each(&data);
                self.frames.push(data);
                Ok(ControlFlow::Continue(()))
            }
            Err(frame) => {
                self.trailers = frame.into_trailers().ok().map(Box::new);
                Ok(ControlFlow::Break(()))
            }
        }
    }
}

/// Reads `body` to its end, within `limit` bytes.
pub(super) async fn read<B>(body: B, limit: u64) -> Result<Received, RejectionKind>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    let mut body = pin!(body);
    let (mut received, mut room) = (Received::default(), limit);
    while let Some(frame) = body.frame().await {
        if received.take(frame, &mut room, |_| {})?.is_break() {
            break;
        }
    }
    Ok(received)
}

/// Reads `body` to its end, within `limit` bytes; `fingerprint` sees every frame as it
/// arrives.
pub(super) fn receive<B>(
    body: Incoming<B>,
    limit: u64,
    mut fingerprint: FingerprintState,
) -> Receive<B> {
    let (body, received) = match body {
        Incoming::Arriving(body) => (Some(body), Received::default()),
        Incoming::Arrived(received) => {
            let frames = received.frames.as_slice().iter();
            frames.for_each(|frame| fingerprint.update(frame));
            (None, *received)
        }
    };
    Receive {
        body,
        received,
        room: limit,
        fingerprint,
    }
}

pin_project! {
    /// See [`receive`]. Not an `async fn`, which would hold the body twice.
    #[must_use = "futures do nothing unless polled"]
    pub(super) struct Receive<B> {
        #[pin]
        body: Option<B>,
        received: Received,
        room: u64,
        fingerprint: FingerprintState,
    }
}

impl<B> Future for Receive<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Output = Result<(Received, Fingerprint), RejectionKind>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Some(mut body) = this.body.as_pin_mut() {
            while let Some(frame) = ready!(body.as_mut().poll_frame(cx)) {
                let each = |data: &Bytes| this.fingerprint.update(data);
                if this.received.take(frame, this.room, each)?.is_break() {
                    break;
                }
            }
        }
        let fingerprint = this.fingerprint.close();
        Poll::Ready(Ok((mem::take(this.received), fingerprint)))
    }
}

/// A layer outside may have a limit of its own, which ends the body with an error.
fn reason(error: &(dyn Error + 'static)) -> RejectionKind {
    let mut causes = successors(Some(error), |&error| error.source());
    if causes.any(|error| error.is::<LengthLimitError>()) {
        RejectionKind::PayloadTooLarge
    } else {
        RejectionKind::BodyUnreadable
    }
}

pin_project! {
    /// The body the inner service gets: the one that arrived, untouched, or for a keyed
    /// request its frames, all there.
    ///
    /// The error type is that of the body that arrived; reading a keyed request's body
    /// never fails, as it was read before.
    pub struct RequestBody<B> {
        #[pin]
        kind: Kind<B>,
    }
}

pin_project! {
    #[project = KindProj]
    enum Kind<B> {
        Passed { #[pin] body: B },
        Whole { whole: Whole },
    }
}

impl<B> RequestBody<B> {
    pub(super) fn passed(body: B) -> Self {
        Self {
            kind: Kind::Passed { body },
        }
    }

    pub(super) fn incoming(body: Incoming<B>) -> Self {
        match body {
            Incoming::Arriving(body) => Self::passed(body),
            Incoming::Arrived(received) => Self::whole(*received),
        }
    }

    pub(super) fn whole(received: Received) -> Self {
        let whole = Whole::new(received.frames, received.trailers);
        Self {
            kind: Kind::Whole { whole },
        }
    }
}

/// An empty body, as a client inside that follows redirects sends one.
impl<B> Default for RequestBody<B> {
    fn default() -> Self {
        Self::whole(Received::default())
    }
}

impl<B> Body for RequestBody<B>
where
    B: Body<Data = Bytes>,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match self.project().kind.project() {
            KindProj::Passed { body } => body.poll_frame(cx),
            KindProj::Whole { whole } => Poll::Ready(whole.next().map(Ok)),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Passed { body } => body.is_end_stream(),
            Kind::Whole { whole } => whole.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Passed { body } => body.size_hint(),
            Kind::Whole { whole } => whole.size_hint(),
        }
    }
}

impl<B> fmt::Debug for RequestBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestBody").finish_non_exhaustive()
    }
}
