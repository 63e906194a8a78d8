//! The PostgreSQL store against a real server.
#![cfg(all(feature = "postgres", feature = "conformance", feature = "memory"))]
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod checkpoints;
mod expiry;
mod laws;
mod layer;
mod ledger;
mod operators;
mod pooler;
mod proxy;
mod reach;
#[path = "../servers/mod.rs"]
mod servers;
mod setup;
mod stage;
#[path = "../support/mod.rs"]
mod support;
mod transactions;
mod trouble;
mod waiting;
