//! The [laws](super) as a test suite for any store.
//!
//! Say how to reach your store with a [`Harness`], and let
//! [`store_conformance!`](crate::store_conformance) make one test of each law, in the
//! tests of your own crate. There, `tower-idempotency` needs the feature `conformance`, and
//! `tokio` needs `macros`, `rt`, `time`, and either `rt-multi-thread` or, for paused time,
//! `test-util`.
//!
//! ```
//! use std::time::Duration;
//! use tower_idempotency::{MemoryStore, store::conformance::Harness};
//!
//! struct Memory(MemoryStore);
//!
//! impl Harness for Memory {
//!     type Store = MemoryStore;
//!
//!     async fn client(&self) -> MemoryStore {
//!         self.0.clone()
//!     }
//!
//!     async fn unreachable(&self) -> Option<MemoryStore> {
//!         None
//!     }
//! }
//!
//! // The clock of this store is tokio's, so its tests need not really wait.
//! tower_idempotency::store_conformance!(memory, Memory(MemoryStore::new()), paused);
//! # fn main() {}
//! ```
//!
//! A law that does not hold is a test that fails, under its name:
//! `memory::lost_lease_cannot_complete`. Each law is also a function here, for those who
//! bring their own test runner.
//!
//! A later version of this crate may have more tests for the same laws.
//!
//! The laws use random keys, so they may share one store, also at the same time, and one
//! with other keys in it. They leave keys behind that live for up to an hour.
#![allow(
    clippy::missing_panics_doc,
    reason = "a law that does not hold is a panic, as in every test suite"
)]

mod claiming;
mod expiring;
mod failing;
mod fencing;
mod keeping;
mod owning;
mod racing;
mod scene;
mod waiting;

use std::time::Duration;

pub use self::{
    claiming::*, expiring::*, failing::*, fencing::*, keeping::*, owning::*, racing::*, waiting::*,
};
use super::Store;

/// How the suite reaches the store it tests, and how time passes there.
pub trait Harness: Send + Sync + 'static {
    /// The store under test.
    type Store: Store;

    /// A client of the store under test. Called several times in one test: the clients
    /// then see the same keys, as two nodes would. Make it a connection of its own where
    /// the store has connections.
    fn client(&self) -> impl Future<Output = Self::Store> + Send;

    /// A client whose engine is not there, for example with the port of a server that was
    /// shut down. `None` for a store in this process, which is always there.
    fn unreachable(&self) -> impl Future<Output = Option<Self::Store>> + Send;

    /// The unit of time the laws count in; 200 ms by default. Leases last a few ticks, and
    /// the laws wait a tick or two beyond a deadline. Make it much longer than a round
    /// trip to the store.
    fn tick(&self) -> Duration {
        Duration::from_millis(200)
    }

    /// Lets that much time pass on the clock of the store. By default sleeps as tokio
    /// does: really where time is not paused, and at once where it is.
    fn pass(&self, time: Duration) -> impl Future<Output = ()> + Send {
        tokio::time::sleep(time)
    }
}

/// Makes one test of each law of a store: `store_conformance!(name, harness)` is a module
/// `name` of `#[tokio::test]`s on a runtime with several threads; with `, paused` behind
/// it, on one thread with paused time, which suits stores that keep time by
/// `tokio::time::Instant`.
///
/// `harness` is evaluated for each test, in an async context: it may await. See the
/// [`conformance`](crate::store::conformance) module for the [`Harness`] and an example.
///
/// The calling crate needs `tokio` with the features `macros`, `rt`, `time`, and either
/// `rt-multi-thread` or, for paused time, `test-util`.
#[cfg_attr(docsrs, doc(cfg(feature = "conformance")))]
#[macro_export]
macro_rules! store_conformance {
    ($name:ident, $harness:expr $(,)?) => {
        $crate::__store_laws!($name, $harness, #[tokio::test(flavor = "multi_thread")]);
    };
    ($name:ident, $harness:expr, paused $(,)?) => {
        $crate::__store_laws!($name, $harness, #[tokio::test(start_paused = true)]);
    };
}

/// The list of the laws. Every public function of the suite stands in it: a test sees to
/// that.
#[doc(hidden)]
#[macro_export]
macro_rules! __store_laws {
    ($name:ident, $harness:expr, #[$test:meta]) => {
        $crate::__store_laws! { @each $name, ($harness), ($test),
            absent_key_is_acquired
            keys_are_independent
            held_key_is_in_flight
            resent_claim_gets_the_same_lease
            completed_key_yields_its_record
            released_key_is_free
            other_fingerprint_is_a_mismatch_in_every_state
            lapsed_lease_is_taken_over_with_a_higher_fence
            takeover_only_for_the_same_fingerprint
            hold_mode_answers_unknown
            hold_mode_is_the_choice_of_each_claim

            lost_lease_cannot_complete
            lost_lease_cannot_release
            lost_lease_cannot_renew
            losing_says_what_stands_there_now
            token_alone_proves_nothing
            fence_alone_proves_nothing
            repeated_completion_is_accepted
            repeated_release_is_accepted
            completing_an_absent_key_is_refused
            renewing_an_absent_key_is_refused
            completed_key_is_neither_released_nor_renewed
            owner_completes_after_a_lapse_nobody_noticed
            owner_renews_after_a_lapse_nobody_noticed

            each_takeover_raises_fence_and_attempt
            fence_never_restarts_after_release
            fence_never_restarts_after_completion_expired
            fence_never_restarts_after_a_lapsed_key_expired
            zombie_of_an_earlier_generation_is_refused

            lease_lapses_at_its_deadline
            renewed_lease_outlives_its_first_deadline
            retention_starts_at_completion
            expired_key_is_as_if_never_seen
            lapsed_key_is_kept_for_its_retention_and_no_longer

            settled_wakes_on_completion
            settled_wakes_on_release
            settled_wakes_on_lapse
            settled_wakes_on_takeover
            settled_wakes_every_waiter
            settled_does_not_outsleep_the_limit
            settled_does_not_wait_for_what_is_over

            record_survives_byte_for_byte
            sealed_record_survives
            empty_body_survives
            body_of_a_mebibyte_survives

            concurrent_claims_have_one_winner
            concurrent_takeovers_have_one_winner
            completion_and_takeover_exclude_each_other
            concurrent_completions_of_the_owner_agree

            cancelled_claim_leaves_no_half_state
            cancelled_completion_leaves_no_half_state
            cancelled_release_leaves_no_half_state
            unreachable_store_says_so
        }
    };
    (@each $name:ident, $harness:tt, ($test:meta), $($law:ident)+) => {
        mod $name {
            #[allow(unused_imports)]
            use super::*;

            $($crate::__store_laws! { @one $law, $harness, ($test) })+
        }
    };
    (@one $law:ident, ($harness:expr), ($test:meta)) => {
        #[$test]
        async fn $law() {
            let harness = $harness;
            $crate::store::conformance::$law(&harness).await;
        }
    };
}

#[cfg(test)]
mod tests {
    /// A law that is missing from the list would never run.
    #[test]
    fn every_law_is_in_the_list() {
        let files = [
            include_str!("claiming.rs"),
            include_str!("expiring.rs"),
            include_str!("failing.rs"),
            include_str!("fencing.rs"),
            include_str!("keeping.rs"),
            include_str!("owning.rs"),
            include_str!("racing.rs"),
            include_str!("waiting.rs"),
        ];
        let (_, list) = include_str!("mod.rs").split_once("@each $name").unwrap();
        let (list, _) = list.split_once("        }\n").unwrap();
        let listed: Vec<_> = list.split_whitespace().skip(3).collect();
        let laws = files
            .iter()
            .flat_map(|file| file.lines())
            .filter_map(|line| line.strip_prefix("pub async fn "))
            .filter_map(|line| line.split(['<', '(']).next());
        let laws: Vec<_> = laws.collect();
        assert!(laws.len() > 40);
        for law in &laws {
            assert!(listed.contains(law), "{law} is not in the list");
        }
        assert_eq!(laws.len(), listed.len());
    }
}
