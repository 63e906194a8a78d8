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
    claim::claim,
    config::{Config, StoreFailure},
    context::Idempotency,
    flight::Flight,
    follow::{Followed, Patience},
    gather::{Panic, caught},
    inflight::{Entered, Stage, Turn},
    lease::Held,
    node::Node,
    pledge,
    reply::Protection,
    request_body::{RequestBody, receive},
    response_body::ResponseBody,
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

type Answered<B, E> = Result<Response<ResponseBody<B>>, E>;

/// The way of a keyed request. It may be dropped while its body arrives and while it waits
/// for another; once it claims, it is pledged to run to its end.
///
/// Not an `async fn`, which would hold each argument twice. For the same reason the stages
/// stand side by side and not inside each other.
pub(super) fn run<S, Svc, ReqB, ResB>(
    shared: Arc<Shared<S>>,
    service: Svc,
    parts: Parts,
    body: ReqB,
    operation: Operation,
) -> impl Future<Output = Answered<ResB, Svc::Error>>
where
    S: Store,
    Svc: Service<Request<RequestBody<ReqB>>, Response = Response<ResB>>,
    ReqB: Body<Data = Bytes>,
    ReqB::Error: Into<BoxError>,
    ResB: Body<Data = Bytes> + Send + 'static,
    ResB::Error: Into<BoxError>,
{
    let Operation {
        key: client_key,
        record_key: key,
        mut fingerprint,
    } = operation;
    async move {
        let (limit, deadline) = (shared.config.max_request_body, shared.config.body_deadline);
        let received = receive(body, limit, deadline, |frame| fingerprint.update(frame));
        let received = match received.await {
            Ok(received) => RequestBody::held(received),
            Err(kind) => return Ok(shared.reply(&key, Verdict::Reject(kind, None))),
        };
        let fingerprint = fingerprint.finish();
        let held = {
            let patience = &mut Patience::new(&shared.node, &shared.config);
            let turn = loop {
                let leader = match Turn::enter(&shared.node, &key, fingerprint) {
                    Entered::Leads(turn) => break turn,
                    Entered::Follows(leader) => leader,
                };
                // Boxed, as all that is rare: it would make room for itself in every request.
                match Box::pin(shared.follow(&key, leader, fingerprint, patience)).await {
                    Followed::Alone => {}
                    Followed::Verdict(verdict) => return Ok(shared.reply(&key, verdict)),
                    Followed::Join(answer) => return Ok(shared.join(&key, &answer)),
                    Followed::Unprotected => {
                        patience.end();
                        let lease = shared.no_lease(&key, fingerprint);
                        let request = Request::from_parts(parts, received);
                        let run = shared.run_unprotected(service, request, client_key, lease);
                        return Box::pin(run).await;
                    }
                }
            };
            match shared.lead(&turn, &key, fingerprint, patience).await {
                Ok((Verdict::Proceed(lease), sent)) => shared.hold(turn, client_key, lease, sent),
                Ok((verdict, _)) => {
                    turn.end(Some(verdict.clone()));
                    return Ok(shared.reply(&key, verdict));
                }
                Err(error) => {
                    patience.end();
                    let verdict = Verdict::Reject(RejectionKind::StoreUnavailable, Some(RETRY));
                    turn.end(Some(verdict.clone()));
                    if shared.refuses_without_store(&error) {
                        return Ok(shared.reply(&key, verdict));
                    }
                    let lease = shared.no_lease(&key, fingerprint);
                    let request = Request::from_parts(parts, received);
                    let run = shared.run_unprotected(service, request, client_key, lease);
                    return Box::pin(run).await;
                }
            }
        };
        let flight = Arc::clone(held.flight());
        let called = || call(service, Request::from_parts(parts, received), flight);
        let response = match caught(called).await {
            Ok(Ok(response)) => response,
            failed => return Box::pin(give_up(held, failed)).await,
        };
        Ok(shared.settle(held, fingerprint, response).await)
    }
}

impl<S: Store> Shared<S> {
    /// Claims until it is clear what to do; also when the claim was sent.
    async fn lead(
        &self,
        turn: &Turn<S>,
        key: &RecordKey,
        fingerprint: Fingerprint,
        patience: &mut Patience<'_, S>,
    ) -> Result<(Verdict, Instant), StoreError> {
        loop {
            pledge::give();
            let sent = Instant::now();
            let claimed = claim(&self.node, &self.config, self.claim_for(key, fingerprint)).await?;
            if let Claimed::InFlight { fence, remaining } = claimed {
                if patience.may_wait() {
                    pledge::take_back();
                    turn.reach(Stage::Elsewhere(sent + remaining));
                    Box::pin(self.wait_elsewhere(key, fence, remaining, patience)).await;
                    // Never claimed because the time is over.
                    if patience.may_wait() {
                        continue;
                    }
                }
            }
            return Ok((verdict::on_claim(claimed, fingerprint), sent));
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

    fn refuses_without_store(&self, error: &StoreError) -> bool {
        // A record that cannot be read says that the operation ran.
        let corrupt = error.kind() == StoreErrorKind::Corrupt;
        corrupt || self.config.store_failure == StoreFailure::Refuse
    }

    /// A lease in name only, for a request that runs without one.
    fn no_lease(&self, key: &RecordKey, fingerprint: Fingerprint) -> Lease {
        self.claim_for(key, fingerprint).won(Fence::new(0), 1)
    }

    /// The store did not say whether the request may run, and it does.
    async fn run_unprotected<Svc, ReqB, ResB>(
        &self,
        service: Svc,
        request: Request<RequestBody<ReqB>>,
        key: Key,
        lease: Lease,
    ) -> Answered<ResB, Svc::Error>
    where
        Svc: Service<Request<RequestBody<ReqB>>, Response = Response<ResB>>,
    {
        self.config.emit(&Event::Unprotected { key: lease.key() });
        let flight = self.flight(key, lease, Instant::now());
        let mut response = call(service, request, flight).await?;
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
async fn give_up<S: Store, B, E>(
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

/// When to try again while the store is unreachable; nobody knows how long it will be.
const RETRY: std::time::Duration = std::time::Duration::from_secs(1);

/// Calls the instance that was polled ready, with the operation among the extensions.
fn call<Svc, B>(
    mut service: Svc,
    mut request: Request<RequestBody<B>>,
    flight: Arc<Flight>,
) -> Svc::Future
where
    Svc: Service<Request<RequestBody<B>>>,
{
    request.extensions_mut().insert(Idempotency::new(flight));
    service.call(request)
}
