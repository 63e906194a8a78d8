//! Answers of all kinds and clients that do not stay, in a world that is drawn from a seed: whole
//! answers and live ones, trailers, limits, bodies that fail or panic, drops that panic, clients
//! that hang up at any poll, join, read slowly or not at all, keys in headers, in bodies or nowhere,
//! transactions that are rolled back; over a store that fails in spells.
//! One runtime has all nodes, and none of them crashes: that is `simulation_nodes`.
//!
//! A seed that fails says so; `SIMULATION_FIRST` is where to begin, `SIMULATION_SEEDS` how many to
//! try, and `SIMULATION_TRACE=1` tells all that happens. What falls into one millisecond comes in
//! any order, as tokio wakes those who wait for one thing in a random one: a rare failure may take
//! some runs of its seed.
#![cfg(feature = "memory")]
#![allow(clippy::unwrap_used, reason = "a test may fail")]
#![allow(unreachable_pub, reason = "modules of a test")]
#![allow(missing_debug_implementations, reason = "modules of a test")]

mod answers;
#[path = "../simulation_nodes/chance.rs"]
mod chance;
mod client;
mod fate;
mod handler;
mod judge;
mod keyed;
mod leases;
mod ledger;
mod plan;
mod refusals;
mod run;
mod script;
mod settings;
mod steps;
mod tried;
mod wire;
mod world;

use std::{env, panic};

use self::tried::Tried;

const SEEDS: u64 = 600;

fn number(name: &str) -> Option<u64> {
    env::var(name).ok()?.parse().ok()
}

#[test]
fn answers_and_clients_get_what_is_promised() {
    silence();
    let first = number("SIMULATION_FIRST").unwrap_or(0);
    let seeds = number("SIMULATION_SEEDS").unwrap_or(SEEDS);
    let trace = env::var_os("SIMULATION_TRACE").is_some();
    let (mut bad, mut tried) = (Vec::new(), Tried::default());
    for seed in first..first + seeds {
        let (world, wrong) = run::run(seed, trace);
        tried.count(&world.ledger());
        if let [first, ..] = &*wrong {
            let (times, settings) = (wrong.len(), &world.settings);
            println!("seed {seed}, {times} times wrong:\n    {first}\n    {settings:?}");
            bad.push(seed);
        }
        if bad.len() >= 20 {
            break;
        }
    }
    println!("{tried:#?}");
    assert!(bad.is_empty(), "{bad:?}");
    let missed = tried.missed();
    assert!(seeds < SEEDS || missed.is_empty(), "{missed:?}");
}

/// Panics by the script are not worth a line each.
fn silence() {
    let usual = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        let scripted = panic.payload().downcast_ref() == Some(&"scripted");
        if !scripted {
            usual(panic);
        }
    }));
}
