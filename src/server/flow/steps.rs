//! What follows from the end of each stage: the next one, or the answer.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::Body;
use tower_service::Service;

use super::{Stage, WayProj};
use crate::{
    fingerprint::Fingerprint,
    frames::Frames,
    key::Key,
    policy::{Directive, Outcome},
    record::Record,
    record_key::RecordKey,
    rejection::RejectionKind,
    server::{
        BoxError,
        ask::Asked,
        gather::{Caught, Gathered, Ran, exact_size, gather},
        lease::{Held, Settled},
        outcome::{give_up, leave_chunks_to_the_server},
        pledge,
        request_body::{Received, RequestBody},
        response_body::ResponseBody,
        settle::{Head, Trailers, settle_unkept, settle_unread},
        shared::Shared,
    },
    store::Store,
    verdict::Verdict,
};

/// The answer, if the way ends here.
type Ends<B> = Option<Response<ResponseBody<B>>>;

impl<S, Svc, ReqB, ResB, AskFn, A, SettleFn, R>
    WayProj<'_, S, Svc, ReqB, Svc::Future, ResB, Svc::Error, AskFn, A, SettleFn, R>
where
    S: Store,
    Svc: Service<Request<RequestBody<ReqB>>, Response = Response<ResB>> + Send + 'static,
    Svc::Future: Send,
    Svc::Error: Send + 'static,
    ReqB: 'static,
    ResB: Body<Data = Bytes> + Send + 'static,
    ResB::Error: Into<BoxError>,
    AskFn: Fn(Arc<Shared<S>>, RecordKey, Key, Fingerprint, bool) -> A,
    SettleFn: Fn(Held<S>, Head, Frames, Option<&HeaderMap>) -> R,
{
    /// The body is there, or did not come.
    pub(super) fn arrived(
        mut self,
        arrived: Option<Result<(Received, Fingerprint), RejectionKind>>,
        name: Key,
    ) -> Ends<ResB> {
        let (received, fingerprint) = match arrived.unwrap_or(Err(RejectionKind::BodyTimeout)) {
            Ok(arrived) => arrived,
            Err(kind) => {
                let verdict = Verdict::Reject(kind, None);
                return Some(self.shared.reply(self.key, verdict));
            }
        };
        let (shared, may_join) = (Arc::clone(self.shared), self.message.sees_the_end());
        self.stage.set(Stage::Asking {
            asking: (self.ask)(shared, *self.key, name, fingerprint, may_join),
            received,
            fingerprint,
        });
        None
    }

    /// It is known whether it may run.
    pub(super) fn asked(
        self,
        asked: Asked<S>,
        received: Received,
        fingerprint: Fingerprint,
    ) -> Ends<ResB> {
        match asked {
            Asked::MayRun(held) => self.run(held, received, fingerprint),
            Asked::Unprotected(name) => self.run_unprotected(name, received, fingerprint),
            Asked::Answered(verdict) => return Some(self.shared.reply(self.key, verdict)),
            Asked::Join(answer) => return Some(self.shared.join(self.key, &answer)),
        }
        None
    }

    fn run(mut self, held: Held<S>, received: Received, fingerprint: Fingerprint) {
        let flight = Arc::clone(held.flight());
        let mut held = Some(held);
        let called = catch_unwind(AssertUnwindSafe(|| {
            self.stage.set(Stage::Running {
                running: Caught::new(self.message.call(received, flight)),
                held: held.take(),
                fingerprint,
            });
        }));
        if let (Err(panic), Some(held)) = (called, held) {
            self.stage.set(Stage::aside(give_up(held, Err(panic))));
        }
    }

    fn run_unprotected(mut self, name: Key, received: Received, fingerprint: Fingerprint) {
        // One that followed has not claimed.
        pledge::give();
        let flight = self.shared.unprotected(name, self.key, fingerprint);
        let running = self.message.call(received, flight);
        let answering = Arc::clone(self.shared).answer_unprotected(running);
        self.stage.set(Stage::aside(answering));
    }

    /// The inner service has answered, or failed.
    pub(super) fn ran(
        mut self,
        ran: Ran<ResB, Svc::Error>,
        held: Held<S>,
        fingerprint: Fingerprint,
    ) -> Ends<ResB> {
        let Ok(Ok(response)) = ran else {
            self.stage.set(Stage::aside(give_up(held, ran)));
            return None;
        };
        let (answer, body) = response.into_parts();
        let answer = self.message.answer(answer);
        match self.shared.decide(answer) {
            // A 1xx is sealed where it is to be recorded: the protocol was switched.
            Ok(Some(told))
                if told.outcome() != Outcome::Record || answer.status.is_informational() =>
            {
                let head = self.shared.head(fingerprint, answer, Some(told));
                let settling = settle_unread(held, head, told.outcome());
                self.give_after(settling, fingerprint, ResponseBody::passed(body));
            }
            Ok(directive) => {
                let size = exact_size(&body);
                if size.is_none() {
                    leave_chunks_to_the_server(answer);
                }
                self.stage.set(Stage::Gathering {
                    gathering: gather(body, size, self.shared.config.max_response_body),
                    held: Some(held),
                    fingerprint,
                    directive,
                });
            }
            // Nobody decided: as when the handler itself panics, of whose answer nothing is
            // left either.
            Err(panic) => {
                drop(self.message.take_answer());
                self.stage.set(Stage::aside(give_up(held, Err(panic))));
            }
        }
        None
    }

    /// The body of the answer is there, or goes on, or cannot be kept.
    pub(super) fn gathered(
        mut self,
        gathered: Gathered<ResB>,
        held: Held<S>,
        fingerprint: Fingerprint,
        directive: Option<Directive>,
    ) -> Ends<ResB> {
        let head = self
            .shared
            .head(fingerprint, self.message.head(), directive);
        match gathered {
            Gathered::Whole(frames, trailers) => {
                let recording = (self.settle)(held, head, frames, trailers.as_deref());
                self.stage.set(Stage::Recording {
                    recording,
                    trailers,
                });
            }
            Gathered::Live(frames, body) => {
                let answer = self.message.take_answer();
                return Some(self.shared.go_live(held, head, answer, frames, body));
            }
            Gathered::Unkept(cause, frames, rest) => {
                let settling = settle_unkept(held, head, cause);
                let body = ResponseBody::begun(&frames, rest);
                self.give_after(settling, fingerprint, body);
            }
        }
        None
    }

    /// The store has spoken of an answer that is all there.
    pub(super) fn recorded(
        self,
        settled: Settled,
        record: Record,
        trailers: Trailers,
    ) -> Response<ResponseBody<ResB>> {
        let answer = self.message.take_answer();
        self.shared
            .give(self.key, answer, settled, record, trailers)
    }

    /// The answer is given with this body once its key is settled.
    fn give_after(
        mut self,
        settling: impl Future<Output = Settled> + Send + 'static,
        fingerprint: Fingerprint,
        body: ResponseBody<ResB>,
    ) {
        let answer = self.message.respond(body);
        let giving = self
            .shared
            .give_after(*self.key, settling, fingerprint, answer);
        self.stage.set(Stage::aside(giving));
    }
}
