//! Reading what statements answer.

use std::time::Duration;

use bytes::Bytes;
use sqlx::{Row as _, postgres::PgRow};

use crate::{
    record::Record,
    store::{Claim, Claimed, Fence, Standing, StoreError},
};

/// What a claim found.
pub(super) fn claimed(row: &PgRow, claim: &Claim<'_>) -> Result<Claimed, StoreError> {
    Ok(match found(row)? {
        "acquired" => {
            let attempt = u32::try_from(column::<i32>(row, "attempt")?);
            let attempt = attempt.map_err(StoreError::corrupt)?;
            Claimed::Acquired(claim.won(fence(row)?, attempt))
        }
        "completed" => Claimed::Completed {
            record: record(row)?,
            remaining: remaining(row)?,
        },
        "in flight" => Claimed::InFlight {
            fence: fence(row)?,
            remaining: remaining(row)?,
        },
        "mismatch" => Claimed::Mismatch,
        "unknown" => Claimed::Unknown,
        other => return Err(not_understood(other)),
    })
}

/// What a lease found that was to be completed, released or renewed.
pub(super) enum Found {
    /// It was done.
    Applied,
    /// It had completed the key earlier, with this record.
    Finished(Record),
    /// It holds nothing.
    Lost(Standing),
}

impl Found {
    /// `None` if the lease holds the key, and yet nothing was done: the row changed while
    /// the statement ran, and it is to be asked again. Without a row the key is absent.
    pub(super) fn read(row: Option<&PgRow>) -> Result<Option<Self>, StoreError> {
        let Some(row) = row else {
            return Ok(Some(Self::Lost(Standing::Absent)));
        };
        Ok(Some(match found(row)? {
            "applied" => Self::Applied,
            "held" => return Ok(None),
            "finished" => Self::Finished(record(row)?),
            _ => Self::Lost(standing(row)?),
        }))
    }

    /// What stands there, where nothing was to be done any more.
    pub(super) fn standing(self) -> Standing {
        match self {
            Self::Applied => Standing::Absent,
            Self::Finished(record) => Standing::Completed(record),
            Self::Lost(standing) => standing,
        }
    }
}

pub(super) fn standing(row: &PgRow) -> Result<Standing, StoreError> {
    Ok(match found(row)? {
        "absent" => Standing::Absent,
        "in flight" => Standing::InFlight {
            remaining: remaining(row)?,
        },
        "completed" => Standing::Completed(record(row)?),
        other => return Err(not_understood(other)),
    })
}

pub(super) fn found(row: &PgRow) -> Result<&str, StoreError> {
    column(row, "found")
}

pub(super) fn fence(row: &PgRow) -> Result<Fence, StoreError> {
    let fence = u64::try_from(column::<i64>(row, "fence")?);
    Ok(Fence::new(fence.map_err(StoreError::corrupt)?))
}

/// What is over has nothing left.
pub(super) fn remaining(row: &PgRow) -> Result<Duration, StoreError> {
    let seconds: f64 = column(row, "remaining")?;
    Ok(Duration::try_from_secs_f64(seconds).unwrap_or_default())
}

fn record(row: &PgRow) -> Result<Record, StoreError> {
    let bytes: &[u8] = column(row, "response")?;
    Record::decode(Bytes::copy_from_slice(bytes)).map_err(StoreError::corrupt)
}

pub(super) fn column<'r, T>(row: &'r PgRow, name: &str) -> Result<T, StoreError>
where
    T: sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
{
    row.try_get(name).map_err(StoreError::corrupt)
}

fn not_understood(found: &str) -> StoreError {
    StoreError::corrupt(format!("the statement found {found:?}"))
}
