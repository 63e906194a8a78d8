//! How the key of an answer is settled.

use std::time::Duration;

use http::{HeaderMap, StatusCode};

use super::{
    config::Unkept,
    lease::{Held, Settled},
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

    fn record(self, body: Frames, trailers: Option<Fields>) -> Record {
        let trailers = trailers.map(Box::new);
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

/// The trailers of a fresh answer. Boxed, as hardly any has them.
pub(super) type Trailers = Option<Box<HeaderMap>>;

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
    let recorded = &held.flight().config.recorded_headers;
    let kept = trailers.and_then(|all| recorded.pack_trailers(all));
    let record = head.record(body, kept);
    async move {
        let settled = match outcome {
            Outcome::Record => held.complete(&record, retention, None).await,
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
    head: Head,
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

/// Settles the key of an answer that its head tells not to record.
pub(super) async fn settle_unread<S: Store>(
    mut held: Held<S>,
    head: Head,
    outcome: Outcome,
) -> Settled {
    match outcome {
        Outcome::Release => held.release(Cause::Directive).await,
        Outcome::Seal | Outcome::Record => {
            let sealed = held.seal(head.fingerprint, head.retention, Cause::Directive);
            sealed.await
        }
    }
}
