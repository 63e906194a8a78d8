//! What becomes of a fresh answer.

use std::sync::Arc;

use bytes::Bytes;
use http::{
    HeaderMap, Response, StatusCode,
    header::{CONTENT_LENGTH, Entry},
    response::Parts,
};
use http_body::Body;

use super::{
    BoxError,
    flow::Shared,
    gather::{Gathered, gather},
    lease::{Held, Settled},
    pump::{Head, Pump, settle_unkept},
    recording::{LiveAnswer, Recording},
    reply::Protection,
    response_body::{ResponseBody, Rest},
};
use crate::{
    event::Cause,
    fingerprint::Fingerprint,
    policy::{Directive, Outcome},
    record::Record,
    record_key::RecordKey,
    store::Store,
    verdict,
};

impl<S: Store> Shared<S> {
    /// Decides what becomes of an answer and sees to it; the answer to give.
    pub(super) async fn settle<B>(
        &self,
        held: Held<S>,
        fingerprint: Fingerprint,
        response: Response<B>,
    ) -> Response<ResponseBody<B>>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let (mut parts, body) = response.into_parts();
        parts.headers.remove(&self.config.contract.replay_header);
        let by_handler = parts.extensions.remove::<Directive>();
        let directive = by_handler.unwrap_or_else(|| self.config.policy().directive(&parts));
        let head = self.head(fingerprint, &parts, &directive);
        let key = *held.flight().lease.key();
        let settled = match directive.outcome() {
            Outcome::Record => return self.record(held, head, parts, body).await,
            Outcome::Seal => {
                held.seal(fingerprint, head.retention, Cause::Directive)
                    .await
            }
            Outcome::Release => held.release(Cause::Directive).await,
        };
        let response = Response::from_parts(parts, ResponseBody::passed(body));
        self.conclude(settled, &key, fingerprint, response)
    }

    fn head(&self, fingerprint: Fingerprint, parts: &Parts, directive: &Directive) -> Head {
        Head {
            fingerprint,
            status: parts.status,
            headers: self.config.recorded_headers.pack(&parts.headers),
            retention: directive.retention_or(self.config.retention),
        }
    }

    async fn record<B>(
        &self,
        held: Held<S>,
        head: Head,
        mut parts: Parts,
        body: B,
    ) -> Response<ResponseBody<B>>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let (key, fingerprint) = (*held.flight().lease.key(), head.fingerprint);
        let limit = self.config.max_response_body;
        let (settled, body) = match gather(body, limit).await {
            Gathered::Whole(frames, trailers) => {
                let retention = head.retention;
                let record = head.record(frames, trailers.as_deref());
                let settled = held.complete(&record, retention).await;
                correct_length(&mut parts.headers, &record);
                (settled, ResponseBody::record(record))
            }
            Gathered::Live(frames, body) => {
                let room = limit - frames.bytes();
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
                // With it the client would take the last byte for the end, which is held
                // back until the answer is recorded.
                parts.headers.remove(CONTENT_LENGTH);
                (Settled::Kept, ResponseBody::live(reader))
            }
            Gathered::TooLarge(frames, rest) => {
                let settled = settle_unkept(held, &head, Cause::OverLimit).await;
                (settled, ResponseBody::begun(&frames, rest))
            }
            Gathered::Broken(frames, error) => {
                let settled = settle_unkept(held, &head, Cause::BodyFailed).await;
                (
                    settled,
                    ResponseBody::begun(&frames, Rest::Error(Some(error))),
                )
            }
        };
        self.conclude(
            settled,
            &key,
            fingerprint,
            Response::from_parts(parts, body),
        )
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
        }
    }
}

/// A wrong `Content-Length` lets a server split responses, and here the right one is known.
/// Where there is no body it may speak of the body that was left out (RFC 9110 section 8.6).
fn correct_length(headers: &mut HeaderMap, record: &Record) {
    if record.body().is_empty() && record.status() == Some(StatusCode::NOT_MODIFIED) {
        return;
    }
    if let Entry::Occupied(lengths) = headers.entry(CONTENT_LENGTH) {
        let bytes: usize = record.body().iter().map(Bytes::len).sum();
        let bytes = bytes.to_string();
        if lengths.iter().any(|length| length != bytes.as_str()) {
            lengths.remove_entry_mult();
        }
    }
}
