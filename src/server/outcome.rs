//! What becomes of a fresh answer.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header::CONTENT_LENGTH, response::Parts};
use http_body::Body;

use super::{
    BoxError,
    carried::Carried,
    flow::{Answered, Shared, give_up},
    gather::{Gathered, Panic, gather},
    lease::{Held, Settled},
    pump::Pump,
    recording::{LiveAnswer, Recording},
    reply::Protection,
    response_body::ResponseBody,
    settle::{Decided, Head, settle_unkept, settle_unread, settle_whole},
    stage::{Next, Stage, last, then},
};
use crate::{
    fingerprint::Fingerprint,
    frames::Frames,
    policy::{Directive, Outcome},
    record_key::RecordKey,
    rejection::RejectionKind,
    store::Store,
    verdict::{self, Verdict},
};

/// Decides what becomes of an answer, and sees to it.
pub(super) fn settle<S, Svc, B, E>(
    carried: &mut Carried<S, Svc>,
    held: Held<S>,
    fingerprint: Fingerprint,
    response: Response<B>,
) -> Next<impl Stage<Carried<S, Svc>, Output = Answered<B, E>> + use<S, Svc, B, E>, Answered<B, E>>
where
    S: Store,
    Svc: Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
    E: Send + 'static,
{
    let shared = Arc::clone(&carried.shared);
    let (mut parts, body) = response.into_parts();
    parts.headers.remove(&shared.config.contract.replay_header);
    let directive = match shared.decide(&parts) {
        Ok(directive) => directive,
        // Nobody decided: as when the handler itself panics.
        Err(panic) => return Next::Aside(Box::pin(give_up(held, Err(panic)))),
    };
    let head = shared.head(fingerprint, &parts, directive);
    carried.keep(parts);
    let outcome = directive.map_or(Outcome::Record, |directive| directive.outcome());
    if outcome != Outcome::Record {
        let answer = carried.answer(ResponseBody::passed(body));
        let settling = settle_unread(held, head, outcome);
        return Next::Aside(aside(carried, settling, fingerprint, answer));
    }
    let gathering = gather(body, shared.config.max_response_body);
    let gathered = move |carried: &mut Carried<S, Svc>, gathered| {
        settle_gathered(carried, held, head, gathered)
    };
    Next::On(then(gathering, gathered))
}

/// Settles an answer that is to be recorded, as far as its body is there.
fn settle_gathered<S, Svc, B, E>(
    carried: &mut Carried<S, Svc>,
    held: Held<S>,
    head: Head,
    gathered: Gathered<B>,
) -> Next<impl Stage<Carried<S, Svc>, Output = Answered<B, E>> + use<S, Svc, B, E>, Answered<B, E>>
where
    S: Store,
    Svc: Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
    E: Send + 'static,
{
    let fingerprint = head.fingerprint;
    match gathered {
        Gathered::Whole(frames, trailers) => {
            let whole = settle_whole(held, head, frames, trailers.as_deref());
            let settled = move |carried: &mut Carried<S, Svc>, (settled, record)| {
                let mut answer = carried.answer(ResponseBody::record(record));
                correct_length(&mut answer);
                let shared = &carried.shared;
                Ok(shared.conclude(&carried.key, settled, fingerprint, answer))
            };
            Next::On(last(whole, settled))
        }
        Gathered::Live(frames, body) => {
            let announced = carried.announced();
            let shared = &carried.shared;
            let body = shared.go_live(held, head, announced, frames, body);
            let mut answer = carried.answer(body);
            // With it the client would take the last byte for the end, which is held back
            // until the answer is recorded.
            answer.headers_mut().remove(CONTENT_LENGTH);
            Next::Done(Ok(answer))
        }
        Gathered::Unkept(cause, frames, rest) => {
            let answer = carried.answer(ResponseBody::begun(&frames, rest));
            let settling = settle_unkept(held, head, cause);
            Next::Aside(aside(carried, settling, fingerprint, answer))
        }
    }
}

/// Gives an answer that cannot be recorded, once its key is settled.
fn aside<S, Svc, B, E>(
    carried: &Carried<S, Svc>,
    settling: impl Future<Output = Settled> + Send + 'static,
    fingerprint: Fingerprint,
    answer: Response<ResponseBody<B>>,
) -> Pin<Box<dyn Future<Output = Answered<B, E>> + Send>>
where
    S: Store,
    B: Send + 'static,
{
    let (shared, key) = (Arc::clone(&carried.shared), carried.key);
    Box::pin(async move { Ok(shared.conclude(&key, settling.await, fingerprint, answer)) })
}

impl<S: Store> Shared<S> {
    /// What the handler says becomes of its answer, else the policy; or the panic of that.
    fn decide(&self, parts: &Parts) -> Result<Option<Directive>, Panic> {
        match parts.extensions.get::<Directive>() {
            // Left where it is, for layers around this one.
            Some(by_handler) => Ok(Some(*by_handler)),
            None => catch_unwind(AssertUnwindSafe(|| self.config.directive(parts))),
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
        announced: Vec<HeaderValue>,
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
            announced,
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
