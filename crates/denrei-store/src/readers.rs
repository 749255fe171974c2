//! The readers: a few threads, each with a connection that only reads.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use denrei_hub::{LogError, Reading};
use tokio::sync::{Semaphore, oneshot};

use crate::queue::{Load, Queue};
use crate::sql::{Connection, Fault, Transaction};
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
                    Err(Fault::Conflict(_) | Fault::Database(_)) => Health::Broken,
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
    let mut reader = Reader { desk, connection: Some(connection), pause: Duration::ZERO, again: Instant::now() };
    while let Some(queries) = queue.take(Load { items: 1, bytes: usize::MAX }) {
        for query in queries {
            // Dropping a query tells its future that there is no answer.
            let Some(good) = reader.connection() else { continue };
            reader.connection = catch_unwind(AssertUnwindSafe(|| attempt(good, query))).unwrap_or_else(|_| {
                tracing::error!("a query has panicked");
                None
            });
        }
    }
}

/// A thread's connection, and when to try for another one.
struct Reader<'d> {
    desk: &'d Desk,
    connection: Option<Connection>,
    /// How long to try nothing after the next failure.
    pause: Duration,
    /// Not before this.
    again: Instant,
}

impl Reader<'_> {
    /// How long to wait before a database that could not be opened is tried again, at first and at most. Whoever asks in
    /// between is refused at once: a queue of attempts that take their time would not end.
    const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

    fn connection(&mut self) -> Option<Connection> {
        if let Some(connection) = self.connection.take().filter(Connection::alive) {
            return Some(connection);
        }
        if Instant::now() < self.again {
            return None;
        }
        let (shortest, longest) = Self::PAUSES;
        match self.desk.database.reader() {
            Ok(connection) => {
                self.pause = Duration::ZERO;
                Some(connection)
            }
            Err(fault) => {
                tracing::error!(reason = %fault.reason(), "the store cannot be opened to read");
                self.pause = (self.pause * 2).clamp(shortest, longest);
                self.again = Instant::now() + self.pause;
                None
            }
        }
    }
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
