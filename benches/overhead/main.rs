//! What the layer costs: time, allocations, instructions, memory.
//!
//! ```sh
//! cargo bench --bench overhead --features axum
//! cargo bench --bench overhead --features axum -- callgrind first   # one variant
//! scripts/instructions                                              # all, by callgrind
//! ```
#![allow(
    unsafe_code,
    reason = "a global allocator that counts cannot be written without it"
)]
#![allow(
    clippy::cast_possible_truncation,
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::unwrap_used,
    missing_docs,
    unreachable_pub,
    reason = "measures real time, and may panic"
)]

mod allocator;
mod bodies;
mod million;
mod requests;
mod stack;
mod variant;

use std::env;

use tokio::runtime::{Builder, Runtime};

use self::{
    allocator::Counting,
    stack::{Run, Stack},
    variant::Variant,
};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn main() {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let words: Vec<_> = arguments.iter().map(String::as_str).collect();
    let words = words.as_slice();
    let runtime = Builder::new_current_thread().enable_time().build();
    let runtime = runtime.expect("a runtime");
    match words {
        ["callgrind", variant, rest @ ..] => count(&runtime, variant, rest),
        _ if words.contains(&"--bench") => measure(&runtime, &Effort::FULL),
        // As a test: does it still run?
        _ => measure(&runtime, &Effort::BRIEF),
    }
}

struct Effort {
    request_rounds: u64,
    body_rounds: usize,
    entries: usize,
}

impl Effort {
    const FULL: Self = Self {
        request_rounds: 200,
        body_rounds: 25,
        entries: 1_000_000,
    };
    const BRIEF: Self = Self {
        request_rounds: 1,
        body_rounds: 1,
        entries: 1_000,
    };
}

fn measure(runtime: &Runtime, effort: &Effort) {
    // First, while no memory that others gave back can hide what it takes.
    million::measure(runtime, effort.entries);
    let stacks = [
        Stack::function(runtime),
        Stack::outside_router(runtime),
        Stack::inside_router(runtime),
    ];
    requests::measure(&stacks, effort.request_rounds);
    drop(stacks);
    bodies::measure(runtime, effort.body_rounds);
}

/// Runs one variant on the function: `callgrind <variant> [bare|layered]`.
fn count(runtime: &Runtime, variant: &str, rest: &[&str]) {
    let variant = Variant::named(variant).expect("the name of a variant");
    let stack = Stack::function(runtime);
    let run = if rest.contains(&"bare") {
        stack.bare
    } else {
        stack.layered
    };
    let requests = |nonces: std::ops::Range<u64>| nonces.map(|nonce| variant.request(nonce));
    // The first of all make the store, the shards and the runtime grow.
    run(requests(1..WARM).collect());
    let requests = requests(WARM..WARM + COUNTED).collect();
    counted(&run, requests);
    println!("{COUNTED} requests");
}

const WARM: u64 = 8_000;
const COUNTED: u64 = 2_000;

/// The only function whose instructions count: `--toggle-collect='*::counted'`.
#[inline(never)]
fn counted(run: &Run<'_>, requests: Vec<http::Request<http_body_util::Full<bytes::Bytes>>>) {
    run(requests);
}
