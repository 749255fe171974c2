//! A shard writes to the connections of one core: one turn takes all that was published since the last, and visits
//! each reader once.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::time::MissedTickBehavior;

use crate::ids::{Position, RoomName, Seq};
use crate::message::{Dialect, Encoders, Message, Wire};
use crate::outbox::{Notice, Outbox, Sent};
use crate::room::{ReaderKey, RoomKey};
use crate::span::{Span, Spans};
use crate::stats::{EventNames, Tally};
use crate::{Map, Set};

mod handle;
mod run;
mod trails;
mod watched;

pub use handle::ShardHandle;
use run::{Chunks, Run};

/// The working half of a shard: [`Shard::run`] is spawned once, on the runtime of the connections it writes to.
pub struct Shard {
    handle: ShardHandle,
    encoders: Encoders,
    rooms: Map<RoomKey, Readers>,
    places: Map<ReaderKey, (RoomKey, usize)>,
    seats: Map<u64, Seat>,
    beats: u64,
    /// Sends since the runtime was last given the chance to do something else.
    sends: usize,
    /// When it began to work, or went on after others had their chance.
    since: Instant,
    names: EventNames,
    tally: Tally,
    spans: Option<Arc<dyn Spans>>,
    /// Of this turn.
    followed: Vec<Span>,
}

/// What a shard is asked to do, in order.
#[derive(Debug)]
pub(crate) enum Command {
    /// A connection begins; it wants a sign of life each so many seconds.
    Enter(Arc<Outbox>, u32),
    /// The connection wants to be reminded after so many seconds at the latest.
    Remind(u64, u64),
    /// It ends.
    Leave(u64),
    /// A reader of a room, which stands at `place`, begins. It is written to after [`Command::Page`] or
    /// [`Command::Live`] only.
    Attach {
        room: RoomKey,
        reader: ReaderKey,
        outbox: Arc<Outbox>,
        echo: bool,
        dialect: Dialect,
        place: Option<Position>,
    },
    /// The reader begins to read the log by itself.
    Page(ReaderKey),
    /// The reader has everything up to this place by other ways.
    Live { reader: ReaderKey, place: Position },
    /// It ends.
    Detach(ReaderKey),
    /// The connection's readers of a room end, whatever they have not been given yet.
    Expel(RoomKey, u64),
    /// A message for the readers of a room.
    Deliver(RoomKey, Arc<Message>),
    /// An unnumbered message for the readers of several rooms, and for single connections, each once.
    Scatter(Arc<Targets>, Arc<Message>),
    /// Bytes of a wire for one connection.
    Send(Arc<Outbox>, Wire, Bytes),
    /// The room goes on after this place, which does not follow on what was delivered: its readers read the log.
    Jump(RoomKey, Position),
    /// Bytes were queued that someone must flush.
    Flush(Arc<Outbox>),
    /// Note where the readers of these rooms stand, in a trace that begins.
    Look(Box<str>, Arc<Map<RoomKey, RoomName>>),
    /// Tell every connection.
    Shutdown,
    /// Tell that everything before this was done.
    Settle(oneshot::Sender<()>),
}

/// Whom a scattered message goes to.
#[derive(Debug, Default)]
pub(crate) struct Targets {
    pub(crate) rooms: Vec<RoomKey>,
    /// Their names, while somebody investigates.
    pub(crate) names: Vec<RoomName>,
    pub(crate) connections: Vec<Arc<Outbox>>,
    /// How the single connections want it told.
    pub(crate) dialect: Dialect,
    pub(crate) except: Vec<RoomKey>,
    /// Numbers of connections.
    pub(crate) except_connections: Vec<u64>,
}

/// The readers of one room on this shard.
struct Readers {
    list: Vec<Entry>,
    /// The last message that was handed to the live readers; none in a room without a log.
    delivered: Option<Position>,
}

struct Entry {
    key: ReaderKey,
    connection: u64,
    outbox: Arc<Outbox>,
    state: State,
    echo: bool,
    dialect: Dialect,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    /// Has not been answered yet: gets nothing.
    New,
    /// Gets what follows this number.
    Live(Seq),
    /// Reads the log by itself, and gets signals.
    Behind,
}

struct Seat {
    outbox: Arc<Outbox>,
    period: u32,
    /// The beat that it wants to be reminded at.
    due: Option<NonZeroU64>,
}

impl Shard {
    /// Messages joined into one chunk weigh at most about so much, because an outbox that is empty takes a chunk of any
    /// size: what is joined must not let a slow reader hold more than its bound.
    const CHUNK: usize = 256 << 10;

    pub(crate) fn new(
        handle: ShardHandle,
        encoders: Encoders,
        names: EventNames,
        spans: Option<Arc<dyn Spans>>,
    ) -> Self {
        Self {
            handle,
            encoders,
            rooms: Map::default(),
            places: Map::default(),
            seats: Map::default(),
            beats: 0,
            sends: 0,
            since: Instant::now(),
            tally: Tally::new(&names),
            names,
            spans,
            followed: Vec::new(),
        }
    }

    /// How others reach it.
    pub fn handle(&self) -> &ShardHandle {
        &self.handle
    }

    /// Works until the task is dropped.
    pub async fn run(mut self) {
        let handle = self.handle.clone();
        let mut beat = tokio::time::interval(Duration::from_secs(1));
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = handle.woken() => self.turn().await,
                _ = beat.tick() => self.beat(),
            }
        }
    }

    /// One coarse wheel for all connections of the shard, instead of a timer for each.
    fn beat(&mut self) {
        self.beats += 1;
        self.shed();
        for (number, seat) in &mut self.seats {
            if seat.due.is_some_and(|due| due.get() <= self.beats) {
                seat.due = None;
                seat.outbox.notify(Notice::Due);
            }
            if (number + self.beats).is_multiple_of(u64::from(seat.period)) {
                seat.outbox.notify(Notice::Heartbeat);
            }
        }
    }

    /// Ends the connections with the longest queues while they hold too much together: what sessions answer is bounded
    /// for each of them, and not for all.
    fn shed(&self) {
        let (queued, most) = (self.handle.outboxes(), self.handle.outboxes_most());
        if queued <= most.saturating_add(most / 4) {
            return;
        }
        let held = self.seats.values().filter_map(|seat| Some((seat.outbox.held()?, &seat.outbox)));
        let mut held: Vec<_> = held.filter(|(bytes, _)| *bytes > 0).collect();
        held.sort_unstable_by_key(|(bytes, _)| std::cmp::Reverse(*bytes));
        // Those that end already are not among them.
        let mut left: usize = held.iter().map(|(bytes, _)| bytes).sum();
        let mut ended = 0;
        for (bytes, outbox) in held {
            if left <= most / 2 {
                break;
            }
            outbox.notify(Notice::Overflow);
            left -= bytes;
            ended += 1;
        }
        if ended > 0 {
            tracing::warn!(queued, most, ended, "connections that do not read hold too much memory: the worst end");
        }
    }

    async fn turn(&mut self) {
        let begun = Instant::now();
        self.since = begun;
        let commands = self.handle.take();
        let nowhere = RoomKey::default();
        let mut touched = commands.iter().filter_map(|command| match command {
            Command::Deliver(room, _) => Some(room),
            Command::Scatter(..) | Command::Send(..) => Some(&nowhere),
            _ => None,
        });
        // With one room in the turn a reader is written to at most once by writing at once. With several, chunks are
        // queued first, so that a reader of many rooms still costs one write.
        let direct = touched.next().is_none_or(|first| *first != nowhere && touched.all(|room| room == first));
        let mut dirty = Vec::new();
        let mut run: Vec<Arc<Message>> = Vec::new();
        let mut of = RoomKey::default();
        let mut weight = 0;
        for command in commands {
            match command {
                Command::Deliver(room, message) => {
                    // What is dropped where a reader is slow drops nothing else.
                    let apart = run.last().is_some_and(|last| last.is_volatile() || message.is_volatile());
                    if room != of || apart || weight + message.weight() > Self::CHUNK {
                        self.deliver(of, &mut run, direct, &mut dirty).await;
                        of = room;
                        weight = 0;
                    }
                    weight += message.weight();
                    run.push(message);
                }
                Command::Flush(outbox) => dirty.push(outbox),
                Command::Scatter(targets, message) => {
                    self.deliver(of, &mut run, direct, &mut dirty).await;
                    self.scatter(&targets, message, &mut dirty).await;
                }
                Command::Send(outbox, wire, bytes) => {
                    self.deliver(of, &mut run, direct, &mut dirty).await;
                    match outbox.queue(wire, &bytes, false) {
                        (Sent::Refused, _) => self.tally.overflows += u64::from(outbox.overflow()),
                        (_, true) => dirty.push(outbox),
                        (_, false) => {}
                    }
                }
                other => {
                    self.deliver(of, &mut run, direct, &mut dirty).await;
                    self.obey(other);
                }
            }
        }
        self.deliver(of, &mut run, direct, &mut dirty).await;
        // Everything is in its outbox now, in order.
        self.handle.rest();
        for outbox in dirty {
            let wrote = outbox.write_out();
            self.tally.wrote.calls += wrote.calls;
            self.tally.wrote.bytes += wrote.bytes;
            outbox.remind();
            self.breathe().await;
        }
        self.end_spans();
        self.tally.busy += self.since.elapsed();
        self.tally.settle(begun.elapsed(), self.places.len(), self.handle.counters());
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Enter(outbox, period) => {
                self.seats.insert(outbox.number(), Seat { outbox, period: period.max(1), due: None });
            }
            Command::Remind(number, seconds) => {
                if let Some(seat) = self.seats.get_mut(&number) {
                    let due = NonZeroU64::new(self.beats.saturating_add(seconds));
                    seat.due = seat.due.min(due).or(due);
                }
            }
            Command::Leave(number) => {
                self.seats.remove(&number);
            }
            Command::Attach { room, reader, outbox, echo, dialect, place } => {
                let connection = outbox.number();
                let entry = Entry { key: reader, connection, outbox, state: State::New, echo, dialect };
                self.attach(room, entry, place);
            }
            Command::Page(reader) => {
                if let Some(entry) = self.entry(reader).filter(|entry| entry.state == State::New) {
                    entry.state = State::Behind;
                    self.tally.behind += 1;
                }
            }
            Command::Live { reader, place } => self.live(reader, place),
            Command::Detach(reader) => self.detach(reader),
            Command::Expel(room, connection) => {
                let readers = self.rooms.get(&room).into_iter().flat_map(|readers| &readers.list);
                let theirs = readers.filter(|entry| entry.connection == connection);
                let theirs: Vec<_> = theirs.map(|entry| (entry.key, Arc::clone(&entry.outbox))).collect();
                for (reader, outbox) in theirs {
                    self.detach(reader);
                    outbox.notify(Notice::Expelled(reader));
                }
            }
            Command::Jump(room, place) => {
                if let Some(readers) = self.rooms.get_mut(&room) {
                    let fallen = readers.fall_behind();
                    readers.delivered = Some(place);
                    self.tally.fell(fallen);
                }
            }
            Command::Look(trace, rooms) => self.look(&trace, &rooms),
            Command::Shutdown => self.seats.values().for_each(|seat| seat.outbox.notify(Notice::Shutdown)),
            // Whoever asked may have gone.
            Command::Settle(tell) => drop(tell.send(())),
            Command::Deliver(..) | Command::Scatter(..) | Command::Send(..) | Command::Flush(_) => {}
        }
    }

    fn attach(&mut self, room: RoomKey, entry: Entry, place: Option<Position>) {
        let readers = self.rooms.entry(room).or_insert_with(|| Readers { list: Vec::new(), delivered: place });
        self.places.insert(entry.key, (room, readers.list.len()));
        readers.list.push(entry);
    }

    fn entry(&mut self, key: ReaderKey) -> Option<&mut Entry> {
        let (room, at) = self.places.get(&key)?;
        self.rooms.get_mut(room)?.list.get_mut(*at)
    }

    /// A reader that has read the log up to `place` goes live there, or is told where to read on.
    fn live(&mut self, key: ReaderKey, place: Position) {
        let Some(&(room, at)) = self.places.get(&key) else { return };
        let Some(readers) = self.rooms.get_mut(&room) else { return };
        let Some(entry) = readers.list.get_mut(at) else { return };
        match &readers.delivered {
            Some(delivered) if delivered.epoch != place.epoch || delivered.seq > place.seq => {
                entry.outbox.notify(Notice::Behind(key, place));
            }
            _ => {
                self.tally.behind -= usize::from(entry.state == State::Behind);
                entry.state = State::Live(place.seq);
            }
        }
    }

    fn detach(&mut self, key: ReaderKey) {
        let Some((room, at)) = self.places.remove(&key) else { return };
        let Some(readers) = self.rooms.get_mut(&room) else { return };
        let gone = readers.list.swap_remove(at);
        self.tally.behind -= usize::from(gone.state == State::Behind);
        if let Some(moved) = readers.list.get(at) {
            self.places.insert(moved.key, (room, at));
        }
        if readers.list.is_empty() {
            self.rooms.remove(&room);
        }
    }

    /// Hands consecutive messages of one room to its readers.
    async fn deliver(
        &mut self,
        room: RoomKey,
        run: &mut Vec<Arc<Message>>,
        direct: bool,
        dirty: &mut Vec<Arc<Outbox>>,
    ) {
        let (Some(first), Some(last)) = (run.first(), run.last()) else { return };
        let Some(mut readers) = self.rooms.remove(&room) else { return run.clear() };
        let untold = self.before(run);
        let numbered = first.seq != Seq::ZERO;
        let before = numbered.then(|| Position { epoch: first.epoch.clone(), seq: Seq(first.seq.0 - 1) });
        if readers.delivered.as_ref().is_some_and(|delivered| numbered && Some(delivered) != before.as_ref()) {
            let fallen = readers.fall_behind();
            self.tally.fell(fallen);
        }
        let encoders = self.encoders.clone();
        let mut chunks = Chunks::default();
        if self.handle.tracer().watches(&first.room) {
            let run_of = Run::new(&encoders, run, before, true);
            self.write_watched(&run_of, &mut readers.list, &mut chunks, dirty).await;
        } else {
            let run_of = Run::new(&encoders, run, before, direct);
            for entry in &mut readers.list {
                if run_of.write_to(entry, &mut chunks, &mut self.tally, dirty).is_some() {
                    self.breathe().await;
                }
            }
        }
        if let Some(untold) = untold {
            self.handed(run, readers.list.len(), untold);
        }
        self.tally.ran(&self.names, run);
        if numbered {
            readers.delivered = Some(last.position());
        }
        self.rooms.insert(room, readers);
        run.clear();
    }

    /// Hands a message to the readers of several rooms, each connection once, and to single connections.
    async fn scatter(&mut self, targets: &Targets, message: Arc<Message>, dirty: &mut Vec<Arc<Outbox>>) {
        let mut had: Set<u64> = targets.except_connections.iter().copied().collect();
        for room in targets.except.iter().filter_map(|room| self.rooms.get(room)) {
            had.extend(room.list.iter().map(|entry| entry.connection));
        }
        let encoders = self.encoders.clone();
        let messages = [message];
        let tracer = Arc::clone(self.handle.tracer());
        let run = Run::new(&encoders, &messages, None, !targets.names.is_empty());
        let mut chunks = Chunks::default();
        let overlap = targets.rooms.len() > 1 || !targets.connections.is_empty();
        for (at, room) in targets.rooms.iter().enumerate() {
            let Some(mut readers) = self.rooms.remove(room) else { continue };
            for entry in &mut readers.list {
                let fresh = if overlap { had.insert(entry.connection) } else { !had.contains(&entry.connection) };
                let state = entry.state;
                let gave = if fresh { run.write_to(entry, &mut chunks, &mut self.tally, dirty) } else { None };
                match targets.names.get(at) {
                    Some(name) if fresh => run.note(&tracer, entry, state, gave, Some(name)),
                    Some(name) => run.note_excepted(&tracer, &entry.outbox, name),
                    None => {}
                }
                if gave.is_some() {
                    self.breathe().await;
                }
            }
            self.rooms.insert(*room, readers);
        }
        for outbox in &targets.connections {
            if outbox.shard().number() == self.handle.number() && had.insert(outbox.number()) {
                run.hand(outbox, targets.dialect, &mut chunks, &mut self.tally, dirty);
            }
        }
        self.tally.ran(&self.names, &messages);
    }

    /// Lets reads and other tasks have their turn in between: a fan-out to 10,000 takes tens of milliseconds.
    async fn breathe(&mut self) {
        self.sends += 1;
        if self.sends >= 256 {
            self.sends = 0;
            self.tally.busy += self.since.elapsed();
            tokio::task::yield_now().await;
            self.since = Instant::now();
        }
    }
}

impl Readers {
    /// What comes next does not follow on what was delivered: whoever is live must read the log from there. Returns how
    /// many are.
    fn fall_behind(&mut self) -> usize {
        let Some(delivered) = &self.delivered else { return 0 };
        let mut fallen = 0;
        for entry in &mut self.list {
            if let State::Live(seen) = entry.state {
                entry.state = State::Behind;
                fallen += 1;
                let place = Position { epoch: delivered.epoch.clone(), seq: delivered.seq.max(seen) };
                entry.outbox.notify(Notice::Behind(entry.key, place));
            }
        }
        fallen
    }
}
