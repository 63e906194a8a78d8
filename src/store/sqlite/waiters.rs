//! Who waits in this process for a lease to end.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

use crate::record_key::RecordKey;

/// The keys that are waited for.
#[derive(Default)]
pub(super) struct Waiters(Mutex<HashMap<RecordKey, Bell>>);

/// What wakes those who wait for a key, and how many they are.
#[derive(Default)]
struct Bell {
    notify: Arc<Notify>,
    waiters: usize,
}

/// One who waits.
pub(super) struct Waiter<'a> {
    waiters: &'a Waiters,
    key: RecordKey,
    notify: Arc<Notify>,
}

impl Waiters {
    pub(super) fn register(&self, key: &RecordKey) -> Waiter<'_> {
        let mut bells = self.bells();
        let bell = bells.entry(*key).or_default();
        bell.waiters += 1;
        Waiter {
            waiters: self,
            key: *key,
            notify: Arc::clone(&bell.notify),
        }
    }

    /// Wakes all who wait for `key`.
    pub(super) fn wake(&self, key: &RecordKey) {
        let notify = self.bells().get(key).map(|bell| Arc::clone(&bell.notify));
        if let Some(notify) = notify {
            notify.notify_waiters();
        }
    }

    fn bells(&self) -> MutexGuard<'_, HashMap<RecordKey, Bell>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiter<'_> {
    /// Resolves at the next end. Hears of it from the call on, not from the first poll.
    pub(super) fn woken(&self) -> impl Future<Output = ()> {
        self.notify.notified()
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        let mut bells = self.waiters.bells();
        if let Some(bell) = bells.get_mut(&self.key) {
            bell.waiters -= 1;
            if bell.waiters == 0 {
                bells.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;

    #[test]
    fn all_are_woken_and_none_is_left() {
        let (waiters, key) = (Waiters::default(), RecordKey::from_bytes([1; 32]));
        let other = RecordKey::from_bytes([2; 32]);
        waiters.wake(&key);
        let (one, two) = (waiters.register(&key), waiters.register(&key));
        let elsewhere = waiters.register(&other);
        let woken = [one.woken(), two.woken()];
        let asleep = elsewhere.woken();
        waiters.wake(&key);
        for woken in woken {
            assert!(woken.now_or_never().is_some());
        }
        assert!(asleep.now_or_never().is_none());
        drop((one, elsewhere));
        assert_eq!(waiters.bells().len(), 1);
        drop(two);
        assert!(waiters.bells().is_empty());
    }
}
