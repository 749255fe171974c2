//! The rooms of the log that this node has to do with.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use denrei_hub::{Classes, Done, Draft, Keep, LogError, RoomName, Window};

use super::ring::Ring;
use crate::encoded;

pub(super) struct Room {
    pub(super) name: RoomName,
    /// Of its messages in the stream.
    pub(super) subject: String,
    ring: Mutex<Ring>,
    /// Held while a part of the room is read: not by several at once.
    pub(super) loading: tokio::sync::Mutex<()>,
    queue: Mutex<Queue>,
    /// Values that hold it, see [`denrei_hub::Log::hold`].
    holds: AtomicUsize,
    /// When it was used last, in ms of the rooms' clock.
    touched: AtomicU64,
    /// When to look next whether its epoch must be kept alive, in the same.
    pub(super) due: AtomicU64,
    turns: Mutex<Turns>,
}

/// When this node lets others write first.
#[derive(Default)]
struct Turns {
    until: Option<Instant>,
    /// How long its last write took.
    took: Duration,
}

/// A draft, and who wants to know what became of it.
pub(super) struct Waiting {
    pub(super) draft: Draft,
    pub(super) answer: Answer,
}

/// Who wants to know what became of a draft.
pub(super) struct Answer {
    pub(super) done: Done,
    pub(super) _place: Ticket,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Waiting>,
    /// A task writes what waits.
    working: bool,
}

/// Whether there is a task that writes what waits.
#[derive(PartialEq, Eq)]
pub(super) enum Worker {
    Works,
    Wanted,
}

impl Room {
    /// Events in one message of the stream.
    const EVENTS: usize = 256;
    /// Bytes of payload in it; a larger event has one of its own.
    const BYTES: usize = 256 << 10;

    pub(super) fn ring(&self) -> MutexGuard<'_, Ring> {
        lock(&self.ring)
    }

    /// Has a draft wait for its turn.
    pub(super) fn enqueue(&self, waiting: Waiting) -> Worker {
        let mut queue = lock(&self.queue);
        queue.waiting.push_back(waiting);
        if std::mem::replace(&mut queue.working, true) { Worker::Works } else { Worker::Wanted }
    }

    /// Those whose turn it is; without any, the worker's work is done.
    pub(super) fn next(&self) -> (Vec<Draft>, Vec<Answer>) {
        let mut queue = lock(&self.queue);
        let mut bytes = 0;
        let fits = |waiting: &&Waiting| {
            let begins = bytes == 0;
            bytes += waiting.draft.payload.len().max(1);
            begins || bytes <= Self::BYTES
        };
        let count = queue.waiting.iter().take(Self::EVENTS).take_while(fits).count();
        queue.working = count > 0;
        queue.waiting.drain(..count).map(|waiting| (waiting.draft, waiting.answer)).unzip()
    }

    /// All that wait.
    pub(super) fn rest(&self) -> Vec<Answer> {
        lock(&self.queue).waiting.drain(..).map(|waiting| waiting.answer).collect()
    }

    pub(super) fn took(&self, time: Duration) {
        lock(&self.turns).took = time;
    }

    /// Another node wants to write: it must read first, and so needs the time of two requests.
    pub(super) fn give_turn(&self) {
        let mut turns = lock(&self.turns);
        let pause = (turns.took * 3).clamp(Duration::from_millis(1), Duration::from_millis(20));
        turns.until = Some(Instant::now() + pause);
    }

    /// How long to let others write first; once.
    pub(super) fn turn(&self) -> Option<Duration> {
        lock(&self.turns).until.take()?.checked_duration_since(Instant::now())
    }

    fn is_idle(&self) -> bool {
        self.holds.load(Ordering::Acquire) == 0 && !lock(&self.queue).working
    }
}

/// All rooms, by name.
pub(super) struct Rooms {
    rooms: Mutex<HashMap<RoomName, Arc<Room>>>,
    classes: Arc<Classes>,
    prefix: Box<str>,
    begun: Instant,
    waiting: Arc<Load>,
}

/// What waits in all rooms together.
#[derive(Default)]
struct Load {
    drafts: AtomicUsize,
    bytes: AtomicUsize,
}

/// A place among those that wait, until it is dropped.
pub(super) struct Ticket {
    load: Arc<Load>,
    bytes: usize,
}

impl Rooms {
    /// Rooms that are known at a time.
    const MOST: usize = 100_000;
    /// How long one is known that nobody holds or uses.
    const IDLE: Duration = Duration::from_secs(60);
    /// What may wait in all rooms together.
    const DRAFTS: usize = 64 * 1024;
    const BYTES: usize = 128 << 20;

    pub(super) fn new(classes: Arc<Classes>, prefix: &str) -> Self {
        let rooms = Mutex::default();
        Self { rooms, classes, prefix: prefix.into(), begun: Instant::now(), waiting: Arc::default() }
    }

    /// Finds a room, or makes it known.
    pub(super) fn room(&self, name: &RoomName) -> Result<Arc<Room>, LogError> {
        self.find(name, |_| {})
    }

    /// Finds a room, and holds it.
    pub(super) fn hold(&self, name: &RoomName) -> Option<Hold> {
        // Under the lock: nobody lets go of it in between.
        let hold = |room: &Room| _ = room.holds.fetch_add(1, Ordering::AcqRel);
        self.find(name, hold).ok().map(Hold)
    }

    fn find(&self, name: &RoomName, with: impl FnOnce(&Room)) -> Result<Arc<Room>, LogError> {
        let mut rooms = lock(&self.rooms);
        if rooms.len() >= Self::MOST && !rooms.contains_key(name) {
            rooms.retain(|_, room| Arc::strong_count(room) > 1 || !room.is_idle());
            if rooms.len() >= Self::MOST {
                let sentence = format!("the limit of {} rooms in use is reached", Self::MOST);
                return Err(LogError::Full(sentence.into()));
            }
        }
        let room = rooms.entry(name.clone()).or_insert_with(|| {
            Arc::new(Room {
                name: name.clone(),
                subject: format!("{}.l.{}", self.prefix, encoded(name.as_str())),
                ring: Mutex::new(Ring::new(self.window(name))),
                loading: tokio::sync::Mutex::default(),
                queue: Mutex::default(),
                holds: AtomicUsize::new(0),
                touched: AtomicU64::new(0),
                due: AtomicU64::new(0),
                turns: Mutex::default(),
            })
        });
        room.touched.store(self.now(), Ordering::Relaxed);
        with(room);
        Ok(Arc::clone(room))
    }

    /// A room that is known.
    pub(super) fn known(&self, name: &RoomName) -> Option<Arc<Room>> {
        lock(&self.rooms).get(name).cloned()
    }

    /// The subject of a room that need not be known.
    pub(super) fn subject(&self, name: &RoomName) -> String {
        format!("{}.l.{}", self.prefix, encoded(name.as_str()))
    }

    fn window(&self, name: &RoomName) -> Window {
        match self.classes.of(name).keep {
            Keep::Memory(window) => window,
            Keep::None | Keep::Store(_) => Window::default(),
        }
    }

    /// Takes a place among those that wait.
    pub(super) fn admit(&self, bytes: usize) -> Result<Ticket, LogError> {
        let ticket = Ticket { load: Arc::clone(&self.waiting), bytes };
        let drafts = self.waiting.drafts.fetch_add(1, Ordering::Relaxed);
        let waiting = self.waiting.bytes.fetch_add(bytes, Ordering::Relaxed);
        if drafts >= Self::DRAFTS || waiting + bytes > Self::BYTES {
            return Err(LogError::Full("too many messages wait for the NATS server".into()));
        }
        Ok(ticket)
    }

    /// ms since the rooms began.
    pub(super) fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Lets go of rooms that nobody uses, and of what is known of those that are only held.
    pub(super) fn sweep(&self) {
        let before = self.now().saturating_sub(u64::try_from(Self::IDLE.as_millis()).unwrap_or(u64::MAX));
        lock(&self.rooms).retain(|_, room| {
            if room.touched.load(Ordering::Relaxed) >= before {
                return true;
            }
            room.ring().forget();
            // This map's clone is the only one: others are made under its lock.
            Arc::strong_count(room) > 1 || !room.is_idle()
        });
    }

    /// The held rooms whose epoch must be looked after.
    pub(super) fn due(&self) -> Vec<Arc<Room>> {
        let now = self.now();
        let held = |room: &&Arc<Room>| room.holds.load(Ordering::Acquire) > 0;
        let due = |room: &&Arc<Room>| room.due.load(Ordering::Relaxed) <= now;
        lock(&self.rooms).values().filter(held).filter(due).cloned().collect()
    }
}

/// Keeps a room's epoch alive, until it is dropped.
pub(super) struct Hold(Arc<Room>);

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.holds.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.load.drafts.fetch_sub(1, Ordering::Relaxed);
        self.load.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// ms since 1970. Nodes whose clocks differ disagree by as much on when a message is past its age.
pub(super) fn today() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
