//! Who is interested in a room: readers, waiters, and those about to become one. The room is known while they live.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::oneshot;

use crate::bus::Subject;
use crate::cursor::Cursor;
use crate::hub::{Hub, Inner, counted};
use crate::ids::{Position, RoomName};
use crate::lock;
use crate::message::Message;
use crate::outbox::Outbox;
use crate::room::{ReaderKey, Room};
use crate::shard::Command;
use crate::trace::{Outcome, Record, Step};

/// A session's place in a room. Dropping it detaches the session.
pub struct Reader {
    pub(crate) interest: Interest,
    pub(crate) key: ReaderKey,
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) place: Position,
    pub(crate) members: u32,
    pub(crate) echo: bool,
}

impl Reader {
    /// Its number, as in [`crate::Notice::Behind`].
    pub fn key(&self) -> ReaderKey {
        self.key
    }

    /// The room.
    pub fn room(&self) -> &RoomName {
        &self.interest.room.name
    }

    /// Where the room stood when the reader was attached.
    pub fn place(&self) -> &Position {
        &self.place
    }

    /// Whether there is a log to read what was missed from.
    pub fn keeps_log(&self) -> bool {
        self.interest.room.log.is_some()
    }

    /// How many readers the room had then, this one included.
    pub fn members(&self) -> u32 {
        self.members
    }

    /// Where the room stands now on this node; none when it keeps no log.
    pub fn head(&self) -> Option<Position> {
        self.interest.room.lock().order.place().cloned()
    }

    /// Begins to receive what follows [`Reader::place`].
    pub fn live(&self) {
        self.note(Outcome::Live, &self.place);
        self.outbox.shard().send(Command::Live { reader: self.key, place: self.place.clone() });
    }

    /// A way through the log from a place that the client has seen. The reader receives signals from now on.
    pub fn cursor(&self, from: Position) -> Cursor {
        self.note(Outcome::Began, &from);
        self.outbox.shard().send(Command::Page(self.key));
        let own = (!self.echo).then(|| (Arc::clone(self.outbox.client()), self.place.clone()));
        let hub = Hub(Arc::clone(&self.interest.inner));
        let room = Arc::clone(&self.interest.room);
        Cursor { hub, room, key: self.key, outbox: Arc::clone(&self.outbox), place: from, own }
    }
}

impl Reader {
    /// How it begins to be given what follows a place.
    fn note(&self, outcome: Outcome, place: &Position) {
        let tracer = &self.interest.inner.reach.tracer;
        if tracer.is_on() {
            tracer.note(Record::new(Step::Page, outcome).room(self.room()).place(place).of(&self.outbox));
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let tracer = &self.interest.inner.reach.tracer;
        if tracer.is_on() {
            tracer.note(Record::new(Step::Reader, Outcome::Left).room(self.room()).of(&self.outbox));
        }
        let mut state = self.interest.room.lock();
        state.readers[self.outbox.shard().number()] -= 1;
        self.outbox.leaves();
        self.outbox.shard().send(Command::Detach(self.key));
    }
}

/// A wait for the next message of a room, registered when it is made: read the room's log after making it and before
/// waiting, and nothing can slip between. Dropping it leaves nothing behind.
pub struct Watch {
    pub(crate) interest: Interest,
    pub(crate) number: u64,
    pub(crate) told: oneshot::Receiver<Arc<Message>>,
}

impl Watch {
    /// The next message; none when what comes next does not follow on what was there, and the log must be read again.
    /// It may be one that the log showed before it arrived here: compare its number. Cancel safe.
    pub async fn next(&mut self) -> Option<Arc<Message>> {
        (&mut self.told).await.ok()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.interest.room.forget_waiter(self.number);
    }
}

/// Keeps a room known to this node.
pub(crate) struct Interest {
    pub(crate) inner: Arc<Inner>,
    pub(crate) room: Arc<Room>,
}

impl Interest {
    pub(crate) fn new(inner: &Arc<Inner>, room: Arc<Room>) -> Self {
        room.lock().interest += 1;
        Self { inner: Arc::clone(inner), room }
    }
}

impl Drop for Interest {
    fn drop(&mut self) {
        let mut rooms = lock(self.inner.part(&self.room.name));
        let mut state = self.room.lock();
        state.interest -= 1;
        if state.interest == 0 {
            rooms.remove(&self.room.name);
            self.inner.room_count.fetch_sub(counted(&self.room.name), Ordering::Relaxed);
            // Under the lock, so that a later subscription to the same room comes after it.
            if let Some(cluster) = &self.inner.cluster {
                cluster.bus().unsubscribe(&Subject::Room(self.room.name.clone()));
            }
        }
    }
}
