//! How much the store may hold, and how much it holds.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};

/// The bounds of a store and what is used of them.
pub(super) struct Room {
    entries: AtomicUsize,
    payload: AtomicU64,
    pub(super) max_entries: AtomicUsize,
    pub(super) max_bytes: AtomicU64,
    pub(super) evict_completed: AtomicBool,
}

/// What an entry takes beside its payload: measured with a million of them.
pub(super) const ENTRY_BYTES: u64 = 300;

impl Room {
    pub(super) fn new() -> Self {
        Self {
            entries: AtomicUsize::new(0),
            payload: AtomicU64::new(0),
            max_entries: AtomicUsize::new(1_000_000),
            max_bytes: AtomicU64::new(1 << 30),
            evict_completed: AtomicBool::new(false),
        }
    }

    /// The same bounds, with nothing used of them.
    pub(super) fn emptied(&self) -> Self {
        let Self {
            max_entries,
            max_bytes,
            evict_completed,
            ..
        } = self;
        Self {
            max_entries: max_entries.load(Relaxed).into(),
            max_bytes: max_bytes.load(Relaxed).into(),
            evict_completed: evict_completed.load(Relaxed).into(),
            ..Self::new()
        }
    }

    /// Takes the place of one more entry, if there is one.
    pub(super) fn take(&self) -> bool {
        // Counted first, so that claims at the same time cannot share the last place.
        let before = self.entries.fetch_add(1, Relaxed);
        let fits = before < self.max_entries.load(Relaxed) && self.fits_bytes(before);
        if !fits {
            self.entries.fetch_sub(1, Relaxed);
        }
        fits
    }

    /// Whether [`take`](Self::take) would succeed.
    pub(super) fn is_left(&self) -> bool {
        let entries = self.entries();
        entries < self.max_entries.load(Relaxed) && self.fits_bytes(entries)
    }

    fn fits_bytes(&self, entries: usize) -> bool {
        self.bytes_with(entries) < self.max_bytes.load(Relaxed)
    }

    pub(super) fn leave(&self, payload: u64) {
        self.entries.fetch_sub(1, Relaxed);
        self.shed(payload);
    }

    pub(super) fn load(&self, payload: u64) {
        self.payload.fetch_add(payload, Relaxed);
    }

    pub(super) fn shed(&self, payload: u64) {
        self.payload.fetch_sub(payload, Relaxed);
    }

    pub(super) fn entries(&self) -> usize {
        self.entries.load(Relaxed)
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes_with(self.entries())
    }

    fn bytes_with(&self, entries: usize) -> u64 {
        let overhead = (entries as u64).saturating_mul(ENTRY_BYTES);
        self.payload.load(Relaxed).saturating_add(overhead)
    }
}
