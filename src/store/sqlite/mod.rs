//! Keys in an SQLite file, for the processes of one machine.
//!
//! Needs the feature `sqlite`, which brings an SQLite of its own and needs a C compiler.
//!
//! ```
//! # tokio::runtime::Runtime::new().unwrap().block_on(async {
//! use tower_idempotency::{IdempotencyLayer, SqliteStore};
//!
//! # let directory = std::env::temp_dir().join(format!("idempotency-{}", std::process::id()));
//! # std::fs::create_dir_all(&directory).unwrap();
//! # let path = directory.join("keys.db");
//! let store = SqliteStore::open(&path).await?;
//! let layer = IdempotencyLayer::new(store);
//! # drop(layer);
//! # std::fs::remove_dir_all(&directory).unwrap();
//! # Ok::<_, tower_idempotency::store::sqlite::SqliteOpenError>(())
//! # }).unwrap();
//! ```
//!
//! # What it promises
//!
//! A key that was claimed, and an answer that was recorded, are on the disk before anybody
//! hears of it. They survive `kill -9` and a power failure. Several processes of one
//! machine may use one file: they share its keys, and an operation runs once among them all.
//!
//! # What breaks the promise
//!
//! | what happens | what follows | what helps |
//! |---|---|---|
//! | the file is on a network file system, whose locks and shared memory do not hold | operations run twice, the file is damaged | a local disk; where there is no shared memory, opening fails |
//! | a disk, or a virtual one, says that it wrote what it did not | a power failure forgets the last moments | one that does not |
//! | the file is deleted, or another put in its place, while it is used | processes that run keep the old one, those that start take the new: operations run twice | ending all of them first |
//! | an old copy of the file is restored | operations recorded since run again when they are retried | letting the longest retention pass before clients are let in |
//! | the file is copied without its `-wal` file while it is used | the copy lacks the last moments | `VACUUM INTO`, which makes a whole copy |
//! | the wall clock is set forward | leases lapse and records expire that much earlier | a clock that is slewed |
//! | the wall clock is set back | nothing: the clock of the file goes on from where it was | |
//! | the disk is full | new keys are refused, with a 503, and so are records: their answers leave, but are not kept | room |
//!
//! A file that cannot keep the promise is refused when it is opened, and the
//! [error](SqliteOpenError) says what to do.
//!
//! # How it works
//!
//! One thread writes. What is asked of it while the disk is at work shares the next
//! transaction, so throughput grows with load. Two threads read: a replay, a mismatch or a
//! duplicate in flight waits for no write, and causes none. No async thread touches the file.
//!
//! Waiters in the same process are woken by what is committed. Those of other processes look
//! for themselves: after 10 ms at first, then less often, but at least every 200 ms.
//!
//! Each key that is written clears two expired ones away. Their pages are used again; the file
//! does not shrink. The tables are documented in the schema, and any SQLite shell reads them.
//!
//! # How to choose
//!
//! Take it for one machine, where keys must outlive the process and nothing else should have
//! to be run. It bears some ten thousand first requests a second on a good disk. Several
//! machines need Redis or PostgreSQL; if keys may go with the process,
//! [`MemoryStore`](super::MemoryStore) is faster.

mod clock;
mod failure;
mod keys;
mod open;
mod options;
mod session;
mod store;
mod verbs;
mod waiters;
mod worker;

pub use self::{
    open::{SqliteOpenError, SqliteOpenErrorKind},
    options::SqliteOptions,
    store::SqliteStore,
};
