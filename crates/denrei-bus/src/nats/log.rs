//! The log of memory rooms that all nodes share, on one JetStream stream with a subject for each room.
//!
//! A message of the stream holds some consecutive events of a room ([`Header`]). It is written only if the last message
//! of the room's subject is the one that the writer knows of, so that numbers have no holes and no two events the same
//! one, whichever nodes write. What queues up on a node while it awaits an answer becomes the room's next message.
//!
//! A node keeps an index of each room that it uses ([`Ring`](super::ring::Ring)). It may be behind: a writer finds out
//! because its write is refused, a reader because it asks for the subject's last message first.
//!
//! A refused append was not kept, with one exception that no log over a network can avoid: when the link breaks between a
//! write and its answer, what was refused as unavailable may be there. Who tries again with the same client id gets it.

use std::any::Any;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use denrei_hub::{
    Appended, Classes, Done, Draft, Epoch, Extent, Log, LogError, Message, Page, Position, Reading, RoomName, Seq,
    random_number, random_token,
};
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::batch::{Event, Header};
use super::jetstream::{Limits, Storage, Stored, Stream, StreamError};
use super::link::{Failure, Link, Task};
use super::ring::{Fate, Place, Plan, Step, index};
use super::room::{Answer, Room, Rooms, Waiting, Worker, today};
use crate::encoded;

pub(super) struct NatsLog {
    inner: Arc<Inner>,
    _turns: Task,
}

struct Inner {
    stream: Arc<Stream>,
    rooms: Rooms,
    /// How long the stream keeps a message.
    age: Duration,
    runtime: Handle,
    /// Bounds the rooms that write at the same time.
    writers: Semaphore,
    sweeping: AtomicBool,
    /// Tells this node from the others that write.
    node: Bytes,
    prefix: Box<str>,
}

impl NatsLog {
    /// Of all rooms together on the server, past which the oldest messages go.
    const BYTES: i64 = 1 << 30;
    /// Messages of a room on the server besides those with events.
    const MARKERS: i64 = 64;
    const WRITERS: usize = 256;

    pub(super) fn new(link: &Arc<Link>, prefix: &str, classes: Arc<Classes>) -> Self {
        let widest = classes.widest();
        let limits = Limits {
            per_subject: i64::try_from(widest.events).unwrap_or(i64::MAX - Self::MARKERS) + Self::MARKERS,
            bytes: Self::BYTES,
            age: widest.age,
        };
        let name = format!("{prefix}-log");
        let stream = Stream::new(link, name, &format!("{prefix}.l.*"), Storage::Memory, limits);
        let inner = Arc::new(Inner {
            stream,
            rooms: Rooms::new(classes, prefix),
            age: widest.age,
            runtime: Handle::current(),
            writers: Semaphore::new(Self::WRITERS),
            sweeping: AtomicBool::new(false),
            node: random_token(16).into(),
            prefix: prefix.into(),
        });
        let turns = Task::spawn(give_turns(Arc::clone(link), Arc::downgrade(&inner)));
        Self { inner, _turns: turns }
    }
}

impl Log for NatsLog {
    fn append(&self, draft: Draft, done: Done) {
        let bytes = draft.payload.len();
        let limit = self.inner.stream.link().largest().saturating_sub(Inner::ENVELOPE);
        if bytes > limit {
            let sentence =
                format!("a message of {bytes} bytes exceeds the limit of {limit} that the NATS server takes");
            return done(Err(LogError::Full(sentence.into())));
        }
        let admitted = self.inner.rooms.admit(bytes).and_then(|place| Ok((place, self.inner.rooms.room(&draft.room)?)));
        let (place, room) = match admitted {
            Ok(admitted) => admitted,
            Err(full) => return done(Err(full)),
        };
        let answer = Answer { done, _place: place };
        if room.enqueue(Waiting { draft, answer }) == Worker::Wanted {
            self.inner.runtime.spawn(Arc::clone(&self.inner).work(room));
        }
    }

    fn read(&self, room: &RoomName, extent: Extent) -> Reading<Page> {
        let inner = Arc::clone(&self.inner);
        let room = inner.rooms.room(room);
        Box::pin(async move { inner.page(&*room?, extent).await })
    }

    fn heads(&self, rooms: Vec<RoomName>) -> Reading<Vec<Position>> {
        let inner = Arc::clone(&self.inner);
        Box::pin(async move {
            let inner = &inner;
            let heads = stream::iter(rooms).map(|room| async move { inner.head(&room).await });
            heads.buffered(Inner::AT_ONCE).try_collect().await
        })
    }

    fn hold(&self, room: &RoomName) -> Option<Arc<dyn Any + Send + Sync>> {
        self.inner.rooms.hold(room).map(|hold| Arc::new(hold) as Arc<dyn Any + Send + Sync>)
    }

    fn sweep(&self) {
        self.inner.rooms.sweep();
        if !self.inner.sweeping.swap(true, Ordering::AcqRel) {
            let inner = Arc::clone(&self.inner);
            self.inner.runtime.spawn(async move {
                inner.keep_epochs().await;
                inner.sweeping.store(false, Ordering::Release);
            });
        }
    }
}

/// Another look is worth it.
enum Again {
    /// What was known of the room was not true.
    Stale,
    /// The room's messages cannot be had.
    Failed(LogError),
}

impl Inner {
    /// What a message of the stream has besides payloads, at most.
    const ENVELOPE: usize = 4096;
    /// Requests of one call that are under way at the same time.
    const AT_ONCE: usize = 64;
    /// Looks at a room that others change all the time.
    const LOOKS: usize = 8;
    /// How long an append may take, tried again and again.
    const PATIENCE: Duration = Duration::from_secs(5);

    /// Writes what waits in a room, one message of the stream after another.
    async fn work(self: Arc<Self>, room: Arc<Room>) {
        loop {
            let permit = self.writers.acquire().await;
            let (drafts, answers) = room.next();
            if drafts.is_empty() {
                return;
            }
            match self.write(&room, &drafts).await {
                Ok(outcomes) => {
                    for (answer, outcome) in answers.into_iter().zip(outcomes) {
                        (answer.done)(Ok(outcome));
                    }
                    self.tidy(&room).await;
                }
                Err(error) => {
                    // Those behind them would wait as long for the same answer.
                    for answer in answers.into_iter().chain(room.rest()) {
                        (answer.done)(Err(error.clone()));
                    }
                }
            }
            drop(permit);
        }
    }

    /// Writes some drafts as one message; says what became of each.
    async fn write(&self, room: &Room, drafts: &[Draft]) -> Result<Vec<Appended>, LogError> {
        let deadline = Instant::now() + Self::PATIENCE;
        let mut token = random_number();
        let mut expected = None;
        let mut conflicts = 0;
        loop {
            let life = self.stream.ensure().await?;
            let planned = {
                let mut ring = room.ring();
                ring.expire(today());
                ring.plan(life, drafts)
            };
            let Some(plan) = planned else {
                self.look(room).await?;
                continue;
            };
            // A message that was written once before may arrive late, but only as long as nothing else did.
            if expected.replace(plan.place.last) != Some(plan.place.last) {
                token = random_number();
            }
            if let Some(pause) = room.turn().filter(|_| conflicts == 0) {
                tokio::time::sleep(pause).await;
            }
            match self.attempt(room, life, drafts, &plan, token).await {
                Ok(()) => match self.outcomes(room, life, drafts, &plan).await {
                    Ok(outcomes) => return Ok(outcomes),
                    Err(Again::Failed(error)) => return Err(error),
                    // Only of repeated messages: nothing was written.
                    Err(Again::Stale) => {}
                },
                Err(StreamError::Conflict) => {
                    conflicts += 1;
                    self.ask_for_a_turn(room);
                }
                Err(StreamError::Link(Failure::Unanswered | Failure::Nobody)) => {}
                Err(error) => return Err(error.into()),
            }
            if Instant::now() > deadline {
                return Err(StreamError::Conflict.into());
            }
            self.look(room).await?;
            if room.ring().has(token) {
                match self.outcomes(room, life, drafts, &plan).await {
                    Ok(outcomes) => return Ok(outcomes),
                    Err(Again::Failed(error)) => return Err(error),
                    Err(Again::Stale) => {
                        let sentence = "the messages that were repeated are gone";
                        return Err(LogError::Unavailable(sentence.into()));
                    }
                }
            }
            if conflicts > 1 {
                let jitter = random_number() % (200 * conflicts.min(50));
                tokio::time::sleep(Duration::from_micros(jitter)).await;
            }
        }
    }

    /// Who has just written knows the last message at once, and whoever else wants to write must read it first: they would
    /// never be in time while the other has something to write. So they say that they wait, and the other lets them.
    fn ask_for_a_turn(&self, room: &Room) {
        let subject = format!("{}.w.{}", self.prefix, encoded(room.name.as_str()));
        let _ = self.stream.link().publish(subject.into(), None, self.node.clone());
    }

    /// Writes the new ones of some drafts, if there are any.
    async fn attempt(
        &self,
        room: &Room,
        life: u64,
        drafts: &[Draft],
        plan: &Plan,
        token: u64,
    ) -> Result<(), StreamError> {
        let fates = drafts.iter().zip(&plan.fates);
        let new = fates.filter(|(_, fate)| matches!(fate, Fate::New(_))).map(|(draft, _)| draft);
        let events: Vec<_> = new.map(Event::of).collect();
        if events.is_empty() {
            return Ok(());
        }
        let Place { epoch, head, last, .. } = &plan.place;
        let header = Header { token, at: today(), epoch: epoch.clone(), first: head + 1, count: events.len() as u64 };
        let written = header.write(&events);
        let begun = Instant::now();
        let sequence = self.stream.write(&room.subject, Some(*last), written).await?;
        room.took(begun.elapsed());
        room.ring().take_in(life, sequence, &header, index(&room.name, &header, events));
        Ok(())
    }

    /// What became of drafts whose new ones were written.
    async fn outcomes(&self, room: &Room, life: u64, drafts: &[Draft], plan: &Plan) -> Result<Vec<Appended>, Again> {
        let begin = plan.place.head + 1;
        let mut new: Vec<Arc<Message>> = Vec::with_capacity(drafts.len());
        let mut outcomes = Vec::with_capacity(drafts.len());
        for (draft, fate) in drafts.iter().zip(&plan.fates) {
            outcomes.push(match *fate {
                Fate::New(number) => {
                    let position = Position { epoch: plan.place.epoch.clone(), seq: Seq(number) };
                    new.push(Arc::new(draft.clone().assigned(position)));
                    Appended { message: Arc::clone(&new[new.len() - 1]), duplicate: false }
                }
                Fate::Repeats(number) => {
                    let earlier = number.checked_sub(begin).and_then(|at| new.get(usize::try_from(at).ok()?));
                    let message = match earlier {
                        Some(message) => Arc::clone(message),
                        None => self.message(room, life, number, &plan.place.epoch).await?,
                    };
                    Appended { message, duplicate: true }
                }
            });
        }
        Ok(outcomes)
    }

    /// Reads one event.
    async fn message(&self, room: &Room, life: u64, number: u64, epoch: &Epoch) -> Result<Arc<Message>, Again> {
        let sequence = room.ring().whereabouts(number).ok_or(Again::Stale)?;
        let stored = self.fetch(room, life, sequence).await?;
        let messages = read_part(room, &stored.payload, epoch, number, 1)?;
        messages.into_iter().next().ok_or(Again::Stale)
    }

    /// Reads a message of the stream that is known to be there.
    async fn fetch(&self, room: &Room, life: u64, sequence: u64) -> Result<Stored, Again> {
        match self.stream.at(sequence).await {
            Ok(Some(stored)) => Ok(stored),
            Ok(None) => {
                let mut ring = room.ring();
                if ring.place(life).is_some() {
                    ring.gone(sequence);
                }
                Err(Again::Stale)
            }
            Err(error) => Err(Again::Failed(error.into())),
        }
    }

    /// Reads a page of a room.
    async fn page(&self, room: &Room, extent: Extent) -> Result<Page, LogError> {
        for _ in 0..Self::LOOKS {
            let (life, last) = self.look(room).await?;
            let outline = {
                let mut ring = room.ring();
                ring.expire(today());
                ring.outline(life, extent)
            };
            let Some(outline) = outline else { continue };
            let (mut page, last) = (outline.page, &last);
            let epoch = &page.epoch;
            let parts = stream::iter(outline.parts).map(|(sequence, from, count)| async move {
                let payload = match last {
                    Some(last) if last.sequence == sequence => last.payload.clone(),
                    _ => self.fetch(room, life, sequence).await?.payload,
                };
                read_part(room, &payload, epoch, from, count)
            });
            match parts.buffered(Self::AT_ONCE).try_concat().await {
                Ok(messages) => {
                    page.messages = messages;
                    return Ok(page);
                }
                Err(Again::Stale) => {}
                Err(Again::Failed(error)) => return Err(error),
            }
        }
        Err(LogError::Unavailable("the room changes faster than it can be read".into()))
    }

    /// Sees to it that all of a room is known, up to its last message. Gives that, unless this call has written it.
    async fn look(&self, room: &Room) -> Result<(u64, Option<Stored>), LogError> {
        for _ in 0..Self::LOOKS {
            let life = self.stream.ensure().await?;
            let known = room.ring().place(life).map_or(0, |place| place.last);
            let last = match self.stream.last(&room.subject).await {
                // Numbers of a stream only grow: another node has made it anew.
                Ok(Some(last)) if last.sequence < known => {
                    self.stream.doubt();
                    continue;
                }
                Ok(Some(last)) => last,
                Ok(None) => match self.begin(&room.subject).await {
                    Ok((sequence, _)) if sequence <= known => {
                        self.stream.doubt();
                        continue;
                    }
                    Ok((sequence, header)) => {
                        room.ring().take_in(life, sequence, &header, std::iter::empty());
                        return Ok((life, None));
                    }
                    Err(StreamError::Conflict | StreamError::Link(Failure::Nobody)) => continue,
                    Err(error) => return Err(error.into()),
                },
                Err(StreamError::Link(Failure::Nobody)) => continue,
                Err(error) => return Err(error.into()),
            };
            if self.follow(room, life, &last)? {
                return Ok((life, Some(last)));
            }
            let _one = room.loading.lock().await;
            // Another may have read it in the meantime.
            if self.follow(room, life, &last)? {
                return Ok((life, Some(last)));
            }
            let from = room.ring().resume(life, last.sequence);
            let mut unread = false;
            let taken = |sequence, payload: &Bytes| match Header::read_all(payload) {
                Some((header, events)) => {
                    room.ring().take_in(life, sequence, &header, index(&room.name, &header, events));
                }
                None => unread = true,
            };
            match self.stream.scan(&room.subject, from, taken).await {
                _ if unread => return Err(unreadable()),
                Ok(()) if room.ring().place(life).is_some_and(|place| place.last >= last.sequence) => {
                    return Ok((life, Some(last)));
                }
                // It went while it was read.
                Ok(()) => {}
                Err(StreamError::Link(Failure::Nobody)) => self.stream.doubt(),
                Err(error) => return Err(error.into()),
            }
        }
        Err(LogError::Unavailable("the room changes faster than it can be read".into()))
    }

    /// Takes in a room's last message; false when what is before it must be read, too.
    fn follow(&self, room: &Room, life: u64, last: &Stored) -> Result<bool, LogError> {
        let (header, _) = Header::read(&last.payload).ok_or_else(unreadable)?;
        let mut ring = room.ring();
        match ring.step(life, last.sequence, &header) {
            Step::Known => {}
            Step::Beyond => {
                // What another call has read since may be newer than `last`.
                return Ok(ring
                    .place(life)
                    .is_some_and(|place| place.last > last.sequence && place.epoch == header.epoch));
            }
            Step::Next | Step::Begins => {
                let (header, events) = Header::read_all(&last.payload).ok_or_else(unreadable)?;
                ring.take_in(life, last.sequence, &header, index(&room.name, &header, events));
            }
        }
        Ok(true)
    }

    /// Begins a room that has no message, or none any more, with a new epoch.
    async fn begin(&self, subject: &str) -> Result<(u64, Header), StreamError> {
        let header = Header { token: random_number(), at: today(), epoch: Epoch::random(), first: 1, count: 0 };
        let sequence = self.stream.write(subject, Some(0), header.write(&[])).await?;
        Ok((sequence, header))
    }

    /// Where a room stands; begins it if need be.
    async fn head(&self, room: &RoomName) -> Result<Position, LogError> {
        let subject = self.rooms.subject(room);
        for _ in 0..Self::LOOKS {
            self.stream.ensure().await?;
            let found = match self.stream.last(&subject).await {
                Ok(Some(last)) => return Ok(Header::read(&last.payload).ok_or_else(unreadable)?.0.position()),
                Ok(None) => self.begin(&subject).await.map(|(_, header)| header.position()),
                Err(error) => Err(error),
            };
            match found {
                Ok(position) => return Ok(position),
                Err(StreamError::Conflict | StreamError::Link(Failure::Nobody)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(LogError::Unavailable("the room changes faster than it can be read".into()))
    }

    /// Has the server let go of what is past a room's window, now and then: it counts messages of the stream, not events,
    /// and has one limit for all rooms.
    async fn tidy(&self, room: &Room) {
        let litter = room.ring().litter();
        if let Some(below) = litter
            && let Err(error) = self.stream.purge(&room.subject, below).await
        {
            tracing::debug!(%error, "what is past a room's window is still there");
        }
    }

    /// Writes markers in held rooms before their last message is past its age: with it, the epoch would go.
    async fn keep_epochs(&self) {
        let due = self.rooms.due();
        if let Err(error) = self.stream.check().await {
            tracing::debug!(%error, "the stream of memory rooms cannot be looked at");
            return;
        }
        let keeping = stream::iter(due).for_each_concurrent(Self::AT_ONCE, |room| async move {
            match self.keep_epoch(&room).await {
                Ok(next) => room.due.store(self.rooms.now().saturating_add(next), Ordering::Relaxed),
                Err(error) => tracing::debug!(%error, "the epoch of a held room could not be kept"),
            }
        });
        keeping.await;
    }

    /// Writes a marker if it is time; says in how many ms to look again.
    async fn keep_epoch(&self, room: &Room) -> Result<u64, StreamError> {
        // So that the next attempt is in time, too.
        let part = u64::try_from(self.age.as_millis() / 3).unwrap_or(u64::MAX);
        self.stream.ensure().await?;
        // A room that has none begins anew when it is looked at.
        let Some(last) = self.stream.last(&room.subject).await? else { return Ok(part) };
        let Some((header, _)) = Header::read(&last.payload) else { return Ok(part) };
        let old = today().saturating_sub(header.at);
        if old < part {
            return Ok(part - old);
        }
        let first = header.head() + 1;
        let marker = Header { token: random_number(), at: today(), epoch: header.epoch, first, count: 0 };
        match self.stream.write(&room.subject, Some(last.sequence), marker.write(&[])).await {
            Ok(_) | Err(StreamError::Conflict) => Ok(part),
            Err(error) => Err(error),
        }
    }
}

/// Has this node pause in rooms where another one waits to write.
async fn give_turns(link: Arc<Link>, inner: Weak<Inner>) {
    let Some(prefix) = inner.upgrade().map(|inner| inner.prefix.clone()) else { return };
    let Ok(mut asked) = link.subscribe(format!("{prefix}.w.*")) else { return };
    while let Some(message) = asked.next().await {
        let Some(inner) = inner.upgrade() else { return };
        let name = message.subject.rsplit('.').next().and_then(super::name_of);
        let room = name.filter(|_| message.payload != inner.node).and_then(|name| inner.rooms.known(&name));
        if let Some(room) = room {
            room.give_turn();
        }
    }
}

/// The events of a message of the stream, from a number on; stale when it holds others than it is thought to.
fn read_part(room: &Room, payload: &[u8], epoch: &Epoch, from: u64, count: usize) -> Result<Vec<Arc<Message>>, Again> {
    let (header, events) = Header::read_all(payload).ok_or_else(|| Again::Failed(unreadable()))?;
    let skipped = from.checked_sub(header.first).and_then(|skipped| usize::try_from(skipped).ok());
    let skipped = skipped.filter(|_| header.epoch == *epoch).ok_or(Again::Stale)?;
    let message = |(number, event): (u64, Event)| {
        let position = Position { epoch: epoch.clone(), seq: Seq(number) };
        Arc::new(event.message(&room.name, position))
    };
    let messages: Vec<_> = (header.first..).zip(events).skip(skipped).take(count).map(message).collect();
    if messages.len() == count { Ok(messages) } else { Err(Again::Stale) }
}

fn unreadable() -> LogError {
    let sentence = "a message in the stream cannot be read: is a newer version of denrei at work on another node?";
    LogError::Unavailable(sentence.into())
}
