//! Sending a keyed request again.

mod advice;
mod backoff;
mod policy;
mod retry_after;

pub use self::policy::IdempotentRetry;
