//! What wrappers do with the records in a store's answers.

use super::{Claimed, Completion, Standing, StoreError};
use crate::record::Record;

/// What a claim found, its record opened. One that does not open is corrupt.
pub(super) fn opened(
    claimed: Claimed,
    open: impl FnOnce(Record) -> Result<Record, StoreError>,
) -> Result<Claimed, StoreError> {
    match claimed {
        Claimed::Completed { record, remaining } => {
            let record = open(record)?;
            Ok(Claimed::Completed { record, remaining })
        }
        claimed => Ok(claimed),
    }
}

/// What became of a verb, the record that stands there opened.
///
/// Who lost a lease must hear of it, also if the record does not open: for him it was done,
/// and there is nothing to replay.
pub(super) fn told(
    completion: Completion,
    open: impl FnOnce(Record) -> Result<Record, StoreError>,
) -> Completion {
    match completion {
        Completion::Lost(Standing::Completed(record)) => {
            let sealed = Record::sealed(record.fingerprint());
            let record = open(record).unwrap_or(sealed);
            Completion::Lost(Standing::Completed(record))
        }
        completion => completion,
    }
}
