//! What the layer adds to a small request.

use std::{hint::black_box, time::Instant};

use crate::{
    allocator::counts,
    stack::{Run, Stack},
    variant::Variant,
};

const BATCH: u64 = 500;

/// On how many places of the stack it is measured.
const PLACES: u64 = 32;

/// Measures every variant on every stack. Bare and layered take turns, so that whatever
/// else the machine does meets both.
pub fn measure(stacks: &[Stack<'_>], rounds: u64) {
    println!(
        "{:<44} {:>9} {:>9} {:>9} {:>7} {:>12} {:>9}",
        "1 KiB in, 1 KiB out", "bare", "layered", "added", "ratio", "allocations", "bytes"
    );
    for stack in stacks {
        println!("{}", stack.name);
        for variant in Variant::ALL {
            Row::measure(stack, variant, rounds).print(variant);
        }
    }
    println!();
}

struct Row {
    /// Of all rounds the fastest, in nanoseconds per request.
    bare: f64,
    layered: f64,
    /// The median of the rounds' ratios.
    ratio: f64,
    allocations: f64,
    bytes: f64,
}

impl Row {
    fn measure(stack: &Stack<'_>, variant: Variant, rounds: u64) -> Self {
        let mut row = Self {
            bare: f64::MAX,
            layered: f64::MAX,
            ratio: 0.0,
            allocations: 0.0,
            bytes: 0.0,
        };
        let mut ratios = Vec::new();
        let mut nonces = 1 + 1_000_000 * variant as u64..;
        for round in 0..rounds {
            let (bare, layered) = deeper(round % PLACES, || {
                let bare = batch(&stack.bare, variant, &mut nonces);
                (bare, batch(&stack.layered, variant, &mut nonces))
            });
            row.bare = row.bare.min(bare.nanos);
            row.layered = row.layered.min(layered.nanos);
            row.allocations += (layered.allocations - bare.allocations) / rounds as f64;
            row.bytes += (layered.bytes - bare.bytes) / rounds as f64;
            ratios.push(layered.nanos / bare.nanos);
        }
        ratios.sort_by(f64::total_cmp);
        row.ratio = ratios[ratios.len() / 2];
        row
    }

    fn print(&self, variant: Variant) {
        println!(
            "  {:<42} {:>6.0} ns {:>6.0} ns {:>6.0} ns {:>7.2} {:>+12.2} {:>+9.0}",
            variant.name(),
            self.bare,
            self.layered,
            self.layered - self.bare,
            self.ratio,
            self.allocations,
            self.bytes
        );
    }
}

/// Runs `measured` with so many frames more on the thread's stack. How what lies there is
/// aligned is drawn anew for each process, and moves the price of a copied head by 30 ns.
#[inline(never)]
fn deeper<T>(frames: u64, measured: impl FnOnce() -> T) -> T {
    let frame = black_box([frames; 7]);
    match frame[6] {
        0 => measured(),
        _ => black_box(deeper(black_box(frame[6] - 1), measured)),
    }
}

/// What one request of a batch took.
struct Cost {
    nanos: f64,
    allocations: f64,
    bytes: f64,
}

fn batch(run: &Run<'_>, variant: Variant, nonces: &mut impl Iterator<Item = u64>) -> Cost {
    let nonces = nonces.take(BATCH as usize);
    let requests: Vec<_> = nonces.map(|nonce| variant.request(nonce)).collect();
    let requests = Box::new(requests.into_iter());
    let (before, began) = (counts(), Instant::now());
    run(requests);
    let (elapsed, after) = (began.elapsed(), counts());
    let each = |total: u64| total as f64 / BATCH as f64;
    Cost {
        nanos: elapsed.as_nanos() as f64 / BATCH as f64,
        allocations: each(after.allocations - before.allocations),
        bytes: each(after.bytes - before.bytes),
    }
}
