//! The little of SQL that operations and queries are written against: statements with `$1`, `$2` … in the order of
//! their first use, four types, transactions. Each statement is written once, in what SQLite and PostgreSQL share.
//!
//! Whatever is beneath, a call blocks its thread until the answer is there. To a server each call is a round trip: who
//! has one statement for many rows says so ([`Transaction::insert_many`], [`Transaction::execute_many`],
//! [`Transaction::first_many`]), and they share one.

use std::sync::Arc;

use crate::{postgres, sqlite};

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
    /// Somebody else was in the way, or something had been taken for granted that does not hold. The transaction is lost,
    /// and may be tried again.
    Conflict(Arc<str>),
    /// The database cannot be used: unreachable, disk full, input or output error, damage. The transaction is lost.
    Database(Arc<str>),
}

impl Fault {
    pub(crate) fn reason(&self) -> &Arc<str> {
        match self {
            Self::Operation(reason) | Self::Conflict(reason) | Self::Database(reason) => reason,
        }
    }
}

/// A row of a result; columns are counted from 0.
pub(crate) enum Row<'r> {
    Sqlite(&'r rusqlite::Row<'r>),
    Postgres(&'r tokio_postgres::Row),
}

impl Row<'_> {
    pub(crate) fn integer(&self, column: usize) -> Result<i64, Fault> {
        match self {
            Self::Sqlite(row) => sqlite::integer(row, column),
            Self::Postgres(row) => postgres::integer(row, column),
        }
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
        match self {
            Self::Sqlite(row) => sqlite::text(row, column),
            Self::Postgres(row) => postgres::text(row, column),
        }
    }

    /// Whether there is an integer rather than null.
    pub(crate) fn is_there(&self, column: usize) -> Result<bool, Fault> {
        match self {
            Self::Sqlite(row) => sqlite::is_there(row, column),
            Self::Postgres(row) => postgres::is_there(row, column),
        }
    }

    pub(crate) fn bytes(&self, column: usize) -> Result<&[u8], Fault> {
        match self {
            Self::Sqlite(row) => sqlite::bytes(row, column),
            Self::Postgres(row) => postgres::bytes(row, column),
        }
    }
}

/// Whether more rows are wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Rows {
    More,
    Enough,
}

/// Which part of a result is wanted of which not all may be held at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Portion {
    /// The result's order.
    pub(crate) order: &'static str,
    /// What a row counts, of the columns that may be large.
    pub(crate) size: &'static str,
    /// Rows that follow so much of it are not wanted.
    pub(crate) most: usize,
}

/// A connection to a database.
pub(crate) enum Connection {
    Sqlite(rusqlite::Connection),
    Postgres(Box<postgres::Connection>),
}

impl Connection {
    /// Whether it can be used as far as is known without asking.
    pub(crate) fn alive(&self) -> bool {
        match self {
            Self::Sqlite(_) => true,
            Self::Postgres(connection) => connection.alive(),
        }
    }
}

/// A transaction; rolled back unless it is committed.
pub(crate) struct Transaction<'c>(Beneath<'c>);

enum Beneath<'c> {
    Sqlite(sqlite::Transaction<'c>),
    Postgres(postgres::Transaction<'c>),
}

impl<'c> Transaction<'c> {
    /// Begins one that writes. Several nodes may write at once: each statement sees what others have committed before it
    /// began, and what has to stay as it was read is locked.
    pub(crate) fn write(connection: &'c mut Connection) -> Result<Self, Fault> {
        Ok(Self(match connection {
            Connection::Sqlite(connection) => Beneath::Sqlite(sqlite::Transaction::write(connection)?),
            Connection::Postgres(connection) => Beneath::Postgres(postgres::Transaction::write(connection)),
        }))
    }

    /// Begins one that reads: all its queries see the same state.
    pub(crate) fn read(connection: &'c mut Connection) -> Result<Self, Fault> {
        Ok(Self(match connection {
            Connection::Sqlite(connection) => Beneath::Sqlite(sqlite::Transaction::read(connection)?),
            Connection::Postgres(connection) => Beneath::Postgres(postgres::Transaction::read(connection)),
        }))
    }

    /// Commits. Whatever a commit fails of, it is not one operation's fault; and it may have taken place all the same.
    pub(crate) fn commit(self) -> Result<(), Fault> {
        match self.0 {
            Beneath::Sqlite(transaction) => transaction.commit(),
            Beneath::Postgres(transaction) => transaction.commit(),
        }
    }

    /// As [`Transaction::execute_many`], then [`Transaction::commit`], in one round trip.
    pub(crate) fn commit_after<const N: usize>(self, sql: &str, many: &[[Value<'_>; N]]) -> Result<(), Fault> {
        match self.0 {
            Beneath::Sqlite(transaction) => {
                transaction.execute_many(sql, many)?;
                transaction.commit()
            }
            Beneath::Postgres(transaction) => transaction.commit_after(sql, many),
        }
    }

    /// Runs a statement; says how many rows it changed.
    pub(crate) fn execute(&self, sql: &str, values: &[Value<'_>]) -> Result<usize, Fault> {
        match &self.0 {
            Beneath::Sqlite(transaction) => transaction.execute(sql, values),
            Beneath::Postgres(transaction) => transaction.execute(sql, values),
        }
    }

    /// Inserts many rows, of which those that are there already are left as they are; says how many were inserted. It costs
    /// a server a fifth of what as many statements do. `into` names the table and its columns.
    pub(crate) fn insert_many<const N: usize>(&self, into: &str, rows: &[[Value<'_>; N]]) -> Result<usize, Fault> {
        match &self.0 {
            Beneath::Sqlite(transaction) => transaction.insert_many(into, rows),
            Beneath::Postgres(transaction) => transaction.insert_many(into, rows),
        }
    }

    /// Runs a statement for each of many rows of values, one after another; says how many rows each has changed.
    pub(crate) fn execute_many<const N: usize>(&self, sql: &str, many: &[[Value<'_>; N]]) -> Result<Vec<usize>, Fault> {
        match &self.0 {
            Beneath::Sqlite(transaction) => transaction.execute_many(sql, many),
            Beneath::Postgres(transaction) => transaction.execute_many(sql, many),
        }
    }

    /// Runs several statements that have no parameters.
    pub(crate) fn script(&self, sql: &str) -> Result<(), Fault> {
        match &self.0 {
            Beneath::Sqlite(transaction) => transaction.script(sql),
            Beneath::Postgres(transaction) => transaction.script(sql),
        }
    }

    /// Runs a step of the schema, in which `BLOB` is the type of bytes.
    pub(crate) fn define(&self, sql: &str) -> Result<(), Fault> {
        match &self.0 {
            Beneath::Sqlite(transaction) => transaction.script(sql),
            Beneath::Postgres(transaction) => transaction.script(&sql.replace(" BLOB ", " BYTEA ")),
        }
    }

    /// The first row of a result.
    pub(crate) fn first<T>(
        &self,
        sql: &str,
        values: &[Value<'_>],
        read: impl FnOnce(&Row<'_>) -> Result<T, Fault>,
    ) -> Result<Option<T>, Fault> {
        match &self.0 {
            Beneath::Sqlite(transaction) => transaction.first(sql, values, read),
            Beneath::Postgres(transaction) => transaction.first(sql, values, read),
        }
    }

    /// The first row of each of many results, in the order of the rows of values; `read` is told of which.
    pub(crate) fn first_many<T, const N: usize>(
        &self,
        sql: &str,
        many: &[[Value<'_>; N]],
        read: impl FnMut(usize, &Row<'_>) -> Result<T, Fault>,
    ) -> Result<Vec<Option<T>>, Fault> {
        match &self.0 {
            Beneath::Sqlite(transaction) => transaction.first_many(sql, many, read),
            Beneath::Postgres(transaction) => transaction.first_many(sql, many, read),
        }
    }

    /// As [`Transaction::first_many`]; what is found is locked until the transaction ends, one after another: who locks
    /// several rows of a table names them in one order everywhere.
    pub(crate) fn lock_many<T, const N: usize>(
        &self,
        sql: &str,
        many: &[[Value<'_>; N]],
        read: impl FnMut(usize, &Row<'_>) -> Result<T, Fault>,
    ) -> Result<Vec<Option<T>>, Fault> {
        match &self.0 {
            // Its database has one writer.
            Beneath::Sqlite(transaction) => transaction.first_many(sql, many, read),
            Beneath::Postgres(transaction) => transaction.first_many(&format!("{sql} FOR UPDATE"), many, read),
        }
    }

    /// Waits until nobody writes to a table or holds a lock in it, and keeps all others from it until the transaction ends;
    /// they can read it.
    pub(crate) fn lock_table(&self, table: &str) -> Result<(), Fault> {
        match &self.0 {
            Beneath::Sqlite(_) => Ok(()),
            Beneath::Postgres(transaction) => transaction.script(&format!("LOCK TABLE {table} IN EXCLUSIVE MODE")),
        }
    }

    /// As [`Transaction::each`]: SQLite makes a row when it is visited, but a server would send all of them first.
    pub(crate) fn each_within(
        &self,
        Portion { order, size, most }: Portion,
        sql: &str,
        values: &[Value<'_>],
        visit: impl FnMut(&Row<'_>) -> Result<Rows, Fault>,
    ) -> Result<(), Fault> {
        match &self.0 {
            Beneath::Sqlite(transaction) => transaction.each(sql, values, visit),
            Beneath::Postgres(transaction) => {
                let sum = format!("SUM({size}) OVER (ORDER BY {order} ROWS UNBOUNDED PRECEDING)");
                let summed = format!("SELECT *, {sum} AS bytes_so_far FROM ({sql}) AS result");
                let within = format!("bytes_so_far - ({size}) <= {most}");
                let sql = format!("SELECT * FROM ({summed}) AS summed WHERE {within} ORDER BY {order}");
                transaction.each(&sql, values, visit)
            }
        }
    }

    /// Visits the rows of a result until `visit` has enough. All of them may have been fetched by then: the statement
    /// bounds their number.
    pub(crate) fn each(
        &self,
        sql: &str,
        values: &[Value<'_>],
        visit: impl FnMut(&Row<'_>) -> Result<Rows, Fault>,
    ) -> Result<(), Fault> {
        match &self.0 {
            Beneath::Sqlite(transaction) => transaction.each(sql, values, visit),
            Beneath::Postgres(transaction) => transaction.each(sql, values, visit),
        }
    }
}
