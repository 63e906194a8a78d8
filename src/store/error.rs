//! Why a store could not do what it was asked.

use std::{error::Error, fmt};

/// Why a store could not do what it was asked.
#[derive(Debug)]
pub struct StoreError {
    kind: StoreErrorKind,
    /// Whether an earlier attempt of the same call may have been applied.
    doubt: bool,
    source: Option<Box<dyn Error + Send + Sync>>,
}

/// What happened, and whether asking again may help.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// Nothing was written; the same call may succeed later.
    NotApplied,
    /// Nothing was written, and the store is full: it takes no new key until old ones
    /// expire.
    Full,
    /// Nobody knows whether it was written: the reply was lost.
    Unknown,
    /// What stands there cannot be read. It is not absent.
    Corrupt,
}

impl StoreError {
    /// Nothing was written.
    pub fn not_applied(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::new(StoreErrorKind::NotApplied, Some(source.into()))
    }

    /// Nobody knows whether it was written.
    pub fn unknown(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::new(StoreErrorKind::Unknown, Some(source.into()))
    }

    /// What stands there cannot be read.
    pub fn corrupt(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::new(StoreErrorKind::Corrupt, Some(source.into()))
    }

    /// The store is full; nothing was written.
    #[must_use]
    pub fn full() -> Self {
        Self::new(StoreErrorKind::Full, None)
    }

    fn new(kind: StoreErrorKind, source: Option<Box<dyn Error + Send + Sync>>) -> Self {
        let doubt = false;
        Self {
            kind,
            doubt,
            source,
        }
    }

    /// What it is of a call of which an earlier attempt may have been applied.
    pub(super) fn after_doubt(self) -> Self {
        match self.kind {
            StoreErrorKind::NotApplied | StoreErrorKind::Full => Self::unknown(self),
            StoreErrorKind::Unknown => self,
            // Unknown, it would look like an outage.
            StoreErrorKind::Corrupt => Self {
                doubt: true,
                ..self
            },
        }
    }

    /// Whether the call may have been applied.
    pub(crate) fn is_in_doubt(&self) -> bool {
        self.doubt || self.kind == StoreErrorKind::Unknown
    }

    /// What happened.
    #[must_use]
    pub fn kind(&self) -> StoreErrorKind {
        self.kind
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            StoreErrorKind::NotApplied => "the store did not apply the call",
            StoreErrorKind::Full => "the store is full",
            StoreErrorKind::Unknown => "it is unknown whether the store applied the call",
            StoreErrorKind::Corrupt => "the store holds a record that cannot be read",
        })
    }
}

impl Error for StoreError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source
            .as_ref()
            .map(|source| &**source as &(dyn Error + 'static))
    }
}
