//! The store in a file: the laws, other processes, death, and files that are no good.
#![cfg(feature = "sqlite")]
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod children;
#[cfg(feature = "conformance")]
mod conformance;
mod deaths;
mod file;
mod open;
mod processes;
