//! Calls over gRPC (feature `grpc`).
//!
//! A client names its call by the metadata key `idempotency-key`. **Only calls of methods
//! that [`when`](crate::IdempotencyLayer::when) admits are looked at;** without a `when` all
//! calls pass through untouched. Every call is a POST, and reading a bidirectional stream to
//! its end before it runs would hang it: [`methods`] is the list of those that may be read.
//!
//! ```
//! # #[cfg(feature = "memory")] {
//! use tonic::transport::Server;
//! use tower_idempotency::{IdempotencyLayer, MemoryStore, grpc};
//!
//! let idempotency = IdempotencyLayer::new(MemoryStore::new())
//!     .require_key()
//!     .when(grpc::methods(["/payments.v1.Payments/Charge"]));
//!
//! let server = Server::builder().layer(idempotency);
//! // server.add_service(PaymentsServer::new(…)).serve(…)
//! # }
//! ```
//!
//! `examples/tonic_payments.rs` has a client and a server.
//!
//! # What is different from plain HTTP
//!
//! * **Sameness** is the path and the messages ([`MessageFingerprint`]): a retry may be
//!   compressed, or cut into frames, in another way. A
//!   [`fingerprint`](crate::IdempotencyLayer::fingerprint) of your own wins.
//! * **The outcome** goes by `grpc-status`, which is a trailer, or a header field of an
//!   answer without a body. OK, `INVALID_ARGUMENT`, `NOT_FOUND`, `ALREADY_EXISTS`,
//!   `FAILED_PRECONDITION`, `OUT_OF_RANGE` and `UNIMPLEMENTED` are recorded. All others, and
//!   an answer without any, release the key: a retry runs again. A
//!   [`record_policy`](crate::IdempotencyLayer::record_policy) is not asked, since it sees
//!   heads only; a [`Directive`](crate::Directive) among the extensions of a response wins.
//! * **A replay** has the metadata, messages and trailers of the first answer, and
//!   `idempotent-replayed: true` among its initial metadata. An answer that was one block
//!   of header fields (*Trailers-Only*) is one again.
//! * **Refusals** are Trailers-Only, with HTTP status 200. The renderer of the wire contract
//!   is not asked.
//!
//! | code | status |
//! |---|---|
//! | `idempotency_key_required`, `idempotency_key_invalid` | `INVALID_ARGUMENT` |
//! | `idempotency_conflict` | `ALREADY_EXISTS`; `FAILED_PRECONDITION` where plain HTTP has another status than 409, as in [`ietf`](crate::WireContract::ietf) |
//! | `idempotency_in_flight` | `ABORTED` |
//! | `idempotency_result_unavailable`, `idempotency_outcome_unknown` | `FAILED_PRECONDITION` |
//! | `idempotency_payload_too_large` | `RESOURCE_EXHAUSTED` |
//! | `idempotency_body_unreadable` | `CANCELLED` if it broke off, `DEADLINE_EXCEEDED` if it was too slow |
//! | `idempotency_scope_missing` | `PERMISSION_DENIED` |
//! | `idempotency_store_unavailable`, `idempotency_unconfirmed` | `UNAVAILABLE` |
//!
//! `grpc-status-details-bin` holds a `google.rpc.ErrorInfo`, whose reason is the code in
//! upper case and whose domain is `tower-idempotency`, and where the time to wait is known a
//! `RetryInfo`. `grpc-retry-pushback-ms` says the same to clients with a retry policy: the
//! milliseconds to wait, 100 to 60 000, or -1 where a retry can never succeed.
//!
//! # Deadlines and cancellation
//!
//! A call whose client cancels it, or whose deadline passes while its handler runs, runs on
//! to its end and is recorded; a retry gets that answer.
//!
//! # What it does not do
//!
//! * gRPC-Web: it passes through. Put the layer inside of what translates it.
//! * Read messages: a map that is written anew in another order, as by Go or from a `HashMap`, is
//!   another message. A retry must send the bytes of the first attempt, or fix that order.
//! * Unpack messages that are compressed by other means than gzip or deflate: a retry must then
//!   be compressed as the first attempt was.
//! * Compress anew: a replay is compressed as the first answer was.
//! * Hold a stream back until its end is known: a duplicate that waits
//!   ([`InFlight::Wait`](crate::InFlight::Wait)) and joins one that fails gets its failure.
//! * Without the feature `grpc` all calls pass through untouched.

mod details;
mod fingerprint;
mod frame;
mod measured;
mod methods;
mod refusal;
mod status;
mod unpack;

pub(crate) use self::refusal::refuse;
pub use self::{
    fingerprint::MessageFingerprint,
    methods::{is_call, methods},
};
