//! The writer: one thread that commits what queued up while it was busy.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use denrei_hub::{Epoch, Histogram, LogError};

use crate::database::Database;
use crate::group::{Care, Group};
use crate::operation::Operation;
use crate::queue::{Load, Queue};
use crate::sql::{Connection, Fault};

/// The writer's thread. It ends when the queue is closed and empty.
pub(crate) struct Writer {
    /// Never closed before the writer ends: while a connection is open, SQLite's index of the WAL stays, and the
    /// pages of a group whose commit failed are overwritten by the next one. Without the index they would be found
    /// in the WAL again and taken for committed. Declared first: what is closed last tidies the WAL away, and this
    /// one only reads.
    /// A server needs none.
    _anchor: Option<Connection>,
    /// None while the database cannot be written.
    connection: Option<Connection>,
    /// A WAL longer than this is begun anew.
    wal_bytes: u64,
    /// Last, because it holds the lock on the database.
    desk: Arc<Desk>,
}

/// What the writer and those who hand it work have in common.
pub(crate) struct Desk {
    pub(crate) database: Database,
    pub(crate) queue: Queue<Operation>,
    pub(crate) commits: AtomicU64,
    pub(crate) operations: AtomicU64,
    pub(crate) failures: AtomicU64,
    pub(crate) refused: AtomicU64,
    /// Operations of each group that was committed.
    pub(crate) groups: Histogram,
    /// How long each took, in ns.
    pub(crate) took: Histogram,
    epoch: Mutex<Epoch>,
}

/// Bounds for the sizes of groups, in operations.
const GROUPS: &[u64] = &[1, 2, 5, 10, 20, 50, 100, 200, 500, 1000];

impl Desk {
    pub(crate) fn new(database: Database, bound: Load, epoch: Epoch) -> Self {
        Self {
            database,
            queue: Queue::new(bound),
            commits: AtomicU64::new(0),
            operations: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            groups: Histogram::new(GROUPS),
            took: Histogram::of_answers(),
            epoch: Mutex::new(epoch),
        }
    }

    /// Hands the writer an operation, or refuses it at once.
    pub(crate) fn submit(&self, operation: Operation) {
        let bytes = operation.bytes();
        if let Err((operation, reason)) = self.queue.push(operation, bytes) {
            self.refused.fetch_add(1, Ordering::Relaxed);
            operation.settle(Err(LogError::Unavailable(reason)));
        }
    }

    pub(crate) fn epoch(&self) -> Epoch {
        self.epoch.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Keeps what a transaction has seen, if it had to look.
    fn set_epoch(&self, epoch: Option<Epoch>) {
        if let Some(epoch) = epoch {
            *self.epoch.lock().unwrap_or_else(PoisonError::into_inner) = epoch;
        }
    }
}

impl Writer {
    /// The most that one transaction holds.
    const GROUP: Load = Load { items: 1024, bytes: 8 << 20 };
    /// SQLite begins the WAL anew by itself, unless somebody reads at every moment: then it grows without end.
    const WAL_BYTES: u64 = 64 << 20;
    /// How long to wait before the database is opened again, at first and at most.
    const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

    pub(crate) fn new(desk: Arc<Desk>, connection: Connection, anchor: Option<Connection>) -> Self {
        Self { _anchor: anchor, connection: Some(connection), wal_bytes: Self::WAL_BYTES, desk }
    }

    pub(crate) fn run(mut self) {
        while let Some(group) = self.desk.queue.take(Self::GROUP) {
            self.write(group);
            self.relieve();
        }
        if let (Database::Sqlite(database), Some(Connection::Sqlite(connection))) =
            (&self.desk.database, &self.connection)
        {
            // So that the next start finds nothing to recover; a failure loses nothing.
            let _ = database.checkpoint(connection);
        }
    }

    fn write(&mut self, mut group: Vec<Operation>) {
        let begun = Instant::now();
        let written = match self.connected() {
            Ok(connection) => shielded(|| commit(connection, &mut group)),
            Err(fault) => Err(fault),
        };
        match written {
            Ok(written) => {
                self.desk.set_epoch(written.epoch);
                self.desk.commits.fetch_add(1, Ordering::Relaxed);
                self.desk.operations.fetch_add(group.len() as u64, Ordering::Relaxed);
                self.desk.groups.observe(group.len() as u64);
                self.desk.took.observe_time(begun.elapsed());
                let mut refused = written.refused.into_iter().peekable();
                for (at, operation) in group.into_iter().enumerate() {
                    settle(operation, refused.next_if(|(refused, _)| *refused == at).map(|(_, fault)| fault).as_ref());
                }
            }
            Err(fault) => {
                self.give_up(group, &fault);
                self.recover();
            }
        }
    }

    /// The connection. A server that was restarted while nobody wrote is connected to again before anything is asked of it.
    fn connected(&mut self) -> Result<&mut Connection, Fault> {
        if self.connection.as_ref().is_some_and(|connection| !connection.alive()) {
            self.connection = None;
            let (connection, epoch) = shielded(|| self.reopen())?;
            tracing::info!("the store has connected again");
            self.desk.set_epoch(Some(epoch));
            self.connection = Some(connection);
        }
        self.connection.as_mut().ok_or_else(|| Fault::Database("the database is closed".into()))
    }

    /// Begins SQLite's WAL anew when it has become long.
    fn relieve(&mut self) {
        let (Database::Sqlite(database), Some(Connection::Sqlite(connection))) =
            (&self.desk.database, &self.connection)
        else {
            return;
        };
        if database.wal_bytes() <= self.wal_bytes {
            return;
        }
        if let Err(error) = database.try_checkpoint(connection) {
            tracing::warn!(%error, "the WAL could not be moved to the database");
        }
        // While somebody reads for long, a backup perhaps, it is not tried at every commit.
        self.wal_bytes = database.wal_bytes() + Self::WAL_BYTES;
    }

    /// Refuses the group, what waits behind it, and whatever comes until the database is open again.
    fn give_up(&mut self, group: Vec<Operation>, fault: &Fault) {
        tracing::error!(reason = %fault.reason(), operations = group.len(), "the store cannot write, all of it is refused");
        self.desk.failures.fetch_add(1, Ordering::Relaxed);
        self.connection = None;
        let waiting = self.desk.queue.shut(&SORRY.into());
        for operation in group.into_iter().chain(waiting) {
            settle(operation, Some(fault));
        }
    }

    /// Opens the database again until it can be written, or the queue is closed.
    fn recover(&mut self) {
        let (mut pause, longest) = Self::PAUSES;
        while !self.desk.queue.wait_for_close(pause) {
            pause = longest.min(pause * 2);
            match shielded(|| self.reopen()) {
                Ok((connection, epoch)) => {
                    tracing::info!("the store can write again");
                    self.connection = Some(connection);
                    self.desk.set_epoch(Some(epoch));
                    self.desk.queue.open();
                    return;
                }
                Err(fault) => tracing::debug!(reason = %fault.reason(), "the store still cannot write"),
            }
        }
    }

    fn reopen(&self) -> Result<(Connection, Epoch), Fault> {
        let mut connection = self.desk.database.writer()?;
        let epoch = self.desk.database.prove(&mut connection)?;
        Ok((connection, epoch))
    }
}

impl Drop for Writer {
    /// However the thread ends, nobody waits for it in vain.
    fn drop(&mut self) {
        self.desk.queue.close();
        for operation in self.desk.queue.shut(&SORRY.into()) {
            settle(operation, Some(&Fault::Database("the writer has ended".into())));
        }
    }
}

/// What those are told who asked: the reasons are for the operator's log.
const SORRY: &str = "nothing can be stored now";

/// A group that is on the disk.
struct Written {
    /// The epoch, if it was needed.
    epoch: Option<Epoch>,
    /// Which operations are not part of it, ascending.
    refused: Vec<(usize, Fault)>,
}

/// Commits the operations together. Only when one of them fails they are done again, each under a savepoint, so that
/// the failure costs the others nothing but time.
fn commit(connection: &mut Connection, operations: &mut [Operation]) -> Result<Written, Fault> {
    /// Two for what is taken for granted, the others for what other nodes do at the same time.
    const ATTEMPTS: usize = 6;
    let mut care = Care::default();
    let mut conflict = "".into();
    for _ in 0..ATTEMPTS {
        let written = match commit_together(connection, &mut care, operations) {
            Err(Fault::Operation(_)) => commit_apart(connection, operations),
            written => written,
        };
        match written {
            Err(Fault::Conflict(reason)) => conflict = reason,
            written => return written,
        }
    }
    Err(Fault::Database(format!("tried {ATTEMPTS} times: {conflict}").into()))
}

fn commit_together(
    connection: &mut Connection,
    care: &mut Care,
    operations: &mut [Operation],
) -> Result<Written, Fault> {
    let mut group = Group::begin(connection, operations, care)?;
    for operation in operations {
        shielded(|| operation.apply(&mut group))?;
    }
    Ok(Written { epoch: group.commit()?, refused: Vec::new() })
}

fn commit_apart(connection: &mut Connection, operations: &mut [Operation]) -> Result<Written, Fault> {
    let mut care = Care::FULL;
    let mut group = Group::begin(connection, operations, &mut care)?;
    let mut refused = Vec::new();
    for (at, operation) in operations.iter_mut().enumerate() {
        match group.apply_alone(|group| shielded(|| operation.apply(group)).and_then(|()| group.write())) {
            Ok(()) => {}
            Err(fault @ Fault::Operation(_)) => refused.push((at, fault)),
            Err(fault) => return Err(fault),
        }
    }
    Ok(Written { epoch: group.commit()?, refused })
}

/// Tells who asked; the writer outlives their panic.
fn settle(operation: Operation, fault: Option<&Fault>) {
    let outcome = match fault {
        None => Ok(()),
        Some(fault) => {
            if let Fault::Operation(reason) = fault {
                tracing::error!(%reason, "an operation could not be done, the others of its group were");
            }
            Err(LogError::Unavailable(SORRY.into()))
        }
    };
    let told = shielded(|| {
        operation.settle(outcome);
        Ok(())
    });
    if let Err(fault) = told {
        tracing::error!(reason = %fault.reason(), "who waited for an operation has failed");
    }
}

/// A panic of the work is its failure.
fn shielded<T>(work: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
    // What a panic leaves half done is rolled back, dropped or handed out as failed.
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let said = panic.downcast_ref::<&str>().map(ToString::to_string);
        let said = said.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
        Err(Fault::Operation(format!("panicked: {said}").into()))
    })
}

#[cfg(test)]
mod tests;
