//! What an error of SQLite means to a caller.

use rusqlite::{Error, ErrorCode};

use crate::store::StoreError;

/// A statement failed, and left nothing behind.
pub(super) fn failed(error: Error) -> StoreError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => StoreError::full(),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => StoreError::corrupt(error),
        _ => StoreError::not_applied(error),
    }
}

/// Why a transaction failed as a whole, for each who had a part in it.
pub(super) enum Failure {
    /// It was not begun, or was rolled back.
    NotApplied(String),
    /// The disk is full, and it was rolled back.
    Full,
    /// It may have been committed.
    Unknown(String),
}

impl Failure {
    /// Of a transaction that was not committed.
    pub(super) fn before_commit(error: &Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::Full,
            _ => Self::NotApplied(error.to_string()),
        }
    }

    /// Of one that was to be committed.
    pub(super) fn at_commit(error: &Error) -> Self {
        match error.sqlite_error_code() {
            // The disk had no room for what makes it a commit, the last to be written.
            Some(ErrorCode::DiskFull) => Self::Full,
            _ => Self::Unknown(error.to_string()),
        }
    }

    pub(super) fn to_error(&self) -> StoreError {
        match self {
            Self::NotApplied(reason) => StoreError::not_applied(reason.as_str()),
            Self::Full => StoreError::full(),
            Self::Unknown(reason) => StoreError::unknown(reason.as_str()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::StoreErrorKind;
    use rusqlite::ffi;

    fn at_commit(code: i32) -> StoreErrorKind {
        let error = Error::SqliteFailure(ffi::Error::new(code), None);
        Failure::at_commit(&error).to_error().kind()
    }

    #[test]
    fn a_disk_without_room_for_a_commit_is_full_and_one_that_fails_leaves_doubt() {
        assert_eq!(at_commit(ffi::SQLITE_FULL), StoreErrorKind::Full);
        assert_eq!(at_commit(ffi::SQLITE_IOERR_FSYNC), StoreErrorKind::Unknown);
    }
}
