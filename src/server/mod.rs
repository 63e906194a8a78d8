//! The server side: [`IdempotencyLayer`], and what it promises.
//!
//! # Words
//!
//! | word | meaning |
//! |---|---|
//! | claim | the attempt to become the one who executes the operation of a key |
//! | in flight | claimed, and not completed yet |
//! | lease | a claim that was won: for 30 s by default, and renewed while the handler runs. If it is not renewed in time, it *lapses* |
//! | fingerprint | a digest of the request. The same key with another fingerprint is a *mismatch* |
//! | record | the answer as it is kept. A *replay* is an answer from a record |
//! | retention | how long a record is kept |
//! | release | to give a key back without a record: a retry runs again |
//! | seal | to keep that the operation was done, but not its answer: a retry is refused with `idempotency_result_unavailable` |
//! | node | one process with this layer |
//!
//! # What happens to a request
//!
//! 1. Is it ours? Its method is enabled and [`when`](IdempotencyLayer::when) admits it, else
//!    it passes through untouched.
//! 2. Its key is read. Without one it passes through, or is refused if one is required. A
//!    key in the body ([`JsonField`](crate::JsonField)) is known once the body is there:
//!    step 4 comes first then, and a request without a key is passed on as it came.
//! 3. Its scope is told: whose key it is.
//! 4. Its body is read to the end, within a limit and a deadline, and fingerprinted as it
//!    arrives. Until here nothing has been claimed: a client that leaves leaves no trace.
//! 5. The key is claimed, in one atomic step of the [`Store`](crate::Store).
//! 6. By what the claim found the request is answered from the record, refused, or executed
//!    by the inner service. A mismatch is found before anything else.
//! 7. What becomes of the answer is decided: it is recorded, the key is released, or sealed.
//!    Only then does the answer leave; of a live one the head and what there is of the body
//!    leave before, and its end only then.
//!
//! # What is guaranteed
//!
//! Per key, from its first claim until its retention ends or it is released:
//!
//! * **Takeover** (the default): the handler starts at most once, plus once for each lease
//!   that lapsed unfinished. A handler learns of earlier attempts by
//!   [`attempt`](crate::Idempotency::attempt).
//! * **Hold** ([`AfterCrash::Hold`](crate::AfterCrash::Hold)): the handler starts at most
//!   once. A key whose lease lapsed unfinished answers `idempotency_outcome_unknown` until its
//!   retention ends or an operator resolves it.
//!
//! At most one answer is ever recorded, and every replay is that answer, byte for byte.
//!
//! A lease lapses unfinished if its node crashed, if it was cut off from the store for as long
//! as the lease lasts, or if the answer could not be recorded. In that last case the client
//! gets the answer all the same, with `Idempotency-Status: unrecorded`
//! ([`status_header`](crate::WireContract::status_header)) and an
//! [event](crate::Event::Unrecorded); a live one, whose head has left, only the event, and for
//! those who joined it, it breaks off. If the handler left a transaction with its lease, 503
//! `idempotency_unconfirmed` is answered instead.
//!
//! A lost lease never overwrites a newer record, a waiter never executes because it got tired
//! of waiting, no answer comes from another scope, route or fingerprint, and no crash, panic
//! or hang-up leaves a key wedged for its retention.
//!
//! This is *at most once per claim*, not exactly once: a crash between the handler's effect
//! and the record of its answer makes a retry run again. Calls to others should therefore
//! carry a [`child_key`](crate::Idempotency::child_key). What is written in the same PostgreSQL
//! database as the keys can happen [exactly once](crate::store::postgres#exactly-once).
//!
//! # Under `Router::nest`
//!
//! A key belongs to the path it was sent to, and a mismatch is also told by that. axum's
//! `Router::nest` strips the prefix from the path of what stands in it, and only the feature
//! `axum` knows the original. **Without it, a layer inside of nests takes `/a/pay` and `/b/pay`
//! for one route:** a key answered under the one is replayed under the other. One of these
//! keeps them apart:
//!
//! * the feature `axum`;
//! * the layer outside of the nests, on the router that has them;
//! * a layer for each nest, with a [`namespace`](IdempotencyLayer::namespace) of its own; but
//!   the parameters of a prefix like `/tenants/{id}` do not count then.
//!
//! # Where it belongs among other layers
//!
//! **Once on the way of a request.** If a clone of a layer stands inside of it, the inner one
//! finds every key in flight, claimed by the outer one, and refuses it: each first request is a
//! 409 `idempotency_in_flight`, with [`InFlight::Wait`] after it waited in vain.
//!
//! From the outside in:
//!
//! | layer | why there |
//! |---|---|
//! | trace, CORS | replays and refusals are traced too; `Access-Control-*` is not recorded, but added to each answer anew |
//! | marking headers as sensitive | a record does not keep which of its values is sensitive |
//! | compression | a record is kept uncompressed, and each client gets the encoding it asks for |
//! | decompression of requests | a retry that is compressed differently is the same request, and [`max_request_body`](IdempotencyLayer::max_request_body) counts what is unpacked |
//! | catch-panic | sees the panic after the key was released |
//! | authentication | **outside**: an unauthenticated request must not claim a key, and the scope comes from the verified principal |
//! | **idempotency** | |
//! | timeout | **inside**: a timeout outside would only drop the client; the operation runs on and is recorded. Inside, the handler is stopped, and its 408 or 504 releases the key |
//! | limits of concurrency and rate, load-shedding | inside, so that a replay does not count; their 429 and 503 release the key. **A duplicate that [waits](InFlight::Wait) counts** against a limit of concurrency, as a request does whose body still arrives: each came with a permit, and may have to run. Keep [`max_waiters`](IdempotencyLayer::max_waiters) well below that limit |
//! | request body limit | either: outside it protects unkeyed requests too. Inside, and smaller than [`max_request_body`](IdempotencyLayer::max_request_body), its 413 is the recorded answer. Neither a larger one nor axum's `DefaultBodyLimit` raises that setting: a route for uploads needs both |
//!
//! An error of a service inside, such as that of tower's own `Timeout` or `LoadShed`, passes
//! untouched and releases the key.
//!
//! axum's `from_fn` takes only requests with axum's own body. Inside of this layer, give it a
//! `Router::layer` of its own, or in a `ServiceBuilder` put tower-http's
//! `MapRequestBodyLayer::new(axum::body::Body::new)` before it.
//!
//! For browsers, CORS has to allow the header `Idempotency-Key`, and to expose
//! `Idempotent-Replayed`, `Idempotency-Status` and `Retry-After` to scripts that are to read them.
//! `CorsLayer::new` does neither by itself.
//!
//! axum's `Router::layer` goes around what no route matches, too: a keyed request to a path that
//! is not there yet has a 404 on record, which is replayed once it is there. `Router::route_layer`
//! goes around routes only.
//!
//! ```
//! # #[cfg(feature = "memory")] {
//! use std::time::Duration;
//!
//! use axum::{Router, http::StatusCode, routing::post};
//! use tower::ServiceBuilder;
//! use tower_http::{
//!     catch_panic::CatchPanicLayer, compression::CompressionLayer, cors::CorsLayer,
//!     timeout::TimeoutLayer, trace::TraceLayer,
//! };
//! use tower_idempotency::{IdempotencyLayer, MemoryStore};
//!
//! let app: Router = Router::new().route("/payments", post(|| async { "paid" })).layer(
//!     ServiceBuilder::new()
//!         .layer(TraceLayer::new_for_http())
//!         .layer(CorsLayer::permissive())
//!         .layer(CompressionLayer::new())
//!         .layer(CatchPanicLayer::new())
//!         // .layer(your authentication)
//!         .layer(IdempotencyLayer::new(MemoryStore::new()))
//!         .layer(TimeoutLayer::with_status_code(
//!             StatusCode::GATEWAY_TIMEOUT,
//!             Duration::from_secs(20),
//!         )),
//! );
//! # }
//! ```
//!
//! # Concurrent duplicates
//!
//! Of the requests of one node with one key, one leads: it asks the store, and executes if it
//! may. The others follow it. By default they are refused while it executes
//! ([`InFlight::Reject`]); with [`InFlight::Wait`] they wait for its result, or join its live
//! response from the first byte. If its answer is not recorded, exactly one of those that wait
//! leads next. A follower can be dropped at any time and leaves no trace.
//!
//! # Settings
//!
//! | setting | default |
//! |---|---|
//! | [`methods`](IdempotencyLayer::methods) | POST, PATCH |
//! | [`when`](IdempotencyLayer::when) | every request but gRPC calls |
//! | [`require_key`](IdempotencyLayer::require_key) | off: unkeyed requests pass through |
//! | [`key_source`](IdempotencyLayer::key_source) | header `Idempotency-Key`, tolerant |
//! | [`key_space`](IdempotencyLayer::key_space) | per route |
//! | [`namespace`](IdempotencyLayer::namespace) | empty; see [nests](self#under-routernest) |
//! | [`scope`](IdempotencyLayer::scope) | the credentials as sent |
//! | [`fingerprint`](IdempotencyLayer::fingerprint) | method, path, query, content type, body |
//! | [`max_request_body`](IdempotencyLayer::max_request_body) | 2 MiB |
//! | [`body_deadline`](IdempotencyLayer::body_deadline) | 30 s |
//! | [`max_response_body`](IdempotencyLayer::max_response_body) | 1 MiB |
//! | [`over_limit`](IdempotencyLayer::over_limit) | seal |
//! | [`broken_body`](IdempotencyLayer::broken_body) | seal |
//! | [`in_flight`](IdempotencyLayer::in_flight) | reject: 409 |
//! | [`max_waiters`](IdempotencyLayer::max_waiters), [`max_waiters_per_key`](IdempotencyLayer::max_waiters_per_key) | 10,000 and 1,000 |
//! | [`lease`](IdempotencyLayer::lease) | 30 s, renewed every third of it |
//! | [`after_crash`](IdempotencyLayer::after_crash) | takeover |
//! | [`retention`](IdempotencyLayer::retention) | 24 h from completion |
//! | [`record_policy`](IdempotencyLayer::record_policy) | 2xx, 3xx, 4xx but 401, 403, 407, 408, 421, 425, 429, and 409 with `Retry-After` |
//! | [`recorded_headers`](IdempotencyLayer::recorded_headers) | all but those of one connection, moment or caller |
//! | [`store_deadline`](IdempotencyLayer::store_deadline) | 2 s per call, a renewal at most a third of the lease |
//! | [`store_attempts`](IdempotencyLayer::store_attempts) | 3 |
//! | [`store_failure`](IdempotencyLayer::store_failure) | refuse: 503 |
//! | [`contract`](IdempotencyLayer::contract) | [`WireContract::default`](crate::WireContract::default) |
//! | [`render`](IdempotencyLayer::render) | problem+json |
//! | [`observer`](IdempotencyLayer::observer) | none; `tracing` is always told |
//!
//! # Hang-ups, panics, shutdown
//!
//! hyper drops the future of a request when its client disconnects. Before the body has
//! arrived that ends the request. After the claim the operation moves to a task of its own
//! and runs to its end, without the task-locals and the spans of the layers outside. Nothing is
//! spawned otherwise: a panic of the handler goes to the layers outside, after the key was
//! released. A panic in a drop goes there before, and a task of its own releases the key.
//!
//! A response whose size is not known, and which is not all there at once, is *live*: its
//! head leaves at once, and a task drains it into a recording that the client reads as it
//! grows. Its end is held back until the record is stored.
//!
//! Leases are renewed by a task of their own. On a runtime with one worker thread a handler
//! that blocks that thread for longer than the lease still loses it.
//!
//! Keyed requests need a tokio runtime with its time driver: the layer spawns on it, and sets
//! timers. Polled elsewhere they panic. All services of one layer belong on one runtime, as
//! one task renews all their leases: should its runtime end, those of another are not renewed
//! before the next request.
//!
//! At shutdown call [`drain`](IdempotencyLayer::drain).

mod admission;
mod ask;
mod asker;
#[cfg(feature = "axum")]
mod axum;
mod by_fn;
mod call;
mod claim;
mod config;
pub(crate) mod context;
mod flight;
mod flow;
mod follow;
mod future;
mod gather;
mod insist;
mod keeper;
mod layer;
mod leaders;
mod lease;
mod message;
mod node;
mod outcome;
mod pauses;
mod pledge;
mod pump;
mod recording;
mod reply;
mod request_body;
mod response_body;
mod service;
mod settings;
mod settle;
mod shared;
mod turn;
mod unprotected;
mod whole;

#[cfg(feature = "axum")]
pub use self::axum::MissingIdempotency;
pub use self::{
    config::{InFlight, StoreFailure, Unkept},
    future::ResponseFuture,
    layer::IdempotencyLayer,
    node::Drained,
    recording::BrokeOff,
    request_body::RequestBody,
    response_body::{CutShort, LeaseLost, ResponseBody, Unconfirmed},
    service::Idempotency,
};

/// The error of a [`ResponseBody`]: that of the inner service's body, or one of ours.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
