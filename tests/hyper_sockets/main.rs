//! Real sockets, hyper, and clients that leave when they please. No axum.
#![cfg(feature = "memory")]
#![allow(clippy::unwrap_used, reason = "what fails here is a test that fails")]

mod framing;
mod hang_ups_http1;
mod hang_ups_http2;
#[path = "../outside/mod.rs"]
mod outside;
mod request_limits;
mod site;
mod trailers;
