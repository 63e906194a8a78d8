//! The Redis store, against servers that the tests start.
#![cfg(all(feature = "redis", feature = "conformance"))]
#![allow(clippy::unwrap_used, reason = "a test may fail")]

#[path = "../servers/mod.rs"]
mod servers;

mod cluster;
mod faults;
mod laws;
mod operators;
mod replicas;
mod scene;
mod start;
mod time;
mod trips;
mod unreadable;
mod waiting;
