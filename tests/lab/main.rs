//! The lab example as a process of its own, attacked over loopback.
#![cfg(all(unix, feature = "axum", feature = "memory"))]

mod answers;
mod effects;
mod lab;
#[path = "../outside/mod.rs"]
mod outside;
mod settings;
mod shutdown;
mod startup;
