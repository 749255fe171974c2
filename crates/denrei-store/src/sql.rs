//! The little of SQL that operations and queries are written against: statements with `$1`, `$2` … in the order of
//! their first use, four types, transactions. SQLite's names end here.

use std::sync::Arc;

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{CachedStatement, Connection, ErrorCode, ToSql, TransactionBehavior};

/// A parameter of a statement.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Value<'a> {
    /// `BIGINT`.
    Integer(i64),
    /// `TEXT`.
    Text(&'a str),
    /// `TEXT`, possibly null.
    Maybe(Option<&'a str>),
    /// `BLOB` or `BYTEA`.
    Bytes(&'a [u8]),
}

impl Value<'_> {
    /// A number that SQL can hold; what is larger than any of ours becomes the largest.
    pub(crate) fn number(number: u64) -> Self {
        Self::Integer(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

/// Why a statement failed.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// What was asked cannot be done; the transaction could go on without it.
    Operation(Arc<str>),
    /// The database cannot be used: disk full, input or output error, damage. The transaction is lost.
    Database(Arc<str>),
}

impl Fault {
    pub(crate) fn reason(&self) -> &Arc<str> {
        match self {
            Self::Operation(reason) | Self::Database(reason) => reason,
        }
    }
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        let reason = error.to_string().into();
        match error.sqlite_error_code() {
            None | Some(ErrorCode::ConstraintViolation | ErrorCode::TooBig | ErrorCode::TypeMismatch) => {
                Self::Operation(reason)
            }
            Some(_) => Self::Database(reason),
        }
    }
}

/// A row of a result; columns are counted from 0.
pub(crate) struct Row<'r>(&'r rusqlite::Row<'r>);

impl Row<'_> {
    pub(crate) fn integer(&self, column: usize) -> Result<i64, Fault> {
        Ok(self.0.get(column)?)
    }

    /// A number that is never negative.
    pub(crate) fn number(&self, column: usize) -> Result<u64, Fault> {
        let integer = self.integer(column)?;
        u64::try_from(integer).map_err(|_| Fault::Operation(format!("column {column} holds {integer}").into()))
    }

    pub(crate) fn text(&self, column: usize) -> Result<&str, Fault> {
        self.maybe(column)?.ok_or_else(|| Fault::Operation(format!("column {column} is null").into()))
    }

    pub(crate) fn maybe(&self, column: usize) -> Result<Option<&str>, Fault> {
        let text = self.0.get_ref(column)?.as_str_or_null();
        text.map_err(|error| Fault::Operation(format!("column {column}: {error}").into()))
    }

    pub(crate) fn bytes(&self, column: usize) -> Result<&[u8], Fault> {
        let bytes = self.0.get_ref(column)?.as_blob();
        bytes.map_err(|error| Fault::Operation(format!("column {column}: {error}").into()))
    }
}

/// Whether more rows are wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Rows {
    More,
    Enough,
}

/// A transaction; rolled back unless it is committed.
pub(crate) struct Transaction<'c>(rusqlite::Transaction<'c>);

impl<'c> Transaction<'c> {
    /// Begins one that writes.
    pub(crate) fn write(connection: &'c mut Connection) -> Result<Self, Fault> {
        Ok(Self(connection.transaction_with_behavior(TransactionBehavior::Immediate)?))
    }

    /// Begins one that reads: all its queries see the same state.
    pub(crate) fn read(connection: &'c mut Connection) -> Result<Self, Fault> {
        Ok(Self(connection.transaction_with_behavior(TransactionBehavior::Deferred)?))
    }

    pub(crate) fn commit(self) -> Result<(), Fault> {
        // Whatever a commit fails of, it is not one operation's fault.
        self.0.commit().map_err(|error| Fault::Database(error.to_string().into()))
    }

    /// Runs a statement; says how many rows it changed.
    pub(crate) fn execute(&self, sql: &str, values: &[Value<'_>]) -> Result<usize, Fault> {
        let mut statement = self.prepare(sql, values)?;
        Ok(statement.raw_execute()?)
    }

    /// Runs several statements that have no parameters.
    pub(crate) fn script(&self, sql: &str) -> Result<(), Fault> {
        Ok(self.0.execute_batch(sql)?)
    }

    /// The first row of a result.
    pub(crate) fn first<T>(
        &self,
        sql: &str,
        values: &[Value<'_>],
        read: impl FnOnce(&Row<'_>) -> Result<T, Fault>,
    ) -> Result<Option<T>, Fault> {
        let mut statement = self.prepare(sql, values)?;
        let mut rows = statement.raw_query();
        rows.next()?.map(|row| read(&Row(row))).transpose()
    }

    /// Visits the rows of a result until `visit` has enough.
    pub(crate) fn each(
        &self,
        sql: &str,
        values: &[Value<'_>],
        mut visit: impl FnMut(&Row<'_>) -> Result<Rows, Fault>,
    ) -> Result<(), Fault> {
        let mut statement = self.prepare(sql, values)?;
        let mut rows = statement.raw_query();
        while let Some(row) = rows.next()? {
            if visit(&Row(row))? == Rows::Enough {
                break;
            }
        }
        Ok(())
    }

    fn prepare(&self, sql: &str, values: &[Value<'_>]) -> Result<CachedStatement<'_>, Fault> {
        let mut statement = self.0.prepare_cached(sql)?;
        for (at, value) in values.iter().enumerate() {
            statement.raw_bind_parameter(at + 1, value)?;
        }
        Ok(statement)
    }
}

impl ToSql for Value<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match *self {
            Self::Integer(integer) => ValueRef::Integer(integer),
            Self::Text(text) | Self::Maybe(Some(text)) => ValueRef::Text(text.as_bytes()),
            Self::Maybe(None) => ValueRef::Null,
            Self::Bytes(bytes) => ValueRef::Blob(bytes),
        }))
    }
}
