//! The answer as kept.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};

use crate::{
    codec::{self, DecodeError},
    fields::{Fields, RecordedHeaders},
    fingerprint::Fingerprint,
    frames::Frames,
};

/// The answer as kept: status, header fields, body, trailers, and the fingerprint of the
/// request it answers. Or only the fact that there was one: a *sealed* record.
///
/// A cheap shared handle. `Debug` shows neither values nor bodies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record(Arc<Inner>);

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Inner {
    pub(crate) fingerprint: Fingerprint,
    pub(crate) content: Content,
}

#[derive(PartialEq, Eq)]
pub(crate) enum Content {
    /// Done, but there is nothing to replay.
    Sealed,
    Answer(Answer),
    /// An encoded record as a wrapper made it.
    Wrapped(Bytes),
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sealed => f.write_str("Sealed"),
            Self::Answer(answer) => answer.fmt(f),
            Self::Wrapped(bytes) => write!(f, "Wrapped({} bytes)", bytes.len()),
        }
    }
}

/// An answer in the form it is kept in.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: Fields,
    pub(crate) body: Frames,
    /// Boxed, as hardly any answer has them.
    pub(crate) trailers: Option<Box<Fields>>,
}

impl Record {
    /// Keeps `response` as the answer to the request with this fingerprint.
    ///
    /// Only the header fields that [`RecordedHeaders`] keeps by default are kept.
    ///
    /// ```
    /// use bytes::Bytes;
    /// use http::Response;
    /// use tower_idempotency::{Fingerprint, Record};
    ///
    /// let response = Response::new(Bytes::from_static(b"charged"));
    /// let record = Record::answer(Fingerprint::custom([7; 32]), &response);
    /// assert_eq!(record.status(), Some(http::StatusCode::OK));
    /// ```
    #[must_use]
    pub fn answer(fingerprint: Fingerprint, response: &Response<Bytes>) -> Self {
        Self::new(
            fingerprint,
            Content::Answer(Answer {
                status: response.status(),
                headers: RecordedHeaders::new().pack(response.headers()),
                body: response.body().clone().into(),
                trailers: None,
            }),
        )
    }

    /// The fact that the request with this fingerprint was carried out, without an answer.
    #[must_use]
    pub fn sealed(fingerprint: Fingerprint) -> Self {
        Self::new(fingerprint, Content::Sealed)
    }

    /// A record that only the wrapper that made `bytes` can read. For stores over stores: they
    /// turn what [`encoded`](Self::encoded) gave into other bytes, hand those to the store
    /// below, and take them out again with [`as_wrapped`](Self::as_wrapped).
    ///
    /// Say in the first bytes whose they are: wrappers may lie above each other. To a layer
    /// whose store lacks the wrapper it is a sealed record: done, and nothing to replay.
    ///
    /// ```
    /// use bytes::Bytes;
    /// use tower_idempotency::{Fingerprint, Record};
    ///
    /// let fingerprint = Fingerprint::custom([7; 32]);
    /// let inner = Record::sealed(fingerprint);
    /// let upside_down: Bytes = inner.encoded().iter().rev().copied().collect();
    ///
    /// let record = Record::wrapped(fingerprint, upside_down);
    /// let bytes = record.as_wrapped().unwrap();
    /// assert_eq!(Record::decode(bytes.iter().copied().rev().collect()), Ok(inner));
    /// ```
    #[must_use]
    pub fn wrapped(fingerprint: Fingerprint, bytes: Bytes) -> Self {
        Self::new(fingerprint, Content::Wrapped(bytes))
    }

    pub(crate) fn new(fingerprint: Fingerprint, content: Content) -> Self {
        Self(Arc::new(Inner {
            fingerprint,
            content,
        }))
    }

    /// Reads what [`encoded`](Self::encoded) wrote. The body is not copied.
    ///
    /// # Errors
    ///
    /// [`DecodeError`] if the bytes are not a whole, unchanged record of a version this
    /// crate knows. A store reports that as *corrupt*, never as absent.
    pub fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        codec::decode(bytes)
    }

    /// The record as bytes, for a store that keeps bytes: versioned and checksummed.
    #[must_use]
    pub fn encoded(&self) -> Bytes {
        codec::encode(&self.0)
    }

    /// The fingerprint of the request this answers.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.0.fingerprint
    }

    /// Whether there is nothing to replay.
    #[must_use]
    pub fn is_sealed(&self) -> bool {
        matches!(self.0.content, Content::Sealed)
    }

    /// The bytes of a [wrapped](Self::wrapped) record; `None` if it is none.
    #[must_use]
    pub fn as_wrapped(&self) -> Option<&Bytes> {
        match &self.0.content {
            Content::Wrapped(bytes) => Some(bytes),
            Content::Answer(_) | Content::Sealed => None,
        }
    }

    /// The status of the answer; `None` if sealed.
    #[must_use]
    pub fn status(&self) -> Option<StatusCode> {
        self.as_answer().map(|answer| answer.status)
    }

    /// The kept header fields; empty if sealed.
    #[must_use]
    pub fn headers(&self) -> HeaderMap {
        self.as_answer()
            .map(|answer| answer.headers.to_map())
            .unwrap_or_default()
    }

    /// The frames of the body; none if sealed.
    #[must_use]
    pub fn body(&self) -> &[Bytes] {
        self.as_answer()
            .map_or(&[], |answer| answer.body.as_slice())
    }

    /// How many bytes the body has.
    pub(crate) fn body_bytes(&self) -> u64 {
        self.as_answer().map_or(0, |answer| answer.body.bytes())
    }

    /// The trailers, if any of the answer were kept.
    #[must_use]
    pub fn trailers(&self) -> Option<HeaderMap> {
        let trailers = self.as_answer()?.trailers.as_ref()?;
        Some(trailers.to_map())
    }

    pub(crate) fn has_trailers(&self) -> bool {
        self.as_answer()
            .is_some_and(|answer| answer.trailers.is_some())
    }

    /// How many bytes the record holds: body, header fields and trailers, not counting the
    /// fixed size of the record itself.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        match &self.0.content {
            Content::Answer(answer) => answer.bytes(),
            Content::Wrapped(bytes) => bytes.len() as u64,
            Content::Sealed => 0,
        }
    }

    pub(crate) fn as_answer(&self) -> Option<&Answer> {
        match &self.0.content {
            Content::Answer(answer) => Some(answer),
            Content::Wrapped(_) | Content::Sealed => None,
        }
    }
}

impl Answer {
    fn bytes(&self) -> u64 {
        let trailers = self.trailers.as_ref().map_or(0, |trailers| trailers.len());
        self.body.bytes() + (self.headers.len() + trailers) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_bytes() {
        let (request, secret) = (Fingerprint::custom([1; 32]), Bytes::from_static(b"secret"));
        let mut response = Response::new(secret.clone());
        let value = http::HeaderValue::from_static("secret");
        response.headers_mut().insert("x-token", value);
        for record in [
            Record::answer(request, &response),
            Record::wrapped(request, secret),
            Record::sealed(request),
        ] {
            let shown = format!("{record:?}");
            assert!(!shown.contains("secret"), "{shown}");
        }
    }
}
