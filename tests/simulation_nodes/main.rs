//! Two to four nodes that share one store, in a world that is drawn from a seed: clients hang up,
//! calls of the store are lost, late, refused or come twice, nodes crash, freeze and are drained,
//! operators step in, the clock of the store goes ahead or back, records are compressed, and
//! encrypted with keys that not every node has, and handlers leave transactions.
//!
//! A seed that fails says so; `SIMULATION_FIRST` is where to begin, `SIMULATION_SEEDS` how many to
//! try, and `SIMULATION_TRACE=1` tells all that happens.
#![cfg(all(feature = "compression", feature = "encryption"))]
#![allow(clippy::unwrap_used, reason = "a test may fail")]
#![allow(unreachable_pub, reason = "modules of a test")]
#![allow(missing_debug_implementations, reason = "modules of a test")]

mod answers;
mod chance;
mod client;
mod handler;
mod judge;
mod knows;
mod leases;
mod ledger;
mod link;
mod log;
mod network;
mod node;
mod own;
mod plan;
mod run;
mod settings;
mod shadow;
mod told;
mod transaction;
mod verb;
mod weather;
mod wrappers;

use std::env;

const SEEDS: u64 = 600;

fn number(name: &str) -> Option<u64> {
    env::var(name).ok()?.parse().ok()
}

#[test]
fn nodes_keep_their_promise() {
    let first = number("SIMULATION_FIRST").unwrap_or(0);
    let seeds = number("SIMULATION_SEEDS").unwrap_or(SEEDS);
    let trace = env::var_os("SIMULATION_TRACE").is_some();
    let (mut bad, mut seen) = (Vec::new(), judge::Seen::default());
    for seed in first..first + seeds {
        let (plan, ledger) = run::run(seed, trace);
        let wrong = judge::judge(&plan, &ledger, &mut seen);
        if let [first, ..] = &*wrong {
            println!("seed {seed}, {} times wrong:\n    {first}", wrong.len());
            bad.push(seed);
        }
        if bad.len() >= 20 {
            break;
        }
    }
    println!("{seen:#?}");
    assert!(bad.is_empty(), "{bad:?}");
    let tried = seen.lapses > 0 && seen.takeovers > 0 && seen.strays > 0;
    assert!(seeds < SEEDS || tried, "the seeds try too little");
}
