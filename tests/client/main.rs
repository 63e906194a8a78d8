//! The client's half: keys for outgoing requests, and retries under them, against a server
//! that answers by a script. Time is stopped.
#![cfg(feature = "client")]
#![allow(clippy::unwrap_used, reason = "what fails here is a test that fails")]

mod bodies;
mod keys;
mod order;
mod retries;
mod script;
