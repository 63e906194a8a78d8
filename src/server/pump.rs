//! Drives a live response body to its end, whoever still reads it.

use std::{pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use http_body::{Body, Frame};

use super::{
    BoxError,
    config::Unkept,
    gather::poll_caught,
    lease::{Held, Settled},
    recording::{End, Recording},
    response_body::{CutShort, LeaseLost, Unconfirmed},
};
use crate::{
    event::Cause,
    fields::Fields,
    fingerprint::Fingerprint,
    frames::Frames,
    policy::{Outcome, by_grpc_status},
    record::{Answer, Content, Record},
    store::Store,
};

/// All of an answer but its body.
pub(super) struct Head {
    pub(super) fingerprint: Fingerprint,
    pub(super) status: StatusCode,
    pub(super) headers: Fields,
    pub(super) retention: Duration,
    pub(super) decided: Decided,
}

/// What tells the outcome of an answer that is to be gathered.
#[derive(Debug, Clone, Copy)]
pub(super) enum Decided {
    /// Its head did: it is to be recorded.
    ByHead,
    /// Its trailers will, or that there are none.
    ByTrailers,
}

impl Head {
    fn outcome(&self, trailers: Option<&HeaderMap>) -> Outcome {
        match self.decided {
            Decided::ByHead => Outcome::Record,
            Decided::ByTrailers => trailers
                .and_then(by_grpc_status)
                .map_or(Outcome::Release, |directive| directive.outcome()),
        }
    }

    pub(super) fn record(self, body: Frames, trailers: Option<&HeaderMap>) -> Record {
        let trailers = trailers.map(|trailers| Box::new(Fields::pack(trailers, |_| true)));
        let (status, headers) = (self.status, self.headers);
        let answer = Answer {
            status,
            headers,
            body,
            trailers,
        };
        Record::new(self.fingerprint, Content::Answer(answer))
    }
}

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
                Read::Failed(error) => unkept(self.held, &self.head, Cause::BodyFailed)
                    .await
                    .unwrap_or_else(|| End::failed(error)),
                Read::Beyond(frame) => self.run_beyond(frame).await,
            };
            recording.0.finish(end);
        }
    }

    async fn read(&mut self) -> Read {
        let mut trailers = None;
        loop {
            match self.next().await {
                None => return Read::Whole(trailers),
                Some(Err(error)) => return Read::Failed(error),
                Some(Ok(frame)) => match frame.into_data() {
                    Err(frame) => trailers = frame.into_trailers().ok(),
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
        let (settled, _) = settle_whole(self.held, self.head, frames, trailers.as_ref()).await;
        match settled {
            Settled::Lost(_) => End::failed(LeaseLost),
            Settled::Unconfirmed | Settled::RolledBack => End::failed(Unconfirmed),
            Settled::Kept | Settled::Unrecorded => End::Whole(trailers),
        }
    }

    /// The body is larger than may be kept: settles the key now, then hands the rest over
    /// at the reader's pace for as long as there is one.
    async fn run_beyond(self, frame: Bytes) -> End {
        let (mut body, recording) = (self.body, self.recording);
        if let Some(lost) = unkept(self.held, &self.head, Cause::OverLimit).await {
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
                    Err(frame) => trailers = frame.into_trailers().ok(),
                },
            }
        }
        End::Whole(trailers)
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
async fn unkept<S: Store>(held: Held<S>, head: &Head, cause: Cause) -> Option<End> {
    match settle_unkept(held, head, cause).await {
        Settled::Lost(_) => Some(End::failed(LeaseLost)),
        Settled::Unconfirmed | Settled::RolledBack => Some(End::failed(Unconfirmed)),
        Settled::Kept | Settled::Unrecorded => None,
    }
}

/// Settles the key of an answer that is all there.
///
/// Not an `async fn`, which would hold each argument twice.
pub(super) fn settle_whole<S: Store>(
    mut held: Held<S>,
    head: Head,
    body: Frames,
    trailers: Option<&HeaderMap>,
) -> impl Future<Output = (Settled, Record)> + use<S> {
    let (retention, outcome) = (head.retention, head.outcome(trailers));
    let record = head.record(body, trailers);
    async move {
        let settled = match outcome {
            Outcome::Record => held.complete(&record, retention).await,
            Outcome::Seal => {
                let fingerprint = record.fingerprint();
                held.seal(fingerprint, retention, Cause::Directive).await
            }
            Outcome::Release => held.release(Cause::Directive).await,
        };
        (settled, record)
    }
}

/// Seals or releases, as configured for `cause`. Seals where the handler left a transaction:
/// the answer leaves, so what it tells of must have happened.
pub(super) async fn settle_unkept<S: Store>(
    mut held: Held<S>,
    head: &Head,
    cause: Cause,
) -> Settled {
    let config = &held.flight().config;
    let unkept = match cause {
        Cause::OverLimit => config.over_limit,
        _ => config.broken_body,
    };
    match unkept {
        Unkept::DangerRelease if !held.flight().lease.has_attachment() => held.release(cause).await,
        Unkept::DangerRelease | Unkept::Seal => {
            held.seal(head.fingerprint, head.retention, cause).await
        }
    }
}

/// A reader must never take the end of the pump for the end of the body.
struct CutShortOnDrop(Arc<Recording>);

impl Drop for CutShortOnDrop {
    fn drop(&mut self) {
        self.0.finish(End::failed(CutShort));
    }
}
