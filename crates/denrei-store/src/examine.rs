//! What an operator wants to know of a database before a server runs on it. Nothing is changed.

use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, OpenFlags};

use crate::error::StoreError;
use crate::postgres::{self, PostgresUrl};

/// What was found in a database file.
#[derive(Debug)]
pub struct Sqlite {
    /// Of the SQLite that is built in.
    pub version: &'static str,
    /// `wal` in a file that denrei has made.
    pub journal_mode: String,
    /// What `PRAGMA quick_check` says: `ok`, or the first thing that is wrong.
    pub check: String,
}

/// What was found at a PostgreSQL server.
#[derive(Debug)]
pub struct Postgres {
    /// As it calls itself.
    pub version: String,
    /// Whether a commit waits for the disk where nobody says otherwise; denrei says so itself.
    pub synchronous_commit: String,
    /// `off`: a power cut may lose what was acknowledged.
    pub fsync: String,
    /// The time of one question and its answer.
    pub round_trip: Duration,
    /// How far its clock is ahead of this machine's, in ms; negative when it is behind.
    pub ahead_ms: i64,
}

/// Looks into a database file. Returns none when it was not closed: the server that opens it next puts it in order, and
/// nobody else can tell how it is.
///
/// # Errors
/// It cannot be read, or is no database.
pub fn sqlite(path: &Path) -> Result<Option<Sqlite>, String> {
    let beside = |end: &str| path.with_file_name(format!("{}{end}", path.file_name().unwrap_or_default().display()));
    let waiting = std::fs::metadata(beside("-wal")).is_ok_and(|wal| wal.len() > 0);
    if waiting && !beside("-shm").exists() {
        return Ok(None);
    }
    // An open file beside the database would be left there, and belong to whoever looks: one that needs none is read as if
    // nobody ever wrote to it.
    let text = path.to_str().ok_or("its path is not UTF-8")?;
    let escaped = text.replace('%', "%25").replace('?', "%3f").replace('#', "%23");
    let uri = format!("file:{escaped}{}", if waiting { "?mode=ro" } else { "?immutable=1" });
    let look = || {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
        let connection = Connection::open_with_flags(&uri, flags)?;
        connection.busy_timeout(Duration::from_secs(5))?;
        let ask = |pragma: &str| connection.query_row(pragma, [], |row| row.get::<_, String>(0));
        let (journal_mode, check) = (ask("PRAGMA journal_mode")?, ask("PRAGMA quick_check(1)")?);
        Ok(Some(Sqlite { version: rusqlite::version(), journal_mode, check }))
    };
    look().map_err(|error: rusqlite::Error| error.to_string())
}

/// Asks a server.
///
/// # Errors
/// It cannot be reached, or refuses.
pub fn postgres(url: &PostgresUrl) -> Result<Postgres, StoreError> {
    const PATIENCE: Duration = Duration::from_secs(5);
    let connection = postgres::Database::new(url.clone(), PATIENCE, PATIENCE).first_connection()?;
    let ask = |question: &str| {
        let answer = connection.say(question);
        answer.map_err(|reason| StoreError::Refused { database: url.to_string(), reason })
    };
    // The first question brings the catalogues into the session.
    let version = ask("SELECT current_setting('server_version')")?;
    let (begun, at) = (Instant::now(), SystemTime::now());
    let theirs = ask("SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::text")?;
    let round_trip = begun.elapsed();
    let ours = (at + round_trip / 2).duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let ahead_ms = theirs.parse::<i64>().unwrap_or_default() - i64::try_from(ours).unwrap_or_default();
    let synchronous_commit = ask("SELECT reset_val FROM pg_settings WHERE name = 'synchronous_commit'")?;
    Ok(Postgres { version, synchronous_commit, fsync: ask("SHOW fsync")?, round_trip, ahead_ms })
}
