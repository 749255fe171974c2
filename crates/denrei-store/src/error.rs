//! Why a store could not be opened.

use std::error::Error;
use std::path::PathBuf;

/// Why a store could not be opened.
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
    #[error("the database {} has schema version {found}, this server knows versions up to {known}", path.display())]
    Newer {
        /// The database.
        path: PathBuf,
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
    /// The file is not a database, is damaged, or cannot be read or written now.
    #[error("the database {} cannot be used", path.display())]
    Database {
        /// The database.
        path: PathBuf,
        /// What SQLite says.
        source: Box<dyn Error + Send + Sync>,
    },
    /// A thread could not be started.
    #[error("the store's threads cannot be started")]
    Thread {
        /// What the system says.
        source: std::io::Error,
    },
}
