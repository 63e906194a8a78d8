//! Drives a live response body to its end, whoever still reads it.

use std::{pin::Pin, sync::Arc};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame};

use super::{
    BoxError,
    gather::poll_caught,
    lease::{Held, Settled},
    recording::{End, Recording},
    response_body::{CutShort, LeaseLost, Unconfirmed},
    settle::{Head, settle_unkept, settle_whole},
};
use crate::{event::Cause, store::Store};

/// A live body and what it is recorded under.
pub(super) struct Pump<B, S: Store> {
    pub(super) body: Pin<Box<B>>,
    pub(super) recording: Arc<Recording>,
    pub(super) held: Held<S>,
    pub(super) head: Head,
    /// How many bytes the recording may still take.
    pub(super) room: u64,
}

impl<B, S> Pump<B, S>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
    S: Store,
{
    /// Reads the body to its end, records it, and only then lets its reader see the end.
    pub(super) fn run(mut self) -> impl Future<Output = ()> {
        // Made now: the task may be dropped without having begun.
        let recording = CutShortOnDrop(Arc::clone(&self.recording));
        async move {
            let end = match self.read().await {
                Read::Whole(trailers) => self.complete(trailers).await,
                Read::Failed(error) => unkept(self.held, self.head, Cause::BodyFailed)
                    .await
                    .unwrap_or_else(|| End::failed(error)),
                Read::Beyond(frame) => self.run_beyond(frame).await,
            };
            recording.0.finish(end);
        }
    }

    async fn read(&mut self) -> Read {
        loop {
            match self.next().await {
                None => return Read::Whole(None),
                Some(Err(error)) => return Read::Failed(error),
                Some(Ok(frame)) => match frame.into_data() {
                    Err(frame) => return Read::Whole(frame.into_trailers().ok()),
                    Ok(data) => match self.room.checked_sub(data.len() as u64) {
                        None => return Read::Beyond(data),
                        Some(room) => {
                            self.room = room;
                            self.recording.push(data);
                        }
                    },
                },
            }
        }
    }

    async fn next(&mut self) -> Option<Result<Frame<Bytes>, BoxError>> {
        std::future::poll_fn(|cx| poll_caught(self.body.as_mut(), cx)).await
    }

    async fn complete(self, trailers: Option<HeaderMap>) -> End {
        let frames = self.recording.frames();
        let settling = settle_whole(self.held, self.head, frames, trailers.as_ref());
        let (settled, record) = settling.await;
        match settled {
            Settled::Lost(_) => End::failed(LeaseLost),
            Settled::Unconfirmed | Settled::RolledBack => End::failed(Unconfirmed),
            Settled::Kept => End::Whole {
                kept: record.trailers(),
                trailers,
            },
            Settled::Unrecorded => End::Unrecorded(trailers),
        }
    }

    /// The body is larger than may be kept: settles the key now, then hands the rest over
    /// at the reader's pace for as long as there is one.
    async fn run_beyond(self, frame: Bytes) -> End {
        let (mut body, recording) = (self.body, self.recording);
        if let Some(lost) = unkept(self.held, self.head, Cause::OverLimit).await {
            return lost;
        }
        recording.push_beyond(frame);
        let mut trailers = None;
        while recording.taken().await {
            match std::future::poll_fn(|cx| poll_caught(body.as_mut(), cx)).await {
                None => break,
                Some(Err(error)) => return End::failed(error),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => recording.push_beyond(data),
                    Err(frame) => {
                        trailers = frame.into_trailers().ok();
                        break;
                    }
                },
            }
        }
        // Who joined was told that it broke off.
        let kept = None;
        End::Whole { trailers, kept }
    }
}

/// What reading a body within the limit came to.
enum Read {
    Whole(Option<HeaderMap>),
    Failed(BoxError),
    /// This frame does not fit any more.
    Beyond(Bytes),
}

/// Settles the key of an answer that cannot be kept. `Some` if it must not be given either.
async fn unkept<S: Store>(held: Held<S>, head: Head, cause: Cause) -> Option<End> {
    match settle_unkept(held, head, cause).await {
        Settled::Lost(_) => Some(End::failed(LeaseLost)),
        Settled::Unconfirmed | Settled::RolledBack => Some(End::failed(Unconfirmed)),
        Settled::Kept | Settled::Unrecorded => None,
    }
}

/// A reader must never take the end of the pump for the end of the body.
struct CutShortOnDrop(Arc<Recording>);

impl Drop for CutShortOnDrop {
    fn drop(&mut self) {
        self.0.finish(End::failed(CutShort));
    }
}
