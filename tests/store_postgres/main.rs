//! The PostgreSQL store against a real server.
#![cfg(all(feature = "postgres", feature = "conformance"))]
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod laws;
#[path = "../servers/mod.rs"]
mod servers;
mod stage;
