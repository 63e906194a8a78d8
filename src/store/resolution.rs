//! What becomes of an answer that an operator gives.

/// What became of an operator's answer to a key whose lease lapsed, for example of
/// `MemoryStore::resolve`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[must_use = "the operation may still be in flight, and nothing was resolved"]
#[non_exhaustive]
pub enum Resolution {
    /// Retries are now answered with the response given.
    Resolved,
    /// The lease has not lapsed: wait until it is completed or lapses.
    StillInFlight,
    /// There is a record, and it stays as it is.
    AlreadyCompleted,
    /// The key was never claimed, was released, or is expired.
    Absent,
}
