//! What the tests from outside share: a service under test is only ever asked over its
//! public interface, in process or over a socket.
#![allow(
    dead_code,
    unused_imports,
    clippy::unwrap_used,
    reason = "each test takes what it needs, and a helper that fails is a test that fails"
)]

mod answer;
mod body;
mod example;
mod gate;
mod http2;
mod raw;
mod server;

pub(crate) use self::{
    answer::{Answer, post, send, whole},
    body::{AnyBody, empty, full, grown_with_trailers, live, with_trailers},
    example::example,
    gate::{Gate, Runs, soon},
    http2::{Http2, post2},
    raw::{Connection, Raw, raw_post},
    server::Server,
};
