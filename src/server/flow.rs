//! One keyed request from end to end.

use std::{panic::resume_unwind, sync::Arc};

use bytes::Bytes;
use http::{Request, Response, request::Parts};
use http_body::Body;
use tokio::time::Instant;
use tower_service::Service;

use super::{
    BoxError,
    admission::Operation,
    call::within,
    carried::Carried,
    claim::{claim, claim_again, claim_until},
    config::{Config, StoreFailure},
    flight::Flight,
    follow::{Followed, Patience},
    future::Flow,
    gather::{Panic, caught},
    inflight::{self, Entered, Turn},
    lease::Held,
    node::Node,
    outcome::settle,
    pledge,
    recording::LiveAnswer,
    reply::Protection,
    request_body::{Incoming, RequestBody, receive},
    response_body::ResponseBody,
    stage::{Next, Way, then},
};
use crate::{
    event::{Cause, Event},
    fingerprint::Fingerprint,
    key::Key,
    record_key::RecordKey,
    rejection::RejectionKind,
    store::{Claim, Claimed, Fence, Lease, Store, StoreError, StoreErrorKind},
    verdict::{self, Verdict},
};

/// What the requests of one service share.
#[derive(Debug)]
pub(super) struct Shared<S> {
    pub(super) node: Arc<Node<S>>,
    pub(super) config: Arc<Config>,
}

pub(super) type Answered<B, E> = Result<Response<ResponseBody<B>>, E>;

/// The way of a keyed request: it arrives, asks whether it may run, runs, and is settled.
/// It may be dropped while its body arrives and while it waits for another; once it claims,
/// it is pledged to run to its end.
pub(super) fn run<S, Svc, ReqB, ResB>(
    shared: Arc<Shared<S>>,
    service: Svc,
    parts: Parts,
    body: Incoming<ReqB>,
    operation: Operation,
) -> impl Flow<Output = Answered<ResB, Svc::Error>>
where
    S: Store,
    Svc: Service<Request<RequestBody<ReqB>>, Response = Response<ResB>> + Send + 'static,
    Svc::Future: Send,
    Svc::Error: Send + 'static,
    ReqB: Body<Data = Bytes> + Send + 'static,
    ReqB::Error: Into<BoxError>,
    ResB: Body<Data = Bytes> + Send + 'static,
    ResB::Error: Into<BoxError>,
{
    let Operation { key, record_key } = operation;
    let fingerprint = shared.config.begin_fingerprint(&parts);
    let arriving = receive(body, shared.config.max_request_body, fingerprint);
    let arriving = within(shared.config.body_deadline, arriving);
    let way = then(arriving, move |carried: &mut Carried<S, Svc>, arrived| {
        let (received, fingerprint) = match arrived.unwrap_or(Err(RejectionKind::BodyTimeout)) {
            Ok(arrived) => arrived,
            Err(kind) => return Next::Done(Ok(carried.reply(Verdict::Reject(kind, None)))),
        };
        let asking = ask(Arc::clone(&carried.shared), carried.key, fingerprint);
        let asked = move |carried: &mut Carried<S, Svc>, asked| match asked {
            Asked::MayRun(turn, lease, sent) => {
                let held = carried.shared.hold(turn, key, lease, sent);
                let flight = Arc::clone(held.flight());
                let running = caught(|| carried.call(received, flight));
                let ran = move |carried: &mut Carried<S, Svc>, ran| match ran {
                    Ok(Ok(response)) => settle(carried, held, fingerprint, response),
                    failed => Next::Aside(Box::pin(give_up(held, failed))),
                };
                Next::On(then(running, ran))
            }
            Asked::Unprotected => {
                // One that followed has not claimed.
                pledge::give();
                let shared = Arc::clone(&carried.shared);
                let flight = shared.unprotected(key, &carried.key, fingerprint);
                let running = carried.call(received, flight);
                Next::Aside(Box::pin(shared.answer_unprotected(running)))
            }
            Asked::Answered(verdict) => Next::Done(Ok(carried.reply(verdict))),
            Asked::Join(answer) => Next::Done(Ok(carried.shared.join(&carried.key, &answer))),
        };
        Next::On(then(asking, asked))
    });
    Way::new(Carried::new(shared, record_key, service, parts), way)
}

/// What became of the question whether a request may run.
enum Asked<S: Store> {
    /// Under this lease, won by a claim that was sent then.
    MayRun(Turn<S>, Lease, Instant),
    /// The store cannot be reached, and this route chose to run all the same.
    Unprotected,
    /// It may not.
    Answered(Verdict),
    /// The answer is there, and still grows.
    Join(Arc<LiveAnswer>),
}

/// Leads the requests with one key, or follows the one that does, until it is clear what
/// to do.
#[expect(clippy::manual_async_fn, reason = "it would hold each argument twice")]
fn ask<S: Store>(
    shared: Arc<Shared<S>>,
    key: RecordKey,
    fingerprint: Fingerprint,
) -> impl Future<Output = Asked<S>> + Send {
    async move {
        let patience = &mut Patience::new(&shared.node, &shared.config);
        let mut turn = loop {
            let leader = match Turn::enter(&shared.node, &key, fingerprint) {
                Entered::Leads(turn) => break turn,
                Entered::Follows(leader) => leader,
            };
            // Boxed, as all that is rare: it would make room for itself in every request.
            match Box::pin(shared.follow(&key, leader, fingerprint, patience)).await {
                Followed::Alone => {}
                Followed::Verdict(verdict) => return Asked::Answered(verdict),
                Followed::Join(answer) => return Asked::Join(answer),
                Followed::Unprotected => return Asked::Unprotected,
            }
        };
        let verdict = match shared.lead(&turn, &key, fingerprint, patience).await {
            Ok((Verdict::Proceed(lease), sent)) => return Asked::MayRun(turn, lease, sent),
            Ok((verdict, _)) => verdict,
            Err(error) => {
                let verdict = Verdict::Reject(RejectionKind::StoreUnavailable, Some(RETRY));
                // A record that cannot be read says that the operation ran: who follows has
                // to see that, and not an outage.
                let is_corrupt = error.kind() == StoreErrorKind::Corrupt;
                turn.end(|| Some(verdict.clone()).filter(|_| !is_corrupt));
                if !is_corrupt && shared.config.store_failure == StoreFailure::DangerProceed {
                    return Asked::Unprotected;
                }
                return Asked::Answered(verdict);
            }
        };
        turn.end(|| Some(verdict.clone()));
        Asked::Answered(verdict)
    }
}

impl<S: Store> Shared<S> {
    /// Claims until it is clear what to do; also when the claim was sent.
    #[expect(clippy::manual_async_fn, reason = "it would hold each argument twice")]
    fn lead(
        &self,
        turn: &Turn<S>,
        key: &RecordKey,
        fingerprint: Fingerprint,
        patience: &mut Patience<'_, S>,
    ) -> impl Future<Output = Result<(Verdict, Instant), StoreError>> {
        async move {
            loop {
                pledge::give();
                let sent = Instant::now();
                let (node, config) = (&self.node, &self.config);
                let ours = self.claim_for(key, fingerprint);
                // Boxed, as all that is rare.
                let claimed = match patience.deadline().filter(|until| *until > sent) {
                    None => match claim(node, config, &ours).await {
                        Ok(claimed) => claimed,
                        Err(error) => Box::pin(claim_again(node, config, &ours, error)).await?,
                    },
                    Some(until) => {
                        let claimed = Box::pin(claim_until(node, config, &ours, until));
                        let Some(claimed) = claimed.await? else {
                            let verdict = Verdict::Reject(RejectionKind::InFlight, Some(RETRY));
                            return Ok((verdict, sent));
                        };
                        claimed
                    }
                };
                if let Claimed::InFlight { fence, remaining } = claimed {
                    if patience.may_wait() {
                        pledge::take_back();
                        turn.reach(inflight::Stage::Elsewhere(sent + remaining));
                        Box::pin(self.wait_elsewhere(key, fence, remaining, patience)).await;
                        // Never claimed because the time is over.
                        if patience.may_wait() {
                            turn.reach(inflight::Stage::Claiming);
                            continue;
                        }
                    }
                }
                return Ok((verdict::on_claim(claimed, fingerprint), sent));
            }
        }
    }

    fn claim_for<'a>(&self, key: &'a RecordKey, fingerprint: Fingerprint) -> Claim<'a> {
        Claim::new(key, fingerprint)
            .lease_for(self.config.lease)
            .retained_for(self.config.retention)
            .after_crash(self.config.after_crash)
    }

    /// Begins to look after a lease, under which the inner service may run now.
    fn hold(&self, turn: Turn<S>, key: Key, lease: Lease, sent: Instant) -> Held<S> {
        self.config.emit(&Event::Claimed {
            key: lease.key(),
            fence: lease.fence(),
            attempt: lease.attempt(),
        });
        Held::new(turn, self.flight(key, lease, sent))
    }

    /// The store did not say whether a request may run, and it does: under a lease in name
    /// only.
    fn unprotected(
        &self,
        key: Key,
        record_key: &RecordKey,
        fingerprint: Fingerprint,
    ) -> Arc<Flight> {
        self.config.emit(&Event::Unprotected { key: record_key });
        let lease = self
            .claim_for(record_key, fingerprint)
            .won(Fence::new(0), 1);
        self.flight(key, lease, Instant::now())
    }

    async fn answer_unprotected<B, E>(
        self: Arc<Self>,
        running: impl Future<Output = Result<Response<B>, E>>,
    ) -> Answered<B, E> {
        let running = {
            // No leader is under way, by which a drain would know of it.
            let _known = Arc::clone(&self.node.unprotected);
            running.await
        };
        let mut response = running?;
        let marker = &self.config.contract.replay_header;
        response.headers_mut().remove(marker);
        Ok(self.mark(response.map(ResponseBody::passed), Protection::Unprotected))
    }

    fn flight(&self, key: Key, lease: Lease, sent: Instant) -> Arc<Flight> {
        let config = Arc::clone(&self.config);
        Arc::new(Flight::new(key, lease, config, &self.node.clock, sent))
    }
}

/// The inner service returned an error, or panicked: releases the key, and passes that on.
pub(super) async fn give_up<S: Store, B, E>(
    held: Held<S>,
    failed: Result<Result<Response<B>, E>, Panic>,
) -> Answered<B, E> {
    let cause = match failed {
        Ok(_) => Cause::ServiceError,
        Err(_) => Cause::Panic,
    };
    held.release(cause).await;
    let answered = failed.unwrap_or_else(|panic| resume_unwind(panic));
    answered.map(|response| response.map(ResponseBody::passed))
}

/// When to try again where nobody knows how long it will be.
const RETRY: std::time::Duration = std::time::Duration::from_secs(1);

#[cfg(all(test, feature = "memory"))]
mod tests {
    use super::*;
    use crate::store::MemoryStore;
    use http_body_util::Full;
    use std::{convert::Infallible, future::Ready};

    #[derive(Clone)]
    struct Small;

    impl Service<Request<RequestBody<Full<Bytes>>>> for Small {
        type Response = Response<Full<Bytes>>;
        type Error = Infallible;
        type Future = Ready<Result<Self::Response, Infallible>>;

        fn poll_ready(
            &mut self,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Result<(), Infallible>> {
            std::task::Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: Request<RequestBody<Full<Bytes>>>) -> Self::Future {
            std::future::ready(Ok(Response::default()))
        }
    }

    #[tokio::test]
    async fn a_request_on_its_way_takes_a_kilobyte() {
        let shared = Arc::new(Shared {
            node: Arc::new(Node::new(MemoryStore::new())),
            config: Arc::new(Config::default()),
        });
        let (parts, body) = Request::new(Full::new(Bytes::new())).into_parts();
        let operation = Operation {
            key: Key::new("k").unwrap(),
            record_key: RecordKey::from_bytes([0; 32]),
        };
        let way = run(shared, Small, parts, Incoming::Arriving(body), operation);
        assert!(size_of_val(&way) <= 1016, "{} bytes", size_of_val(&way));
        assert!(way.await.is_ok());
    }
}
