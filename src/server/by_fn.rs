//! Functions in the place of one-method traits.

use bytes::Bytes;
use http::{Response, request, response};

use crate::{
    event::{Event, Observer},
    fingerprint::{FingerprintState, Fingerprinter},
    key::{InvalidKey, Key, KeyPlace, KeySource},
    policy::{Directive, RecordPolicy},
    rejection::{Rejection, Render},
    scope::{MissingScope, Scope, ScopeSource},
};

/// A function in the place of a one-method trait. A blanket impl for closures would break
/// the inference of their argument types.
pub(super) struct ByFn<F>(pub(super) F);

impl<F> KeySource for ByFn<F>
where
    F: Fn(&request::Parts) -> Result<Option<Key>, InvalidKey> + Send + Sync + 'static,
{
    fn key(&self, parts: &request::Parts) -> Result<KeyPlace, InvalidKey> {
        (self.0)(parts).map(KeyPlace::from)
    }
}

impl<F> ScopeSource for ByFn<F>
where
    F: Fn(&request::Parts) -> Result<Scope, MissingScope> + Send + Sync + 'static,
{
    fn scope(&self, parts: &request::Parts) -> Result<Scope, MissingScope> {
        (self.0)(parts)
    }
}

impl<F> Fingerprinter for ByFn<F>
where
    F: Fn(&request::Parts) -> FingerprintState + Send + Sync + 'static,
{
    fn begin(&self, parts: &request::Parts) -> FingerprintState {
        (self.0)(parts)
    }
}

impl<F> RecordPolicy for ByFn<F>
where
    F: Fn(&response::Parts) -> Directive + Send + Sync + 'static,
{
    fn directive(&self, parts: &response::Parts) -> Directive {
        (self.0)(parts)
    }
}

impl<F> Render for ByFn<F>
where
    F: Fn(&Rejection) -> Response<Bytes> + Send + Sync + 'static,
{
    fn render(&self, rejection: &Rejection) -> Response<Bytes> {
        (self.0)(rejection)
    }
}

impl<F> Observer for ByFn<F>
where
    F: Fn(&Event<'_>) + Send + Sync + 'static,
{
    fn observe(&self, event: &Event<'_>) {
        (self.0)(event);
    }
}
