//! Connection state recovery: a client that was cut off comes back to what it missed.
//!
//! A namespace that has it keeps its newest emits in memory, where nobody else can reach them: each that can be recovered
//! has a position, which is the offset that every receiver is told, so that the event is still encoded once. A volatile
//! event carries the offset of the emit before it.
//!
//! What goes out in a namespace with recovery, and who comes and goes, is ordered by one lock ([`Sessions::kept`]): who
//! comes back gets everything after its offset from what is kept, and what follows live, with nothing between.
//!
//! On one node an emit is kept and sent in the same moment. Several nodes have one log ([`Shared`]): there it is appended
//! first, and every node sends what it reads from it, in its order. So an offset means the same on each.

mod entry;
mod gone;
mod numbers;
mod record;
mod ring;
mod shared;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use denrei_hub::{Message, Name, Position, Seq, Window};
use denrei_proto::socketio::Outgoing;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::runtime::Handle;
use tokio::time::Instant;

use crate::socketio::emit::{Flags, Packet, Targets};
use crate::socketio::lane::Lane;
use crate::socketio::listeners::{Handler, contained};
use crate::socketio::names::Pid;
use crate::socketio::socket::Parted;
use crate::socketio::{Namespace, Reason, Socket, SocketId, lock, namespace};
use entry::{Entry, Missed, weight};
pub(crate) use gone::Count;
use gone::Gone;
use numbers::{Numbers, OwnLog};
pub(crate) use record::listener;
use ring::Ring;
pub(crate) use shared::Shared;

/// Settings of connection state recovery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recovery {
    /// How long a session waits for its client; default 2 minutes.
    pub max_disconnection: Duration,
    /// Whether clients that come back pass without middlewares; default true.
    pub skip_middlewares: bool,
    /// Sessions that wait, of all namespaces of a pattern together; past that the oldest expires. Default 10,000.
    pub sessions: usize,
    /// Emits that are kept; default 10,000.
    pub events: usize,
    /// Bytes that they hold; the same again for what the sessions hold. Default 16 MiB.
    pub bytes: usize,
}

impl Default for Recovery {
    fn default() -> Self {
        Self {
            max_disconnection: Duration::from_secs(120),
            skip_middlewares: true,
            sessions: 10_000,
            events: 10_000,
            bytes: 16 << 20,
        }
    }
}

/// A session whose client did not come back in time, or not to all it missed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ExpiredSession {
    /// The id that the socket had.
    pub id: SocketId,
    /// The rooms that it was in, its own id not among them.
    pub rooms: Vec<String>,
    /// What the application kept with it.
    pub data: Map<String, Value>,
    /// The user that it was.
    pub user: Option<String>,
}

/// What a client can come back to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Session {
    pub(crate) id: SocketId,
    pub(crate) pid: Pid,
    pub(crate) rooms: Vec<Arc<str>>,
    pub(crate) data: Map<String, Value>,
    /// It is told nothing that was before.
    pub(crate) begun: Position,
    pub(crate) user: Option<Name>,
}

/// A session that was claimed, and what its client has missed.
pub(crate) struct Resumed {
    pub(crate) session: Session,
    missed: Vec<Missed>,
    /// Up to where.
    place: Position,
}

/// What a client says about the session it had. Everything else in its `auth` is the application's.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Claim {
    #[serde(default)]
    pid: Option<Value>,
    #[serde(default)]
    offset: Option<Value>,
}

impl Claim {
    /// None if it claims nothing.
    pub(crate) fn of(auth: Option<&Bytes>) -> Option<Self> {
        let claim: Self = serde_json::from_slice(auth?).ok()?;
        claim.pid.is_some().then_some(claim)
    }

    fn pid(&self) -> Option<&str> {
        self.pid.as_ref()?.as_str()
    }

    /// None if the client has never received an event; an error if it says something else.
    fn offset(&self) -> Result<Option<Position>, ()> {
        match &self.offset {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => text.parse().map(Some).map_err(|_| ()),
            Some(_) => Err(()),
        }
    }
}

/// The recovery of a namespace.
pub(crate) struct Sessions {
    config: Recovery,
    /// What is kept: of this namespace, or of all that share a log.
    emits: Arc<Mutex<Ring>>,
    numbers: Numbers,
    kept: Mutex<Kept>,
}

struct Kept {
    /// Of the last emit that was sent; none until it is known where the shared log stands.
    head: Option<Position>,
    /// Something that could not be kept was emitted here: whoever is not past it may miss it.
    hole: Option<Seq>,
    live: HashMap<Pid, Socket>,
    gone: Gone,
    /// Sessions that nobody can come back to any more, until the application has heard of them.
    lost: Vec<Session>,
    /// A task waits for the next deadline.
    expiring: bool,
}

impl Recovery {
    /// Time for a lost connection to be noticed: what was sent before that is missed as well.
    const LATE: Duration = Duration::from_secs(60);

    fn window(&self) -> Window {
        Window { events: self.events.max(1), age: self.max_disconnection + Self::LATE, bytes: self.bytes }
    }
}

impl Sessions {
    pub(crate) fn new(config: Recovery, count: Count, shared: Option<Arc<Shared>>) -> Self {
        let (emits, numbers) = match shared {
            Some(shared) => (Arc::clone(shared.emits()), Numbers::Shared(shared)),
            None => {
                let own = OwnLog::new(config.bytes);
                (Arc::new(Mutex::new(Ring::new(config.window(), own.head()))), Numbers::Own(Box::new(own)))
            }
        };
        let kept = Kept {
            head: lock(&emits).head().cloned(),
            hole: None,
            live: HashMap::new(),
            gone: Gone::new(config, count),
            lost: Vec::new(),
            expiring: false,
        };
        Self { config, emits, numbers, kept: Mutex::new(kept) }
    }

    fn shared(&self) -> Option<&Arc<Shared>> {
        match &self.numbers {
            Numbers::Shared(shared) => Some(shared),
            Numbers::Own(_) => None,
        }
    }

    pub(crate) fn config(&self) -> Recovery {
        self.config
    }

    /// Keeps an emit, if it is one to be kept, and has it sent with the offset that goes with it. In a shared log it was
    /// kept already, or could not be.
    pub(crate) fn emit(&self, targets: &Targets, packet: &Packet, flags: Flags, send: impl FnOnce(Option<&Position>)) {
        let own = match &self.numbers {
            Numbers::Own(own) if !flags.volatile => Some((own, Entry::draft(own.room(), None, targets, packet, flags))),
            _ => None,
        };
        let mut kept = lock(&self.kept);
        match own {
            Some((own, draft)) => match draft.and_then(|draft| own.append(draft)) {
                Some(message) => {
                    kept.head = Some(message.position());
                    lock(&self.emits).push(message);
                }
                None => kept.miss(),
            },
            // In a cluster what concerns one node only is not kept.
            None if flags.volatile || flags.local => {}
            None => kept.miss(),
        }
        send(kept.head.as_ref());
    }

    /// Sends what is kept at a place of the shared log.
    pub(crate) fn deliver(&self, place: &Position, send: impl FnOnce(&Position)) {
        let mut kept = lock(&self.kept);
        kept.head = Some(place.clone());
        send(place);
    }

    /// The shared log goes on at another place.
    fn jump(&self, place: &Position) {
        let mut kept = lock(&self.kept);
        kept.head = Some(place.clone());
        kept.hole = None;
    }

    /// Lets a client in that has not been here, or not for long enough.
    pub(crate) fn open(&self, socket: &Socket) -> bool {
        let mut kept = lock(&self.kept);
        let begun = kept.head.clone();
        let opened = kept.open(socket, begun.as_ref());
        drop(kept);
        self.changed(socket);
        opened
    }

    /// Gives a client the session that it claims. That consumes it: the session is nobody else's after that, and a
    /// socket that still has it is ended, for the caller to finish. No session: the client begins anew.
    pub(crate) fn claim(&self, namespace: &str, claim: &Claim, lane: &Arc<Lane>, user: Option<&Name>) -> Claimed {
        let mut claimed = Claimed::default();
        let Some(pid) = claim.pid() else { return claimed };
        let mut kept = lock(&self.kept);
        if let Some(socket) = kept.live.get(pid).cloned() {
            if Arc::ptr_eq(socket.lane(), lane) || !socket.is_of(user) {
                return claimed;
            }
            let parted = self.part_within(&mut kept, &socket, Reason::TransportClose);
            claimed.ended = parted.map(|parted| (socket, parted));
        }
        if kept.gone.get(pid).is_none_or(|session| session.user.as_ref() != user) {
            return claimed;
        }
        let Some((session, in_time)) = kept.gone.take(pid) else { return claimed };
        let from = claim.offset().ok().and_then(|offset| kept.resumes_at(offset, &session)).filter(|_| in_time);
        let place = kept.head.clone();
        let messages = from.zip(place).and_then(|(from, place)| Some((self.between(&from, place.seq)?, place)));
        let Some((messages, place)) = messages else {
            kept.lost.push(session);
            return claimed;
        };
        drop(kept);
        // Not under the lock, which every emit takes.
        let missed = self.missed(&messages, namespace, &session);
        if weight(&missed) > lane.outbox.capacity() {
            // More than a connection may hold: it could not be sent.
            lock(&self.kept).lost.push(session);
            return claimed;
        }
        claimed.resumed = Some(Resumed { session, missed, place });
        claimed
    }

    /// Sends a client what it has missed, and lets it in. None: what it has missed since the claim is not kept any more,
    /// or too much.
    pub(crate) fn resume(&self, socket: &Socket, resumed: &Resumed) -> Option<bool> {
        let Resumed { session, missed, place } = resumed;
        let mut kept = lock(&self.kept);
        if kept.hole.is_some_and(|hole| place.seq <= hole) {
            return None;
        }
        let head = kept.head.clone()?;
        let since = self.between(place, head.seq)?;
        let path = socket.namespace().name();
        let since = self.missed(&since, path, session);
        let lane = socket.lane();
        if weight(missed) + weight(&since) > lane.outbox.capacity() {
            return None;
        }
        for Missed { event, args, offset } in missed.iter().chain(&since) {
            lane.push(&Outgoing::event(path, None, event.as_str(), args, Some(&offset.to_string())));
        }
        // Where it begins is in the socket already: where its session began.
        let opened = kept.open(socket, Some(&head));
        drop(kept);
        self.changed(socket);
        Some(opened)
    }

    fn between(&self, after: &Position, upto: Seq) -> Option<Vec<Arc<Message>>> {
        lock(&self.emits).between(after, upto)
    }

    fn missed(&self, messages: &[Arc<Message>], namespace: &str, session: &Session) -> Vec<Missed> {
        messages.iter().filter_map(|message| Entry::missed(message, namespace, session)).collect()
    }

    /// Changes the session of a socket that has left; false if its client cannot come back, or has.
    pub(crate) fn amend(&self, socket: &Socket, change: impl FnOnce(&mut Session)) -> bool {
        let amended = socket.pid().is_some_and(|pid| lock(&self.kept).gone.amend(pid.as_str(), change));
        if amended {
            self.changed(socket);
        }
        amended
    }

    /// What a socket's client would come back to has changed.
    pub(crate) fn changed(&self, socket: &Socket) {
        if let (Some(shared), Some(pid)) = (self.shared(), socket.pid()) {
            shared.records().changed(pid, socket.namespace());
        }
    }

    /// Takes a socket out of its namespace, and keeps its session if its client may come back.
    pub(crate) fn part(&self, socket: &Socket, reason: Reason) -> Option<Parted> {
        let parted = self.part_within(&mut lock(&self.kept), socket, reason)?;
        self.follow_up(socket.namespace(), socket.runtime());
        Some(parted)
    }

    fn part_within(&self, kept: &mut Kept, socket: &Socket, reason: Reason) -> Option<Parted> {
        let mut parted = socket.take_out(reason)?;
        if let Some(pid) = socket.pid()
            && kept.live.get(pid) == Some(socket)
        {
            kept.live.remove(pid);
        }
        match parted.session.take() {
            Some(session) if reason.is_recoverable() => {
                kept.gone.keep(session, &mut kept.lost);
                self.changed(socket);
            }
            Some(session) => self.ended(&session),
            None => {}
        }
        Some(parted)
    }

    /// Nobody comes back to a session.
    fn ended(&self, session: &Session) {
        if let Some(shared) = self.shared() {
            shared.records().ended(&session.pid);
        }
    }

    /// Sees to it that the application hears of sessions that are lost, now or when their time is over.
    pub(crate) fn follow_up(&self, namespace: &Namespace, runtime: &Handle) {
        let mut kept = lock(&self.kept);
        let lost = std::mem::take(&mut kept.lost);
        lost.iter().for_each(|session| self.ended(session));
        if !lost.is_empty() {
            let namespace = namespace.clone();
            runtime.spawn(async move { tell_expired(&namespace, lost).await });
        }
        if !kept.gone.is_empty() && !std::mem::replace(&mut kept.expiring, true) {
            runtime.spawn(expire(namespace.downgrade()));
        }
    }

    /// Sessions whose time is over, and when the next one's is. None: nobody waits any more.
    fn expired(&self) -> (Vec<Session>, Option<Instant>) {
        let mut kept = lock(&self.kept);
        let (expired, next) = kept.gone.expire(Instant::now());
        kept.expiring = next.is_some();
        expired.iter().for_each(|session| self.ended(session));
        (expired, next)
    }

    /// Whether someone may come back.
    pub(crate) fn is_waiting(&self) -> bool {
        !lock(&self.kept).gone.is_empty()
    }
}

/// Gets what other nodes have.
impl Sessions {
    /// Whether a client can be let in at once.
    pub(crate) fn is_prepared(&self, claim: Option<&Claim>) -> bool {
        self.shared().is_none_or(|shared| claim.is_none() && shared.place().is_some())
    }

    /// Sees to what it takes to let a client in: that it is known where the shared log stands, that the session which it
    /// claims is here, and what it has seen already as well. What does not come in time is not there. To be called on the
    /// runtime of a connection.
    pub(crate) async fn prepare(&self, namespace: &Namespace, claim: Option<&Claim>, user: Option<&Name>) {
        const PATIENCE: Duration = Duration::from_secs(2);
        let Some(shared) = self.shared() else { return };
        shared.start(&Handle::current());
        if tokio::time::timeout(PATIENCE, shared.reach(None)).await.is_err() {
            return tracing::debug!(namespace = namespace.name(), "the shared log cannot be read");
        }
        let Some(claim) = claim else { return };
        // Not given up in the middle: what was taken from the shelf is nowhere else.
        if let Some(pid) = claim.pid()
            && !self.has(pid)
            && let Some(session) = shared.records().take_over(pid, namespace, user).await
        {
            self.adopt(session, namespace);
        }
        if let Ok(Some(offset)) = claim.offset()
            && tokio::time::timeout(PATIENCE, shared.reach(Some(&offset))).await.is_err()
        {
            tracing::debug!(namespace = namespace.name(), "the shared log is behind what a client has seen");
        }
    }

    fn has(&self, pid: &str) -> bool {
        let kept = lock(&self.kept);
        kept.live.contains_key(pid) || kept.gone.get(pid).is_some()
    }

    /// Keeps a session that another node has had.
    fn adopt(&self, session: Session, namespace: &Namespace) {
        if let Some(shared) = self.shared() {
            shared.records().changed(&session.pid, namespace);
        }
        let mut kept = lock(&self.kept);
        let Kept { gone, lost, .. } = &mut *kept;
        gone.keep(session, lost);
    }

    /// Gives another node the session that a client has come to it with, and ends the socket that still has it.
    fn hand_over(&self, pid: &str) -> (Option<Session>, Option<(Socket, Parted)>) {
        let mut kept = lock(&self.kept);
        let ended = kept.live.get(pid).cloned().and_then(|socket| {
            let parted = self.part_within(&mut kept, &socket, Reason::TransportClose)?;
            Some((socket, parted))
        });
        (kept.gone.take(pid).filter(|(_, in_time)| *in_time).map(|(session, _)| session), ended)
    }

    /// What a client would come back to, and whether it is there now.
    fn session(&self, pid: &Pid) -> Option<(Session, bool)> {
        let kept = lock(&self.kept);
        match kept.live.get(pid) {
            Some(socket) => Some((socket.session()?, true)),
            None => Some((kept.gone.get(pid.as_str())?.clone(), false)),
        }
    }

    fn live(&self) -> Vec<Pid> {
        lock(&self.kept).live.keys().cloned().collect()
    }
}

/// What became of a claim.
#[derive(Default)]
pub(crate) struct Claimed {
    pub(crate) resumed: Option<Resumed>,
    /// The socket that had the session until now.
    pub(crate) ended: Option<(Socket, Parted)>,
}

impl Kept {
    /// Something is emitted that is not kept.
    fn miss(&mut self) {
        self.hole = self.head.as_ref().map(|head| head.seq);
    }

    fn open(&mut self, socket: &Socket, begun: Option<&Position>) -> bool {
        let opened = socket.open(begun);
        if opened && let Some(pid) = socket.pid() {
            self.live.insert(pid.clone(), socket.clone());
        }
        opened
    }

    /// The place after which a client has missed everything; none when that cannot be told.
    fn resumes_at(&self, offset: Option<Position>, session: &Session) -> Option<Position> {
        let begun = &session.begun;
        let Position { epoch, seq } = offset.unwrap_or_else(|| begun.clone());
        let after = if epoch == begun.epoch { seq.max(begun.seq) } else { seq };
        let head = self.head.as_ref()?;
        let known = epoch == head.epoch && after <= head.seq;
        let whole = self.hole.is_none_or(|hole| hole < after);
        (known && whole).then_some(Position { epoch, seq: after })
    }
}

impl Session {
    /// About how many bytes it holds.
    fn weight(&self) -> usize {
        let rooms: usize = self.rooms.iter().map(|room| room.len() + 32).sum();
        let data: usize = self.data.iter().map(|(name, value)| name.len() + bytes_of(value)).sum();
        256 + rooms + data
    }
}

/// About how many bytes a value holds.
fn bytes_of(value: &Value) -> usize {
    let held = match value {
        Value::String(text) => text.len(),
        Value::Array(values) => values.iter().map(bytes_of).sum(),
        Value::Object(map) => map.iter().map(|(name, value)| name.len() + bytes_of(value)).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    };
    held + size_of::<Value>()
}

/// Waits for the deadlines of a namespace's sessions, for as long as there are any.
async fn expire(namespace: namespace::Weak) {
    loop {
        let next = {
            let Some(namespace) = namespace.upgrade() else { return };
            let Some(sessions) = namespace.sessions() else { return };
            let (expired, next) = sessions.expired();
            tell_expired(&namespace, expired).await;
            if next.is_none() {
                // It may have been kept for them alone.
                namespace.tidy();
            }
            next
        };
        let Some(next) = next else { return };
        tokio::time::sleep_until(next).await;
    }
}

async fn tell_expired(namespace: &Namespace, sessions: Vec<Session>) {
    for session in sessions {
        let expired = ExpiredSession {
            id: session.id,
            rooms: session.rooms.iter().map(ToString::to_string).collect(),
            data: session.data,
            user: session.user.map(String::from),
        };
        let handlers = namespace.listeners(&|handler: &Handler| match handler {
            Handler::Expired(handler) => Some(handler.clone()),
            _ => None,
        });
        for handler in handlers {
            if let Err(failure) = contained(handler(expired.clone())).await {
                tracing::debug!(error = failure.message(), "a handler of an expired session failed");
            }
        }
    }
}
