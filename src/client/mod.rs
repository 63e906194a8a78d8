//! The other half (feature `client`): keys for outgoing requests, and retries under them.
//!
//! A client that sends a request again, because it saw no answer or a bad one, does not know
//! whether the first attempt was carried out. If both attempts carry one key, a server that
//! knows keys carries the operation out once. **A server that does not know them carries it out
//! twice:** put keys and retries only around services that promise to honour keys.
//!
//! # The order of layers
//!
//! **[`SetIdempotencyKeyLayer`] belongs outside of what retries,** so that all attempts share
//! the key that is made once:
//!
//! ```
//! # use std::{convert::Infallible, sync::{Arc, Mutex}};
//! # use http::{HeaderValue, StatusCode};
//! use http::{Request, Response};
//! use tower::{ServiceBuilder, ServiceExt, retry::RetryLayer};
//! use tower_idempotency::client::{IdempotentRetry, SetIdempotencyKeyLayer};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()
//! #     .block_on(async {
//! # let sent = Arc::new(Mutex::new(Vec::<HeaderValue>::new()));
//! # let log = Arc::clone(&sent);
//! # let http_client = tower::service_fn(move |request: Request<&str>| {
//! #     let mut response = Response::new(());
//! #     let mut log = log.lock().unwrap();
//! #     if log.is_empty() {
//! #         *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
//! #     }
//! #     log.push(request.headers()["idempotency-key"].clone());
//! #     async { Ok::<_, Infallible>(response) }
//! # });
//! let client = ServiceBuilder::new()
//!     .layer(SetIdempotencyKeyLayer::new())               // first: one key per operation
//!     .layer(RetryLayer::new(IdempotentRetry::new()))     // then: many attempts under it
//!     .service(http_client);
//!
//! let charge = Request::post("https://api.example/v1/charges").body("amount=100");
//! let response = client.oneshot(charge.unwrap()).await.unwrap();
//! # let sent = sent.lock().unwrap();
//! # assert_eq!(response.status(), StatusCode::OK);
//! # assert_eq!(sent.len(), 2, "the first attempt met a 503");
//! # assert_eq!(sent[0], sent[1], "both under one key");
//! # });
//! ```
//!
//! The other way round, each attempt passes the layer anew. [`IdempotentRetry`] guards against
//! that: it hands the key that a response tells to the next attempt, among its extensions, which
//! what is in between must not drop; and where it does not know the key (after an error) it makes
//! no other attempt. **Another retry policy has no such
//! guard, and neither has a hedge:** each attempt would be sent under a key of its own. A key
//! that the caller chose, by header or [`UseKey`], is the same in any order.
//!
//! A timeout for each attempt belongs inside of the retry, where its error is one of the table
//! below. Otherwise a server that never answers is waited for, and not asked again.
//!
//! # What is sent again
//!
//! [`IdempotentRetry`] repeats a request that has a key, or whose method is safe (GET, HEAD,
//! OPTIONS, TRACE). **A POST, PUT, PATCH or DELETE without a key is never sent twice.**
//!
//! | what came | sent again |
//! |---|---|
//! | an error of the inner service: no connection, a connection cut | yes |
//! | 408, 425, 429, 5xx | yes |
//! | 409 with `Retry-After`: the first attempt is in flight | yes |
//! | any other answer | no |
//! | a failure with `X-Should-Retry` or `Stripe-Should-Retry` | as it says, whatever the status |
//! | a failure with `Idempotent-Replayed: true` ([`replay_header`](IdempotentRetry::replay_header)) | no: it is on record, and will not change |
//! | `Retry-After`, in seconds or as a date | not before then; not at all beyond [`max_retry_after`](IdempotentRetry::max_retry_after) |
//!
//! A request is sent at most [`max_attempts`](IdempotentRetry::max_attempts) times. The pause
//! between two attempts doubles each time and is shortened at random
//! ([`backoff`](IdempotentRetry::backoff)). A [`budget`](IdempotentRetry::budget) bounds the
//! retries of all requests together. The last answer or error reaches the caller as it is.
//!
//! # Bodies
//!
//! What is to be sent again must be a [`TryCloneBody`]: `Full<Bytes>`, `Bytes` and all else
//! that is [`Clone`], where a clone copies no bytes; or a stream in a [`BufferedBody`]. A
//! body that can be sent only once is sent only once.
//!
//! # Around any client
//!
//! The services speak [`http::Request`] and [`http::Response`], as hyper-util's client does.
//! `examples/client_retry` puts them around `reqwest`.
//!
//! # Calls of a handler
//!
//! A handler that runs under a key calls other services under children of it, so that an
//! attempt after a crash repeats none of them: [`UseKey`] with
//! [`child_key`](crate::Idempotency::child_key).
//!
//! ```
//! use http::Request;
//! use tower_idempotency::{Idempotency, client::UseKey};
//!
//! fn charge(operation: &Idempotency) -> http::Result<Request<&'static str>> {
//!     Request::post("https://api.example/v1/charges")
//!         .extension(UseKey::from(operation.child_key("charge")))
//!         .body("amount=100")
//! }
//! ```
//!
//! # What it does not do
//!
//! * Retry once the head of the answer is there: **a response body that breaks off is an error
//!   of the body.** Send the request again under the key that the response told.
//! * Look at `grpc-status`: a gRPC call gets its key, and is sent again only after an error or
//!   an HTTP status from above.
//! * Remember keys beyond the process. A client that must find its operation again after a
//!   crash keeps the key, or [derives](crate::derive) it.

mod body;
mod field;
mod layer;
mod make_key;
mod retry;
mod service;
mod use_key;

pub use self::{
    body::{BufferedBody, TryCloneBody},
    layer::SetIdempotencyKeyLayer,
    make_key::{DerivedKey, KeyError, MakeKey, UuidV4, UuidV7},
    retry::IdempotentRetry,
    service::{ResponseFuture, SetIdempotencyKey},
    use_key::UseKey,
};
