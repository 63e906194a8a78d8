//! The store in a file of this machine.

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
