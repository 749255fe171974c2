//! The interface of [`crate::sql`] on PostgreSQL.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use bytes::BytesMut;
use futures_util::TryStreamExt;
use futures_util::future::maybe_done;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};
use tokio_postgres::{Error, Statement};

use super::Connection;
use crate::sql::{Fault, Row, Rows, Value};

/// A transaction; rolled back unless it is committed.
pub(crate) struct Transaction<'c> {
    connection: &'c Connection,
    /// How it begins, until it has: this goes with the first statements, and costs no round trip.
    begin: Cell<Option<&'static str>>,
    stage: Cell<Stage>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Open,
    /// A statement has failed, and whatever follows will, but for a return to a savepoint. A COMMIT would "succeed" by rolling
    /// back.
    Failed,
    Ended,
}

impl<'c> Transaction<'c> {
    pub(crate) fn write(connection: &'c Connection) -> Self {
        Self::new(connection, "BEGIN ISOLATION LEVEL READ COMMITTED")
    }

    pub(crate) fn read(connection: &'c Connection) -> Self {
        Self::new(connection, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
    }

    fn new(connection: &'c Connection, begin: &'static str) -> Self {
        Self { connection, begin: Cell::new(Some(begin)), stage: Cell::new(Stage::Open) }
    }

    pub(crate) fn commit(self) -> Result<(), Fault> {
        if self.stage.get() == Stage::Failed {
            return Err(Fault::Database("a statement has failed and was passed over".into()));
        }
        self.stage.set(Stage::Ended);
        if self.begin.take().is_some() {
            return Ok(());
        }
        let committed = self.connection.wait(self.connection.client().batch_execute("COMMIT"));
        committed.map_err(|fault| Fault::Database(fault.reason().clone()))
    }

    pub(crate) fn commit_after<const N: usize>(self, sql: &str, many: &[[Value<'_>; N]]) -> Result<(), Fault> {
        if many.is_empty() || self.stage.get() == Stage::Failed {
            return self.commit();
        }
        let statement = self.prepare(sql)?;
        let last = async |values: Option<&[Value<'_>; N]>| match values {
            Some(values) => self.changed(&statement, values).await.map(drop),
            // After a failure it rolls back, and the failure is what is heard first.
            None => self.connection.client().batch_execute("COMMIT").await,
        };
        self.together(many.iter().map(Some).chain([None]).map(last))?;
        self.stage.set(Stage::Ended);
        Ok(())
    }

    /// One array for each column: a statement for each row would have the server answer each.
    pub(crate) fn insert_many<const N: usize>(&self, into: &str, rows: &[[Value<'_>; N]]) -> Result<usize, Fault> {
        let Some(first) = rows.first() else { return Ok(0) };
        let kind = |(at, value): (usize, &Value<'_>)| {
            let kind = match value {
                Value::Integer(_) => "BIGINT",
                Value::Text(_) | Value::Maybe(_) => "TEXT",
                Value::Bytes(_) => "BYTEA",
            };
            format!("${}::{kind}[]", at + 1)
        };
        let kinds: Vec<_> = first.iter().enumerate().map(kind).collect();
        let sql = format!("INSERT INTO {into} SELECT * FROM UNNEST({}) ON CONFLICT DO NOTHING", kinds.join(", "));
        let statement = self.prepare(&sql)?;
        let columns: [Column<'_>; N] = std::array::from_fn(|at| Column(rows.iter().map(|row| row[at]).collect()));
        Ok(self.together([self.changed(&statement, &columns)])?.into_iter().sum())
    }

    pub(crate) fn execute(&self, sql: &str, values: &[Value<'_>]) -> Result<usize, Fault> {
        let statement = self.prepare(sql)?;
        Ok(self.together([self.changed(&statement, values)])?.into_iter().sum())
    }

    pub(crate) fn execute_many<const N: usize>(&self, sql: &str, many: &[[Value<'_>; N]]) -> Result<Vec<usize>, Fault> {
        let statement = self.prepare(sql)?;
        self.together(many.iter().map(|values| self.changed(&statement, values)))
    }

    pub(crate) fn script(&self, sql: &str) -> Result<(), Fault> {
        self.together([self.connection.client().batch_execute(sql)]).map(drop)
    }

    pub(crate) fn first<T>(
        &self,
        sql: &str,
        values: &[Value<'_>],
        read: impl FnOnce(&Row<'_>) -> Result<T, Fault>,
    ) -> Result<Option<T>, Fault> {
        let rows = self.rows(sql, values)?;
        rows.first().map(|row| read(&Row::Postgres(row))).transpose()
    }

    pub(crate) fn first_many<T, const N: usize>(
        &self,
        sql: &str,
        many: &[[Value<'_>; N]],
        mut read: impl FnMut(usize, &Row<'_>) -> Result<T, Fault>,
    ) -> Result<Vec<Option<T>>, Fault> {
        let statement = self.prepare(sql)?;
        let results = self.together(many.iter().map(|values| self.found(&statement, values)))?;
        let first = |(at, rows): (usize, &Vec<_>)| rows.first().map(|row| read(at, &Row::Postgres(row))).transpose();
        results.iter().enumerate().map(first).collect()
    }

    pub(crate) fn each(
        &self,
        sql: &str,
        values: &[Value<'_>],
        mut visit: impl FnMut(&Row<'_>) -> Result<Rows, Fault>,
    ) -> Result<(), Fault> {
        for row in &self.rows(sql, values)? {
            if visit(&Row::Postgres(row))? == Rows::Enough {
                break;
            }
        }
        Ok(())
    }

    fn rows(&self, sql: &str, values: &[Value<'_>]) -> Result<Vec<tokio_postgres::Row>, Fault> {
        let statement = self.prepare(sql)?;
        Ok(self.together([self.found(&statement, values)])?.pop().unwrap_or_default())
    }

    fn prepare(&self, sql: &str) -> Result<Statement, Fault> {
        self.connection.prepare(sql).inspect_err(|_| self.stage.set(Stage::Failed))
    }

    async fn changed(&self, statement: &Statement, values: &[impl ToSql + Sync]) -> Result<usize, Error> {
        let changed = self.connection.client().execute_raw(statement, values).await?;
        Ok(usize::try_from(changed).unwrap_or(usize::MAX))
    }

    async fn found(&self, statement: &Statement, values: &[Value<'_>]) -> Result<Vec<tokio_postgres::Row>, Error> {
        self.connection.client().query_raw(statement, values).await?.try_collect().await
    }

    /// Sends statements in their order without waiting in between, then waits for the answers, which come in the same order.
    fn together<T>(
        &self,
        statements: impl IntoIterator<Item: Future<Output = Result<T, Error>>>,
    ) -> Result<Vec<T>, Fault> {
        let mut statements: Vec<_> = statements.into_iter().map(|statement| Box::pin(maybe_done(statement))).collect();
        let begin = self.begin.take();
        let answered = self.connection.wait(async {
            let mut begun = pin!(maybe_done(async {
                match begin {
                    Some(begin) => self.connection.client().batch_execute(begin).await,
                    None => Ok(()),
                }
            }));
            // A statement is sent when it is polled for the first time.
            poll_fn(|context| {
                let _ = begun.as_mut().poll(context);
                for statement in &mut statements {
                    let _ = statement.as_mut().poll(context);
                    if let Some(Err(_)) = statement.as_mut().output_mut() {
                        // It could not even be sent, and what follows, a COMMIT perhaps, must not be without it.
                        break;
                    }
                }
                Poll::Ready(())
            })
            .await;
            begun.as_mut().await;
            begun.take_output().expect("it was awaited and is taken once")?;
            let mut answers = Vec::with_capacity(statements.len());
            for mut statement in statements {
                statement.as_mut().await;
                answers.push(statement.as_mut().take_output().expect("it was awaited and is taken once")?);
            }
            Ok(answers)
        });
        self.stage.set(if answered.is_ok() { Stage::Open } else { Stage::Failed });
        answered
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        if self.stage.get() != Stage::Ended && self.begin.get().is_none() {
            // Where this fails, the connection is at its end, and the transaction with it.
            let _ = self.connection.wait(self.connection.client().batch_execute("ROLLBACK"));
        }
    }
}

pub(crate) fn integer(row: &tokio_postgres::Row, column: usize) -> Result<i64, Fault> {
    let integer = match row.columns().get(column).map(tokio_postgres::Column::type_) {
        // LENGTH is one.
        Some(&Type::INT4) => row.try_get::<_, i32>(column).map(i64::from),
        _ => row.try_get(column),
    };
    integer.map_err(|error| Fault::Operation(error.to_string().into()))
}

pub(crate) fn text(row: &tokio_postgres::Row, column: usize) -> Result<Option<&str>, Fault> {
    row.try_get(column).map_err(|error| Fault::Operation(error.to_string().into()))
}

pub(crate) fn is_there(row: &tokio_postgres::Row, column: usize) -> Result<bool, Fault> {
    let integer = row.try_get::<_, Option<i64>>(column).map_err(|error| Fault::Operation(error.to_string().into()))?;
    Ok(integer.is_some())
}

pub(crate) fn bytes(row: &tokio_postgres::Row, column: usize) -> Result<&[u8], Fault> {
    row.try_get(column).map_err(|error| Fault::Operation(error.to_string().into()))
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        let Some(answer) = error.as_db_error() else {
            let reason = full(&error).into();
            // What cannot be sent for its kind was not sent.
            return if is_ours(&error) { Self::Operation(reason) } else { Self::Database(reason) };
        };
        let reason = format!("{} (SQLSTATE {})", answer.message(), answer.code().code()).into();
        match (answer.code(), &answer.code().code()[..2]) {
            (&SqlState::T_R_SERIALIZATION_FAILURE | &SqlState::T_R_DEADLOCK_DETECTED, _) => Self::Conflict(reason),
            // Data that does not fit, a constraint, a limit: with other values it would have worked.
            (_, "22" | "23" | "54") => Self::Operation(reason),
            // No memory, no disk, going down, read-only, damaged, a table that is not there, too slow: nothing would.
            _ => Self::Database(reason),
        }
    }
}

/// An error with what is behind it, in one line.
pub(super) fn full(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut behind = error.source();
    while let Some(error) = behind {
        let said = error.to_string();
        if !text.ends_with(&said) {
            text = format!("{text}: {said}");
        }
        behind = error.source();
    }
    text
}

/// Whether a value could not be sent, rather than the server be reached.
fn is_ours(error: &Error) -> bool {
    std::error::Error::source(error).is_some_and(<dyn std::error::Error>::is::<Unsendable>)
}

/// A value that PostgreSQL cannot hold.
#[derive(Debug, thiserror::Error)]
enum Unsendable {
    #[error("a text holds a NUL, which PostgreSQL cannot keep")]
    Nul,
    #[error("{value} was given where the statement takes {wanted}")]
    Kind { value: &'static str, wanted: String },
}

impl ToSql for Value<'_> {
    fn to_sql(&self, wanted: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        let mismatch = |value| Err(Unsendable::Kind { value, wanted: wanted.to_string() }.into());
        match (*self, wanted) {
            (Self::Integer(integer), &Type::INT8) => integer.to_sql(wanted, out),
            (Self::Integer(_), _) => mismatch("an integer"),
            (Self::Maybe(None), _) => Ok(IsNull::Yes),
            (Self::Text(text) | Self::Maybe(Some(text)), &Type::TEXT | &Type::VARCHAR) => {
                if text.contains('\0') {
                    return Err(Unsendable::Nul.into());
                }
                text.to_sql(wanted, out)
            }
            (Self::Text(_) | Self::Maybe(_), _) => mismatch("a text"),
            (Self::Bytes(bytes), &Type::BYTEA) => bytes.to_sql(wanted, out),
            (Self::Bytes(_), _) => mismatch("bytes"),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

/// A column of many rows, sent as an array.
#[derive(Debug)]
struct Column<'v>(Vec<Value<'v>>);

impl ToSql for Column<'_> {
    fn to_sql(&self, wanted: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        self.0.as_slice().to_sql(wanted, out)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}
