//! The log in this process's memory: a bounded ring per room.

use std::any::Any;
use std::collections::VecDeque;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::class::{Classes, Keep, Window};
use crate::ids::{Epoch, Name, Position, RoomName, Seq};
use crate::log::{Appended, Done, Extent, Log, LogError, Page, Reading};
use crate::message::{Draft, Message};
use crate::{Map, lock};

/// A [`Log`] that keeps each room's newest messages within the [`Window`] of its class, until the process ends.
///
/// The memory of all rooms together is bounded: an append that does not fit shortens its own room first, and is
/// refused when that is not enough. So is their number: a room too many takes the place of rooms that nobody holds, of
/// those that keep nothing first, then of those that were used the longest time ago. The next use of a room that went
/// begins a new epoch, which tells whoever has a position in it.
pub struct MemoryLog {
    classes: Arc<Classes>,
    rooms: [Mutex<Map<RoomName, Arc<Ring>>>; 64],
    hasher: foldhash::fast::RandomState,
    count: AtomicUsize,
    making_place: Mutex<()>,
    bytes: AtomicUsize,
    limits: MemoryLimits,
}

/// Bounds of all memory rooms together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryLimits {
    /// Rooms; default 100,000.
    pub rooms: usize,
    /// Bytes; default 1 GiB.
    pub bytes: usize,
}

impl Default for MemoryLimits {
    fn default() -> Self {
        Self { rooms: 100_000, bytes: 1 << 30 }
    }
}

#[derive(Debug)]
struct Ring {
    window: Window,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    epoch: Epoch,
    head: Seq,
    events: VecDeque<Kept>,
    /// (user, client id) of the kept messages that have one.
    ids: Map<(Option<Name>, Name), Seq>,
    bytes: usize,
    touched: Instant,
}

#[derive(Debug)]
struct Kept {
    at: Instant,
    message: Arc<Message>,
    id: Option<Name>,
}

impl MemoryLog {
    /// An empty log.
    pub fn new(classes: Arc<Classes>, limits: MemoryLimits) -> Self {
        Self {
            classes,
            rooms: std::array::from_fn(|_| Mutex::default()),
            hasher: foldhash::fast::RandomState::default(),
            count: AtomicUsize::new(0),
            making_place: Mutex::new(()),
            bytes: AtomicUsize::new(0),
            limits,
        }
    }

    /// Finds the ring of a room, or makes it: its epoch begins at the first look, so that a position given to a
    /// reader of an empty room stays true.
    fn ring(&self, room: &RoomName) -> Result<Arc<Ring>, LogError> {
        if let Some(ring) = lock(self.part(room)).get(room) {
            return Ok(Arc::clone(ring));
        }
        if self.count.load(Ordering::Relaxed) >= self.limits.rooms && !self.make_place() {
            let limit = self.limits.rooms;
            return Err(LogError::Full(format!("the limit of {limit} memory rooms is reached").into()));
        }
        let window = match self.classes.of(room).keep {
            Keep::Memory(window) => window,
            Keep::None | Keep::Store(_) => Window::default(),
        };
        let mut rooms = lock(self.part(room));
        let ring = rooms.entry(room.clone()).or_insert_with(|| {
            self.count.fetch_add(1, Ordering::Relaxed);
            Arc::new(Ring { window, state: Mutex::new(State::new()) })
        });
        Ok(Arc::clone(ring))
    }

    /// Lets go of rooms that nobody holds: of those that keep nothing, and if they are few, of those that were used the
    /// longest time ago. False when all are held. Several go at once, because it looks at all of them, which takes
    /// milliseconds.
    fn make_place(&self) -> bool {
        let _one_at_a_time = lock(&self.making_place);
        if self.count.load(Ordering::Relaxed) < self.limits.rooms {
            return true;
        }
        let wanted = (self.limits.rooms / 64).max(1);
        let empty = self.let_go(|state, _| state.events.is_empty());
        if empty >= wanted {
            return true;
        }
        let mut used = Vec::new();
        for part in &self.rooms {
            let part = lock(part);
            let unheld = part.values().filter(|ring| Arc::strong_count(ring) == 1);
            used.extend(unheld.map(|ring| lock(&ring.state).touched));
        }
        let at = (wanted - empty).min(used.len());
        let Some(at) = at.checked_sub(1) else { return empty > 0 };
        let last = *used.select_nth_unstable(at).1;
        empty + self.let_go(|state, _| state.touched <= last) > 0
    }

    /// Lets go of what has expired, and of rooms that nobody holds and that may go; says of how many.
    fn let_go(&self, may_go: impl Fn(&State, &Window) -> bool) -> usize {
        let now = Instant::now();
        let mut gone = 0;
        for part in &self.rooms {
            lock(part).retain(|_, ring| {
                let mut state = lock(&ring.state);
                self.bytes.fetch_sub(state.expire(now, ring.window.age), Ordering::Relaxed);
                // The map's own count is the only one: `ring` hands out clones under this map's lock.
                let keep = Arc::strong_count(ring) > 1 || !may_go(&state, &ring.window);
                if !keep {
                    self.bytes.fetch_sub(state.bytes, Ordering::Relaxed);
                    gone += 1;
                }
                keep
            });
        }
        self.count.fetch_sub(gone, Ordering::Relaxed);
        gone
    }

    fn part(&self, room: &RoomName) -> &Mutex<Map<RoomName, Arc<Ring>>> {
        &self.rooms[self.hasher.hash_one(room) as usize % self.rooms.len()]
    }

    /// Makes room for one more message of `weight` bytes, or says that there is none; what the room keeps is let go of
    /// only when that helps.
    fn admit(&self, ring: &Ring, state: &mut State, weight: usize) -> Result<(), LogError> {
        let limit = self.limits.bytes;
        let full = || LogError::Full(format!("the limit of {limit} bytes of memory rooms is reached").into());
        if self.bytes.load(Ordering::Relaxed) - state.bytes + weight > limit {
            return Err(full());
        }
        while !state.events.is_empty()
            && (state.bytes + weight > ring.window.bytes
                || state.events.len() >= ring.window.events
                || self.bytes.load(Ordering::Relaxed) + weight > limit)
        {
            self.bytes.fetch_sub(state.forget_oldest(), Ordering::Relaxed);
        }
        if self.bytes.fetch_add(weight, Ordering::Relaxed) + weight > limit {
            // Other rooms have taken it in the meantime.
            self.bytes.fetch_sub(weight, Ordering::Relaxed);
            return Err(full());
        }
        Ok(())
    }
}

impl Log for MemoryLog {
    fn append(&self, draft: Draft, done: Done) {
        let ring = match self.ring(&draft.room) {
            Ok(ring) => ring,
            Err(full) => return done(Err(full)),
        };
        let mut state = lock(&ring.state);
        let state = &mut *state;
        let now = Instant::now();
        state.touched = now;
        self.bytes.fetch_sub(state.expire(now, ring.window.age), Ordering::Relaxed);
        let key = draft.id.clone().map(|id| (draft.user.clone(), id));
        if let Some(message) = key.as_ref().and_then(|key| state.find(key)) {
            return done(Ok(Appended { message, duplicate: true }));
        }
        let id = draft.id.clone();
        let message = Arc::new(draft.assigned(Position { epoch: state.epoch.clone(), seq: state.head.next() }));
        if let Err(full) = self.admit(&ring, state, message.weight()) {
            return done(Err(full));
        }
        state.head = message.seq;
        state.bytes += message.weight();
        if let Some(key) = key {
            state.ids.insert(key, message.seq);
        }
        state.events.push_back(Kept { at: now, message: Arc::clone(&message), id });
        // Under the ring's lock: two appends to one room report in the order of their numbers.
        done(Ok(Appended { message, duplicate: false }));
    }

    fn read(&self, room: &RoomName, extent: Extent) -> Reading<Page> {
        let page = self.ring(room).map(|ring| {
            let mut state = lock(&ring.state);
            let now = Instant::now();
            state.touched = now;
            self.bytes.fetch_sub(state.expire(now, ring.window.age), Ordering::Relaxed);
            state.page(extent)
        });
        Box::pin(std::future::ready(page))
    }

    fn heads(&self, rooms: Vec<RoomName>) -> Reading<Vec<Position>> {
        let head = |room| self.ring(room).map(|ring| lock(&ring.state).position());
        Box::pin(std::future::ready(rooms.iter().map(head).collect()))
    }

    fn hold(&self, room: &RoomName) -> Option<Arc<dyn Any + Send + Sync>> {
        self.ring(room).ok().map(|ring| ring as Arc<dyn Any + Send + Sync>)
    }

    /// Lets go of expired messages, and of empty rooms that nobody holds and nobody used for the length of their
    /// window: the next use of such a room begins a new epoch.
    fn sweep(&self) {
        self.let_go(|state, window| state.events.is_empty() && state.touched.elapsed() > window.age);
    }
}

impl State {
    const PAGE: usize = 2 << 20;

    fn new() -> Self {
        Self {
            epoch: Epoch::random(),
            head: Seq::ZERO,
            events: VecDeque::new(),
            ids: Map::default(),
            bytes: 0,
            touched: Instant::now(),
        }
    }

    fn position(&self) -> Position {
        Position { epoch: self.epoch.clone(), seq: self.head }
    }

    fn first(&self) -> Seq {
        self.events.front().map_or(self.head.next(), |kept| kept.message.seq)
    }

    fn find(&self, key: &(Option<Name>, Name)) -> Option<Arc<Message>> {
        let seq = self.ids.get(key)?;
        let at = seq.0.checked_sub(self.first().0)?;
        self.events.get(usize::try_from(at).ok()?).map(|kept| Arc::clone(&kept.message))
    }

    /// A page holds as many messages as the extent says, and about [`State::PAGE`] bytes, but at least one message if there is
    /// one: whoever does not read what they asked for must not hold more.
    fn page(&self, extent: Extent) -> Page {
        let kept = self.events.len();
        let mut weight = 0;
        let fits = |kept: &&Kept| {
            let first = weight == 0;
            weight += kept.message.weight();
            first || weight <= Self::PAGE
        };
        let message = |kept: &Kept| Arc::clone(&kept.message);
        let messages = match extent {
            Extent::Newest(limit) => {
                let newest = self.events.iter().rev().take(limit).take_while(fits);
                let mut messages: Vec<_> = newest.map(message).collect();
                messages.reverse();
                messages
            }
            Extent::After(after, limit) => {
                let seen = after.next().0.saturating_sub(self.first().0);
                let seen = usize::try_from(seen).map_or(kept, |seen| seen.min(kept));
                self.events.range(seen..).take(limit).take_while(fits).map(message).collect()
            }
        };
        Page { epoch: self.epoch.clone(), messages, head: self.head, first: self.first() }
    }

    /// Lets go of what is older than the window; returns the bytes freed.
    fn expire(&mut self, now: Instant, age: Duration) -> usize {
        let mut freed = 0;
        while self.events.front().is_some_and(|kept| now.duration_since(kept.at) > age) {
            freed += self.forget_oldest();
        }
        freed
    }

    fn forget_oldest(&mut self) -> usize {
        let Some(kept) = self.events.pop_front() else { return 0 };
        if let Some(id) = kept.id {
            self.ids.remove(&(kept.message.user.clone(), id));
        }
        if self.events.is_empty() {
            self.events.shrink_to(0);
        }
        self.bytes -= kept.message.weight();
        kept.message.weight()
    }
}
