//! One transaction, and the verbs of all who share it.

use std::time::Duration;

use rusqlite::{Connection, params};

use super::{
    clock::Clock,
    failure::failed,
    keys::{self, integer, since_epoch},
};
use crate::{
    record_key::RecordKey,
    store::{
        Fence, Slot, Standing, StoreError, StoreErrorKind,
        slot::{State, nanos},
    },
};

/// What a transaction sees, and what it will leave.
pub(super) struct Session<'c> {
    connection: &'c Connection,
    now: Duration,
    /// The last one given, or one that was not.
    fence: u64,
    writes: usize,
    swept: usize,
    ended: Vec<RecordKey>,
}

/// How many expired keys a transaction clears away for each that it writes. It adds at most
/// one, so more than one keep the file from growing.
const CLEARED_PER_WRITE: usize = 2;

impl<'c> Session<'c> {
    /// The transaction that has just begun on `connection`.
    pub(super) fn begin(connection: &'c Connection, clock: &Clock) -> rusqlite::Result<Self> {
        const FILE: &str = "SELECT clock, fence FROM idempotency_file";
        let mut file = connection.prepare_cached(FILE)?;
        let (seen, fence): (i64, i64) = file.query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let now = clock.now(since_epoch(seen));
        let micros = u64::try_from(now.as_micros()).unwrap_or(u64::MAX);
        Ok(Self {
            connection,
            now,
            // By the clock, so that fences also grow if the file is lost, or an old copy of it
            // is put in its place.
            fence: fence.unsigned_abs().max(micros),
            writes: 0,
            swept: 0,
            ended: Vec::new(),
        })
    }

    /// The time of this transaction.
    pub(super) fn now(&self) -> Duration {
        self.now
    }

    /// What stands under `key`.
    pub(super) fn slot(&self, key: &RecordKey) -> Result<Slot, StoreError> {
        keys::find(self.connection, key)
    }

    /// How long a waiter for the lease with `fence` may sleep.
    pub(super) fn settles_in(&self, key: &RecordKey, fence: Fence) -> Result<Duration, StoreError> {
        let lapse = keys::lapse(self.connection, key, fence).map_err(failed)?;
        Ok(lapse.unwrap_or_default().saturating_sub(self.now))
    }

    /// One verb on what stands under `key`. It is not done before the transaction is.
    pub(super) fn step<T>(
        &mut self,
        key: &RecordKey,
        verb: impl FnOnce(&mut Slot, Fence, Duration) -> T,
    ) -> Result<T, StoreError> {
        let before = self.slot(key)?;
        let mut after = before.clone();
        let outcome = verb(&mut after, Fence::new(self.fence + 1), self.now);
        if after != before {
            keys::write(self.connection, key, &after).map_err(failed)?;
            self.writes += 1;
            self.fence = self.fence.max(fence(&after));
            self.ended
                .extend(has_ended(&before, &after).then_some(*key));
        }
        Ok(outcome)
    }

    /// Drops what stands under `key`, and says what it was; also if that cannot be read. It
    /// is not done before the transaction is.
    pub(super) fn forget(
        &mut self,
        key: &RecordKey,
    ) -> Result<Result<Standing, StoreError>, StoreError> {
        match self.step(key, |slot, _, now| slot.forget(now)) {
            Err(error) if error.kind() == StoreErrorKind::Corrupt => {
                keys::remove(self.connection, key).map_err(failed)?;
                self.writes += 1;
                self.ended.push(*key);
                Ok(Err(error))
            }
            forgotten => forgotten.map(Ok),
        }
    }

    /// Clears away up to `most` expired keys.
    pub(super) fn sweep(&mut self, most: usize) -> Result<usize, StoreError> {
        let swept = keys::sweep(self.connection, self.now, most).map_err(failed)?;
        self.swept += swept;
        Ok(swept)
    }

    pub(super) fn count(&self) -> Result<u64, StoreError> {
        keys::count(self.connection).map_err(failed)
    }

    /// Writes what outlives the transaction; whose lease ended in it.
    pub(super) fn end(self) -> rusqlite::Result<Vec<RecordKey>> {
        const FILE: &str = "UPDATE idempotency_file SET clock = ?1, fence = ?2";
        if self.writes > 0 {
            keys::sweep(self.connection, self.now, self.writes * CLEARED_PER_WRITE)?;
        }
        if self.writes + self.swept > 0 {
            let file = params![integer(nanos(self.now)), integer(self.fence)];
            self.connection.prepare_cached(FILE)?.execute(file)?;
        }
        Ok(self.ended)
    }
}

fn fence(slot: &Slot) -> u64 {
    match &slot.0 {
        State::Free => 0,
        State::InFlight(held) => held.fence.get(),
        State::Done(done) => done.fence.get(),
    }
}

/// Whether waiters of the lease in `before` wait for nothing in `after`.
fn has_ended(before: &Slot, after: &Slot) -> bool {
    match (&before.0, &after.0) {
        (State::InFlight(before), State::InFlight(after)) => before.fence != after.fence,
        (State::InFlight(_), _) => true,
        (State::Done(_) | State::Free, _) => false,
    }
}
