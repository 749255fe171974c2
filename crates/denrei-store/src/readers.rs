//! The readers: a few threads, each with a connection that only reads.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use denrei_hub::{LogError, Reading};
use rusqlite::Connection;
use tokio::sync::{Semaphore, oneshot};

use crate::queue::{Load, Queue};
use crate::sql::{Fault, Transaction};
use crate::writer::Desk;

/// Where queries are handed in. At most [`Readers::WAITING`] of them are in the queue; the others wait for a place,
/// each in the future of whoever wants to know.
pub(crate) struct Readers {
    queue: Arc<Queue<Query>>,
    places: Arc<Semaphore>,
}

/// Runs on a connection, and says whether the connection is still good.
type Query = Box<dyn FnOnce(&mut Connection) -> Health + Send>;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Health {
    Good,
    Broken,
}

impl Readers {
    const WAITING: usize = 1024;

    pub(crate) fn start(desk: &Arc<Desk>, connections: Vec<Connection>) -> io::Result<(Self, Vec<JoinHandle<()>>)> {
        let queue = Arc::new(Queue::new(Load { items: Self::WAITING, bytes: usize::MAX }));
        let readers = Self { queue, places: Arc::new(Semaphore::new(Self::WAITING)) };
        let mut threads = Vec::new();
        for (number, connection) in connections.into_iter().enumerate() {
            let (desk, queue) = (Arc::clone(desk), Arc::clone(&readers.queue));
            let thread = thread::Builder::new().name(format!("store-reader-{number}"));
            match thread.spawn(move || run(&desk, &queue, connection)) {
                Ok(thread) => threads.push(thread),
                Err(error) => {
                    readers.close();
                    return Err(error);
                }
            }
        }
        Ok((readers, threads))
    }

    /// Runs a query in a transaction of its own. It sees everything that was acknowledged before this was called.
    pub(crate) fn read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Transaction<'_>) -> Result<T, Fault> + Send + 'static,
    ) -> Reading<T> {
        let (queue, places) = (Arc::clone(&self.queue), Arc::clone(&self.places));
        Box::pin(async move {
            let place = places.acquire_owned().await.map_err(|_| sorry())?;
            let (tell, told) = oneshot::channel();
            let query: Query = Box::new(move |connection| {
                let _place = place;
                if tell.is_closed() {
                    return Health::Good;
                }
                let answer = look(connection, query);
                let health = match &answer {
                    Err(Fault::Database(_)) => Health::Broken,
                    _ => Health::Good,
                };
                if let Err(fault) = &answer {
                    tracing::error!(reason = %fault.reason(), "the store could not read");
                }
                // Who asked may have gone.
                let _ = tell.send(answer.map_err(|_| sorry()));
                health
            });
            queue.push(query, 0).map_err(|_| sorry())?;
            told.await.unwrap_or_else(|_| Err(sorry()))
        })
    }

    /// Refuses further queries, and those that wait; the threads end.
    pub(crate) fn close(&self) {
        self.places.close();
        self.queue.close();
    }
}

fn run(desk: &Desk, queue: &Queue<Query>, connection: Connection) {
    let mut connection = Some(connection);
    while let Some(queries) = queue.take(Load { items: 1, bytes: usize::MAX }) {
        for query in queries {
            // Dropping a query tells its future that there is no answer.
            let Some(good) = connection.take().or_else(|| open(desk)) else { continue };
            connection = catch_unwind(AssertUnwindSafe(|| attempt(good, query))).unwrap_or_else(|_| {
                tracing::error!("a query has panicked");
                None
            });
        }
    }
}

fn open(desk: &Desk) -> Option<Connection> {
    let opened = desk.database.reader();
    opened.inspect_err(|error| tracing::error!(%error, "the store cannot be opened to read")).ok()
}

fn attempt(mut connection: Connection, query: Query) -> Option<Connection> {
    match query(&mut connection) {
        Health::Good => Some(connection),
        Health::Broken => None,
    }
}

fn look<T>(connection: &mut Connection, query: impl FnOnce(&Transaction<'_>) -> Result<T, Fault>) -> Result<T, Fault> {
    let transaction = Transaction::read(connection)?;
    let answer = query(&transaction)?;
    transaction.commit()?;
    Ok(answer)
}

fn sorry() -> LogError {
    LogError::Unavailable("nothing can be read now".into())
}
