//! What the layer makes of what its store can do: requests per second, 64 at a time.
//!
//! For each engine, in one run: the ceiling, which is the two bare calls of the server that
//! a first request needs and the one of a replay, on the connections the store itself uses;
//! and the layer on top. Starts the servers it needs.
//!
//! ```sh
//! cargo bench --bench stores --all-features
//! cargo bench --bench stores --all-features -- redis    # one engine
//! ```
#![allow(
    clippy::cast_precision_loss,
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::unwrap_used,
    missing_docs,
    unreachable_pub,
    dead_code,
    reason = "measures real time, and may panic"
)]

mod layered;
mod load;
#[cfg(feature = "memory")]
mod memory;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "redis")]
mod redis;
#[path = "../../tests/servers/mod.rs"]
mod servers;
#[cfg(feature = "sqlite")]
mod sqlite;
#[path = "../overhead/variant.rs"]
mod variant;

use std::env;

use self::load::Effort;

#[tokio::main]
async fn main() {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let is_bench = arguments.iter().any(|argument| argument == "--bench");
    let mut engines = arguments
        .iter()
        .filter(|argument| !argument.starts_with("--"));
    let engine = engines.next().map(String::as_str);
    let chosen = |name: &str| engine.is_none_or(|engine| engine == name);
    // As a test: does it still run?
    let effort = if is_bench {
        Effort::FULL
    } else {
        Effort::BRIEF
    };

    println!(
        "requests per second, {} at a time, 1 KiB in and out",
        load::CLIENTS
    );
    #[cfg(feature = "memory")]
    if chosen("memory") {
        memory::measure(&effort).await;
    }
    #[cfg(feature = "sqlite")]
    if chosen("sqlite") {
        sqlite::measure(&effort).await;
    }
    #[cfg(feature = "redis")]
    if chosen("redis") {
        redis::measure(&effort).await;
    }
    #[cfg(feature = "postgres")]
    if chosen("postgres") {
        postgres::measure(&effort).await;
    }
}
