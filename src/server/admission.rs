//! Which requests are ours, and what each is called.

use bytes::Bytes;
use http::{Request, header::CONTENT_LENGTH, request::Parts};
use http_body::Body;

use super::{
    BoxError,
    call::within,
    config::{Config, KeyFrom, KeyPresence},
    request_body::{Received, read},
};
use crate::{
    key::{BodyKey, HeaderKey, InvalidKey, Key, KeyPlace, KeySource},
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
}

/// What a request is to the layer.
pub(super) enum Admission {
    /// None of our business.
    Passed,
    Refused(RejectionKind, Option<RecordKey>),
    Keyed(Operation),
}

/// Where a request that may be ours has its key.
#[derive(Clone, Copy)]
pub(super) enum Sought<'a> {
    /// In this header, the one at this position; or it has none, and must.
    InHeader(&'a HeaderKey, Option<usize>),
    /// Where this source finds it: nobody has looked yet.
    Anywhere(&'a dyn KeySource),
}

impl Config {
    /// Whether a request can be ours at all. Most are not, and are not taken apart.
    pub(super) fn seek<B>(&self, request: &Request<B>) -> Option<Sought<'_>> {
        if !self.methods.contains(request.method()) {
            return None;
        }
        let (headers, may_lack) = (request.headers(), self.presence == KeyPresence::Optional);
        let header = match &self.key {
            KeyFrom::Contract => &self.contract.key,
            KeyFrom::Header(header) => header,
            KeyFrom::Field(field) if may_lack && !field.may_be_with(headers) => return None,
            KeyFrom::Field(field) => return Some(Sought::Anywhere(field)),
            KeyFrom::Source(source) => return Some(Sought::Anywhere(&**source)),
        };
        let position = header.position(headers);
        (position.is_some() || !may_lack).then_some(Sought::InHeader(header, position))
    }

    /// Decides by the head alone about a request whose key was [sought](Self::seek); nothing
    /// has been claimed or read. If its body must be read first, what reads the key in it.
    pub(super) fn admit<B: Body>(
        &self,
        parts: &Parts,
        body: &B,
        sought: Sought<'_>,
    ) -> Result<Admission, Box<dyn BodyKey>> {
        if self.when.as_ref().is_some_and(|when| !when(parts)) {
            return Ok(Admission::Passed);
        }
        let announced = announced_length(parts, body);
        let found = match sought {
            Sought::InHeader(header, position) => header.read(&parts.headers, position),
            Sought::Anywhere(source) => match source.key(parts) {
                Ok(KeyPlace::Head(key)) => Ok(Some(key)),
                Ok(KeyPlace::Nowhere) => Ok(None),
                Ok(KeyPlace::Body(_)) if announced > self.max_request_body => {
                    return Ok(Admission::Refused(RejectionKind::PayloadTooLarge, None));
                }
                Ok(KeyPlace::Body(key)) => return Err(key),
                Err(reason) => Err(reason),
            },
        };
        Ok(self.admit_key(parts, announced, found))
    }

    /// Reads the body, and decides by the key that is in it, or not.
    pub(super) async fn read_key<B>(
        &self,
        parts: &Parts,
        body: B,
        key: Box<dyn BodyKey>,
    ) -> (Received, Admission)
    where
        B: Body<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        let read = within(self.body_deadline, read(body, self.max_request_body)).await;
        match read.unwrap_or(Err(RejectionKind::BodyTimeout)) {
            Ok(received) => {
                let admission = self.admit_key(parts, 0, key.key(received.frames()));
                (received, admission)
            }
            Err(kind) => (Received::default(), Admission::Refused(kind, None)),
        }
    }

    /// Decides once it is known whether there is a key; the body will have at least
    /// `announced` bytes.
    fn admit_key(
        &self,
        parts: &Parts,
        announced: u64,
        found: Result<Option<Key>, InvalidKey>,
    ) -> Admission {
        let key = match (found, self.presence) {
            (Ok(Some(key)), _) => key,
            (Ok(None), KeyPresence::Optional) => return Admission::Passed,
            (Ok(None), KeyPresence::Required) => {
                return Admission::Refused(RejectionKind::KeyRequired, None);
            }
            (Err(reason), _) => return Admission::Refused(RejectionKind::KeyInvalid(reason), None),
        };
        let Ok(scope) = self.scope.scope(parts) else {
            return Admission::Refused(RejectionKind::ScopeMissing, None);
        };
        let record_key = self.record_key(parts, &scope, &key);
        if announced > self.max_request_body {
            return Admission::Refused(RejectionKind::PayloadTooLarge, Some(record_key));
        }
        Admission::Keyed(Operation { key, record_key })
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
