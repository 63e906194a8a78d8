//! Waiting for the end of leases that others hold.

use std::{
    collections::{HashMap, hash_map::Entry},
    convert::Infallible,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use sqlx::{
    PgPool,
    postgres::{PgListener, PgPoolOptions},
};
use tokio::{
    sync::Notify,
    task::AbortHandle,
    time::{sleep, timeout},
};

use super::{answer, database::Database, verbs::number};
use crate::{
    record_key::RecordKey,
    store::{Fence, LeaseToken, StoreError},
};

/// Who waits in this process, and the one connection on which the ends of leases are told.
pub(super) struct Waiting {
    waiters: Arc<Waiters>,
    listening: Mutex<Option<AbortHandle>>,
}

/// How long a waiter sleeps at most, however long the lease: a notification may get lost
/// with its connection.
const LONGEST_SLEEP: Duration = Duration::from_secs(5);

/// The same where notifications do not arrive, as behind a pooler that hands the connection
/// to somebody else after each transaction.
const DEAF_SLEEP: Duration = Duration::from_millis(500);

/// How long a waiter waits at most for the connection to be there.
const PATIENCE: Duration = Duration::from_secs(1);

impl Waiting {
    pub(super) fn new() -> Self {
        Self {
            waiters: Arc::default(),
            listening: Mutex::new(None),
        }
    }

    /// Returns when the lease with `fence` may have ended, or `limit` is over.
    pub(super) async fn settled(
        &self,
        database: &Database,
        key: &RecordKey,
        fence: Fence,
        limit: Duration,
    ) -> Result<(), StoreError> {
        let settled = self.until_settled(database, key, fence);
        timeout(limit, settled).await.unwrap_or(Ok(()))
    }

    async fn until_settled(
        &self,
        database: &Database,
        key: &RecordKey,
        fence: Fence,
    ) -> Result<(), StoreError> {
        self.listen(database);
        // Whoever is told of before it listens is told in vain.
        let _ = timeout(PATIENCE, self.waiters.until_listening()).await;
        let place = self.waiters.enter(key);
        let mut told = Box::pin(place.ended.notified());
        told.as_mut().enable();
        let watched = database.ask(&database.statements.watch, |question| {
            question.bind(key.as_bytes()).bind(number(fence))
        });
        if let Some(held) = watched.await? {
            let end = answer::remaining(&held)?.min(self.waiters.longest_sleep());
            let _ = timeout(end, told).await;
        }
        Ok(())
    }

    /// Has a task listen, also again after the runtime it ran on was shut down.
    fn listen(&self, database: &Database) {
        let mut listening = lock(&self.listening);
        if listening.as_ref().is_none_or(AbortHandle::is_finished) {
            let (waiters, database) = (Arc::clone(&self.waiters), database.clone());
            self.waiters.set(Hearing::Nothing);
            *listening = Some(tokio::spawn(listen(waiters, database)).abort_handle());
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(listening) = lock(&self.listening).take() {
            listening.abort();
        }
    }
}

/// Listens for ever: what breaks is begun anew.
async fn listen(waiters: Arc<Waiters>, database: Database) {
    let options = PgPoolOptions::new()
        .max_connections(1)
        .max_lifetime(None)
        .idle_timeout(None);
    // A connection of its own: those of the pool are for who comes and goes.
    let own = options.connect_lazy_with((*database.pool.connect_options()).clone());
    loop {
        // They may have changed, as passwords do.
        own.set_connect_options((*database.pool.connect_options()).clone());
        let Err(error) = hear(&waiters, &database, &own).await;
        tracing::warn!(target: "tower_idempotency", %error, "not notified of leases that end");
        waiters.set(Hearing::Nothing);
        waiters.tell_all();
        sleep(PATIENCE).await;
    }
}

async fn hear(
    waiters: &Waiters,
    database: &Database,
    own: &PgPool,
) -> Result<Infallible, sqlx::Error> {
    let channel = &database.statements.channel;
    let mut listener = PgListener::connect_with(own).await?;
    listener.listen(channel).await?;
    loop {
        waiters.set(Hearing::Untested);
        // What was told before went unheard.
        waiters.tell_all();
        let test = test(database);
        while let Some(told) = listener.try_recv().await? {
            match told.payload().parse() {
                Ok(key) => waiters.tell(&key),
                Err(_) if told.payload() == test => waiters.set(Hearing::Everything),
                Err(_) => {}
            }
        }
    }
}

/// Sends a notification over another connection, and says which to expect.
fn test(database: &Database) -> String {
    let number = u128::from_ne_bytes(*LeaseToken::random().as_bytes());
    let (test, database) = (format!("test {number:032x}"), database.clone());
    let tell = sqlx::query("SELECT pg_notify($1, $2)")
        .bind(&*database.statements.channel)
        .bind(&*test);
    tokio::spawn(async move { tell.execute(&database.pool).await });
    test
}

/// Who waits in this process, by key.
#[derive(Default)]
struct Waiters {
    places: Mutex<HashMap<RecordKey, Place>>,
    hearing: AtomicU8,
    listens: Notify,
}

/// What arrives of what is told.
#[derive(Clone, Copy, PartialEq)]
#[repr(u8)]
enum Hearing {
    Nothing,
    /// The server was asked to notify, but a test has not come back yet.
    Untested,
    Everything,
}

/// Those who wait for one key.
#[derive(Default)]
struct Place {
    ended: Arc<Notify>,
    waiting: usize,
}

impl Waiters {
    fn set(&self, hearing: Hearing) {
        self.hearing.store(hearing as u8, Ordering::SeqCst);
        if hearing != Hearing::Nothing {
            self.listens.notify_waiters();
        }
    }

    async fn until_listening(&self) {
        let mut listens = std::pin::pin!(self.listens.notified());
        listens.as_mut().enable();
        if self.hearing.load(Ordering::SeqCst) == Hearing::Nothing as u8 {
            listens.await;
        }
    }

    fn longest_sleep(&self) -> Duration {
        if self.hearing.load(Ordering::SeqCst) == Hearing::Everything as u8 {
            LONGEST_SLEEP
        } else {
            DEAF_SLEEP
        }
    }

    /// A place among those that wait for `key`, until it is dropped.
    fn enter(&self, key: &RecordKey) -> Entered<'_> {
        let mut places = lock(&self.places);
        let place = places.entry(*key).or_default();
        place.waiting += 1;
        Entered {
            waiters: self,
            key: *key,
            ended: Arc::clone(&place.ended),
        }
    }

    fn tell(&self, key: &RecordKey) {
        if let Some(place) = lock(&self.places).get(key) {
            place.ended.notify_waiters();
        }
    }

    fn tell_all(&self) {
        for place in lock(&self.places).values() {
            place.ended.notify_waiters();
        }
    }
}

struct Entered<'a> {
    waiters: &'a Waiters,
    key: RecordKey,
    ended: Arc<Notify>,
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        let mut places = lock(&self.waiters.places);
        if let Entry::Occupied(mut place) = places.entry(self.key) {
            place.get_mut().waiting -= 1;
            if place.get().waiting == 0 {
                place.remove();
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
