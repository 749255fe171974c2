//! Why did this user not get it? While somebody investigates a room or a user, each step of each message that concerns
//! them is noted. While nobody does, all of this is one flag that is read.

mod record;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

pub(crate) use self::record::why;
pub use self::record::{Outcome, Record, Step};
use crate::hub::{Audience, Hub};
use crate::ids::{ClientId, Name, RoomName, Seq};
use crate::log::{Appended, LogError};
use crate::message::{Draft, Message};
use crate::outbox::{Ended, Outbox};
use crate::shard::Command;
use crate::{Map, Set};

/// What is investigated: what happens in a room, what concerns a user, or a user in a room.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Traced {
    /// All of its readers.
    pub room: Option<RoomName>,
    /// All of the user's connections.
    pub user: Option<Name>,
}

/// What has been noted in a trace on this node, from somewhere on.
#[derive(Debug, Default)]
pub struct Noted {
    /// In the order in which it happened.
    pub records: Vec<Record>,
    /// Records that had to make room for later ones.
    pub dropped: u64,
    /// There is more behind these.
    pub more: bool,
}

/// The traces of a node.
///
/// Everyone who hands a message on asks [`Tracer::is_on`] first, and makes a [`Record`] only then. The lock is the last
/// that anybody takes, but for the registry's.
#[derive(Debug, Default)]
pub struct Tracer {
    on: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    traces: Vec<Trace>,
    /// Whose the connections are; filled when the first trace begins.
    people: Map<u64, Vec<Name>>,
}

#[derive(Debug)]
struct Trace {
    id: Box<str>,
    subject: Traced,
    until: Instant,
    /// The rooms that the user has read.
    rooms: Set<RoomName>,
    /// The user's connections, or those that have read the room.
    connections: Set<u64>,
    /// How many of the user's connections there are now.
    present: usize,
    records: VecDeque<Record>,
    /// How many there were.
    count: u64,
}

impl Tracer {
    /// Traces at once.
    pub const TRACES: usize = 16;
    /// Records of a trace on each node. They take about 3 MB; with all names as long as names may be, 10 MB.
    pub const RECORDS: usize = 10_000;
    /// Rooms and connections that a trace follows.
    const FOLLOWED: usize = 100_000;

    /// Whether anything is to be noted.
    pub fn is_on(&self) -> bool {
        self.on.load(Ordering::Relaxed)
    }

    /// Notes a step in each trace that it concerns.
    pub fn note(&self, record: Record) {
        self.lock().note(record, |_| true);
    }

    /// Reads at most so many records behind a number, of about so many bytes; none when there is no such trace here.
    pub fn read(&self, id: &str, after: u64, limit: usize) -> Option<Noted> {
        let state = self.lock();
        let trace = state.traces.iter().find(|trace| *trace.id == *id)?;
        let dropped = trace.count - trace.records.len() as u64;
        let skip = usize::try_from(after.saturating_sub(dropped)).unwrap_or(usize::MAX);
        let records: Vec<_> = trace.records.iter().skip(skip).take(limit).cloned().collect();
        let more = trace.records.len().saturating_sub(skip) > records.len();
        Some(Noted { records, dropped, more })
    }

    /// Ends a trace and forgets what was noted; false when there is none.
    pub fn end(&self, id: &str) -> bool {
        let mut state = self.lock();
        let before = state.traces.len();
        state.traces.retain(|trace| *trace.id != *id);
        self.settle(&mut state, before)
    }

    /// Ends what has come to its end.
    pub(crate) fn sweep(&self) {
        if self.is_on() {
            let now = Instant::now();
            let mut state = self.lock();
            let before = state.traces.len();
            state.traces.retain(|trace| trace.until > now);
            self.settle(&mut state, before);
        }
    }

    fn settle(&self, state: &mut State, before: usize) -> bool {
        if state.traces.is_empty() {
            self.on.store(false, Ordering::Relaxed);
            state.people = Map::default();
        }
        state.traces.len() < before
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection turns out to be a user's.
    pub(crate) fn identified(&self, outbox: &Outbox, user: &Name) {
        if !self.is_on() {
            return;
        }
        let mut state = self.lock();
        if state.learn(outbox.number(), user) {
            state.note(Record::new(Step::Session, Outcome::Identified).of(outbox).user(Some(user)), |_| true);
            state.count(user);
        }
    }

    /// A connection is over.
    pub(crate) fn gone(&self, outbox: &Outbox, ended: Option<Ended>) {
        if !self.is_on() {
            return;
        }
        let mut state = self.lock();
        let record = Record::new(Step::Session, Outcome::Ended).of(outbox);
        state.note(if ended == Some(Ended::Broken) { record.because("broken") } else { record }, |_| true);
        for user in state.people.remove(&outbox.number()).unwrap_or_default() {
            for trace in state.traces.iter_mut().filter(|trace| trace.subject.user.as_ref() == Some(&user)) {
                trace.present = trace.present.saturating_sub(1);
            }
            state.count(&user);
        }
    }

    /// A draft is about to be published; what follows says what became of it. None while nobody wants to know.
    pub(crate) fn publishing(self: &Arc<Self>, draft: &Draft) -> Option<Box<Publishing>> {
        self.is_on().then(|| {
            let record = Record::draft(Step::Publish, Outcome::Accepted, draft);
            self.note(record.clone());
            // Boxed: every publish carries this, and almost none of them has one.
            Box::new(Publishing { tracer: Arc::clone(self), record })
        })
    }

    /// A message was sent to an audience.
    pub(crate) fn scattered(&self, audience: &Audience, message: &Message) {
        let reached = Record::message(Step::Scatter, Outcome::Reached, message);
        let rooms = audience.rooms.iter().map(|room| reached.clone().room(room).count(audience.rooms.len()));
        let alone = audience.rooms.is_empty().then(|| reached.clone().count(audience.connections.len()));
        for record in rooms.chain(alone) {
            self.note(record);
        }
        for outbox in &audience.connections {
            let record = Record::message(Step::Direct, Outcome::Reached, message);
            self.note(Record { user: None, ..record.of(outbox) });
        }
    }

    /// What a reader is found at when a trace begins.
    pub(crate) fn found(&self, id: &str, record: Record) {
        self.lock().note(record, |trace| *trace.id == *id);
    }

    /// Whether readers of a room are followed: where none is, a run is written as if nobody investigated.
    pub(crate) fn watches(&self, room: &RoomName) -> bool {
        self.is_on() && self.lock().traces.iter().any(|trace| trace.follows(room))
    }
}

impl State {
    fn note(&mut self, mut record: Record, only: impl Fn(&Trace) -> bool) {
        if record.user.is_none() && !record.step.is_of_message() {
            let theirs = record.connection.and_then(|connection| self.people.get(&connection));
            record.user = theirs.and_then(|users| users.first()).cloned();
        }
        for trace in self.traces.iter_mut().filter(|trace| only(trace)) {
            if trace.wants(&record) {
                trace.follow(&record);
                let absent = trace.misses(&record);
                trace.keep(record.clone());
                if let Some(absent) = absent {
                    trace.keep(absent);
                }
            }
        }
    }

    /// A trace begins, and these are connected.
    fn meet(&mut self, id: &str, user: Option<&Name>, present: &[(Name, Arc<Outbox>)]) {
        for (user, outbox) in present {
            self.learn(outbox.number(), user);
        }
        let Some(user) = user else { return };
        let theirs = present.iter().filter(|(whose, _)| whose == user).map(|(_, outbox)| outbox);
        if let Some(trace) = self.traces.iter_mut().find(|trace| *trace.id == *id) {
            // Earlier traces may have known them, and whoever came in between was counted already.
            trace.connections = theirs.clone().map(|outbox| outbox.number()).take(Tracer::FOLLOWED).collect();
            trace.present = trace.connections.len();
            trace.count_connections();
        }
        for outbox in theirs {
            self.note(Record::new(Step::Session, Outcome::There).of(outbox), |trace| *trace.id == *id);
        }
    }

    /// Says how many connections a user has, in the traces of that user.
    fn count(&mut self, user: &Name) {
        for trace in self.traces.iter_mut().filter(|trace| trace.subject.user.as_ref() == Some(user)) {
            trace.count_connections();
        }
    }

    /// Whose a connection is; false when that was known.
    fn learn(&mut self, connection: u64, user: &Name) -> bool {
        let theirs = self.people.entry(connection).or_default();
        if theirs.contains(user) {
            return false;
        }
        theirs.push(user.clone());
        for trace in self.traces.iter_mut().filter(|trace| trace.subject.user.as_ref() == Some(user)) {
            trace.present += 1;
            follow(&mut trace.connections, connection);
        }
        true
    }
}

impl Step {
    /// Whether its record is about a message as such, and whoever is named in it is the publisher.
    fn is_of_message(self) -> bool {
        matches!(self, Self::Publish | Self::Number | Self::Bus | Self::Order | Self::Scatter)
    }
}

impl Trace {
    fn wants(&self, record: &Record) -> bool {
        let Traced { room, user } = &self.subject;
        let in_room = room.is_none() || *room == record.room;
        let follows = record.connection.is_some_and(|connection| self.connections.contains(&connection));
        let of_user = user.as_ref().is_none_or(|user| record.user.as_ref() == Some(user) || follows);
        match record.step {
            step if step.is_of_message() => match (room, &record.room) {
                (Some(_), _) => in_room,
                (None, Some(read)) => of_user || self.rooms.contains(read),
                (None, None) => of_user,
            },
            Step::Deliver | Step::Page | Step::Reader => in_room && of_user,
            _ => of_user && (user.is_some() || follows),
        }
    }

    fn follows(&self, room: &RoomName) -> bool {
        self.subject.room.as_ref().map_or_else(|| self.rooms.contains(room), |own| own == room)
    }

    /// Whoever reads what is traced is followed from then on.
    fn follow(&mut self, record: &Record) {
        if record.step == Step::Reader
            && let (Some(room), Some(connection)) = (&record.room, record.connection)
        {
            follow(&mut self.rooms, room.clone());
            follow(&mut self.connections, connection);
        }
    }

    /// A message reaches this node, and the user is not there.
    fn misses(&self, record: &Record) -> Option<Record> {
        let arrives = record.step == Step::Order && matches!(record.outcome, Outcome::Next | Outcome::Nobody);
        let absent = self.subject.user.is_some() && self.present == 0;
        (arrives && absent).then(|| Record {
            step: Step::User,
            outcome: Outcome::Absent,
            count: Some(0),
            user: self.subject.user.clone(),
            client: None,
            connection: None,
            ..record.clone()
        })
    }

    fn count_connections(&mut self) {
        let outcome = if self.present == 0 { Outcome::Absent } else { Outcome::Connected };
        let record = Record::new(Step::User, outcome).count(self.present);
        self.keep(record.user(self.subject.user.as_ref()));
    }

    fn keep(&mut self, record: Record) {
        if self.records.len() >= Tracer::RECORDS {
            self.records.pop_front();
        }
        self.count += 1;
        self.records.push_back(Record { number: self.count, ..record });
    }
}

fn follow<T: Eq + std::hash::Hash>(followed: &mut Set<T>, one: T) {
    if followed.len() < Tracer::FOLLOWED {
        followed.insert(one);
    }
}

/// A draft that was given to a log.
pub(crate) struct Publishing {
    tracer: Arc<Tracer>,
    record: Record,
}

impl Publishing {
    /// What became of it; before it is handed to anybody.
    pub(crate) fn done(self, appended: Result<&Appended, &LogError>) {
        let Self { tracer, record } = self;
        tracer.note(match appended {
            Ok(Appended { message, duplicate: true }) => {
                Record { step: Step::Publish, outcome: Outcome::Duplicate, ..again(record) }.place(&message.position())
            }
            Ok(Appended { message, .. }) => {
                Record { step: Step::Number, outcome: Outcome::Numbered, ..again(record) }.place(&message.position())
            }
            Err(error) => Record { outcome: Outcome::Refused, ..again(record) }.because(why(error)),
        });
    }
}

/// The same at a later time.
fn again(record: Record) -> Record {
    Record { time: Record::new(record.step, record.outcome).time, ..record }
}

impl Hub {
    /// The traces of this node.
    pub fn tracer(&self) -> &Arc<Tracer> {
        &self.0.reach.tracer
    }

    /// Begins a trace on this node: it ends by itself after a while. False when there are too many; one that is there
    /// already goes on.
    ///
    /// What the user's connections, or the room's readers, are found at is the beginning of what is noted.
    pub fn trace(&self, id: &str, subject: &Traced, lasts: Duration) -> bool {
        let tracer = self.tracer();
        tracer.sweep();
        {
            let mut state = tracer.lock();
            if state.traces.iter().any(|trace| *trace.id == *id) {
                return true;
            }
            let until = Instant::now().checked_add(lasts);
            let Some(until) = until.filter(|_| state.traces.len() < Tracer::TRACES) else { return false };
            state.traces.push(Trace {
                id: id.into(),
                subject: subject.clone(),
                until,
                rooms: Set::default(),
                connections: Set::default(),
                present: 0,
                records: VecDeque::new(),
                count: 0,
            });
            // Who comes from now on is noted; who is there is looked up behind this, and may be noted twice.
            tracer.on.store(true, Ordering::Relaxed);
        }
        {
            let mut state = tracer.lock();
            // Under the lock: who goes in the meantime is heard to go behind this.
            state.meet(id, subject.user.as_ref(), &self.0.reach.registry.identified());
        }
        let rooms = match &subject.room {
            Some(room) => self.0.find(room).into_iter().collect(),
            None => self.0.present(),
        };
        let rooms: Arc<Map<_, _>> = Arc::new(rooms.into_iter().map(|room| (room.key, room.name.clone())).collect());
        for shard in &self.0.reach.shards {
            shard.send(Command::Look(id.into(), Arc::clone(&rooms)));
        }
        true
    }
}

/// A run of messages at one reader, as far as it was not passed over.
pub(crate) fn several(record: Record, messages: &[&Message]) -> Record {
    let (Some(first), Some(last)) = (messages.first(), messages.last()) else { return record };
    Record {
        event: (messages.len() == 1).then(|| first.event.clone()),
        to: (messages.len() > 1 && last.seq != Seq::ZERO).then_some(last.seq),
        count: (messages.len() > 1).then_some(messages.len() as u64),
        ..record.room(&first.room).place(&first.position())
    }
}

/// A client that a direct message did not find.
pub(crate) fn not_here(message: &Message, client: Option<&ClientId>, user: Option<&Name>) -> Record {
    let record = Record::message(Step::Direct, Outcome::Absent, message);
    Record { client: client.cloned(), user: user.cloned(), connection: None, ..record }
}
