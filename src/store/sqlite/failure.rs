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

    pub(super) fn at_commit(error: &Error) -> Self {
        Self::Unknown(error.to_string())
    }

    pub(super) fn to_error(&self) -> StoreError {
        match self {
            Self::NotApplied(reason) => StoreError::not_applied(reason.as_str()),
            Self::Full => StoreError::full(),
            Self::Unknown(reason) => StoreError::unknown(reason.as_str()),
        }
    }
}
