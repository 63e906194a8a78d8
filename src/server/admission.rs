//! Which requests are ours, and what each is called.

use bytes::Bytes;
use http::{Request, header::CONTENT_LENGTH, request::Parts};
use http_body::Body;

use super::config::{Config, KeyFrom, KeyPresence};
use crate::{
    fingerprint::FingerprintState,
    key::{InvalidKey, Key},
    record_key::{KeySpace, RecordKey},
    rejection::RejectionKind,
    scope::Scope,
    target::target,
};

/// What is known of a keyed request before its body has arrived.
#[derive(Debug)]
pub(super) struct Operation {
    pub(super) key: Key,
    pub(super) record_key: RecordKey,
    pub(super) fingerprint: FingerprintState,
}

/// What a request is to the layer.
pub(super) enum Admission<B> {
    /// None of our business.
    Pass(Request<B>),
    Refused(RejectionKind, Option<RecordKey>),
    Keyed(Parts, B, Operation),
}

impl Config {
    /// Decides by the head alone about a request that may [concern](Self::concerns) us;
    /// nothing has been claimed or read.
    pub(super) fn admit<B>(&self, request: Request<B>) -> Admission<B>
    where
        B: Body<Data = Bytes>,
    {
        let (parts, body) = request.into_parts();
        if self.when.as_ref().is_some_and(|when| !when(&parts)) {
            return Admission::Pass(Request::from_parts(parts, body));
        }
        let key = match (self.find_key(&parts), self.presence) {
            (Ok(Some(key)), _) => key,
            (Ok(None), KeyPresence::Optional) => {
                return Admission::Pass(Request::from_parts(parts, body));
            }
            (Ok(None), KeyPresence::Required) => {
                return Admission::Refused(RejectionKind::KeyRequired, None);
            }
            (Err(reason), _) => return Admission::Refused(RejectionKind::KeyInvalid(reason), None),
        };
        let Ok(scope) = self.scope.scope(&parts) else {
            return Admission::Refused(RejectionKind::ScopeMissing, None);
        };
        let record_key = self.record_key(&parts, &scope, &key);
        if announced_length(&parts, &body) > self.max_request_body {
            return Admission::Refused(RejectionKind::PayloadTooLarge, Some(record_key));
        }
        let fingerprint = self.begin_fingerprint(&parts);
        let operation = Operation {
            key,
            record_key,
            fingerprint,
        };
        Admission::Keyed(parts, body, operation)
    }

    /// Whether a request can be ours at all. Most are not, and are not taken apart.
    pub(super) fn concerns<B>(&self, request: &Request<B>) -> bool {
        let enabled = self.methods.contains(request.method());
        let keyed = match (self.presence, self.key_header()) {
            (KeyPresence::Optional, Some(header)) => request.headers().contains_key(header.field()),
            _ => true,
        };
        enabled && keyed
    }

    fn find_key(&self, parts: &Parts) -> Result<Option<Key>, InvalidKey> {
        match &self.key {
            KeyFrom::Contract => self.contract.key.find(&parts.headers),
            KeyFrom::Header(header) => header.find(&parts.headers),
            KeyFrom::Source(source) => source.key(parts),
        }
    }

    fn record_key(&self, parts: &Parts, scope: &Scope, key: &Key) -> RecordKey {
        match self.key_space() {
            KeySpace::PerRoute => {
                let path = target(parts).path();
                RecordKey::per_route(&self.namespace, scope, &parts.method, path, key)
            }
            KeySpace::Shared => RecordKey::shared(&self.namespace, scope, key),
        }
    }
}

/// The least the body will have: as its type says, or else its sender.
fn announced_length<B: Body>(parts: &Parts, body: &B) -> u64 {
    let size = body.size_hint();
    size.exact().unwrap_or_else(|| {
        let header = parts.headers.get(CONTENT_LENGTH);
        let announced = header.and_then(|value| value.to_str().ok()?.parse().ok());
        announced.unwrap_or(0).max(size.lower())
    })
}
