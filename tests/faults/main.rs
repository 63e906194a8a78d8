//! Bad wires, dead servers and frozen nodes, over each engine that is not in this process.
//!
//! Whatever happens: no handler starts under a claim that nobody confirmed, none twice
//! under one fence; no answer but a marked one differs from the record; and every key is
//! settled within a lease and a second once all is well again.
#![cfg(all(unix, feature = "axum", any(feature = "redis", feature = "postgres")))]
#![allow(clippy::unwrap_used, reason = "what fails here is a test that fails")]

mod backend;
mod freeze;
#[allow(dead_code, reason = "the tests of the lab take more of it")]
#[path = "../lab/lab.rs"]
mod lab;
#[cfg(feature = "redis")]
mod moves;
#[path = "../outside/mod.rs"]
mod outside;
mod restart;
#[path = "../servers/mod.rs"]
mod servers;
mod storm;
mod wire;
mod world;

/// The same tests for each engine.
macro_rules! over {
    ($name:ident, $backend:ty) => {
        mod $name {
            #[tokio::test(flavor = "multi_thread")]
            async fn no_fault_of_the_wire_breaks_the_promise() {
                crate::wire::strikes_at_each_request::<$backend>().await;
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn what_arrives_late_changes_nothing() {
                crate::wire::requests_arrive_late::<$backend>().await;
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn server_may_die_under_load() {
                crate::restart::server_dies_under_load::<$backend>().await;
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn node_may_freeze_in_its_handler() {
                crate::freeze::in_the_handler::<$backend>().await;
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn node_may_freeze_before_it_completes() {
                crate::freeze::before_complete::<$backend>().await;
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn node_may_freeze_before_it_releases() {
                crate::freeze::before_release::<$backend>().await;
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn storm_of_duplicates_has_one_effect_a_key() {
                crate::storm::one_effect_a_key::<$backend>().await;
            }
        }
    };
}

#[cfg(feature = "redis")]
over!(redis, crate::backend::Redis);
#[cfg(feature = "postgres")]
over!(postgres, crate::backend::Postgres);

#[cfg(feature = "redis")]
#[tokio::test(flavor = "multi_thread")]
async fn slot_of_a_cluster_may_move_under_load() {
    moves::slot_moves_under_load().await;
}
