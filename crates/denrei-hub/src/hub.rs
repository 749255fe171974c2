//! The hub: rooms, those who publish to them, and those who read them.

mod statistics;

use std::collections::hash_map::Entry;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::sync::{Notify, Semaphore, oneshot};

use crate::bus::{Bus, Subject};
use crate::class::{Class, Classes, Keep};
use crate::cluster::{Cluster, Node, NodeMessage};
use crate::ids::{ClientId, Epoch, Name, Position, RoomName, Seq};
use crate::lease::{Leases, LocalLeases};
use crate::log::{Appended, Extent, Log, LogError, Page};
use crate::memory::{MemoryLimits, MemoryLog};
use crate::message::{Dialect, Draft, Encoders, Message, Wire};
use crate::outbox::{Outbox, OutboxLimits};
use crate::reader::{Interest, Reader, Watch};
use crate::registry::Registry;
use crate::room::{Accepted, Expels, Reach, ReaderKey, Room, RoomKey};
use crate::seat::Seat;
use crate::shard::{Command, Shard, ShardHandle, Targets};
use crate::span::Spans;
use crate::stats::{Counters, EventNames, PublishOutcome};
use crate::tail::Tails;
use crate::trace::{self, Outcome, Record, Step, Tracer};
use crate::{Map, lock};

/// The rooms of one node. Cheap to clone.
#[derive(Clone)]
pub struct Hub(pub(crate) Arc<Inner>);

/// How a hub is set up.
#[derive(Clone, Debug)]
pub struct HubConfig {
    /// Room classes.
    pub classes: Classes,
    /// Bounds of memory rooms.
    pub memory: MemoryLimits,
    /// Bounds of each connection's queue.
    pub outbox: OutboxLimits,
    /// Bytes of messages that the node keeps at hand for readers who are a little late, of all rooms with readers
    /// together; default 256 MiB.
    pub tails: usize,
    /// How many shards write to connections: one per core.
    pub shards: usize,
    /// This node, as others know it.
    pub node: Node,
    /// A node that was not heard for so long counts as gone; default 60 s.
    pub lease: Duration,
    /// Whose reading of its room ends behind a message, on whichever node and however late that hears it; none means
    /// nobody's.
    pub expels: Option<Expels>,
    /// Events that are counted by their names.
    pub events: EventNames,
}

impl Default for HubConfig {
    fn default() -> Self {
        Self {
            classes: Classes::default(),
            memory: MemoryLimits::default(),
            outbox: OutboxLimits::default(),
            tails: 256 << 20,
            shards: 1,
            node: Node::default(),
            lease: Duration::from_secs(60),
            expels: None,
            events: EventNames::default(),
        }
    }
}

/// What a hub is built on. Whatever is left out is not there, but for the memory of this process.
#[derive(Clone, Default)]
pub struct Backends {
    /// Keeps memory rooms; none means this process's memory. Nodes of a cluster share one.
    pub memory: Option<Arc<dyn Log>>,
    /// Keeps stored rooms; without one they are refused.
    pub store: Option<Arc<dyn Log>>,
    /// Joins the hub with those of other nodes.
    pub bus: Option<Arc<dyn Bus>>,
    /// Says which node does what one of them does at a time; none means within this process.
    pub leases: Option<Arc<dyn Leases>>,
    /// Is told of the spans of what is followed; none follows nothing.
    pub spans: Option<Arc<dyn Spans>>,
}

/// Whom an unnumbered message goes to: the readers of these rooms and these connections, each once, but not those of the
/// rooms and connections that are excepted. Rooms must be of a class that keeps no log.
#[derive(Clone, Default)]
pub struct Audience {
    /// Rooms.
    pub rooms: Vec<RoomName>,
    /// Single connections.
    pub connections: Vec<Arc<Outbox>>,
    /// How the single connections want it told.
    pub dialect: Dialect,
    /// Rooms whose readers do not get it.
    pub except: Vec<RoomName>,
    /// Numbers of connections that do not get it.
    pub except_connections: Vec<u64>,
}

/// What became of a published draft.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// Its place in the room; number 0 in rooms that keep no log.
    pub position: Position,
    /// It had been published before, under the same id.
    pub duplicate: bool,
}

pub(crate) struct Inner {
    pub(crate) classes: Arc<Classes>,
    pub(crate) memory: Arc<dyn Log>,
    pub(crate) store: Option<Arc<dyn Log>>,
    pub(crate) node: Node,
    pub(crate) cluster: Option<Arc<Cluster>>,
    pub(crate) leases: Arc<dyn Leases>,
    pub(crate) reach: Reach,
    pub(crate) tails: Arc<Tails>,
    pub(crate) rooms: [Mutex<Map<RoomName, Arc<Room>>>; 64],
    pub(crate) hasher: foldhash::fast::RandomState,
    pub(crate) room_count: AtomicUsize,
    pub(crate) numbers: AtomicU64,
    pub(crate) encoders: Encoders,
    pub(crate) unnumbered: Position,
    /// Rooms that miss messages, on their way to [`Hub::run`]. Each is in it once, see `catching_up`.
    pub(crate) missing: Mutex<Vec<Arc<Room>>>,
    pub(crate) missed: Notify,
    /// Bounds how many of them are read at the same time.
    pub(crate) readings: Semaphore,
    /// Rooms that the bus would not subscribe to, until it does.
    pub(crate) deaf: Mutex<Vec<Interest>>,
    pub(crate) names: EventNames,
    pub(crate) counters: Counters,
}

/// Rooms that are read from the log at the same time, because they miss something.
const READINGS: usize = 64;

impl Hub {
    /// A hub and its shards. Spawn [`Shard::run`] of each on the runtime that serves its connections, and
    /// [`Hub::run`] once.
    pub fn new(config: HubConfig, encoders: Encoders, backends: Backends) -> (Self, Vec<Shard>) {
        let classes = Arc::new(config.classes);
        let tracer = Arc::new(Tracer::default());
        let shard = |number| ShardHandle::new(number, &config.events, Arc::clone(&tracer));
        let shards: Vec<_> = (0..config.shards.max(1)).map(shard).collect();
        shards.iter().for_each(|shard| shard.limit(config.outbox, shards.len()));
        let worker = |shard: &ShardHandle| {
            Shard::new(shard.clone(), encoders.clone(), config.events.clone(), backends.spans.clone())
        };
        let workers = shards.iter().map(worker).collect();
        let memory = backends.memory.unwrap_or_else(|| Arc::new(MemoryLog::new(Arc::clone(&classes), config.memory)));
        let counters = Counters::new(&config.events, classes.numbered().len());
        let inner = Inner {
            memory,
            classes,
            store: backends.store,
            cluster: backends.bus.map(|bus| Arc::new(Cluster::new(config.node.clone(), config.lease, bus))),
            node: config.node,
            leases: backends.leases.unwrap_or_else(|| Arc::new(LocalLeases::default())),
            reach: Reach {
                shards,
                registry: Registry::default(),
                tracer,
                spans: backends.spans,
                expels: config.expels,
            },
            tails: Arc::new(Tails::new(config.tails)),
            rooms: std::array::from_fn(|_| Mutex::default()),
            hasher: foldhash::fast::RandomState::default(),
            room_count: AtomicUsize::new(0),
            numbers: AtomicU64::new(0),
            encoders,
            unnumbered: Position { epoch: Epoch::none(), seq: Seq::ZERO },
            missing: Mutex::default(),
            missed: Notify::new(),
            readings: Semaphore::new(READINGS),
            deaf: Mutex::default(),
            counters,
            names: config.events,
        };
        (Self(Arc::new(inner)), workers)
    }

    /// The class of a room.
    pub fn class(&self, room: &RoomName) -> Class {
        self.0.classes.of(room)
    }

    /// Publishes a draft; never blocks. `done` is told where it went, possibly before this returns and under a lock:
    /// it must be short and must not call the hub. Drafts that one caller publishes one after another keep their
    /// order in each room.
    pub fn publish(&self, mut draft: Draft, done: impl FnOnce(Result<Published, LogError>) + Send + 'static) {
        let publishing = self.tracer().publishing(&draft);
        let span = self.open_span(&draft.room, draft.event.as_str(), &mut draft.trail);
        let begun = Instant::now();
        let class = self.0.classes.find(&draft.room);
        let log = self.log_of(&class.0.keep);
        let inner = Arc::clone(&self.0);
        let done = move |inner: &Inner, published: Result<Published, LogError>| {
            inner.counters.published(class, PublishOutcome::of(&published), begun.elapsed());
            if let Some(span) = span {
                let place = |published: &Published| (published.position.seq, published.duplicate);
                span.close(published.as_ref().map(place).map_err(trace::why));
            }
            done(published);
        };
        let log = match log {
            Ok(Some(log)) => log,
            Ok(None) => {
                let message = Arc::new(draft.assigned(self.0.unnumbered.clone()));
                self.0.accept(&message);
                self.0.announce(&message);
                return done(&inner, Ok(Published { position: self.0.unnumbered.clone(), duplicate: false }));
            }
            Err(error) => {
                if let Some(publishing) = publishing {
                    publishing.done(Err(&error));
                }
                return done(&inner, Err(error));
            }
        };
        log.append(
            draft,
            Box::new(move |appended| {
                if let Some(publishing) = publishing {
                    publishing.done(appended.as_ref());
                }
                let published = appended.map(|Appended { message, duplicate }| {
                    if !duplicate {
                        inner.accept(&message);
                        inner.announce(&message);
                    }
                    Published { position: message.position(), duplicate }
                });
                done(&inner, published);
            }),
        );
    }

    /// Publishes a draft and waits until it is as durable as its room makes it. Not cancel safe: when the future is
    /// dropped, the draft may or may not be published; the same draft with the same id can be published again.
    ///
    /// # Errors
    /// Those of the room's log; nothing was kept then.
    pub async fn publish_and_wait(&self, draft: Draft) -> Result<Published, LogError> {
        let (tell, told) = oneshot::channel();
        self.publish(draft, move |published| {
            // The caller may have gone; the message has not.
            let _ = tell.send(published);
        });
        told.await.unwrap_or_else(|_| Err(LogError::Unavailable("the log has stopped".into())))
    }

    /// Hands on a message that the log of its room has numbered in another way than by [`Hub::publish`]: within a
    /// transaction of a service. As short as that, and to be called in the order of the numbers.
    pub fn appended(&self, message: &Arc<Message>) {
        if self.tracer().is_on() {
            self.tracer().note(Record::message(Step::Number, Outcome::Numbered, message));
        }
        self.0.accept(message);
        self.0.announce(message);
    }

    /// Tells those who read a room now, whatever log it keeps; it is kept nowhere. Who cannot be written to at once does
    /// not get it.
    pub fn signal(&self, draft: Draft) {
        self.appended(&Arc::new(Message::signal(draft)));
    }

    /// Says that the log of a room holds something else than was told of it: what nodes have at hand of it is not used any
    /// more.
    pub fn rewritten(&self, room: &RoomName) {
        self.forget_recent(room);
        if let Some(cluster) = &self.0.cluster {
            cluster.say(&Subject::Room(room.clone()), &NodeMessage::Rewritten(room.clone()));
        }
    }

    pub(crate) fn forget_recent(&self, room: &RoomName) {
        if let Some(room) = self.0.find(room) {
            room.forget_recent();
        }
    }

    /// How many readers a room has.
    pub fn readers(&self, room: &RoomName) -> u32 {
        self.0.find(room).map_or(0, |room| room.lock().members())
    }

    /// Whether a shard has too much to do.
    pub fn is_pressed(&self) -> bool {
        self.0.reach.shards.iter().any(ShardHandle::is_pressed)
    }

    /// Waits while the shards have too much to do. Whoever takes messages in calls this first.
    pub async fn relieved(&self) {
        for shard in &self.0.reach.shards {
            shard.relieved().await;
        }
    }

    /// Reads what is kept of a room; a room without a log has an empty page.
    ///
    /// # Errors
    /// Those of the room's log.
    pub async fn read(&self, room: &RoomName, extent: Extent) -> Result<Page, LogError> {
        let Some(log) = self.log(room)? else {
            let Position { epoch, seq } = self.0.unnumbered.clone();
            return Ok(Page { epoch, messages: Vec::new(), head: seq, first: seq.next() });
        };
        log.read(room, extent).await
    }

    /// Reads at most so many messages behind a place, without asking the log for what this node has just seen. The page's
    /// epoch tells whether the place is of this life of the log.
    ///
    /// # Errors
    /// Those of the room's log.
    pub async fn read_after(&self, room: &RoomName, place: &Position, limit: usize) -> Result<Page, LogError> {
        let recent = self.0.find(room).and_then(|room| room.recent(place, limit));
        match recent {
            Some(page) => Ok(page),
            None => self.read(room, Extent::After(place.seq, limit)).await,
        }
    }

    /// Bounds the queues of connections anew, also of those that there are.
    pub fn limit(&self, outbox: OutboxLimits) {
        let shards = &self.0.reach.shards;
        shards.iter().for_each(|shard| shard.limit(outbox, shards.len()));
    }

    /// Bytes queued for connections, and how many may be.
    pub fn outboxes(&self) -> (usize, usize) {
        let shards = &self.0.reach.shards;
        let sum = |of: fn(&ShardHandle) -> usize| shards.iter().map(of).sum();
        (sum(ShardHandle::outboxes), sum(ShardHandle::outboxes_most))
    }

    /// Makes the sending half of a connection.
    pub fn outbox(&self, client: ClientId, wire: Wire, socket: Option<TcpStream>, shard: &ShardHandle) -> Arc<Outbox> {
        let number = self.0.number();
        Arc::new(Outbox::new(number, client, wire, socket, shard.clone()))
    }

    /// The shard with the fewest connections.
    pub fn shard(&self) -> &ShardHandle {
        let least = self.0.reach.shards.iter().min_by_key(|shard| shard.connections());
        least.expect("a hub has at least one shard")
    }

    /// Makes a connection known: to those who send to it directly, and to its shard, which reminds it of its
    /// heartbeat every `period` seconds.
    pub fn enter(&self, outbox: Arc<Outbox>, user: Option<Name>, period: u32) -> Seat {
        self.0.reach.registry.add(&outbox);
        outbox.shard().enter(&outbox, period);
        Seat::new(self.clone(), outbox, user)
    }

    /// Attaches a connection to a room as a reader, behind the room's head: call [`Reader::live`] or page with
    /// [`Reader::cursor`]. Cancel safe.
    ///
    /// # Errors
    /// When the room's log cannot be asked where the room stands.
    pub async fn attach(
        &self,
        outbox: &Arc<Outbox>,
        room: &RoomName,
        echo: bool,
        dialect: Dialect,
    ) -> Result<Reader, LogError> {
        // What is still on its way to a reader that this connection has left comes before the new one is answered: in
        // the middle of a replay it would look like the end of it.
        outbox.settled().await;
        let interest = self.interest(room).await?;
        Ok(self.reader(interest, outbox, echo, dialect))
    }

    /// Attaches a connection at once to a room that keeps no log, and has it written to.
    ///
    /// # Panics
    /// If the room's class keeps a log.
    pub fn attach_now(&self, outbox: &Arc<Outbox>, room: &RoomName, dialect: Dialect) -> Reader {
        assert_eq!(self.class(room).keep, Keep::None, "a room with a log is attached to with patience");
        let reader = self.reader(self.known(room, None), outbox, false, dialect);
        reader.live();
        reader
    }

    fn reader(&self, interest: Interest, outbox: &Arc<Outbox>, echo: bool, dialect: Dialect) -> Reader {
        let room = Arc::clone(&interest.room);
        let shard = outbox.shard().clone();
        let key = ReaderKey(self.0.number());
        let mut state = room.lock();
        state.readers[shard.number()] += 1;
        let place = state.order.place().cloned();
        let outbox = Arc::clone(outbox);
        shard.send(Command::Attach {
            room: room.key,
            reader: key,
            outbox: Arc::clone(&outbox),
            echo,
            dialect,
            place: place.clone(),
        });
        if self.tracer().is_on() {
            let record = Record::new(Step::Reader, Outcome::Began).room(&room.name).of(&outbox);
            self.tracer().note(place.as_ref().map_or_else(|| record.clone(), |place| record.clone().place(place)));
        }
        let members = state.members();
        drop(state);
        let place = place.unwrap_or_else(|| self.0.unnumbered.clone());
        Reader { interest, key, outbox, place, members, echo }
    }

    /// Sends an unnumbered message to an audience, in one order with everything that this caller publishes.
    ///
    /// The readers of one room, whether or not without the connection that the message is from, are what publishing
    /// reaches too, and cost the same: messages to them go out joined.
    pub fn scatter(&self, audience: Audience, message: &Arc<Message>) {
        if let [room] = &*audience.rooms
            && *room == message.room
            && audience.connections.is_empty()
            && audience.except.is_empty()
            && audience.except_connections.iter().all(|connection| *connection == message.origin)
        {
            return self.0.accept(message);
        }
        if self.tracer().is_on() {
            self.tracer().scattered(&audience, message);
        }
        let key = |name: &RoomName| self.0.find(name).map(|room| room.key);
        let rooms: Vec<_> = audience.rooms.iter().filter_map(|name| self.0.find(name)).collect();
        for room in &rooms {
            room.tell_waiters(message);
        }
        let watched = if self.tracer().is_on() { rooms.as_slice() } else { &[] };
        let targets = Arc::new(Targets {
            names: watched.iter().map(|room| room.name.clone()).collect(),
            rooms: rooms.iter().map(|room| room.key).collect(),
            connections: audience.connections,
            dialect: audience.dialect,
            except: audience.except.iter().filter_map(key).collect(),
            except_connections: audience.except_connections,
        });
        if targets.rooms.is_empty() && targets.connections.is_empty() {
            return;
        }
        for shard in &self.0.reach.shards {
            shard.send(Command::Scatter(Arc::clone(&targets), Arc::clone(message)));
        }
    }

    /// Waits for the next message of a room; see [`Watch`].
    ///
    /// # Errors
    /// As [`Hub::attach`].
    pub async fn watch(&self, room: &RoomName) -> Result<Watch, LogError> {
        let interest = self.interest(room).await?;
        let (number, told) = interest.room.wait();
        Ok(Watch { interest, number, told })
    }

    /// The frame of a message for one wire and dialect.
    pub fn frame(&self, message: &Message, wire: Wire, dialect: Dialect) -> bytes::Bytes {
        message.frame(wire, dialect, &self.0.encoders)
    }

    /// Tells every connection that the server is about to stop.
    pub fn shutdown(&self) {
        for shard in &self.0.reach.shards {
            shard.send(Command::Shutdown);
        }
    }

    /// Connections of this node.
    pub fn connections(&self) -> usize {
        self.0.reach.shards.iter().map(ShardHandle::connections).sum()
    }

    /// Rooms with readers or waiters on this node, but for those of classes `sys` and `emits`, which the server itself reads.
    pub fn rooms(&self) -> usize {
        self.0.room_count.load(Ordering::Relaxed)
    }

    fn log(&self, room: &RoomName) -> Result<Option<Arc<dyn Log>>, LogError> {
        self.log_of(&self.0.classes.of(room).keep)
    }

    fn log_of(&self, keep: &Keep) -> Result<Option<Arc<dyn Log>>, LogError> {
        match keep {
            Keep::None => Ok(None),
            Keep::Memory(_) => Ok(Some(Arc::clone(&self.0.memory))),
            Keep::Store(_) => match &self.0.store {
                Some(store) => Ok(Some(Arc::clone(store))),
                None => Err(LogError::Unavailable("no store is configured".into())),
            },
        }
    }

    /// Finds or makes a room, counts the caller as interested in it, and sees to it that its place is known.
    async fn interest(&self, name: &RoomName) -> Result<Interest, LogError> {
        let interest = self.known(name, self.log(name)?);
        let room = &interest.room;
        room.started.get_or_try_init(|| self.start(room)).await?;
        Ok(interest)
    }

    /// Finds or makes a room, and counts the caller as interested in it.
    fn known(&self, name: &RoomName, log: Option<Arc<dyn Log>>) -> Interest {
        // Before the lock: a log's own locks are never taken under those of the hub, because logs call the hub
        // (`Done`) under theirs.
        let hold = log.as_ref().and_then(|log| log.hold(name));
        let mut rooms = lock(self.0.part(name));
        let room = match rooms.entry(name.clone()) {
            Entry::Occupied(entry) => Arc::clone(entry.get()),
            Entry::Vacant(entry) => {
                self.0.room_count.fetch_add(counted(name), Ordering::Relaxed);
                let key = RoomKey(self.0.number());
                let room = Room::new(name.clone(), key, log, hold, self.0.reach.shards.len(), &self.0.tails);
                Arc::clone(entry.insert(Arc::new(room)))
            }
        };
        Interest::new(&self.0, room)
    }

    /// First the bus, then the head: whatever is appended after the head was read arrives by the bus, or is found
    /// missing later.
    ///
    /// A bus that is down keeps nobody out of a room: what this node publishes reaches its own readers, what others
    /// publish is found in the log, and the subscription is tried again.
    async fn start(&self, room: &Arc<Room>) -> Result<(), LogError> {
        if let Some(cluster) = &self.0.cluster
            && !cluster.hears(&Subject::Room(room.name.clone())).await
        {
            lock(&self.0.deaf).push(Interest::new(&self.0, Arc::clone(room)));
        }
        if let Some(log) = &room.log {
            let heads = log.heads(vec![room.name.clone()]).await?;
            let head = heads.into_iter().next().ok_or_else(|| LogError::Unavailable("no head was read".into()))?;
            if room.start(head, &self.0.reach) == Accepted::Missing {
                self.0.miss(room);
            }
        }
        Ok(())
    }
}

impl Inner {
    fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(crate) fn part(&self, room: &RoomName) -> &Mutex<Map<RoomName, Arc<Room>>> {
        &self.rooms[self.hasher.hash_one(room) as usize % self.rooms.len()]
    }

    pub(crate) fn find(&self, room: &RoomName) -> Option<Arc<Room>> {
        lock(self.part(room)).get(room).cloned()
    }

    pub(crate) fn accept(self: &Arc<Self>, message: &Arc<Message>) {
        if let Some(trail) = &message.trail {
            trail.arrived();
        }
        match self.find(&message.room) {
            Some(room) if room.accept(message, &self.reach) == Accepted::Missing => self.miss(&room),
            Some(_) => {}
            None if self.reach.tracer.is_on() => {
                self.reach.tracer.note(Record::message(Step::Order, Outcome::Nobody, message));
            }
            None => {}
        }
    }

    fn announce(&self, message: &Arc<Message>) {
        if let Some(cluster) = &self.cluster {
            cluster.announce(message);
            if self.reach.tracer.is_on() {
                self.reach.tracer.note(Record::message(Step::Bus, Outcome::Told, message));
            }
        }
    }

    /// Has the room read what it misses.
    pub(crate) fn miss(&self, room: &Arc<Room>) {
        if !std::mem::replace(&mut room.lock().catching_up, true) {
            lock(&self.missing).push(Arc::clone(room));
            self.missed.notify_one();
        }
    }

    pub(crate) fn compare(&self, room: &Arc<Room>, head: &Position) {
        if room.compare(head) {
            self.miss(room);
        }
    }

    pub(crate) fn present(&self) -> Vec<Arc<Room>> {
        self.rooms.iter().flat_map(|part| lock(part).values().cloned().collect::<Vec<_>>()).collect()
    }
}

/// What a room is in the count of rooms.
pub(crate) fn counted(room: &RoomName) -> usize {
    usize::from(!["sys:", "emits:"].iter().any(|class| room.as_str().starts_with(class)))
}
