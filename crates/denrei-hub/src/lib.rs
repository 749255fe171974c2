//! Who gets what, in which order.
//!
//! A **room** is an ordered, resumable log with readers. A [`Position`] (`EPOCH:SEQ`) names a place in it.
//! [`Hub::publish`] appends a [`Draft`] to the room's [`Log`] and gives it the next number; the numbered [`Message`]
//! reaches every reader of the room, on this node and through the [`Bus`] on the others, in the order of the log,
//! with no gap and no duplicate, or the reader is told that a gap cannot be filled.
//!
//! The path of a message through this crate, in reading order:
//!
//! 1. [`Hub::publish`] finds the room's class ([`Classes`]) and hands the draft to its log;
//! 2. the log numbers it and calls back, in order; the room's [`order`] lets it pass, drops it as a duplicate, or
//!    holds it until what is missing has been read from the log;
//! 3. the room wakes the *shards* that have readers in it, never the readers;
//! 4. a shard takes all that has been published since its last turn, joins the frames of one room into one chunk per
//!    *wire*, and writes that chunk to each reader's socket with one system call;
//! 5. only a reader whose socket is full gets a queue, its [`Outbox`]; past the bound of that, it falls behind and a
//!    [`Cursor`] pages the log for it until it has caught up.
//!
//! The hub knows no HTTP, no wire format (it is given one [`Encode`] function per wire) and no SQL.

use std::sync::{Mutex, MutexGuard, PoisonError};

mod bus;
mod channels;
mod class;
mod cluster;
mod cursor;
mod house;
mod hub;
mod ids;
mod lease;
mod log;
mod memory;
mod message;
mod nodes;
pub mod order;
mod outbox;
mod people;
mod reader;
mod registry;
mod room;
mod seat;
mod shard;
mod shelf;
pub mod span;
mod stats;
mod tail;
mod trace;

#[doc(hidden)]
#[cfg(any(test, feature = "laws"))]
pub mod laws;

pub use bus::{Bus, BusError, Inbound, LocalBus, LocalNode, Subject};
pub use channels::{Absorbed, Carrying, Channel, Channels, Heard, Hearer, Listen, Listening, LocalChannels};
pub use class::{Class, Classes, Keep, Retained, Window};
pub use cluster::{Answering, Answers, Listener, Node, Word};
pub use cursor::{Cursor, Found};
pub use hub::{Audience, Backends, Hub, HubConfig, Published};
pub use ids::{
    ClientId, Epoch, InvalidName, InvalidPosition, Name, Position, RoomName, Seq, random_number, random_token,
};
pub use lease::{Grant, Lease, Leases, Leasing, LocalLeases};
pub use log::{Appended, Done, Extent, Log, LogError, Page, Reading};
pub use memory::{MemoryLimits, MemoryLog};
pub use message::{Dialect, Draft, Emit, Encode, Encoders, Kind, Message, Wire};
pub use outbox::{Ended, Notice, Outbox, OutboxLimits, Translate};
pub use reader::{Reader, Watch};
pub use room::{Expels, ReaderKey};
pub use seat::Seat;
pub use shard::{Shard, ShardHandle};
pub use shelf::{LocalShelf, Shelf, Shelving};
pub use stats::{
    BusStatistics, ClassStatistics, Distribution, EventNames, Histogram, HubStatistics, PublishOutcome, ShardStatistics,
};
pub use trace::{Noted, Outcome, Record, Step, Traced, Tracer};

/// Hash maps of this crate: keys are ours or validated names, and foldhash is seeded per process.
pub(crate) type Map<K, V> = std::collections::HashMap<K, V, foldhash::fast::RandomState>;
pub(crate) type Set<K> = std::collections::HashSet<K, foldhash::fast::RandomState>;

/// No code that runs under these locks leaves them half changed when it panics.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
