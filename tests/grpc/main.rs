//! gRPC, as real clients and servers speak it.
#![cfg(all(feature = "grpc", feature = "memory"))]
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod calls;
mod cancelled;
mod outcome;
#[path = "../outside/mod.rs"]
mod outside;
mod payments;
mod raw;
mod refused;
mod serve;
mod stub;
#[path = "../support/mod.rs"]
mod support;
mod waiting;
