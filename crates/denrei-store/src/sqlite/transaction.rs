//! The interface of [`crate::sql`] on SQLite.

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{CachedStatement, Connection, ErrorCode, ToSql, TransactionBehavior};

use crate::sql::{Fault, Row, Rows, Value};

/// A transaction; rolled back unless it is committed.
pub(crate) struct Transaction<'c>(rusqlite::Transaction<'c>);

impl<'c> Transaction<'c> {
    pub(crate) fn write(connection: &'c mut Connection) -> Result<Self, Fault> {
        Ok(Self(connection.transaction_with_behavior(TransactionBehavior::Immediate)?))
    }

    pub(crate) fn read(connection: &'c mut Connection) -> Result<Self, Fault> {
        Ok(Self(connection.transaction_with_behavior(TransactionBehavior::Deferred)?))
    }

    pub(crate) fn commit(self) -> Result<(), Fault> {
        self.0.commit().map_err(|error| Fault::Database(error.to_string().into()))
    }

    pub(crate) fn execute(&self, sql: &str, values: &[Value<'_>]) -> Result<usize, Fault> {
        let mut statement = self.0.prepare_cached(sql)?;
        bind(&mut statement, values)?;
        Ok(statement.raw_execute()?)
    }

    pub(crate) fn insert_many<const N: usize>(&self, into: &str, rows: &[[Value<'_>; N]]) -> Result<usize, Fault> {
        let places: Vec<_> = (1..=N).map(|at| format!("${at}")).collect();
        let sql = format!("INSERT INTO {into} VALUES ({}) ON CONFLICT DO NOTHING", places.join(", "));
        Ok(self.execute_many(&sql, rows)?.into_iter().sum())
    }

    pub(crate) fn execute_many<const N: usize>(&self, sql: &str, many: &[[Value<'_>; N]]) -> Result<Vec<usize>, Fault> {
        let mut statement = self.0.prepare_cached(sql)?;
        let execute = |values: &[Value<'_>; N]| {
            bind(&mut statement, values)?;
            Ok(statement.raw_execute()?)
        };
        many.iter().map(execute).collect()
    }

    pub(crate) fn script(&self, sql: &str) -> Result<(), Fault> {
        Ok(self.0.execute_batch(sql)?)
    }

    pub(crate) fn first<T>(
        &self,
        sql: &str,
        values: &[Value<'_>],
        read: impl FnOnce(&Row<'_>) -> Result<T, Fault>,
    ) -> Result<Option<T>, Fault> {
        let mut statement = self.0.prepare_cached(sql)?;
        bind(&mut statement, values)?;
        let mut rows = statement.raw_query();
        rows.next()?.map(|row| read(&Row::Sqlite(row))).transpose()
    }

    pub(crate) fn first_many<T, const N: usize>(
        &self,
        sql: &str,
        many: &[[Value<'_>; N]],
        mut read: impl FnMut(usize, &Row<'_>) -> Result<T, Fault>,
    ) -> Result<Vec<Option<T>>, Fault> {
        let mut statement = self.0.prepare_cached(sql)?;
        let first = |(at, values): (usize, &[Value<'_>; N])| {
            bind(&mut statement, values)?;
            let mut rows = statement.raw_query();
            rows.next()?.map(|row| read(at, &Row::Sqlite(row))).transpose()
        };
        many.iter().enumerate().map(first).collect()
    }

    pub(crate) fn each(
        &self,
        sql: &str,
        values: &[Value<'_>],
        mut visit: impl FnMut(&Row<'_>) -> Result<Rows, Fault>,
    ) -> Result<(), Fault> {
        let mut statement = self.0.prepare_cached(sql)?;
        bind(&mut statement, values)?;
        let mut rows = statement.raw_query();
        while let Some(row) = rows.next()? {
            if visit(&Row::Sqlite(row))? == Rows::Enough {
                break;
            }
        }
        Ok(())
    }
}

pub(crate) fn integer(row: &rusqlite::Row<'_>, column: usize) -> Result<i64, Fault> {
    Ok(row.get(column)?)
}

pub(crate) fn text<'r>(row: &'r rusqlite::Row<'_>, column: usize) -> Result<Option<&'r str>, Fault> {
    let text = row.get_ref(column)?.as_str_or_null();
    text.map_err(|error| Fault::Operation(format!("column {column}: {error}").into()))
}

pub(crate) fn is_there(row: &rusqlite::Row<'_>, column: usize) -> Result<bool, Fault> {
    Ok(row.get_ref(column)? != ValueRef::Null)
}

pub(crate) fn bytes<'r>(row: &'r rusqlite::Row<'_>, column: usize) -> Result<&'r [u8], Fault> {
    let bytes = row.get_ref(column)?.as_blob();
    bytes.map_err(|error| Fault::Operation(format!("column {column}: {error}").into()))
}

fn bind(statement: &mut CachedStatement<'_>, values: &[Value<'_>]) -> Result<(), rusqlite::Error> {
    values.iter().enumerate().try_for_each(|(at, value)| statement.raw_bind_parameter(at + 1, value))
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
