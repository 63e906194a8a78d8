//! What is done to a store.

use std::time::Duration;

use proptest::{prelude::*, sample::Index};

use super::KEYS;
use crate::store::AfterCrash;

#[derive(Debug, Clone)]
pub(super) enum Step {
    /// The n-th key, for the n-th request.
    Claim(usize, u8, AfterCrash, Terms),
    /// The n-th key is claimed and given back so often: what leaves many looks.
    Churn(usize, u8),
    /// What somebody does who claimed the n-th time.
    Resend(Index),
    Complete(Index, usize, Duration),
    Release(Index),
    Renew(Index),
    Wait(Index),
    Resolve(usize, Duration),
    Forget(usize),
    Advance(Duration),
    Sweep,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Terms {
    pub(super) lease: Duration,
    pub(super) retention: Duration,
}

fn time() -> impl Strategy<Value = Duration> {
    prop_oneof![
        1 => Just(Duration::ZERO),
        4 => (1..4_u64).prop_map(Duration::from_secs),
        4 => (1..5_000_u64).prop_map(Duration::from_millis),
    ]
}

fn time_or_for_ever() -> impl Strategy<Value = Duration> {
    prop_oneof![9 => time(), 1 => Just(Duration::MAX)]
}

fn terms() -> impl Strategy<Value = Terms> {
    let terms = (time_or_for_ever(), time_or_for_ever());
    terms.prop_map(|(lease, retention)| Terms { lease, retention })
}

pub(super) fn step() -> impl Strategy<Value = Step> {
    let lease = any::<Index>;
    let request = prop_oneof![9 => Just(1), 1 => Just(2)];
    let crash = prop_oneof![3 => Just(AfterCrash::Takeover), 1 => Just(AfterCrash::Hold)];
    let claim = (0..KEYS, request, crash, terms());
    prop_oneof![
        12 => claim.prop_map(|(key, request, crash, terms)| Step::Claim(key, request, crash, terms)),
        2 => (0..KEYS, 0..40_u8).prop_map(|(key, times)| Step::Churn(key, times)),
        1 => lease().prop_map(Step::Resend),
        5 => (lease(), 0..1000_usize, time()).prop_map(|(lease, bytes, retention)| {
            Step::Complete(lease, bytes, retention)
        }),
        4 => lease().prop_map(Step::Release),
        2 => lease().prop_map(Step::Renew),
        2 => lease().prop_map(Step::Wait),
        1 => (0..KEYS, time()).prop_map(|(key, retention)| Step::Resolve(key, retention)),
        1 => (0..KEYS).prop_map(Step::Forget),
        4 => time().prop_map(Step::Advance),
        1 => Just(Step::Sweep),
    ]
}
