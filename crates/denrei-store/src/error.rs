//! Why a store could not be opened.

use std::error::Error;
use std::path::PathBuf;

/// Why a store could not be opened. No variant holds a password.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Another process, or another store of this one, has the database open. Stop it first.
    #[error("the database {} is in use by another process", path.display())]
    InUse {
        /// The database.
        path: PathBuf,
    },
    /// A newer denrei has written the database. Start that version, or restore a backup.
    #[error("the database {database} has schema version {found}, this server knows versions up to {known}")]
    Newer {
        /// The database.
        database: String,
        /// The version of its schema.
        found: u64,
        /// The newest version that this server knows.
        known: u64,
    },
    /// A file or directory could not be made or opened. Check the path, its owner and its permissions.
    #[error("{} cannot be opened", path.display())]
    File {
        /// The file or directory.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The file is not a database, is damaged, or cannot be read or written now; or a server's database is not one for us.
    #[error("the database {database} cannot be used: {source}")]
    Database {
        /// The database.
        database: String,
        /// What SQLite or PostgreSQL says.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The URL of a server's database cannot be understood. Correct it.
    #[error("the database's URL cannot be used: {reason}")]
    Url {
        /// What is wrong with it.
        reason: String,
    },
    /// No server answers. Start it, or correct the host and port.
    #[error("the database {database} cannot be reached: {reason}; is the server running, are host and port right?")]
    Unreachable {
        /// The database.
        database: String,
        /// What happened.
        reason: String,
    },
    /// The server answers that we may not use the database. Correct user, password or the database's name, or its rules.
    #[error("the database {database} refuses us: {reason}")]
    Refused {
        /// The database.
        database: String,
        /// What the server says.
        reason: String,
    },
    /// A thread could not be started.
    #[error("the store's threads cannot be started")]
    Thread {
        /// What the system says.
        source: std::io::Error,
    },
}
