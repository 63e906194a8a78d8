//! The answers the layer gives itself.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, header::TRAILER};

use super::{recording::LiveAnswer, response_body::ResponseBody, shared::Shared};
use crate::{
    event::Event, protocol::Protocol, record::Record, record_key::RecordKey, verdict::Verdict,
};

/// What an answer lacks.
#[derive(Debug, Clone, Copy)]
pub(super) enum Protection {
    /// It was given, and could not be recorded.
    Unrecorded,
    /// It was given without a claim.
    Unprotected,
}

impl<S> Shared<S> {
    /// The answer of a verdict that executes nothing.
    pub(super) fn reply<B>(&self, key: &RecordKey, verdict: Verdict) -> Response<ResponseBody<B>> {
        match verdict {
            Verdict::Replay(record) => {
                self.config.emit(&Event::Replayed { key });
                self.replay(record)
            }
            Verdict::Reject(kind, wait) => {
                self.config.emit(&Event::Rejected {
                    key: Some(key),
                    kind,
                });
                let response: Response<Bytes> = self.config.reject(kind, wait);
                response.map(ResponseBody::bytes)
            }
        }
    }

    fn replay<B>(&self, record: Record) -> Response<ResponseBody<B>> {
        let mut response = Response::new(());
        if let Some(answer) = record.as_answer() {
            *response.status_mut() = answer.status;
            answer.headers.append_to(response.headers_mut());
        }
        if let (Protocol::Http, Some(trailers)) = (self.config.protocol, record.trailers()) {
            let names = trailers.keys().cloned().map(HeaderValue::from);
            announce(names, response.headers_mut());
        }
        self.mark_replay(&mut response);
        response.map(|()| ResponseBody::record(record))
    }

    /// The answer of a request that joins one whose body still grows.
    pub(super) fn join<B>(
        &self,
        key: &RecordKey,
        answer: &LiveAnswer,
    ) -> Response<ResponseBody<B>> {
        self.config.emit(&Event::Replayed { key });
        let mut response = Response::new(ResponseBody::live(answer.recording.join()));
        *response.status_mut() = answer.status;
        answer.headers.append_to(response.headers_mut());
        announce(answer.announced.iter().cloned(), response.headers_mut());
        self.mark_replay(&mut response);
        response
    }

    fn mark_replay<B>(&self, response: &mut Response<B>) {
        let marker = self.config.contract.replay_header.clone();
        let value = const { HeaderValue::from_static("true") };
        insert(response.headers_mut(), marker, value);
    }

    /// Marks an answer that a retry may find executed again.
    pub(super) fn mark<B>(&self, mut response: Response<B>, protection: Protection) -> Response<B> {
        let status = HeaderValue::from_static(match protection {
            Protection::Unrecorded => "unrecorded",
            Protection::Unprotected => "unprotected",
        });
        let name = self.config.contract.status_header.clone();
        insert(response.headers_mut(), name, status);
        response
    }
}

/// `Trailer` belongs to one message and is not recorded; HTTP/1.1 sends only the trailers
/// it names.
fn announce(names: impl Iterator<Item = HeaderValue>, headers: &mut HeaderMap) {
    for name in names {
        // A map that is full has no room for it.
        let _ = headers.try_append(TRAILER, name);
    }
}

/// A map that is full drops it: that is no reason to panic.
fn insert(headers: &mut HeaderMap, name: HeaderName, value: HeaderValue) {
    let _ = headers.try_insert(name, value);
}
