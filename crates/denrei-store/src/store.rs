//! The store: a database, its writer and its readers.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use denrei_hub::{
    Distribution, Done, Draft, Epoch, Extent, Log, LogError, Page, Position, Reading, Retained, RoomName,
};
use tokio::sync::oneshot;

use crate::database::Database;
use crate::error::StoreError;
use crate::events;
use crate::operation::{Answer, Append, Operation, Trim};
use crate::postgres::{self, PostgresUrl};
use crate::queue::Load;
use crate::readers::Readers;
use crate::sql::{Connection, Fault};
use crate::sqlite;
use crate::writer::{Desk, Writer};

/// What is kept: the [`Log`] of stored rooms, on a SQLite database of this process alone, or on a PostgreSQL database that
/// several nodes share.
///
/// Every answer is given when its operation is on the disk. What cannot be stored is refused with
/// [`LogError::Unavailable`], and the store goes on by itself when the disk or the server does. When the answer to a
/// commit is lost, what was refused may turn out to be kept: sent again under its client id it is a duplicate.
///
/// Dropping a store closes it, see [`Store::close`].
pub struct Store {
    pub(crate) desk: Arc<Desk>,
    pub(crate) readers: Readers,
    threads: Mutex<Threads>,
}

/// None of either once the store is closed.
#[derive(Default)]
struct Threads {
    readers: Vec<JoinHandle<()>>,
    writer: Option<JoinHandle<()>>,
}

/// How a store is set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreConfig {
    /// Threads that read, each with a connection; default 4. One more writes.
    pub readers: usize,
    /// How many operations may wait for the disk; further ones are refused. Default 65,536.
    pub waiting_operations: usize,
    /// How many bytes they may have; default 64 MiB. No message may be larger than this.
    pub waiting_bytes: usize,
    /// How long to wait for another program that has locked the database, a backup for instance, or for another node that
    /// has locked a room; default 5 s.
    pub busy_timeout: Duration,
    /// How long a PostgreSQL server may take to let us in, and to answer; default 10 s. Past it the connection is given up.
    pub answer_timeout: Duration,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            readers: 4,
            waiting_operations: 65_536,
            waiting_bytes: 64 << 20,
            busy_timeout: Duration::from_secs(5),
            answer_timeout: Duration::from_secs(10),
        }
    }
}

/// What a store has done since it was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreStatistics {
    /// Transactions committed by the writer.
    pub commits: u64,
    /// Operations that were part of them.
    pub operations: u64,
    /// Times the database could not be written and had to be opened again.
    pub failures: u64,
    /// Operations that were refused at once, because too much waited or the database could not be written.
    pub refused: u64,
    /// Transactions by how many operations they had.
    pub groups: Distribution,
    /// Transactions by how long they took, in ns.
    pub took: Distribution,
    /// Operations that wait for the disk now.
    pub waiting_operations: usize,
    /// About how many bytes they have.
    pub waiting_bytes: usize,
}

impl Store {
    /// Opens the SQLite database at `path`, or makes it, with its directories, readable by their owner only. Blocks.
    ///
    /// # Errors
    /// [`StoreError`] says what is wrong and whose turn it is.
    pub fn open(path: impl AsRef<Path>, config: StoreConfig) -> Result<Self, StoreError> {
        let database = sqlite::Database::take(path.as_ref(), config.busy_timeout)?;
        let writer = database.writer().map(Connection::Sqlite);
        let database = Database::Sqlite(database);
        let writer = writer.map_err(|error| database.unusable(&error.into()))?;
        Self::start(database, writer, config)
    }

    /// Connects to a PostgreSQL database, which must be there; makes its tables when it is empty. Other nodes may use it at
    /// the same time. Blocks.
    ///
    /// # Errors
    /// [`StoreError`] says what is wrong and whose turn it is.
    pub fn connect(url: &PostgresUrl, config: StoreConfig) -> Result<Self, StoreError> {
        // On a thread of its own, as all that waits for the server: the caller's may belong to a runtime.
        let work = || {
            let database = postgres::Database::new(url.clone(), config.busy_timeout, config.answer_timeout);
            let writer = Connection::Postgres(Box::new(database.first_connection()?));
            Self::start(Database::Postgres(database), writer, config)
        };
        thread::scope(|scope| {
            let thread = thread::Builder::new().name("store-opening".into()).spawn_scoped(scope, work);
            let opened = thread.map_err(|source| StoreError::Thread { source })?.join();
            opened.unwrap_or_else(|_| Err(StoreError::Thread { source: io::Error::other("a thread has panicked") }))
        })
    }

    fn start(database: Database, mut connection: Connection, config: StoreConfig) -> Result<Self, StoreError> {
        let epoch = database.prepare(&mut connection)?;
        let unusable = |fault: Fault| database.unusable(&fault);
        let reader = |_| database.reader().map_err(unusable);
        let readers: Vec<Connection> = (0..config.readers.max(1)).map(reader).collect::<Result<_, _>>()?;
        let anchor = match &database {
            Database::Sqlite(database) => {
                Some(Connection::Sqlite(database.anchor().map_err(|error| unusable(error.into()))?))
            }
            Database::Postgres(_) => None,
        };

        let bound = Load { items: config.waiting_operations, bytes: config.waiting_bytes };
        let desk = Arc::new(Desk::new(database, bound, epoch));
        let (readers, reading) = Readers::start(&desk, readers).map_err(|source| StoreError::Thread { source })?;
        let writer = Writer::new(Arc::clone(&desk), connection, anchor);
        match thread::Builder::new().name("store-writer".into()).spawn(move || writer.run()) {
            Ok(writing) => {
                let threads = Threads { readers: reading, writer: Some(writing) };
                Ok(Self { desk, readers, threads: Mutex::new(threads) })
            }
            Err(source) => {
                readers.close();
                Err(StoreError::Thread { source })
            }
        }
    }

    /// Refuses further reads, then further appends, waits until what was handed in before is on the disk, and lets go of the
    /// database. Blocks; call it on a thread that may. Calling it again does nothing.
    pub fn close(&self) {
        let Threads { readers, writer } =
            std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        self.readers.close();
        readers.into_iter().for_each(join);
        // After the readers: the connection that is closed last tidies the WAL away, and only a writer can.
        self.desk.queue.close();
        writer.into_iter().for_each(join);
    }

    /// The present life of the logs, as of the last write; another node may have begun a new one since.
    pub fn epoch(&self) -> Epoch {
        self.desk.epoch()
    }

    /// Begins a new epoch: for an operator who has restored a backup, so that readers learn that numbers have been
    /// given twice. Not cancel safe: it may take place although the future was dropped.
    ///
    /// # Errors
    /// [`LogError::Unavailable`]: the epoch is the old one. Try again later.
    pub async fn change_epoch(&self) -> Result<Epoch, LogError> {
        ask(&self.desk, Operation::ChangeEpoch).await
    }

    /// Proves that the writer is alive and that the disk takes what it writes, by writing something. For a readiness
    /// check, every few seconds; the caller brings the time limit. Cancel safe.
    ///
    /// # Errors
    /// [`LogError::Unavailable`]: nothing can be stored now.
    pub async fn check(&self) -> Result<(), LogError> {
        ask(&self.desk, Operation::Touch).await
    }

    /// Which database it is: `sqlite` or `postgres`.
    pub fn kind(&self) -> &'static str {
        match self.desk.database {
            Database::Sqlite(_) => "sqlite",
            Database::Postgres(_) => "postgres",
        }
    }

    /// What the store has done, for metrics.
    pub fn statistics(&self) -> StoreStatistics {
        let waiting = self.desk.queue.load();
        StoreStatistics {
            commits: self.desk.commits.load(Ordering::Relaxed),
            operations: self.desk.operations.load(Ordering::Relaxed),
            failures: self.desk.failures.load(Ordering::Relaxed),
            refused: self.desk.refused.load(Ordering::Relaxed),
            groups: self.desk.groups.read(),
            took: self.desk.took.read(),
            waiting_operations: waiting.items,
            waiting_bytes: waiting.bytes,
        }
    }
}

/// Hands an operation in, and waits for its answer.
pub(crate) fn ask<T, O: FnOnce(Answer<T>) -> Operation>(
    desk: &Desk,
    operation: O,
) -> impl Future<Output = Result<T, LogError>> + use<T, O> {
    let (tell, told) = oneshot::channel();
    desk.submit(operation(Answer::new(tell)));
    async move { told.await.unwrap_or_else(|_| Err(LogError::Unavailable("the store has stopped".into()))) }
}

impl Log for Store {
    fn append(&self, draft: Draft, done: Done) {
        self.desk.submit(Operation::Append(Append::new(draft, done)));
    }

    fn read(&self, room: &RoomName, extent: Extent) -> Reading<Page> {
        let room = room.clone();
        self.readers.read(move |transaction| events::page(transaction, &room, extent))
    }

    fn heads(&self, rooms: Vec<RoomName>) -> Reading<Vec<Position>> {
        self.readers.read(move |transaction| events::heads(transaction, &rooms))
    }

    /// What goes is the beginning of each room's log: an old event behind a younger one stays, so that what is kept
    /// has no holes. It goes in steps of at most 1,000 events and about 8 MiB, and appends take their turn between
    /// them. Cancel safe: what is left goes with the next call.
    fn trim(&self, rooms: Retained, before_ms: u64) -> Reading<u64> {
        let desk = Arc::clone(&self.desk);
        Box::pin(async move {
            let mut events = 0;
            let mut after = 0;
            loop {
                let rooms = rooms.clone();
                let step = |answer| Operation::Trim(Trim { rooms, before_ms, after, answer });
                let trimmed = ask(&desk, step).await?;
                events += trimmed.events;
                match trimmed.next {
                    Some(next) => after = next,
                    None => return Ok(events),
                }
            }
        })
    }
}

/// Waits for a thread, unless it is this one: the last owner of a store may be a `done`, which the writer itself calls.
fn join(thread: JoinHandle<()>) {
    if thread.thread().id() != thread::current().id() {
        // A thread that panicked has said so.
        let _ = thread.join();
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.close();
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("epoch", &self.epoch()).field("statistics", &self.statistics()).finish()
    }
}
