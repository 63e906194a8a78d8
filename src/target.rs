//! What a request is aimed at, as the client sent it.

use http::{Uri, request::Parts};

/// The URI of the request; with the `axum` feature the one the client sent, also below
/// `Router::nest`, which strips the prefix from [`Parts::uri`]. axum keeps the original in a
/// type of its own, so that nobody else can read it: without the feature the prefix is lost.
pub(crate) fn target(parts: &Parts) -> &Uri {
    #[cfg(feature = "axum")]
    if let Some(original) = parts.extensions.get::<axum::extract::OriginalUri>() {
        return &original.0;
    }
    &parts.uri
}
