//! A room as one node sees it: its order, and who on this node is interested in it.

use std::any::Any;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OnceCell, oneshot};

use crate::Map;
use crate::ids::{Name, Position, RoomName, Seq};
use crate::log::{Log, Page};
use crate::message::{Kind, Message};
use crate::order::{Order, Verdict};
use crate::registry::Registry;
use crate::shard::{Command, ShardHandle};
use crate::span::Spans;
use crate::tail::{Tail, Tails};
use crate::trace::{Outcome, Record, Step, Tracer};

/// The number of a room on this node while it has readers; a room that comes back gets a new one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct RoomKey(pub(crate) u64);

/// The number of one reader's place in one room, unique on this node.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ReaderKey(pub(crate) u64);

pub(crate) struct Room {
    pub(crate) name: RoomName,
    pub(crate) key: RoomKey,
    /// None: the room keeps no log.
    pub(crate) log: Option<Arc<dyn Log>>,
    /// Set once the room's place in its log is known and its messages reach this node.
    pub(crate) started: OnceCell<()>,
    _hold: Option<Arc<dyn Any + Send + Sync>>,
    state: Mutex<State>,
}

pub(crate) struct State {
    pub(crate) order: Order,
    /// How many readers each shard has.
    pub(crate) readers: Vec<u32>,
    /// Readers, waiters and those about to become one: at 0 the room is forgotten.
    pub(crate) interest: usize,
    waiters: Map<u64, oneshot::Sender<Arc<Message>>>,
    next_waiter: u64,
    tail: Tail,
    /// The log has something that neither arrived in its turn nor is held: only reading it can tell what.
    unread: bool,
    /// The log was seen to stand here. What leads up to it may still be on its way.
    seen: Option<Position>,
    /// Somebody is reading from the log what is missing.
    pub(crate) catching_up: bool,
}

/// How rooms get to those who are connected to this node.
pub(crate) struct Reach {
    pub(crate) shards: Vec<ShardHandle>,
    pub(crate) registry: Registry,
    pub(crate) tracer: Arc<Tracer>,
    pub(crate) spans: Option<Arc<dyn Spans>>,
    pub(crate) expels: Option<Expels>,
}

/// Whose reading of its room ends behind a message; short, as it is asked of each.
pub type Expels = fn(&Message) -> Option<Name>;

impl Reach {
    /// Behind what the room has handed out so far.
    pub(crate) fn expel(&self, name: &RoomName, room: RoomKey, user: &Name) {
        for outbox in self.registry.user(user) {
            if self.tracer.is_on() {
                self.tracer.note(Record::new(Step::Reader, Outcome::Expelled).room(name).of(&outbox));
            }
            outbox.shard().send(Command::Expel(room, outbox.number()));
        }
    }
}

/// What a message that arrived leaves to be done.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Accepted {
    Done,
    /// The log must be read to go on.
    Missing,
}

impl Room {
    pub(crate) fn new(
        name: RoomName,
        key: RoomKey,
        log: Option<Arc<dyn Log>>,
        hold: Option<Arc<dyn Any + Send + Sync>>,
        shards: usize,
        tails: &Arc<Tails>,
    ) -> Self {
        let state = State {
            order: Order::default(),
            readers: vec![0; shards],
            interest: 0,
            waiters: Map::default(),
            next_waiter: 0,
            tail: Tail::new(Arc::clone(tails)),
            unread: false,
            seen: None,
            catching_up: false,
        };
        Self { name, key, log, started: OnceCell::new(), _hold: hold, state: Mutex::new(state) }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a message in: from its own append, from the bus or from the log, in any order, any number of times.
    pub(crate) fn accept(&self, message: &Arc<Message>, reach: &Reach) -> Accepted {
        let mut state = self.lock();
        if self.log.is_none() {
            note(reach, message, Outcome::Next);
            state.deliver(self.key, message, reach);
            return Accepted::Done;
        }
        if message.kind == Kind::Signal {
            // Nobody who waits for the log's next message waits for this.
            note(reach, message, Outcome::Next);
            state.hand(self.key, message, reach);
            return Accepted::Done;
        }
        let verdict = state.order.accept(message);
        note(reach, message, verdict.into());
        match verdict {
            Verdict::Seen => return Accepted::Done,
            Verdict::Deliver => {
                state.deliver(self.key, message, reach);
                state.release(self.key, reach);
            }
            Verdict::Held => {}
            Verdict::Dropped | Verdict::Stranger => state.unread = true,
        }
        state.accepted()
    }

    /// Begins at a place that was read from the log.
    pub(crate) fn start(&self, place: Position, reach: &Reach) -> Accepted {
        let mut state = self.lock();
        state.order.jump(place);
        state.release(self.key, reach);
        state.accepted()
    }

    /// Marks the room as in need of its log: the log stands elsewhere than the room, and no message said so.
    pub(crate) fn doubt(&self) {
        self.lock().unread = true;
    }

    /// The log was seen to stand at a place; whether the room stands before it.
    pub(crate) fn compare(&self, head: &Position) -> bool {
        let mut state = self.lock();
        let behind = state.is_behind(head);
        if behind {
            state.seen = Some(head.clone());
        }
        behind
    }

    /// Whether what is missing is nothing but what may still be on its way.
    pub(crate) fn may_come(&self) -> bool {
        let state = self.lock();
        !state.unread && !state.order.is_waiting()
    }

    /// The number after which something is missing; none, and the catching up is over, when nothing is.
    pub(crate) fn lacks(&self) -> Option<Seq> {
        let mut state = self.lock();
        let missing = state.accepted() == Accepted::Missing;
        state.catching_up = missing;
        // Before the reading: what comes to be unread while it is under way calls for another.
        state.unread = false;
        state.seen = None;
        state.order.place().filter(|_| missing).map(|place| place.seq)
    }

    /// Takes in what was read from the log after the room's place; whether that led any further.
    pub(crate) fn fill(&self, page: &Page, reach: &Reach) -> bool {
        let mut state = self.lock();
        let Some(place) = state.order.place().cloned() else { return false };
        let lost = page.first > place.seq.next() && page.head > place.seq;
        if page.epoch != place.epoch || lost {
            state.jump(self.key, page.position(), reach);
            if reach.tracer.is_on() {
                let record = Record::new(Step::Order, Outcome::Jumped).room(&self.name).place(&page.position());
                reach.tracer.note(record);
            }
        }
        for message in &page.messages {
            if state.order.accept(message) == Verdict::Deliver {
                note(reach, message, Outcome::Next);
                state.deliver(self.key, message, reach);
            }
        }
        state.release(self.key, reach);
        state.unread |= state.order.place().is_some_and(|place| place.epoch == page.epoch && place.seq < page.head);
        state.order.place() != Some(&place)
    }

    /// What follows a place, from what this node has seen lately; none when not all of it is there, or the place is of
    /// another life of the log.
    pub(crate) fn recent(&self, after: &Position, limit: usize) -> Option<Page> {
        let state = self.lock();
        let place = state.order.place().filter(|place| place.epoch == after.epoch)?;
        let messages = state.tail.after(after.seq, limit)?;
        Some(Page { epoch: place.epoch.clone(), messages, head: place.seq, first: after.seq.next() })
    }

    /// Lets go of what is at hand.
    pub(crate) fn forget_recent(&self) {
        self.lock().tail.clear();
    }

    /// Lets go of what nobody is a little late for.
    pub(crate) fn sweep(&self) {
        self.lock().tail.sweep();
    }

    /// Registers a waiter for the next message.
    pub(crate) fn wait(&self) -> (u64, oneshot::Receiver<Arc<Message>>) {
        let (tell, told) = oneshot::channel();
        let mut state = self.lock();
        state.next_waiter += 1;
        let number = state.next_waiter;
        state.waiters.insert(number, tell);
        (number, told)
    }

    /// Tells those who wait for the next message of one that was scattered.
    pub(crate) fn tell_waiters(&self, message: &Arc<Message>) {
        self.lock().tell_waiters(message);
    }

    pub(crate) fn forget_waiter(&self, number: u64) {
        self.lock().waiters.remove(&number);
    }
}

impl State {
    pub(crate) fn members(&self) -> u32 {
        self.readers.iter().sum()
    }

    fn is_behind(&self, head: &Position) -> bool {
        let behind = |place: &Position| place.epoch != head.epoch || place.seq < head.seq;
        self.order.place().is_some_and(behind)
    }

    fn accepted(&self) -> Accepted {
        let behind = self.seen.as_ref().is_some_and(|seen| self.is_behind(seen));
        let missing = self.order.place().is_some() && (self.unread || behind || self.order.is_waiting());
        if missing { Accepted::Missing } else { Accepted::Done }
    }

    /// Goes on in another life of the log, or beyond a hole in it: whoever reads finds out what it misses from the log.
    fn jump(&mut self, room: RoomKey, place: Position, reach: &Reach) {
        self.tail.clear();
        self.waiters.clear();
        for (shard, readers) in reach.shards.iter().zip(&self.readers) {
            if *readers > 0 {
                shard.send(Command::Jump(room, place.clone()));
            }
        }
        self.order.jump(place);
    }

    fn release(&mut self, room: RoomKey, reach: &Reach) {
        while let Some(message) = self.order.release() {
            note(reach, &message, Outcome::Next);
            self.deliver(room, &message, reach);
        }
    }

    fn tell_waiters(&mut self, message: &Arc<Message>) {
        for (_, waiter) in self.waiters.drain() {
            // A waiter that has gone has no use for it.
            let _ = waiter.send(Arc::clone(message));
        }
    }

    /// Under the room's lock, so that every shard gets the messages, and the readers that come and go, in one order.
    fn deliver(&mut self, room: RoomKey, message: &Arc<Message>, reach: &Reach) {
        self.hand(room, message, reach);
        self.tell_waiters(message);
        if message.seq != Seq::ZERO {
            self.tail.push(message);
        }
    }

    fn hand(&self, room: RoomKey, message: &Arc<Message>, reach: &Reach) {
        for (shard, readers) in reach.shards.iter().zip(&self.readers) {
            if *readers > 0 {
                shard.send(Command::Deliver(room, Arc::clone(message)));
            }
        }
        if let Some(user) = reach.expels.and_then(|expels| expels(message)) {
            reach.expel(&message.room, room, &user);
        }
    }
}

fn note(reach: &Reach, message: &Message, outcome: Outcome) {
    if reach.tracer.is_on() {
        reach.tracer.note(Record::message(Step::Order, outcome, message));
    }
}
