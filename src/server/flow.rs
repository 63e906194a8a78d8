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
    gather::caught,
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

/// A request whose body is there, with all that is known of it.
struct Asked<B> {
    /// Until the inner service takes it.
    request: Option<Request<RequestBody<B>>>,
    key: Key,
    record_key: RecordKey,
    fingerprint: Fingerprint,
}

type Answered<B, E> = Result<Response<ResponseBody<B>>, E>;

/// The way of a keyed request. It may be dropped while its body arrives and while it waits
/// for another; once it claims, it is pledged to run to its end.
pub(super) async fn run<S, Svc, ReqB, ResB>(
    shared: Arc<Shared<S>>,
    service: Svc,
    parts: Parts,
    body: ReqB,
    operation: Operation,
) -> Answered<ResB, Svc::Error>
where
    S: Store,
    Svc: Service<Request<RequestBody<ReqB>>, Response = Response<ResB>>,
    ReqB: Body<Data = Bytes>,
    ReqB::Error: Into<BoxError>,
    ResB: Body<Data = Bytes> + Send + 'static,
    ResB::Error: Into<BoxError>,
{
    let key = operation.record_key;
    // Lent from here on: each `async fn` that owned it would hold it twice.
    let asked = &mut match ask(&shared.config, parts, body, operation).await {
        Ok(asked) => asked,
        Err(kind) => return Ok(shared.reply(&key, Verdict::Reject(kind, None))),
    };
    let patience = &mut Patience::new(&shared.node, &shared.config);
    loop {
        let leader = match Turn::enter(&shared.node, &key, asked.fingerprint) {
            Entered::Leads(turn) => return shared.lead(turn, service, asked, patience).await,
            Entered::Follows(leader) => leader,
        };
        match shared
            .follow(&key, leader, asked.fingerprint, patience)
            .await
        {
            Followed::Alone => {}
            Followed::Verdict(verdict) => return Ok(shared.reply(&key, verdict)),
            Followed::Join(answer) => return Ok(shared.join(&key, &answer)),
        }
    }
}

/// Waits for the body.
async fn ask<B>(
    config: &Config,
    parts: Parts,
    body: B,
    operation: Operation,
) -> Result<Asked<B>, RejectionKind>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    let Operation {
        key,
        record_key,
        mut fingerprint,
    } = operation;
    let (limit, deadline) = (config.max_request_body, config.body_deadline);
    let received = receive(body, limit, deadline, |frame| fingerprint.update(frame)).await?;
    let request = Request::from_parts(parts, RequestBody::held(received));
    let fingerprint = fingerprint.finish();
    Ok(Asked {
        request: Some(request),
        key,
        record_key,
        fingerprint,
    })
}

impl<S: Store> Shared<S> {
    /// Claims, and does what the claim says.
    async fn lead<Svc, ReqB, ResB>(
        &self,
        turn: Turn<S>,
        service: Svc,
        asked: &mut Asked<ReqB>,
        patience: &mut Patience<'_, S>,
    ) -> Answered<ResB, Svc::Error>
    where
        Svc: Service<Request<RequestBody<ReqB>>, Response = Response<ResB>>,
        ResB: Body<Data = Bytes> + Send + 'static,
        ResB::Error: Into<BoxError>,
    {
        let verdict = loop {
            pledge::give();
            let sent = Instant::now();
            let claimed = match claim(&self.node, &self.config, self.claim_for(asked)).await {
                Ok(claimed) => claimed,
                Err(error) => {
                    patience.end();
                    return self.without_store(turn, service, asked, &error).await;
                }
            };
            if let Claimed::InFlight { fence, remaining } = claimed {
                if patience.may_wait() {
                    pledge::take_back();
                    turn.reach(Stage::Elsewhere(sent + remaining));
                    self.wait_elsewhere(&asked.record_key, fence, remaining, patience)
                        .await;
                    // Never claimed because the time is over.
                    if patience.may_wait() {
                        continue;
                    }
                }
            }
            match verdict::on_claim(claimed, asked.fingerprint) {
                Verdict::Proceed(lease) => {
                    patience.end();
                    return self.execute(turn, service, asked, lease, sent).await;
                }
                verdict => break verdict,
            }
        };
        turn.end(Some(verdict.clone()));
        Ok(self.reply(&asked.record_key, verdict))
    }

    fn claim_for<'a, B>(&self, asked: &'a Asked<B>) -> Claim<'a> {
        Claim::new(&asked.record_key, asked.fingerprint)
            .lease_for(self.config.lease)
            .retained_for(self.config.retention)
            .after_crash(self.config.after_crash)
    }

    /// Runs the inner service under `lease` and settles the outcome before the answer
    /// leaves.
    async fn execute<Svc, ReqB, ResB>(
        &self,
        turn: Turn<S>,
        service: Svc,
        asked: &mut Asked<ReqB>,
        lease: Lease,
        sent: Instant,
    ) -> Answered<ResB, Svc::Error>
    where
        Svc: Service<Request<RequestBody<ReqB>>, Response = Response<ResB>>,
        ResB: Body<Data = Bytes> + Send + 'static,
        ResB::Error: Into<BoxError>,
    {
        let (fence, attempt) = (lease.fence(), lease.attempt());
        self.config.emit(&Event::Claimed {
            key: &asked.record_key,
            fence,
            attempt,
        });
        let flight = self.flight(asked.key.clone(), lease, sent);
        let held = Held::new(turn, Arc::clone(&flight));
        match caught(|| call(service, asked, flight)).await {
            Ok(Ok(response)) => Ok(self.settle(held, asked.fingerprint, response).await),
            Ok(Err(error)) => {
                held.release(Cause::ServiceError).await;
                Err(error)
            }
            Err(panic) => {
                held.release(Cause::Panic).await;
                resume_unwind(panic)
            }
        }
    }

    /// The store did not say whether the request may run.
    async fn without_store<Svc, ReqB, ResB>(
        &self,
        turn: Turn<S>,
        service: Svc,
        asked: &mut Asked<ReqB>,
        error: &StoreError,
    ) -> Answered<ResB, Svc::Error>
    where
        Svc: Service<Request<RequestBody<ReqB>>, Response = Response<ResB>>,
    {
        // A record that cannot be read says that the operation ran.
        let refused = error.kind() == StoreErrorKind::Corrupt;
        if refused || self.config.store_failure == StoreFailure::Refuse {
            let verdict = Verdict::Reject(RejectionKind::StoreUnavailable, Some(RETRY));
            turn.end(Some(verdict.clone()));
            return Ok(self.reply(&asked.record_key, verdict));
        }
        turn.end(None);
        self.config.emit(&Event::Unprotected {
            key: &asked.record_key,
        });
        let lease = self.claim_for(asked).won(Fence::new(0), 1);
        let flight = self.flight(asked.key.clone(), lease, Instant::now());
        let mut response = call(service, asked, flight).await?;
        let marker = &self.config.contract.replay_header;
        response.headers_mut().remove(marker);
        Ok(self.mark(response.map(ResponseBody::passed), Protection::Unprotected))
    }

    fn flight(&self, key: Key, lease: Lease, sent: Instant) -> Arc<Flight> {
        let config = Arc::clone(&self.config);
        Arc::new(Flight::new(key, lease, config, &self.node.clock, sent))
    }
}

/// When to try again while the store is unreachable; nobody knows how long it will be.
const RETRY: std::time::Duration = std::time::Duration::from_secs(1);

/// Calls the instance that was polled ready, with the operation among the extensions.
fn call<Svc, B>(mut service: Svc, asked: &mut Asked<B>, flight: Arc<Flight>) -> Svc::Future
where
    Svc: Service<Request<RequestBody<B>>>,
{
    let request = asked.request.take();
    let mut request = request.unwrap_or_else(|| unreachable!("called once"));
    request.extensions_mut().insert(Idempotency::new(flight));
    service.call(request)
}
