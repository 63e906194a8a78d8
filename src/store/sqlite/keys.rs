//! The table of keys: a slot is a row.

use std::time::Duration;

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension as _, Row, params, types::FromSql};

use super::failure::failed;
use crate::{
    fingerprint::Fingerprint,
    record::Record,
    record_key::RecordKey,
    store::{
        Fence, LeaseToken, Slot, StoreError,
        slot::{Done, Held, Moment, State, nanos},
    },
};

/// What stands under `key`. A row that is no slot is corrupt, never absent.
pub(super) fn find(connection: &Connection, key: &RecordKey) -> Result<Slot, StoreError> {
    const FIND: &str = "SELECT fingerprint, fence, expires_at, token, attempt, lapses_at, record
         FROM idempotency_keys WHERE record_key = ?1";
    let mut find = connection.prepare_cached(FIND).map_err(failed)?;
    let mut rows = find.query([key.as_bytes()]).map_err(failed)?;
    match rows.next().map_err(failed)? {
        Some(row) => read(row),
        None => Ok(Slot::new()),
    }
}

fn read(row: &Row<'_>) -> Result<Slot, StoreError> {
    let record: Option<Vec<u8>> = column(row, 6)?;
    Ok(Slot(match record {
        Some(record) => State::Done(Done {
            record: Record::decode(Bytes::from(record)).map_err(StoreError::corrupt)?,
            fence: Fence::new(number(row, 1)?),
            until: Moment(number(row, 2)?),
        }),
        None => State::InFlight(read_held(row)?),
    }))
}

fn read_held(row: &Row<'_>) -> Result<Held, StoreError> {
    let [version, digest @ ..]: [u8; 33] = column(row, 0)?;
    let (expires, lapses) = (Moment(number(row, 2)?), Moment(number(row, 5)?));
    Ok(Held {
        token: LeaseToken::from_bytes(column(row, 3)?),
        fingerprint: Fingerprint::from_parts(version, digest),
        fence: Fence::new(number(row, 1)?),
        attempt: column(row, 4)?,
        deadline: lapses,
        retention: lapses.until(expires),
    })
}

fn column<T: FromSql>(row: &Row<'_>, at: usize) -> Result<T, StoreError> {
    row.get(at).map_err(StoreError::corrupt)
}

fn number(row: &Row<'_>, at: usize) -> Result<u64, StoreError> {
    let number: i64 = column(row, at)?;
    u64::try_from(number).map_err(StoreError::corrupt)
}

/// When the lease with `fence` lapses, if it holds `key`. Reads no record.
pub(super) fn lapse(
    connection: &Connection,
    key: &RecordKey,
    fence: Fence,
) -> rusqlite::Result<Option<Duration>> {
    const LAPSE: &str = "SELECT lapses_at FROM idempotency_keys
         WHERE record_key = ?1 AND fence = ?2 AND lapses_at IS NOT NULL";
    let mut lapse = connection.prepare_cached(LAPSE)?;
    let of = params![key.as_bytes(), integer(fence.get())];
    let lapse: Option<i64> = lapse.query_row(of, |row| row.get(0)).optional()?;
    Ok(lapse.map(since_epoch))
}

/// Makes `slot` what stands under `key`, in one statement.
pub(super) fn write(connection: &Connection, key: &RecordKey, slot: &Slot) -> rusqlite::Result<()> {
    match &slot.0 {
        State::Free => remove(connection, key),
        State::InFlight(held) => write_held(connection, key, held),
        State::Done(done) => write_done(connection, key, done),
    }
}

/// Removes what stands under `key`.
pub(super) fn remove(connection: &Connection, key: &RecordKey) -> rusqlite::Result<()> {
    const REMOVE: &str = "DELETE FROM idempotency_keys WHERE record_key = ?1";
    connection
        .prepare_cached(REMOVE)?
        .execute([key.as_bytes()])?;
    Ok(())
}

fn write_held(connection: &Connection, key: &RecordKey, held: &Held) -> rusqlite::Result<()> {
    const HOLD: &str = "INSERT INTO idempotency_keys
         (record_key, fingerprint, fence, expires_at, token, attempt, lapses_at, record)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, NULL)
         ON CONFLICT (record_key) DO UPDATE SET fingerprint = ?2, fence = ?3, expires_at = ?4,
         token = ?5, attempt = ?6, lapses_at = ?7, record = NULL";
    connection.prepare_cached(HOLD)?.execute(params![
        key.as_bytes(),
        bytes(held.fingerprint),
        integer(held.fence.get()),
        integer(held.gone_at().0),
        held.token.as_bytes(),
        held.attempt,
        integer(held.deadline.0),
    ])?;
    Ok(())
}

fn write_done(connection: &Connection, key: &RecordKey, done: &Done) -> rusqlite::Result<()> {
    const COMPLETE: &str = "UPDATE idempotency_keys SET fence = ?2, expires_at = ?3,
         token = NULL, attempt = NULL, lapses_at = NULL, record = ?4 WHERE record_key = ?1";
    connection.prepare_cached(COMPLETE)?.execute(params![
        key.as_bytes(),
        integer(done.fence.get()),
        integer(done.until.0),
        &done.record.encoded()[..],
    ])?;
    Ok(())
}

/// Clears away some of the keys that are expired at `now`, and says how many it were.
pub(super) fn sweep(
    connection: &Connection,
    now: Duration,
    most: usize,
) -> rusqlite::Result<usize> {
    const SWEEP: &str = "DELETE FROM idempotency_keys WHERE rowid IN
         (SELECT rowid FROM idempotency_keys WHERE expires_at <= ?1 LIMIT ?2)";
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    let expired = params![integer(nanos(now)), most];
    connection.prepare_cached(SWEEP)?.execute(expired)
}

/// How many keys there are, expired ones included.
pub(super) fn count(connection: &Connection) -> rusqlite::Result<u64> {
    const COUNT: &str = "SELECT count(*) FROM idempotency_keys";
    let count: i64 = connection.query_row(COUNT, [], |row| row.get(0))?;
    Ok(count.unsigned_abs())
}

fn bytes(fingerprint: Fingerprint) -> [u8; 33] {
    let mut bytes = [fingerprint.version(); 33];
    bytes[1..].copy_from_slice(fingerprint.digest());
    bytes
}

/// As SQLite keeps it: its numbers have a sign. Its last nanosecond is in the year 2262.
pub(super) fn integer(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn since_epoch(nanos: i64) -> Duration {
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))
}
