//! The lab example as a process of its own, attacked over loopback.
#![cfg(all(unix, feature = "axum", feature = "memory"))]
#![allow(clippy::unwrap_used, reason = "what fails here is a test that fails")]

mod answers;
mod effects;
mod lab;
#[path = "../outside/mod.rs"]
mod outside;
#[cfg(feature = "client")]
mod relay;
#[cfg(feature = "client")]
mod retries;
#[cfg(any(feature = "redis", feature = "postgres"))]
#[path = "../servers/mod.rs"]
mod servers;
mod settings;
mod shutdown;
mod startup;
mod stores;
