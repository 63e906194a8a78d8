//! Whether a request must run to its end, whoever still waits for it.
//!
//! The flow of a request knows; its owner, who may drop it, has to. As with task-locals,
//! the owner lends the flow a place in the thread for as long as it polls it.

use std::cell::Cell;

thread_local! {
    static PLEDGED: Cell<bool> = const { Cell::new(false) };
}

/// From here on the request that is being polled must run to its end.
pub(super) fn give() {
    PLEDGED.set(true);
}

/// The request that is being polled may be dropped again.
pub(super) fn take_back() {
    PLEDGED.set(false);
}

/// Polls a request, whose state `pledged` is.
pub(super) fn polling<T>(pledged: &mut bool, poll: impl FnOnce() -> T) -> T {
    /// Restores the state of a request around this one, also after a panic.
    struct Around(bool);
    impl Drop for Around {
        fn drop(&mut self) {
            PLEDGED.set(self.0);
        }
    }
    let _around = Around(PLEDGED.replace(*pledged));
    let polled = poll();
    *pledged = PLEDGED.get();
    polled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_inside_a_request_keeps_its_own_state() {
        let (mut outer, mut inner) = (false, false);
        polling(&mut outer, || {
            polling(&mut inner, give);
            assert!(!PLEDGED.get());
            give();
            polling(&mut inner, take_back);
        });
        assert!(outer && !inner && !PLEDGED.get());
    }

    #[test]
    fn a_panic_leaves_the_outer_state() {
        let mut inner = false;
        let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            polling(&mut inner, || {
                give();
                panic!("a handler");
            });
        }));
        assert!(panic.is_err() && !PLEDGED.get());
    }
}
