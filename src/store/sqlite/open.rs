//! Opening a file, and refusing one that cannot keep the promise.

use std::{
    error::Error,
    fmt,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use rusqlite::{Connection, ErrorCode, MAIN_DB, OpenFlags};

use super::clock::instant;

/// How the file is kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Settings {
    pub(super) busy_timeout: Duration,
    pub(super) sync_each_commit: bool,
}

/// Why a file cannot be used. The text says what to do about it. Print it with `{}`: `expect`,
/// and a `main` that returns it, show `Debug` instead.
#[derive(Debug)]
pub struct SqliteOpenError {
    path: PathBuf,
    kind: SqliteOpenErrorKind,
    source: Option<Box<dyn Error + Send + Sync>>,
}

/// What is wrong with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SqliteOpenErrorKind {
    /// There is no such directory, or this process may not use it.
    CannotOpen,
    /// This process may read the file and not write it.
    ReadOnly,
    /// Another process kept it locked for longer than the busy timeout.
    Locked,
    /// It is not an SQLite database, or a damaged one.
    NotADatabase,
    /// It is a database of something else.
    OfAnotherApplication,
    /// A later version of this crate made it.
    LaterVersion,
    /// It cannot have a write-ahead log: it is in memory, or on a file system without shared
    /// memory.
    NoWriteAheadLog,
    /// Something else.
    Other,
}

impl SqliteOpenError {
    /// What is wrong with the file.
    #[must_use]
    pub fn kind(&self) -> SqliteOpenErrorKind {
        self.kind
    }

    pub(super) fn other(path: &Path, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self {
            path: path.to_owned(),
            kind: SqliteOpenErrorKind::Other,
            source: Some(source.into()),
        }
    }
}

impl fmt::Display for SqliteOpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let problem = match self.kind {
            SqliteOpenErrorKind::CannotOpen => {
                "cannot be opened: make its directory, and let this process write in it"
            }
            SqliteOpenErrorKind::ReadOnly => {
                "is read-only: let this process write the file and in its directory"
            }
            SqliteOpenErrorKind::Locked => {
                "is locked: end whatever holds it, or raise the busy timeout"
            }
            SqliteOpenErrorKind::NotADatabase => {
                "is not an SQLite database, or damaged: name another file, or restore it"
            }
            SqliteOpenErrorKind::OfAnotherApplication => {
                "is a database of another application: give the store a file of its own"
            }
            SqliteOpenErrorKind::LaterVersion => {
                "was made by a later version of tower-idempotency: update this process"
            }
            SqliteOpenErrorKind::NoWriteAheadLog => {
                "cannot have a write-ahead log: put it on a local disk, or use MemoryStore"
            }
            SqliteOpenErrorKind::Other => "cannot be used",
        };
        write!(f, "{} {problem}", self.path.display())
    }
}

impl Error for SqliteOpenError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        let source = self.source.as_deref();
        source.map(|source| source as &(dyn Error + 'static))
    }
}

type Opened<T> = Result<T, Problem>;

/// A problem with a file whose path is known elsewhere.
struct Problem(SqliteOpenErrorKind, Option<rusqlite::Error>);

impl From<rusqlite::Error> for Problem {
    fn from(error: rusqlite::Error) -> Self {
        let kind = match error.sqlite_error_code() {
            Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
                SqliteOpenErrorKind::CannotOpen
            }
            Some(ErrorCode::ReadOnly) => SqliteOpenErrorKind::ReadOnly,
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                SqliteOpenErrorKind::Locked
            }
            Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
                SqliteOpenErrorKind::NotADatabase
            }
            _ => SqliteOpenErrorKind::Other,
        };
        Self(kind, Some(error))
    }
}

/// A connection to the file at `path`, which has the schema then.
pub(super) fn open(path: &Path, settings: Settings) -> Result<Connection, SqliteOpenError> {
    connect(path, settings).map_err(|Problem(kind, source)| SqliteOpenError {
        path: path.to_owned(),
        kind,
        source: source.map(Into::into),
    })
}

fn connect(path: &Path, settings: Settings) -> Opened<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(settings.busy_timeout)?;
    // SQLite opens what it may not write for reading.
    if connection.is_readonly(MAIN_DB)? {
        return Err(Problem(SqliteOpenErrorKind::ReadOnly, None));
    }
    // Before anything is written: it may not be ours.
    let owner = owner(&connection)?;
    write_ahead(&connection, settings.busy_timeout)?;
    connection.pragma_update(None, "synchronous", settings.synchronous())?;
    // On Apple's systems the disk else only takes note.
    connection.pragma_update(None, "fullfsync", settings.sync_each_commit)?;
    if let Owner::Nobody = owner {
        set_up(&connection)?;
    }
    Ok(connection)
}

impl Settings {
    fn synchronous(self) -> &'static str {
        if self.sync_each_commit {
            "FULL"
        } else {
            "NORMAL"
        }
    }
}

/// "TIK1".
const APPLICATION: i64 = 0x5449_4B31;
const VERSION: i64 = 1;

enum Owner {
    Us,
    Nobody,
}

fn owner(connection: &Connection) -> Opened<Owner> {
    // One statement, and so one moment: another process may be making the tables.
    const OWNER: &str = "SELECT application_id, user_version,
         (SELECT count(*) FROM sqlite_schema) FROM pragma_application_id, pragma_user_version";
    let (application, version, tables): (i64, i64, i64) =
        connection.query_row(OWNER, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    match (application, version) {
        (APPLICATION, VERSION) => Ok(Owner::Us),
        (APPLICATION, _) => Err(Problem(SqliteOpenErrorKind::LaterVersion, None)),
        (0, 0) if tables == 0 => Ok(Owner::Nobody),
        _ => Err(Problem(SqliteOpenErrorKind::OfAnotherApplication, None)),
    }
}

/// SQLite does not wait where two processes switch a new file over at once.
fn write_ahead(connection: &Connection, patience: Duration) -> Opened<()> {
    let began = instant();
    let mode: String = loop {
        let set = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0));
        match set.map_err(Problem::from) {
            Err(Problem(SqliteOpenErrorKind::Locked, _)) if began.elapsed() < patience => {
                thread::sleep(Duration::from_millis(1));
            }
            set => break set?,
        }
    };
    if mode == "wal" {
        Ok(())
    } else {
        Err(Problem(SqliteOpenErrorKind::NoWriteAheadLog, None))
    }
}

/// Makes the tables in a new file. Of several processes one does.
fn set_up(connection: &Connection) -> Opened<()> {
    connection.execute_batch("BEGIN IMMEDIATE")?;
    if let Owner::Nobody = owner(connection)? {
        connection.execute_batch(include_str!("schema.sql"))?;
    }
    connection.execute_batch("COMMIT")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waits_for_the_medium(sync_each_commit: bool) -> bool {
        let name = format!(
            "tower-idempotency-{}-{sync_each_commit}",
            std::process::id()
        );
        let path = std::env::temp_dir().join(name);
        let settings = Settings {
            busy_timeout: Duration::ZERO,
            sync_each_commit,
        };
        let connection = open(&path, settings).unwrap();
        let waits = connection.pragma_query_value(None, "fullfsync", |row| row.get(0));
        drop(connection);
        std::fs::remove_file(&path).unwrap();
        waits.unwrap()
    }

    #[test]
    fn a_commit_waits_until_it_is_on_the_medium_unless_told_otherwise() {
        assert!(waits_for_the_medium(true));
        assert!(!waits_for_the_medium(false));
    }
}
