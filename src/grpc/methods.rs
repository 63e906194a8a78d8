//! Which calls are opted in.

use std::{collections::HashSet, sync::Arc};

use http::{
    header::{CONTENT_TYPE, HeaderMap},
    request::Parts,
};

use crate::{protocol::after_grpc, target::target};

/// Admits the calls of these methods and nothing else, for
/// [`when`](crate::IdempotencyLayer::when). A path is `/package.Service/Method`, as on the
/// wire, or as the layer sees it inside of axum's `Router::nest`, which strips a prefix.
///
/// **Opt in no method whose client waits for an answer before it has sent its last
/// message** (bidirectional streaming): a keyed request is read to its end before it runs.
/// Such a call would hang until [`body_deadline`](crate::IdempotencyLayer::body_deadline).
///
/// ```
/// # #[cfg(feature = "memory")] {
/// use tower_idempotency::{IdempotencyLayer, MemoryStore, grpc};
///
/// let layer = IdempotencyLayer::new(MemoryStore::new()).when(grpc::methods([
///     "/payments.v1.Payments/Charge",
///     "/payments.v1.Payments/Refund",
/// ]));
///
/// // On a server that also speaks plain HTTP:
/// let calls = grpc::methods(["/payments.v1.Payments/Charge"]);
/// let layer = IdempotencyLayer::new(MemoryStore::new())
///     .when(move |parts| !grpc::is_call(&parts.headers) || calls(parts));
/// # }
/// ```
///
/// # Panics
///
/// If a path is not of that form: it would never match, and leave its method unprotected.
pub fn methods<P>(
    paths: impl IntoIterator<Item = P>,
) -> impl Fn(&Parts) -> bool + Clone + Send + Sync + 'static
where
    P: Into<String>,
{
    let paths: HashSet<String> = paths.into_iter().map(Into::into).collect();
    for path in &paths {
        assert!(
            is_method(path),
            "{path:?} is not of the form /package.Service/Method"
        );
    }
    let paths = Arc::new(paths);
    move |parts| {
        let mut uris = [&parts.uri, target(parts)].into_iter();
        is_call(&parts.headers) && uris.any(|uri| paths.contains(uri.path()))
    }
}

fn is_method(path: &str) -> bool {
    let parts: Vec<_> = path.split('/').collect();
    matches!(*parts, ["", service, method] if !service.is_empty() && !method.is_empty())
}

/// Whether a request with these header fields is a gRPC call: its `Content-Type` is
/// `application/grpc`, with or without a suffix such as `+proto`. gRPC-Web is not gRPC: its
/// status is within its body.
#[must_use]
pub fn is_call(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|value| {
        let rest = after_grpc(value.as_bytes()).map(<[u8]>::first);
        matches!(rest, Some(None | Some(b'+' | b';' | b' ')))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    fn parts(path: &str, media_type: &str) -> Parts {
        let request = Request::post(path).header("content-type", media_type);
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn only_these_methods() {
        let charge = methods(["/pay.Payments/Charge", "/pay.Payments/Refund"]);
        assert!(charge(&parts("/pay.Payments/Charge", "application/grpc")));
        assert!(charge(&parts("/pay.Payments/Refund", "application/grpc")));
        assert!(!charge(&parts("/pay.Payments/Chat", "application/grpc")));
        assert!(!charge(&parts("/pay.Payments/Charge", "application/json")));
    }

    #[test]
    fn grpc_web_is_not_grpc() {
        let table = [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc; x=y", true),
            ("application/grpc ;x=y", true),
            ("application/grpc-web", false),
            ("application/grpc-web-text+proto", false),
            ("application/grpcish", false),
        ];
        for (media_type, expected) in table {
            let headers = parts("/", media_type).headers;
            assert_eq!(is_call(&headers), expected, "{media_type}");
        }
    }

    #[test]
    fn a_path_that_never_matches_is_refused() {
        for path in [
            "",
            "pay.Payments/Charge",
            "/pay.Payments",
            "/pay.Payments/",
            "//Charge",
            "/a/b/c",
        ] {
            let refused = std::panic::catch_unwind(|| drop(methods([path])));
            assert!(refused.is_err(), "{path}");
        }
    }
}
