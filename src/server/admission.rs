//! Which requests are ours, and what each is called.

use bytes::Bytes;
use http::{Request, header::CONTENT_LENGTH, request::Parts};
use http_body::Body;

use super::{
    BoxError,
    call::within,
    config::{Config, KeyFrom, KeyPresence},
    request_body::{Incoming, RequestBody, read},
};
use crate::{
    fingerprint::FingerprintState,
    key::{BodyKey, InvalidKey, Key, KeyPlace, KeySource as _},
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
    Pass(Request<RequestBody<B>>),
    Refused(RejectionKind, Option<RecordKey>),
    Keyed(Parts, Incoming<B>, Operation),
    /// Its body must be read first.
    Unread(Parts, B, Box<dyn BodyKey>),
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
            return pass(parts, Incoming::Arriving(body));
        }
        let key = match self.find_key(&parts) {
            Ok(KeyPlace::Head(key)) => Some(key),
            Ok(KeyPlace::Nowhere) => None,
            Ok(KeyPlace::Body(key)) => return self.admit_unread(parts, body, key),
            Err(reason) => return Admission::Refused(RejectionKind::KeyInvalid(reason), None),
        };
        self.admit_key(parts, Incoming::Arriving(body), key)
    }

    fn admit_unread<B>(&self, parts: Parts, body: B, key: Box<dyn BodyKey>) -> Admission<B>
    where
        B: Body<Data = Bytes>,
    {
        if announced_length(&parts, &body) > self.max_request_body {
            return Admission::Refused(RejectionKind::PayloadTooLarge, None);
        }
        Admission::Unread(parts, body, key)
    }

    /// Reads the body, and decides by the key that is in it, or not.
    pub(super) async fn read_key<B>(
        &self,
        parts: Parts,
        body: B,
        key: Box<dyn BodyKey>,
    ) -> Admission<B>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        let read = within(self.body_deadline, read(body, self.max_request_body)).await;
        let received = match read.unwrap_or(Err(RejectionKind::BodyTimeout)) {
            Ok(received) => received,
            Err(kind) => return Admission::Refused(kind, None),
        };
        match key.key(received.frames()) {
            Ok(key) => self.admit_key(parts, Incoming::Arrived(Box::new(received)), key),
            Err(reason) => Admission::Refused(RejectionKind::KeyInvalid(reason), None),
        }
    }

    /// Decides once it is known whether there is a key.
    pub(super) fn admit_key<B>(
        &self,
        parts: Parts,
        body: Incoming<B>,
        key: Option<Key>,
    ) -> Admission<B>
    where
        B: Body<Data = Bytes>,
    {
        let key = match (key, self.presence) {
            (Some(key), _) => key,
            (None, KeyPresence::Optional) => return pass(parts, body),
            (None, KeyPresence::Required) => {
                return Admission::Refused(RejectionKind::KeyRequired, None);
            }
        };
        let Ok(scope) = self.scope.scope(&parts) else {
            return Admission::Refused(RejectionKind::ScopeMissing, None);
        };
        let record_key = self.record_key(&parts, &scope, &key);
        let length = match &body {
            Incoming::Arriving(body) => announced_length(&parts, body),
            Incoming::Arrived(_) => 0,
        };
        if length > self.max_request_body {
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
        let may_be_keyed = || match (self.presence, self.key_header(), &self.key) {
            (KeyPresence::Optional, Some(header), _) => {
                request.headers().contains_key(header.field())
            }
            (KeyPresence::Optional, None, KeyFrom::Field(field)) => {
                field.may_be_with(request.headers())
            }
            _ => true,
        };
        self.methods.contains(request.method()) && may_be_keyed()
    }

    fn find_key(&self, parts: &Parts) -> Result<KeyPlace, InvalidKey> {
        match &self.key {
            KeyFrom::Contract => self.contract.key.key(parts),
            KeyFrom::Header(header) => header.key(parts),
            KeyFrom::Field(field) => field.key(parts),
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

fn pass<B>(parts: Parts, body: Incoming<B>) -> Admission<B> {
    Admission::Pass(Request::from_parts(parts, RequestBody::incoming(body)))
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
