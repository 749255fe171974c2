//! Connection state recovery: a client that was cut off comes back to what it missed.
//!
//! A namespace that has it keeps one log in memory, which nobody else can reach: each emit that can be recovered is an
//! entry in it, and the entry's position is the offset that every receiver is told, so that the event is still encoded
//! once. A volatile event carries the offset of the entry before it.
//!
//! What goes out in a namespace with recovery, and who comes and goes, is ordered by one lock ([`Sessions::kept`]): who
//! comes back gets everything after its offset from the log, and what follows live, with nothing between.

mod gone;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use denrei_hub::{
    Class, Classes, Draft, Keep, Log, LogError, MemoryLimits, MemoryLog, Message, Name, Page, Position, RoomName, Seq,
    Span, Window,
};
use denrei_proto::socketio::Outgoing;
use futures_util::FutureExt;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::runtime::Handle;
use tokio::time::Instant;

use crate::app::now_ms;
use crate::socketio::emit::{Packet, Targets};
use crate::socketio::lane::Lane;
use crate::socketio::listeners::{Handler, contained};
use crate::socketio::names::Pid;
pub(crate) use crate::socketio::recovery::gone::Count;
use crate::socketio::recovery::gone::Gone;
use crate::socketio::socket::Parted;
use crate::socketio::{Args, Namespace, Reason, Socket, SocketId, lock, namespace};

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
#[derive(Clone, Debug)]
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
    place: Seq,
}

/// An event that a client has missed.
struct Missed {
    event: Name,
    args: Args,
    offset: Position,
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

/// An emit as it is kept.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Entry {
    rooms: Option<Vec<Arc<str>>>,
    except: Vec<Arc<str>>,
    args: Bytes,
    attachments: Vec<Bytes>,
}

impl Entry {
    /// A draft of it; none when it is too much for the log's codec, which it never is.
    pub(crate) fn draft(targets: &Targets, packet: &Packet) -> Option<Draft> {
        let entry = Self {
            rooms: targets.rooms.clone(),
            except: targets.except.clone(),
            args: packet.args.json().clone(),
            attachments: packet.args.attachments().to_vec(),
        };
        Some(Draft {
            room: log_room(),
            event: packet.event.clone(),
            payload: rmp_serde::to_vec(&entry).ok()?.into(),
            from: None,
            user: None,
            id: None,
            origin: 0,
            timestamp: now_ms(),
        })
    }

    /// Reads a message that is an entry; none when it is not for the session.
    fn read(message: &Message, session: &Session) -> Option<Missed> {
        let entry: Self = rmp_serde::from_slice(&message.payload).ok()?;
        if !entry.is_for(session) {
            return None;
        }
        let args = Args::new(entry.args, entry.attachments).ok()?;
        Some(Missed { event: message.event.clone(), args, offset: message.position() })
    }

    fn is_for(&self, session: &Session) -> bool {
        let within = |rooms: &[Arc<str>]| {
            rooms.iter().any(|room| **room == *session.id.as_str() || session.rooms.contains(room))
        };
        self.rooms.as_deref().is_none_or(within) && !within(&self.except)
    }
}

/// The one room of a namespace's own log.
fn log_room() -> RoomName {
    RoomName::parse("emits").expect("it is a name")
}

/// The recovery of a namespace.
pub(crate) struct Sessions {
    config: Recovery,
    log: Arc<dyn Log>,
    kept: Mutex<Kept>,
}

struct Kept {
    /// Where the log stands.
    head: Position,
    /// Something that could not be kept was emitted here: whoever is not past it may miss it.
    hole: Option<Seq>,
    live: HashMap<Pid, Socket>,
    gone: Gone,
    /// Sessions that nobody can come back to any more, until the application has heard of them.
    lost: Vec<Session>,
    /// A task waits for the next deadline.
    expiring: bool,
}

impl Sessions {
    /// Time for a lost connection to be noticed: what was sent before that is missed as well.
    const LATE: Duration = Duration::from_secs(60);

    pub(crate) fn new(config: Recovery, count: Count) -> Self {
        let age = config.max_disconnection + Self::LATE;
        let mut classes = Classes::default();
        let window = Window { events: config.events.max(1), age, bytes: config.bytes };
        classes.set("live", Class { keep: Keep::Memory(window) });
        let limits = MemoryLimits { rooms: 1, bytes: config.bytes };
        let log: Arc<dyn Log> = Arc::new(MemoryLog::new(Arc::new(classes), limits));
        let head = log.heads(vec![log_room()]).now_or_never().and_then(Result::ok).and_then(|mut heads| heads.pop());
        let kept = Kept {
            head: head.expect("a log in memory answers at once"),
            hole: None,
            live: HashMap::new(),
            gone: Gone::new(config, count),
            lost: Vec::new(),
            expiring: false,
        };
        Self { config, log, kept: Mutex::new(kept) }
    }

    pub(crate) fn config(&self) -> Recovery {
        self.config
    }

    /// Keeps an emit, if it is one to be kept, and has it sent with the offset that goes with it.
    pub(crate) fn emit(&self, draft: Option<Draft>, send: impl FnOnce(&Position)) {
        let mut kept = lock(&self.kept);
        if let Some(draft) = draft {
            match self.append(draft) {
                Ok(position) => kept.head = position,
                Err(error) => {
                    tracing::warn!(%error, "an event cannot be recovered");
                    kept.hole = Some(kept.head.seq);
                }
            }
        }
        send(&kept.head);
    }

    fn append(&self, draft: Draft) -> Result<Position, LogError> {
        let answer = Arc::new(OnceLock::new());
        let tell = Arc::clone(&answer);
        self.log.append(
            draft,
            Box::new(move |appended| {
                // It is told once.
                let _ = tell.set(appended.map(|appended| appended.message.position()));
            }),
        );
        // A log in memory answers before `append` returns.
        answer.get().cloned().unwrap_or_else(|| Err(LogError::Unavailable("the log did not answer".into())))
    }

    /// Lets a client in that has not been here, or not for long enough.
    pub(crate) fn open(&self, socket: &Socket) -> bool {
        let mut kept = lock(&self.kept);
        let begun = kept.head.clone();
        kept.open(socket, &begun)
    }

    /// Gives a client the session that it claims. That consumes it: the session is nobody else's after that, and a
    /// socket that still has it is ended, for the caller to finish. No session: the client begins anew.
    pub(crate) fn claim(&self, claim: &Claim, lane: &Arc<Lane>, user: Option<&Name>) -> Claimed {
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
        let from = claim.offset().ok().and_then(|offset| kept.resumes_at(offset, &session));
        let place = kept.head.seq;
        let Some(messages) = from.filter(|_| in_time).and_then(|from| self.messages(from, place)) else {
            kept.lost.push(session);
            return claimed;
        };
        drop(kept);
        // Not under the lock, which every emit takes.
        let missed: Vec<_> = messages.iter().filter_map(|message| Entry::read(message, &session)).collect();
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
        if kept.hole.is_some_and(|hole| *place <= hole) {
            return None;
        }
        let since = self.messages(*place, kept.head.seq)?;
        let since: Vec<_> = since.iter().filter_map(|message| Entry::read(message, session)).collect();
        let lane = socket.lane();
        if weight(missed) + weight(&since) > lane.outbox.capacity() {
            return None;
        }
        let path = socket.namespace().name();
        for Missed { event, args, offset } in missed.iter().chain(&since) {
            lane.push(&Outgoing::event(path, None, event.as_str(), args, Some(&offset.to_string())));
        }
        // Where it begins is in the socket already: where its session began.
        let head = kept.head.clone();
        Some(kept.open(socket, &head))
    }

    /// What was kept after a number; none when that is not whole any more.
    fn messages(&self, from: Seq, head: Seq) -> Option<Vec<Arc<Message>>> {
        let (mut messages, mut place) = (Vec::new(), from);
        while place < head {
            let page = self.page(place)?;
            if page.messages.first()?.seq != place.next() {
                return None;
            }
            place = page.messages.last()?.seq;
            messages.extend(page.messages);
        }
        Some(messages)
    }

    fn page(&self, after: Seq) -> Option<Page> {
        // A log in memory answers at once; one that does not cannot be read under the lock.
        self.log.read(&log_room(), Span::After(after, 1000)).now_or_never()?.ok()
    }

    /// Changes the session of a socket that has left; false if its client cannot come back, or has.
    pub(crate) fn amend(&self, socket: &Socket, change: impl FnOnce(&mut Session)) -> bool {
        socket.pid().is_some_and(|pid| lock(&self.kept).gone.amend(pid.as_str(), change))
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
        if let Some(session) = parted.session.take().filter(|_| reason.is_recoverable()) {
            kept.gone.keep(session, &mut kept.lost);
        }
        Some(parted)
    }

    /// Sees to it that the application hears of sessions that are lost, now or when their time is over.
    pub(crate) fn follow_up(&self, namespace: &Namespace, runtime: &Handle) {
        let mut kept = lock(&self.kept);
        let lost = std::mem::take(&mut kept.lost);
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
        (expired, next)
    }

    /// Whether someone may come back.
    pub(crate) fn is_waiting(&self) -> bool {
        !lock(&self.kept).gone.is_empty()
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
    fn open(&mut self, socket: &Socket, begun: &Position) -> bool {
        let opened = socket.open(Some(begun));
        if opened && let Some(pid) = socket.pid() {
            self.live.insert(pid.clone(), socket.clone());
        }
        opened
    }

    /// The number after which a client has missed everything; none when that cannot be told.
    fn resumes_at(&self, offset: Option<Position>, session: &Session) -> Option<Seq> {
        let begun = &session.begun;
        let seen = offset.unwrap_or_else(|| begun.clone());
        let after = seen.seq.max(begun.seq);
        let known = seen.epoch == self.head.epoch && after <= self.head.seq;
        let whole = self.hole.is_none_or(|hole| hole < after);
        (known && whole).then_some(after)
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

/// About how many bytes events are on their way.
fn weight(missed: &[Missed]) -> usize {
    let weight = |missed: &Missed| {
        let attached: usize = missed.args.attachments().iter().map(|data| data.len() + 16).sum();
        missed.event.as_str().len() + missed.args.json().len() + attached + 128
    };
    missed.iter().map(weight).sum()
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
