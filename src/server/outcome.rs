//! What becomes of a fresh answer.

use std::{
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Response, StatusCode,
    header::{CONTENT_LENGTH, TRAILER, TRANSFER_ENCODING},
    response::Parts,
};
use http_body::Body;

use super::{
    BoxError,
    flow::Answered,
    gather::{Panic, Ran},
    lease::{Held, Settled},
    pump::Pump,
    recording::{LiveAnswer, Recording},
    reply::Protection,
    response_body::ResponseBody,
    settle::{Decided, Head, Trailers},
    shared::Shared,
};
use crate::{
    event::Cause,
    fingerprint::Fingerprint,
    frames::Frames,
    policy::Directive,
    record::Record,
    record_key::RecordKey,
    rejection::RejectionKind,
    store::Store,
    verdict::{self, Verdict},
};

impl<S: Store> Shared<S> {
    /// What the handler says becomes of its answer, else the policy; or the panic of that.
    pub(super) fn decide(&self, parts: &mut Parts) -> Result<Option<Directive>, Panic> {
        self.take_ours(&mut parts.headers);
        match parts.extensions.get::<Directive>() {
            // Left where it is, for layers around this one.
            Some(by_handler) => Ok(Some(*by_handler)),
            None => catch_unwind(AssertUnwindSafe(|| self.config.directive(parts))),
        }
    }

    /// What only this layer may say of an answer goes: a gateway may hand on what was said to
    /// it, which is not true of its own.
    pub(super) fn take_ours(&self, headers: &mut HeaderMap) {
        let contract = &self.config.contract;
        headers.remove(&contract.replay_header);
        headers.remove(&contract.status_header);
    }

    pub(super) fn head(
        &self,
        fingerprint: Fingerprint,
        parts: &Parts,
        directive: Option<Directive>,
    ) -> Head {
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

    /// Gives an answer whose body still grows, and has the rest of it recorded while the client
    /// reads it.
    pub(super) fn go_live<B>(
        &self,
        held: Held<S>,
        head: Head,
        mut answer: Parts,
        frames: Frames,
        body: Pin<Box<B>>,
    ) -> Response<ResponseBody<B>>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let room = self.config.max_response_body - frames.bytes();
        let (recording, reader) = Recording::new(frames);
        held.go_live(LiveAnswer {
            status: head.status,
            headers: head.headers.clone(),
            announced: answer.headers.get_all(TRAILER).iter().cloned().collect(),
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
        // With it the client would take the last byte for the end, which is held back
        // until the answer is recorded.
        answer.headers.remove(CONTENT_LENGTH);
        Response::from_parts(answer, ResponseBody::live(reader))
    }

    /// Gives an answer that was gathered, and of which the store has spoken.
    pub(super) fn give<B>(
        &self,
        key: &RecordKey,
        answer: Parts,
        settled: Settled,
        record: Record,
        trailers: Trailers,
    ) -> Response<ResponseBody<B>>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        let fingerprint = record.fingerprint();
        let mut answer = Response::from_parts(answer, ResponseBody::fresh(record, trailers));
        correct_length(&mut answer);
        self.conclude(key, settled, fingerprint, answer)
    }

    /// Gives an answer that is not recorded, once its key is settled.
    pub(super) fn give_after<B, E>(
        self: &Arc<Self>,
        key: RecordKey,
        settling: impl Future<Output = Settled> + Send + 'static,
        fingerprint: Fingerprint,
        answer: Response<ResponseBody<B>>,
    ) -> impl Future<Output = Answered<B, E>> + Send + 'static
    where
        B: Send + 'static,
    {
        let shared = Arc::clone(self);
        async move { Ok(shared.conclude(&key, settling.await, fingerprint, answer)) }
    }

    /// The answer to give after the store has spoken: whoever lost the lease never gives
    /// the own one.
    ///
    /// Inlined, as each call moves the head of the answer.
    #[inline(always)]
    fn conclude<B>(
        &self,
        key: &RecordKey,
        settled: Settled,
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

/// The inner service returned an error, or panicked: releases the key, and passes that on.
pub(super) async fn give_up<S: Store, B, E>(held: Held<S>, failed: Ran<B, E>) -> Answered<B, E> {
    let cause = match failed {
        Ok(_) => Cause::ServiceError,
        Err(_) => Cause::Panic,
    };
    held.release(cause).await;
    let answered = failed.unwrap_or_else(|panic| resume_unwind(panic));
    answered.map(|response| response.map(ResponseBody::passed))
}

/// A body of unknown length that is all there has one, which axum then tells. hyper gives nobody
/// an answer that is framed in two ways; what needs chunks it chunks untold.
pub(super) fn leave_chunks_to_the_server(answer: &mut Parts) {
    let mut encodings = answer.headers.get_all(TRANSFER_ENCODING).iter();
    let is_chunked = |encoding: &HeaderValue| encoding.as_bytes().eq_ignore_ascii_case(b"chunked");
    if encodings.next().is_some_and(is_chunked) && encodings.next().is_none() {
        answer.headers.remove(TRANSFER_ENCODING);
    }
}

/// A wrong `Content-Length` lets a server split responses, and here the right one is known.
/// Where there is no body it may speak of the body that was left out (RFC 9110 section 8.6).
fn correct_length<B>(answer: &mut Response<ResponseBody<B>>)
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    let length = answer.body().size_hint().lower();
    if length == 0 && answer.status() == StatusCode::NOT_MODIFIED {
        return;
    }
    let headers = answer.headers_mut();
    if headers.contains_key(CONTENT_LENGTH) {
        let length = length.to_string();
        let mut announced = headers.get_all(CONTENT_LENGTH).iter();
        if announced.any(|announced| announced != length.as_str()) {
            headers.remove(CONTENT_LENGTH);
        }
    }
}
