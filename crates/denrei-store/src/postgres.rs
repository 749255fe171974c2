//! A PostgreSQL server: how it is reached, and how a thread talks to it.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;
use tokio_postgres::{Client, Error, Statement};

use crate::error::StoreError;
use crate::sql::Fault;

pub(crate) use transaction::{Transaction, bytes, integer, is_there, text};
pub use url::PostgresUrl;

mod transaction;
mod url;

/// A database on a server, which other nodes may use as well.
#[derive(Debug)]
pub(crate) struct Database {
    url: PostgresUrl,
    busy_timeout: Duration,
    answer_timeout: Duration,
}

impl Database {
    pub(crate) fn new(url: PostgresUrl, busy_timeout: Duration, answer_timeout: Duration) -> Self {
        Self { url, busy_timeout, answer_timeout }
    }

    pub(crate) fn url(&self) -> &PostgresUrl {
        &self.url
    }

    /// The first connection of a process, which says whose turn it is when there is none.
    pub(crate) fn first_connection(&self) -> Result<Connection, StoreError> {
        let database = || self.url.to_string();
        let connection = self.open().map_err(|failure| match failure {
            Failure::Runtime(source) => StoreError::Thread { source },
            Failure::Late => {
                let reason = format!("no answer within {} s", self.answer_timeout.as_secs_f32());
                StoreError::Unreachable { database: database(), reason }
            }
            Failure::Postgres(error) => match error.as_db_error() {
                Some(answer) => StoreError::Refused { database: database(), reason: answer.message().into() },
                None => StoreError::Unreachable { database: database(), reason: transaction::full(&error) },
            },
        })?;
        let unsuitable =
            |fault: Fault| StoreError::Database { database: database(), source: fault.reason().as_ref().into() };
        let setting = |sql| {
            let rows = connection.wait(connection.client.query_one(sql, &[])).map_err(unsuitable)?;
            rows.try_get::<_, String>(0).map_err(|error| unsuitable(error.into()))
        };
        let encoding = setting("SHOW server_encoding")?;
        if encoding != "UTF8" {
            return Err(unsuitable(Fault::Database(format!("its encoding is {encoding}, not UTF8").into())));
        }
        if setting("SHOW fsync")? == "off" {
            tracing::warn!(database = %self.url, "the server has fsync off: a power cut may lose what was acknowledged");
        }
        Ok(connection)
    }

    pub(crate) fn connect(&self) -> Result<Connection, Fault> {
        self.open().map_err(|failure| match failure {
            Failure::Runtime(error) => Fault::Database(error.to_string().into()),
            Failure::Late => Fault::Database("the server cannot be reached in time".into()),
            Failure::Postgres(error) => Fault::Database(transaction::full(&error).into()),
        })
    }

    fn open(&self) -> Result<Connection, Failure> {
        let runtime = Builder::new_current_thread().enable_all().build().map_err(Failure::Runtime)?;
        let session = self.session();
        let opened = runtime.block_on(async {
            let opening = async {
                let client = self.url.connect().await?;
                client.batch_execute(&session).await?;
                Ok(client)
            };
            timeout(self.answer_timeout, opening).await
        });
        match opened {
            Ok(Ok(client)) => Ok(Connection {
                client,
                runtime: Some(runtime),
                statements: RefCell::default(),
                patience: self.answer_timeout,
                broken: Cell::new(false),
            }),
            failed => {
                runtime.shutdown_background();
                Err(failed.map_or(Failure::Late, |failed| failed.map_or_else(Failure::Postgres, |_| Failure::Late)))
            }
        }
    }

    /// What must hold whatever the server's defaults are.
    fn session(&self) -> String {
        let lock = self.busy_timeout.as_millis().max(1);
        let answer = self.answer_timeout.as_millis().max(1);
        // A node that stands still in the middle of a transaction must not keep the others from its rooms; and the
        // server must notice, while it waits for a lock, that whoever asked has gone (since version 14).
        format!(
            "SET synchronous_commit = on;
             SET lock_timeout = {lock};
             SET statement_timeout = {answer};
             SET idle_in_transaction_session_timeout = {answer};
             SELECT set_config(name, '2s', false) FROM pg_settings WHERE name = 'client_connection_check_interval'"
        )
    }
}

enum Failure {
    Runtime(io::Error),
    Late,
    Postgres(Error),
}

/// A connection and the runtime that drives it, which runs while its thread waits for an answer.
pub(crate) struct Connection {
    client: Client,
    /// Some until it is dropped.
    runtime: Option<Runtime>,
    statements: RefCell<HashMap<Box<str>, Statement>>,
    patience: Duration,
    broken: Cell<bool>,
}

impl Connection {
    /// Whether it can be used, as far as is known here: a server that has gone may have said so while nobody listened.
    pub(crate) fn alive(&self) -> bool {
        let listen = async {
            // The first time the runtime looks for input, then the connection's task reads it.
            for _ in 0..3 {
                tokio::task::yield_now().await;
            }
        };
        self.runtime().block_on(listen);
        !self.broken.get() && !self.client.is_closed()
    }

    fn client(&self) -> &Client {
        &self.client
    }

    /// Waits for answers. The server ends what takes too long; if it does not answer at all, the connection is not used
    /// again.
    fn wait<T>(&self, answers: impl Future<Output = Result<T, Error>>) -> Result<T, Fault> {
        // The server's own limit comes first, so that its reason is heard.
        let patience = self.patience + self.patience / 4;
        match self.runtime().block_on(async { timeout(patience, answers).await }) {
            Ok(answers) => Ok(answers?),
            Err(_) => {
                self.broken.set(true);
                Err(Fault::Database(format!("no answer within {} s", patience.as_secs_f32()).into()))
            }
        }
    }

    /// Asks what has one text for an answer.
    pub(crate) fn say(&self, question: &str) -> Result<String, String> {
        let answer = self.wait(self.client.query_one(question, &[])).map_err(|fault| fault.reason().to_string())?;
        answer.try_get(0).map_err(|error| error.to_string())
    }

    /// A statement is prepared once per connection.
    fn prepare(&self, sql: &str) -> Result<Statement, Fault> {
        if let Some(statement) = self.statements.borrow().get(sql) {
            return Ok(statement.clone());
        }
        let statement = self.wait(self.client.prepare(sql))?;
        self.statements.borrow_mut().insert(sql.into(), statement.clone());
        Ok(statement)
    }

    fn runtime(&self) -> &Runtime {
        self.runtime.as_ref().expect("it is taken when the connection is dropped only")
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Not waiting for a name that is being looked up.
            runtime.shutdown_background();
        }
    }
}

#[cfg(test)]
mod tests;
