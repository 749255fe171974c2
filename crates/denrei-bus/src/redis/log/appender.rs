//! Appends, in batches: what comes while a server is busy with one goes out in the next.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use denrei_hub::{Appended, BusError, Done, Draft, LogError, Message, Position, RoomName, Seq};
use redis::{Pipeline, Value};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::super::leases::unreadable;
use super::super::link::{Live, answered};
use super::super::servers::{Server, Topology};
use super::{Rooms, entry, unavailable};

/// Takes drafts and says what became of them.
///
/// Its task ends when the appender is dropped and everything that was taken is answered.
pub(super) struct Appender {
    queue: mpsc::Sender<Waiting>,
    /// Bytes that wait or are under way.
    weight: Arc<AtomicUsize>,
}

struct Waiting {
    draft: Draft,
    done: Done,
    key: String,
    entry: Vec<u8>,
    weight: usize,
    _bytes: Bytes,
}

/// Bytes that wait, for as long as they do.
struct Bytes(usize, Arc<AtomicUsize>);

impl Drop for Bytes {
    fn drop(&mut self) {
        self.1.fetch_sub(self.0, Ordering::Relaxed);
    }
}

impl Appender {
    /// Drafts and bytes that wait before more are refused.
    const QUEUE: usize = 64 * 1024;
    const QUEUE_BYTES: usize = 64 << 20;

    pub(super) fn new(rooms: Arc<Rooms>) -> Self {
        let (queue, waiting) = mpsc::channel(Self::QUEUE);
        tokio::spawn(
            Batches { rooms, waiting, topology: None, queued: HashMap::new(), under_way: JoinSet::new() }.run(),
        );
        Self { queue, weight: Arc::default() }
    }

    pub(super) fn append(&self, draft: Draft, done: Done) {
        let busy = || LogError::Unavailable("too many messages wait for Redis".into());
        let entry = match entry::write(&draft) {
            Ok(entry) => entry,
            Err(error) => {
                tracing::error!(%error, "a message could not be encoded");
                return done(Err(unavailable(unreadable())));
            }
        };
        let bytes = Bytes(entry.len(), Arc::clone(&self.weight));
        if self.weight.fetch_add(entry.len(), Ordering::Relaxed) + entry.len() > Self::QUEUE_BYTES {
            return done(Err(busy()));
        }
        let weight = Message::direct(draft.clone()).weight();
        let waiting = Waiting { key: entry::key(&draft), draft, done, entry, weight, _bytes: bytes };
        if let Err(full) = self.queue.try_send(waiting) {
            (full.into_inner().done)(Err(busy()));
        }
    }
}

/// The appender's task.
struct Batches {
    rooms: Arc<Rooms>,
    waiting: mpsc::Receiver<Waiting>,
    /// The servers that batches go to. It changes when nothing is under way, so that a room that moves is answered in order.
    topology: Option<Arc<Topology>>,
    /// What waits for a server that is busy.
    queued: HashMap<Arc<str>, Vec<Waiting>>,
    /// One batch at a time for each server; gives its name.
    under_way: JoinSet<Arc<str>>,
}

impl Batches {
    /// Messages and bytes that go to one server in one round trip.
    const BATCH: usize = 1024;
    const BATCH_BYTES: usize = 2 << 20;

    async fn run(mut self) {
        let mut fresh = Vec::new();
        let mut busy: Vec<Arc<str>> = Vec::new();
        let mut open = true;
        while open || !self.under_way.is_empty() {
            // What is queued here is what the queue of the appender was emptied of: it is not read further than this.
            let room = Appender::QUEUE.saturating_sub(self.queued.values().map(Vec::len).sum());
            tokio::select! {
                taken = self.waiting.recv_many(&mut fresh, room.min(Self::BATCH)), if open && room > 0 => {
                    open = taken > 0;
                }
                Some(ended) = self.under_way.join_next() => match ended {
                    Ok(name) => busy.retain(|other| *other != name),
                    // Its drafts went down with it.
                    Err(_) => busy.clear(),
                },
            }
            if let Err(error) = self.turn(&mut fresh, busy.is_empty()).await {
                for waiting in fresh.drain(..) {
                    (waiting.done)(Err(unavailable(error.clone())));
                }
            }
            self.send(&mut busy);
        }
    }

    /// Takes the present servers, if nothing is under way, and gives what is fresh to them.
    async fn turn(&mut self, fresh: &mut Vec<Waiting>, idle: bool) -> Result<(), BusError> {
        if idle {
            let present = self.rooms.servers.topology().await?;
            let same = self.topology.as_ref().is_some_and(|topology| Arc::ptr_eq(topology, &present));
            if !same {
                let queued = std::mem::take(&mut self.queued);
                let mut moved: Vec<_> = queued.into_values().flatten().collect();
                moved.append(fresh);
                *fresh = moved;
                self.topology = Some(present);
            }
        }
        for waiting in fresh.drain(..) {
            match self.server(&waiting.draft.room) {
                Some(server) => self.queued.entry(Arc::clone(&server.name)).or_default().push(waiting),
                None => (waiting.done)(Err(unavailable(self.rooms.servers.homeless()))),
            }
        }
        Ok(())
    }

    fn server(&self, room: &RoomName) -> Option<&Arc<Server>> {
        self.topology.as_ref()?.server(Rooms::tag(room).as_bytes())
    }

    /// Sends a batch to each server that is not busy, unless the servers are to change first.
    fn send(&mut self, busy: &mut Vec<Arc<str>>) {
        let Some(topology) = &self.topology else { return };
        let outdated = !self.rooms.servers.is_present(topology);
        if outdated && !busy.is_empty() {
            return;
        }
        for server in &topology.servers {
            if busy.contains(&server.name) {
                continue;
            }
            let Some(queued) = self.queued.get_mut(&server.name).filter(|queued| !queued.is_empty()) else { continue };
            let mut bytes = 0;
            let fits = |waiting: &&Waiting| {
                bytes += waiting.entry.len();
                bytes <= Self::BATCH_BYTES
            };
            let count = queued.iter().take(Self::BATCH).take_while(fits).count().max(1);
            let rest = queued.split_off(count);
            let batch = std::mem::replace(queued, rest);
            busy.push(Arc::clone(&server.name));
            let (rooms, server) = (Arc::clone(&self.rooms), Arc::clone(server));
            self.under_way.spawn(async move {
                append(&rooms, &server, batch).await;
                Arc::clone(&server.name)
            });
        }
    }
}

/// Appends a batch at one server, and tells of it in the order of the numbers.
async fn append(rooms: &Rooms, server: &Server, batch: Vec<Waiting>) {
    let mut places: HashMap<RoomName, usize> = HashMap::new();
    let mut calls: Vec<Vec<Waiting>> = Vec::new();
    for waiting in batch {
        let place = *places.entry(waiting.draft.room.clone()).or_insert_with(|| {
            calls.push(Vec::new());
            calls.len() - 1
        });
        calls[place].push(waiting);
    }
    let answers = match server.commands.live().await {
        Ok(live) => {
            let commands = commands(rooms, &live, &calls);
            rooms.servers.run(&live, &commands).await.inspect(|answers| {
                if answers.iter().any(is_script_gone) {
                    // Somebody had the server forget its scripts; a new connection brings them.
                    live.end();
                }
            })
        }
        Err(error) => Err(error),
    };
    match answers {
        Ok(answers) => {
            for (call, answer) in calls.into_iter().zip(answers) {
                settle(call, answer);
            }
        }
        Err(error) => {
            for waiting in calls.into_iter().flatten() {
                (waiting.done)(Err(unavailable(error.clone())));
            }
        }
    }
}

/// One call of the script for each room.
fn commands(rooms: &Rooms, live: &Live, calls: &[Vec<Waiting>]) -> Pipeline {
    let mut commands = Pipeline::with_capacity(calls.len());
    for call in calls {
        let Some(first) = call.first() else { continue };
        let mut command = rooms.command(&first.draft.room, &live.run, "append");
        for waiting in call {
            command.arg(&waiting.key).arg(waiting.weight).arg(&waiting.entry[..]);
        }
        commands.add_command(command);
    }
    commands
}

fn is_script_gone(answer: &Value) -> bool {
    matches!(answer, Value::ServerError(error) if error.code() == "NOSCRIPT")
}

/// Tells what became of the drafts of one room.
fn settle(call: Vec<Waiting>, answer: Value) {
    let refusal = match refused(answer) {
        Ok(answer) => match read(&answer, call.len()) {
            Some(outcomes) => return tell(call, outcomes),
            None => unavailable(unreadable()),
        },
        Err(refusal) => refusal,
    };
    for waiting in call {
        (waiting.done)(Err(refusal.clone()));
    }
}

fn refused(answer: Value) -> Result<Value, LogError> {
    if let Value::ServerError(error) = &answer
        && error.code() == "OOM"
    {
        return Err(LogError::Full("Redis has no memory for more messages".into()));
    }
    answered(answer).map_err(unavailable)
}

/// A number of its own, or that of the message which it repeats, and that message.
type Outcome<'a> = (Position, Option<&'a [u8]>);

fn read(answer: &Value, count: usize) -> Option<Vec<Outcome<'_>>> {
    let Value::Array(answer) = answer else { return None };
    let (epoch, outcomes) = answer.split_first()?;
    let epoch = entry::epoch(epoch)?;
    let position = |seq: Seq| Position { epoch: epoch.clone(), seq };
    let outcomes = outcomes.iter().map(|value| match value {
        Value::Array(earlier) => match &earlier[..] {
            [number, Value::BulkString(bytes)] => Some((position(entry::seq(number)?), Some(&**bytes))),
            _ => None,
        },
        number => Some((position(entry::seq(number)?), None)),
    });
    let outcomes: Vec<_> = outcomes.collect::<Option<_>>()?;
    (outcomes.len() == count).then_some(outcomes)
}

fn tell(call: Vec<Waiting>, outcomes: Vec<Outcome<'_>>) {
    for (waiting, (position, earlier)) in call.into_iter().zip(outcomes) {
        let Waiting { draft, done, .. } = waiting;
        done(match earlier {
            None => Ok(Appended { message: Arc::new(draft.assigned(position)), duplicate: false }),
            Some(bytes) => match entry::read(&draft.room, position, bytes) {
                Some(message) => Ok(Appended { message, duplicate: true }),
                None => Err(unavailable(unreadable())),
            },
        });
    }
}
