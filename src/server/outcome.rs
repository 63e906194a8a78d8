//! What becomes of a fresh answer.

use std::{
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode, header::CONTENT_LENGTH, response::Parts};
use http_body::Body;

use super::{
    BoxError,
    flow::{Answered, Shared},
    gather::{Gathered, Panic, gather},
    lease::{Held, Settled},
    pump::{Decided, Head, Pump, settle_unkept, settle_whole},
    recording::{LiveAnswer, Recording},
    reply::Protection,
    response_body::{ResponseBody, Rest},
};
use crate::{
    event::Cause,
    fingerprint::Fingerprint,
    frames::Frames,
    policy::{Directive, Outcome},
    record::Record,
    record_key::RecordKey,
    rejection::RejectionKind,
    store::Store,
    verdict::{self, Verdict},
};

impl<S: Store> Shared<S> {
    /// Decides what becomes of an answer and sees to it; the answer to give.
    ///
    /// Not an `async fn`, which would hold each part of the answer twice.
    pub(super) fn settle<B, E>(
        self: Arc<Self>,
        mut held: Held<S>,
        fingerprint: Fingerprint,
        response: Response<B>,
    ) -> impl Future<Output = Answered<B, E>>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let (mut parts, body) = response.into_parts();
        parts.headers.remove(&self.config.contract.replay_header);
        let (directive, panic) = self.decide(&mut parts);
        let head = self.head(fingerprint, &parts, directive);
        let outcome = directive.map_or(Outcome::Record, |directive| directive.outcome());
        let flight = Arc::clone(held.flight());
        async move {
            if let Some(panic) = panic {
                // Nobody decided: as when the handler itself panics.
                held.release(Cause::Panic).await;
                resume_unwind(panic);
            }
            let (settled, body) = match outcome {
                Outcome::Seal => {
                    let sealed = held.seal(fingerprint, head.retention, Cause::Directive);
                    (sealed.await, ResponseBody::passed(body))
                }
                Outcome::Release => {
                    let released = held.release(Cause::Directive);
                    (released.await, ResponseBody::passed(body))
                }
                Outcome::Record => match gather(body, self.config.max_response_body).await {
                    Gathered::Whole(frames, trailers) => {
                        let whole = settle_whole(held, head, frames, trailers.as_deref());
                        let (settled, record) = whole.await;
                        correct_length(&mut parts.headers, &record);
                        (settled, ResponseBody::record(record))
                    }
                    Gathered::Live(frames, body) => {
                        // With it the client would take the last byte for the end, which is
                        // held back until the answer is recorded.
                        parts.headers.remove(CONTENT_LENGTH);
                        (Settled::Kept, self.go_live(held, head, frames, body))
                    }
                    Gathered::TooLarge(frames, rest) => {
                        let settled = settle_unkept(held, &head, Cause::OverLimit).await;
                        (settled, ResponseBody::begun(&frames, rest))
                    }
                    Gathered::Broken(frames, error) => {
                        let settled = settle_unkept(held, &head, Cause::BodyFailed).await;
                        let rest = Rest::Error(Some(error));
                        (settled, ResponseBody::begun(&frames, rest))
                    }
                },
            };
            let response = Response::from_parts(parts, body);
            Ok(self.conclude(settled, flight.lease.key(), fingerprint, response))
        }
    }

    /// What the handler says becomes of its answer, else the policy; and the panic of that.
    fn decide(&self, parts: &mut Parts) -> (Option<Directive>, Option<Panic>) {
        if let Some(by_handler) = parts.extensions.remove::<Directive>() {
            return (Some(by_handler), None);
        }
        let by_policy = AssertUnwindSafe(|| self.config.directive(parts));
        match catch_unwind(by_policy) {
            Ok(directive) => (directive, None),
            Err(panic) => (Some(Directive::release()), Some(panic)),
        }
    }

    fn head(&self, fingerprint: Fingerprint, parts: &Parts, directive: Option<Directive>) -> Head {
        let retention = self.config.retention;
        Head {
            fingerprint,
            status: parts.status,
            headers: self.config.recorded_headers.pack(&parts.headers),
            retention: directive.map_or(retention, |directive| directive.retention_or(retention)),
            decided: match directive {
                Some(_) => Decided::ByHead,
                None => Decided::ByTrailers,
            },
        }
    }

    /// Has the rest of a body recorded while the client reads it.
    fn go_live<B>(
        &self,
        held: Held<S>,
        head: Head,
        frames: Frames,
        body: Pin<Box<B>>,
    ) -> ResponseBody<B>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let room = self.config.max_response_body - frames.bytes();
        let (recording, reader) = Recording::new(frames);
        held.go_live(LiveAnswer {
            status: head.status,
            headers: head.headers.clone(),
            recording: Arc::clone(&recording),
        });
        let pump = Pump {
            body,
            recording,
            held,
            head,
            room,
        };
        self.node.tasks.spawn(pump.run());
        ResponseBody::live(reader)
    }

    /// The answer to give after the store has spoken: whoever lost the lease never gives
    /// the own one.
    fn conclude<B>(
        &self,
        settled: Settled,
        key: &RecordKey,
        fingerprint: Fingerprint,
        response: Response<ResponseBody<B>>,
    ) -> Response<ResponseBody<B>> {
        match settled {
            Settled::Kept => response,
            Settled::Unrecorded => self.mark(response, Protection::Unrecorded),
            Settled::Lost(standing) => self.reply(key, verdict::on_loss(standing, fingerprint)),
            Settled::Unconfirmed | Settled::RolledBack => {
                let retry = Some(Duration::from_secs(1));
                self.reply(key, Verdict::Reject(RejectionKind::Unconfirmed, retry))
            }
        }
    }
}

/// A wrong `Content-Length` lets a server split responses, and here the right one is known.
/// Where there is no body it may speak of the body that was left out (RFC 9110 section 8.6).
fn correct_length(headers: &mut HeaderMap, record: &Record) {
    if record.body().is_empty() && record.status() == Some(StatusCode::NOT_MODIFIED) {
        return;
    }
    if headers.contains_key(CONTENT_LENGTH) {
        let bytes: usize = record.body().iter().map(Bytes::len).sum();
        let bytes = bytes.to_string();
        let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
        if lengths.any(|length| length != bytes.as_str()) {
            headers.remove(CONTENT_LENGTH);
        }
    }
}
