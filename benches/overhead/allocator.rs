//! The system's allocator, counted.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

/// Counts what each thread asks for. Everything measured here runs on one thread.
pub struct Counting;

/// What a thread has asked for so far.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counts {
    pub allocations: u64,
    /// Of all allocations together, freed or not.
    pub bytes: u64,
    /// Allocated and not freed.
    pub live: u64,
    /// The most that was ever live since [`reset_peak`].
    pub peak: u64,
}

thread_local! {
    static COUNTS: Cell<Counts> = const {
        Cell::new(Counts { allocations: 0, bytes: 0, live: 0, peak: 0 })
    };
}

/// What this thread has asked for so far.
pub fn counts() -> Counts {
    COUNTS.get()
}

/// Forgets the peak: it is what is live now.
pub fn reset_peak() {
    let counts = COUNTS.get();
    COUNTS.set(Counts {
        peak: counts.live,
        ..counts
    });
}

fn allocated(bytes: usize) {
    // A thread that ends may still allocate: nobody asks for its counts any more.
    let _ = COUNTS.try_with(|counts| {
        let mut now = counts.get();
        now.allocations += 1;
        now.bytes += bytes as u64;
        now.live = now.live.wrapping_add(bytes as u64);
        now.peak = now.peak.max(now.live);
        counts.set(now);
    });
}

fn freed(bytes: usize) {
    let _ = COUNTS.try_with(|counts| {
        let now = counts.get();
        let live = now.live.wrapping_sub(bytes as u64);
        counts.set(Counts { live, ..now });
    });
}

// SAFETY: every call goes to the system's allocator with the arguments it came with.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        allocated(layout.size());
        // SAFETY: the caller keeps the contract of `GlobalAlloc::alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        allocated(layout.size());
        // SAFETY: the caller keeps the contract of `GlobalAlloc::alloc_zeroed`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        freed(layout.size());
        // SAFETY: the caller keeps the contract of `GlobalAlloc::dealloc`.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        freed(layout.size());
        allocated(size);
        // SAFETY: the caller keeps the contract of `GlobalAlloc::realloc`.
        unsafe { System.realloc(block, layout, size) }
    }
}
