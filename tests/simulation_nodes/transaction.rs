//! Transactions of handlers: they commit with the record of the answer, or not at all.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use tower_idempotency::{
    Record,
    store::{Completion, Lease, Slot},
};

use super::chance::Chance;

/// What a handler leaves with its lease.
#[derive(Debug)]
pub struct Transaction {
    end: End,
    sent: AtomicBool,
    over: AtomicBool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Commits,
    RollsBack,
    /// The handler had none in the end: the answer is recorded as others are.
    None,
}

impl Transaction {
    pub fn draw(chance: &mut Chance) -> Self {
        Self {
            end: chance.one_of(&[End::Commits, End::Commits, End::RollsBack, End::None]),
            sent: AtomicBool::new(false),
            over: AtomicBool::new(false),
        }
    }

    /// Whether the call that completes `lease` now brings the transaction that goes with it: the
    /// first one does, those after it only ask what became of it.
    pub fn goes_with(lease: &Lease) -> bool {
        let transaction = lease.attached::<Self>();
        transaction.is_some_and(|transaction| !transaction.sent.swap(true, Ordering::Relaxed))
    }

    /// Completes a key in the transaction that goes with `lease`, if one does. Who asks for one
    /// that has not arrived ends it.
    pub fn complete(
        slot: &mut Slot,
        lease: &Lease,
        record: &Record,
        retention: Duration,
        arrives: bool,
        now: Duration,
    ) -> Completion {
        let transaction = lease.attached::<Self>();
        let commits = transaction.is_none_or(|transaction| {
            let in_time = !transaction.over.swap(true, Ordering::Relaxed) && arrives;
            transaction.end == End::None || (in_time && transaction.end == End::Commits)
        });
        let mut after = slot.clone();
        match after.complete(lease, record, retention, now) {
            Completion::Applied if !commits => Completion::RolledBack,
            completion => {
                *slot = after;
                completion
            }
        }
    }

    /// Whoever releases a key rolls back what has not arrived.
    pub fn roll_back(lease: &Lease) {
        if let Some(transaction) = lease.attached::<Self>() {
            transaction.over.store(true, Ordering::Relaxed);
        }
    }
}
