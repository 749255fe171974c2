//! The database file: who may open it, how it is opened.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use crate::error::StoreError;

pub(crate) use transaction::{Transaction, bytes, integer, is_there, text};

mod transaction;

/// A database that this process alone may open.
#[derive(Debug)]
pub(crate) struct Database {
    path: PathBuf,
    wal_path: PathBuf,
    busy_timeout: Duration,
    /// Held for the lock on it. A file beside the database: closing any handle on the database itself would lose
    /// SQLite's own locks (POSIX locks belong to the process).
    lock: File,
}

impl Database {
    /// Takes the database for this process; makes it and its directories, readable by their owner only.
    pub(crate) fn take(path: &Path, busy_timeout: Duration) -> Result<Self, StoreError> {
        let file = |path: &Path| {
            let path = path.to_owned();
            move |source| StoreError::File { path, source }
        };
        let directory = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        make_directories(directory).map_err(file(directory))?;
        let lock_path = beside(path, ".lock");
        let private = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).clone();
        let lock = private.open(&lock_path).map_err(file(&lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StoreError::InUse { path: path.to_owned() }),
            Err(TryLockError::Error(source)) => return Err(file(&lock_path)(source)),
        }
        // SQLite gives the files beside it the same mode.
        private.open(path).map_err(file(path))?;
        sync_directory(directory).map_err(file(directory))?;
        Ok(Self { path: path.to_owned(), wal_path: beside(path, "-wal"), busy_timeout, lock })
    }

    /// Opens the one connection that writes.
    pub(crate) fn writer(&self) -> Result<Connection, rusqlite::Error> {
        let connection = self.connect(OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
        // 4,000 pages of WAL are 16 MiB: a checkpoint costs two fsyncs in the writer's way.
        connection.execute_batch(
            "PRAGMA synchronous = FULL;
             PRAGMA fullfsync = ON;
             PRAGMA foreign_keys = ON;
             PRAGMA cache_size = -65536;
             PRAGMA wal_autocheckpoint = 4000;
             PRAGMA journal_size_limit = 33554432;",
        )?;
        Ok(connection)
    }

    /// Opens a connection that reads.
    pub(crate) fn reader(&self) -> Result<Connection, rusqlite::Error> {
        let connection = self.connect(OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        connection.execute_batch("PRAGMA cache_size = -16384")?;
        Ok(connection)
    }

    /// Opens a reader that keeps the WAL's index alive until it is closed.
    pub(crate) fn anchor(&self) -> Result<Connection, rusqlite::Error> {
        let connection = self.reader()?;
        // SQLite opens the WAL with the first query.
        connection.query_row("SELECT COUNT(*) FROM meta", [], |_| Ok(()))?;
        Ok(connection)
    }

    /// What it is called in a sentence.
    pub(crate) fn name(&self) -> String {
        self.path.display().to_string()
    }

    /// How long the WAL is.
    pub(crate) fn wal_bytes(&self) -> u64 {
        // It does not exist before the first write.
        self.wal_path.metadata().map_or(0, |wal| wal.len())
    }

    /// As [`Database::checkpoint`], but waits for nobody who reads for long.
    pub(crate) fn try_checkpoint(&self, connection: &Connection) -> Result<(), rusqlite::Error> {
        connection.busy_timeout(Duration::from_millis(50))?;
        let outcome = self.checkpoint(connection);
        connection.busy_timeout(self.busy_timeout)?;
        outcome
    }

    /// Moves what is in the WAL to the database, and begins the WAL anew unless somebody reads it for too long.
    pub(crate) fn checkpoint(&self, connection: &Connection) -> Result<(), rusqlite::Error> {
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
    }

    fn connect(&self, mode: OpenFlags) -> Result<Connection, rusqlite::Error> {
        let connection = Connection::open_with_flags(&self.path, mode | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        connection.busy_timeout(self.busy_timeout)?;
        connection.set_prepared_statement_cache_capacity(128);
        Ok(connection)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // Closing the file would do, but for a program that another thread is just starting: until that runs, it
        // holds the file, too. Failing that, the lock goes with it.
        let _ = self.lock.unlock();
    }
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(ending);
    path.into()
}

/// Makes a directory and those above it, so that they stay after a power cut.
fn make_directories(directory: &Path) -> io::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    let above = match directory.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    make_directories(above)?;
    match DirBuilder::new().mode(0o700).create(directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => sync_directory(above),
    }
}

fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}
