//! The response body a client gets.

use std::{
    fmt, mem,
    pin::Pin,
    task::{Context, Poll},
    vec,
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::{BoxError, recording::Reader, settle::Trailers};
use crate::{frames::Frames, record::Record};

pin_project! {
    /// The body a client gets: the inner service's own, a recorded one, one that is being
    /// recorded, or a refusal.
    ///
    /// Its error is the inner body's, boxed; or, for a body that is being recorded, that
    /// the lease was lost ([`LeaseLost`]), the handler's transaction was not confirmed
    /// ([`Unconfirmed`]), or the recording was cut short ([`CutShort`]). A duplicate that joined
    /// such a body is told of all of these, and of the inner body's errors, by
    /// [`BrokeOff`](super::BrokeOff).
    pub struct ResponseBody<B> {
        #[pin]
        kind: Kind<B>,
    }
}

pin_project! {
    #[project = KindProj]
    enum Kind<B> {
        Passed { #[pin] body: B },
        /// Bytes that are all there.
        Held { held: Held, next: usize, left: u64 },
        /// Bytes that are being recorded.
        Live { reader: Reader },
        /// The beginning of a body, and what comes then.
        Begun { frames: vec::IntoIter<Bytes>, rest: Rest<B> },
    }
}

#[derive(Debug)]
enum Held {
    Frames(Frames),
    Record(Record),
    /// A record of an answer, with all of its trailers.
    Fresh(Record, Box<HeaderMap>),
    /// A record whose trailers were sent.
    Sent(Record),
}

/// What comes after the beginning of a body.
pub(super) enum Rest<B> {
    Body(Pin<Box<B>>),
    Error(Option<BoxError>),
}

/// The operation lost its lease while its response streamed: another attempt may have
/// answered, so this answer must not be taken for the recorded one.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the operation lost its lease: this answer is not the recorded one")]
#[non_exhaustive]
pub struct LeaseLost;

/// The handler's own transaction was rolled back while its response streamed, or its end is
/// not known: this answer must not be taken for the recorded one.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the operation was not confirmed: this answer is not the recorded one")]
#[non_exhaustive]
pub struct Unconfirmed;

/// The task that recorded the response was stopped before its end.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the response was cut short")]
#[non_exhaustive]
pub struct CutShort;

impl<B> ResponseBody<B> {
    pub(super) fn passed(body: B) -> Self {
        Self {
            kind: Kind::Passed { body },
        }
    }

    pub(super) fn bytes(bytes: Bytes) -> Self {
        let left = bytes.len() as u64;
        Self::held(Held::Frames(bytes.into()), left)
    }

    pub(super) fn record(record: Record) -> Self {
        let left = record.body_bytes();
        Self::held(Held::Record(record), left)
    }

    /// The answer that was just recorded, for who asked first: with all of its trailers.
    pub(super) fn fresh(record: Record, trailers: Trailers) -> Self {
        let left = record.body_bytes();
        let held = match trailers {
            Some(trailers) => Held::Fresh(record, trailers),
            None => Held::Record(record),
        };
        Self::held(held, left)
    }

    fn held(held: Held, left: u64) -> Self {
        Self {
            kind: Kind::Held {
                held,
                next: 0,
                left,
            },
        }
    }

    pub(super) fn live(reader: Reader) -> Self {
        Self {
            kind: Kind::Live { reader },
        }
    }

    pub(super) fn begun(frames: &Frames, rest: Rest<B>) -> Self {
        let frames = frames.as_slice().to_vec().into_iter();
        Self {
            kind: Kind::Begun { frames, rest },
        }
    }
}

/// An empty body, as layers outside want one for answers of their own: CORS for a preflight.
impl<B> Default for ResponseBody<B> {
    fn default() -> Self {
        Self::bytes(Bytes::new())
    }
}

impl<B> Body for ResponseBody<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match self.project().kind.project() {
            KindProj::Passed { body } => body.poll_frame(cx).map_err(Into::into),
            KindProj::Held { held, next, left } => {
                let Some(frame) = held.frames().get(*next) else {
                    return Poll::Ready(held.trailers().map(Ok));
                };
                *next += 1;
                *left -= frame.len() as u64;
                Poll::Ready(Some(Ok(Frame::data(frame.clone()))))
            }
            KindProj::Live { reader } => reader.poll_frame(cx),
            KindProj::Begun { frames, rest } => match frames.next() {
                Some(frame) => Poll::Ready(Some(Ok(Frame::data(frame)))),
                None => rest.poll_frame(cx),
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Passed { body } => body.is_end_stream(),
            Kind::Held { held, left, .. } => *left == 0 && !held.has_trailers(),
            Kind::Live { reader } => reader.is_end_stream(),
            Kind::Begun { frames, rest } => frames.len() == 0 && rest.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Passed { body } => body.size_hint(),
            // With an exact size HTTP/1.1 sends a `Content-Length`, and no trailers.
            Kind::Held { held, left, .. } if held.has_trailers() => at_least(*left),
            Kind::Held { left, .. } => SizeHint::with_exact(*left),
            Kind::Live { .. } => SizeHint::default(),
            Kind::Begun { frames, rest } => {
                let begun = frames
                    .as_slice()
                    .iter()
                    .map(|frame| frame.len() as u64)
                    .sum();
                rest.size_hint_after(begun)
            }
        }
    }
}

/// The size of a body that may still be longer, or has trailers.
pub(super) fn at_least(bytes: u64) -> SizeHint {
    let mut hint = SizeHint::new();
    hint.set_lower(bytes);
    hint
}

impl Held {
    fn frames(&self) -> &[Bytes] {
        match self {
            Self::Frames(frames) => frames.as_slice(),
            Self::Record(record) | Self::Fresh(record, _) | Self::Sent(record) => record.body(),
        }
    }

    fn has_trailers(&self) -> bool {
        match self {
            Self::Record(record) => record.has_trailers(),
            Self::Fresh(..) => true,
            Self::Frames(_) | Self::Sent(_) => false,
        }
    }

    /// The frame that carries the trailers, the first time.
    fn trailers(&mut self) -> Option<Frame<Bytes>> {
        let (record, trailers) = match self {
            Self::Record(record) => (record.clone(), record.trailers()),
            Self::Fresh(record, trailers) => (record.clone(), Some(mem::take(&mut **trailers))),
            Self::Frames(_) | Self::Sent(_) => return None,
        };
        *self = Self::Sent(record);
        trailers.map(Frame::trailers)
    }
}

impl<B> Rest<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self {
            Self::Body(body) => body.as_mut().poll_frame(cx).map_err(Into::into),
            Self::Error(error) => Poll::Ready(error.take().map(Err)),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Body(body) => body.is_end_stream(),
            Self::Error(error) => error.is_none(),
        }
    }

    fn size_hint_after(&self, begun: u64) -> SizeHint {
        let Self::Body(body) = self else {
            return at_least(begun);
        };
        let rest = body.size_hint();
        let mut hint = at_least(begun.saturating_add(rest.lower()));
        if let Some(upper) = rest.upper() {
            hint.set_upper(begun.saturating_add(upper));
        }
        hint
    }
}

impl<B> fmt::Debug for ResponseBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseBody").finish_non_exhaustive()
    }
}
