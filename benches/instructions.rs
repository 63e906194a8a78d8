//! Requests for callgrind to count the instructions of: see `scripts/instructions`.
//!
//! Under the system's own allocator, uncounted. Each request is made when its turn has come,
//! so that memory is asked for and given back as in a server: what making it costs is the
//! same with and without the layer.
#![allow(
    clippy::disallowed_methods,
    dead_code,
    clippy::expect_used,
    missing_docs,
    unreachable_pub,
    reason = "may panic, and measures one stack of three"
)]

#[path = "overhead/stack.rs"]
mod stack;
#[path = "overhead/variant.rs"]
mod variant;

use std::{env, ops::Range};

use tokio::runtime::Builder;

use self::{
    stack::{Run, Stack},
    variant::Variant,
};

/// The first of all make the store, its shards and the runtime grow; while the others are
/// counted the store doubles.
const WARM: u64 = 8_000;
const COUNTED: u64 = WARM;

/// Runs one variant on the function: `instructions <variant> [bare|layered]`; a few of each, as
/// a test, when none is named.
fn main() {
    let runtime = Builder::new_current_thread().enable_time().build();
    let runtime = runtime.expect("a runtime");
    let stack = Stack::function(&runtime);
    let words: Vec<_> = env::args().skip(1).collect();
    let named = |variant: &Variant| words.first().is_some_and(|word| word == variant.name());
    match Variant::ALL.into_iter().find(named) {
        Some(variant) => {
            let is_bare = words.get(1).is_some_and(|word| word == "bare");
            let run = if is_bare { stack.bare } else { stack.layered };
            answer(&run, variant, 1..WARM);
            counted(&run, variant);
            println!("{COUNTED} requests");
        }
        None => Variant::ALL
            .into_iter()
            .for_each(|variant| answer(&stack.layered, variant, 1..3)),
    }
}

/// The only function whose instructions count: `--toggle-collect='*::counted*'`.
#[inline(never)]
fn counted(run: &Run<'_>, variant: Variant) {
    answer(run, variant, WARM..WARM + COUNTED);
}

fn answer(run: &Run<'_>, variant: Variant, nonces: Range<u64>) {
    run(Box::new(nonces.map(move |nonce| variant.request(nonce))));
}
