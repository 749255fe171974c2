//! The seam to what numbers messages and keeps them.

use std::any::Any;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::class::Retained;
use crate::ids::{Epoch, Position, RoomName, Seq};
use crate::message::{Draft, Message};

/// Numbers drafts and keeps the messages. Sequence numbers are assigned in implementations of this trait and nowhere
/// else.
///
/// # Laws
/// Every implementation passes the suite in `laws.rs` (feature `laws`):
/// 1. Numbers of one room are 1, 2, 3 … without holes; a refused draft uses none.
/// 2. `done` is called exactly once per draft, when what it reports is as durable as the log makes it.
/// 3. For one room and one log value, `done` calls come one at a time, in the order of the numbers they report;
///    a duplicate is reported after the message that it repeats.
/// 4. Drafts appended one after another by one caller are numbered in that order.
/// 5. A draft with the id of an earlier message of the same room and user, which the log still keeps, appends
///    nothing and reports that message as a duplicate.
/// 6. A page read after `done` was called holds the message, or reports that it is no longer kept.
pub trait Log: Send + Sync + 'static {
    /// Appends a draft; never blocks. `done` may be called before this returns and while the log holds a lock: it
    /// must be short and must not call the log.
    fn append(&self, draft: Draft, done: Done);

    /// Reads what is kept of a room.
    fn read(&self, room: &RoomName, extent: Extent) -> Reading<Page>;

    /// The last number of each room, in the order of `rooms`.
    fn heads(&self, rooms: Vec<RoomName>) -> Reading<Vec<Position>>;

    /// Keeps the room's epoch alive for as long as the value lives. Only logs that forget rooms need it.
    fn hold(&self, _room: &RoomName) -> Option<Arc<dyn Any + Send + Sync>> {
        None
    }

    /// Lets go of what is past its window; called every few seconds.
    fn sweep(&self) {}

    /// Lets go of the messages of rooms that were sent before a time in ms since 1970; says how many. Their client ids
    /// are free again. Only logs that outlive the process need it.
    fn trim(&self, _rooms: Retained, _before_ms: u64) -> Reading<u64> {
        Box::pin(std::future::ready(Ok(0)))
    }
}

/// Told how an append ended.
pub type Done = Box<dyn FnOnce(Result<Appended, LogError>) + Send>;

/// An answer of a log that may take a while.
pub type Reading<T> = Pin<Box<dyn Future<Output = Result<T, LogError>> + Send>>;

/// What became of a draft.
#[derive(Clone, Debug)]
pub struct Appended {
    /// The message with its number.
    pub message: Arc<Message>,
    /// It had been appended before, under the same id.
    pub duplicate: bool,
}

/// Which messages to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Those that follow a number, oldest first, at most so many.
    After(Seq, usize),
    /// The newest ones, oldest first, at most so many.
    Newest(usize),
}

/// Some consecutive messages of a room.
#[derive(Clone, Debug)]
pub struct Page {
    /// The room's epoch at the time of reading.
    pub epoch: Epoch,
    /// The messages, oldest first, without holes.
    pub messages: Vec<Arc<Message>>,
    /// The last number given in the room.
    pub head: Seq,
    /// The oldest number that is still kept; `head + 1` when none is.
    pub first: Seq,
}

impl Page {
    /// Where a reader goes on whose place belongs to another life of the log: before the oldest message that is still
    /// kept, but not more than 1,000 messages back.
    pub fn begin_anew(&self) -> Seq {
        Seq(self.first.0.saturating_sub(1).max(self.head.0.saturating_sub(1000)))
    }

    /// Where the room stood when it was read.
    pub fn position(&self) -> Position {
        Position { epoch: self.epoch.clone(), seq: self.head }
    }
}

/// Why a log could not do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// The log cannot be reached or cannot write now; nothing was kept. Try again later.
    #[error("the log is unavailable: {0}")]
    Unavailable(Arc<str>),
    /// There is no room for more; nothing was kept.
    #[error("{0}")]
    Full(Arc<str>),
}
