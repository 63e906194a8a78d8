//! What the layer costs: time, allocations, memory. (Instructions: `benches/instructions.rs`.)
//!
//! ```sh
//! cargo bench --bench overhead --features axum
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

use self::{allocator::Counting, stack::Stack};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn main() {
    let runtime = Builder::new_current_thread().enable_time().build();
    let runtime = runtime.expect("a runtime");
    if env::args().any(|word| word == "--bench") {
        measure(&runtime, &Effort::FULL);
    } else {
        // As a test: does it still run?
        measure(&runtime, &Effort::BRIEF);
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
