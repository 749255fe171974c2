//! The two databases, and what is done the same way on both.

use denrei_hub::Epoch;

use crate::error::StoreError;
use crate::migrations::{self, Newer};
use crate::sql::{Connection, Fault, Transaction};
use crate::{postgres, sqlite};

/// A database of which connections can be had.
#[derive(Debug)]
pub(crate) enum Database {
    Sqlite(sqlite::Database),
    Postgres(postgres::Database),
}

impl Database {
    /// Opens the one connection of this store that writes.
    pub(crate) fn writer(&self) -> Result<Connection, Fault> {
        match self {
            Self::Sqlite(database) => Ok(Connection::Sqlite(database.writer()?)),
            Self::Postgres(database) => Ok(Connection::Postgres(Box::new(database.connect()?))),
        }
    }

    /// Opens a connection that reads.
    pub(crate) fn reader(&self) -> Result<Connection, Fault> {
        match self {
            Self::Sqlite(database) => Ok(Connection::Sqlite(database.reader()?)),
            Self::Postgres(database) => Ok(Connection::Postgres(Box::new(database.connect()?))),
        }
    }

    /// Brings the schema up to date; on SQLite also what an earlier process left in the WAL to the disk: a process that
    /// died after a failed fsync may have left pages there that are in the kernel's memory only.
    pub(crate) fn prepare(&self, connection: &mut Connection) -> Result<Epoch, StoreError> {
        if let (Self::Sqlite(database), Connection::Sqlite(connection)) = (self, &*connection) {
            database.checkpoint(connection).map_err(|error| self.unusable(&error.into()))?;
        }
        let migrated = self.migrate(connection).map_err(|fault| self.unusable(&fault))?;
        migrated.map_err(|Newer { found, known }| StoreError::Newer { database: self.name(), found, known })
    }

    /// Proves that the database can be read and written, and tells its epoch.
    pub(crate) fn prove(&self, connection: &mut Connection) -> Result<Epoch, Fault> {
        let transaction = Transaction::write(connection)?;
        migrations::touch(&transaction)?;
        let epoch = migrations::epoch(&transaction)?;
        transaction.commit()?;
        Ok(epoch)
    }

    pub(crate) fn unusable(&self, fault: &Fault) -> StoreError {
        StoreError::Database { database: self.name(), source: fault.reason().as_ref().into() }
    }

    fn migrate(&self, connection: &mut Connection) -> Result<Result<Epoch, Newer>, Fault> {
        let transaction = Transaction::write(connection)?;
        if let Self::Postgres(_) = self {
            // Nodes that start at the same time take turns. The number is ours, and means nothing.
            transaction.script("SELECT pg_advisory_xact_lock(7234012290553)")?;
        }
        if let Err(newer) = migrations::migrate(&transaction)? {
            return Ok(Err(newer));
        }
        let epoch = migrations::epoch(&transaction)?;
        transaction.commit()?;
        Ok(Ok(epoch))
    }

    /// What it is called in a sentence; never with a password.
    fn name(&self) -> String {
        match self {
            Self::Sqlite(database) => database.name(),
            Self::Postgres(database) => database.url().to_string(),
        }
    }
}
