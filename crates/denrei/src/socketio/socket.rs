//! One client in one namespace.

mod hearing;
mod life;

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use denrei_hub::{InvalidName, Name, Notice, Position, Reader};
use denrei_proto::codes::Code;
use denrei_proto::engineio::Version;
use denrei_proto::socketio::Outgoing;
use tokio::runtime::Handle;

use crate::auth::Standing;
use crate::identity::Identity;
use crate::refusal::Refusal;
use crate::session::Session;
use crate::socketio::ack::Waiting;
use crate::socketio::cluster::Description;
use crate::socketio::data::Kept;
use crate::socketio::emit::{Flags, Packet};
use crate::socketio::lane::{Lane, Order};
use crate::socketio::listeners::{Handler, Listeners};
use crate::socketio::names::Pid;
use crate::socketio::queue::Queue;
use crate::socketio::{
    Ack, AckError, Answer, Args, Broadcast, Data, Direct, EmitError, Failure, FromArgs, Handshake, Namespace, Reason,
    Rooms, SocketId, ToArgs, lock,
};
use crate::wires::EMITS;
pub(crate) use life::Parted;

/// One client in one namespace. Cheap to clone.
///
/// Its handlers run one after another, in the order in which the client sent the events: a slow handler holds back its own socket and nobody else, and may itself wait for
/// an answer of the client.
#[derive(Clone)]
pub struct Socket(Arc<Inner>);

struct Inner {
    id: SocketId,
    /// Unique in the namespace, also among sockets that have the same id one after another.
    key: u64,
    pid: Option<Pid>,
    recovered: bool,
    namespace: Namespace,
    lane: Arc<Lane>,
    handshake: Arc<Handshake>,
    /// What it was shown with lately, if that is not what the handshake says.
    renewed: Mutex<Option<Box<Identity>>>,
    auth: Option<Bytes>,
    /// That of the connection.
    runtime: Handle,
    state: Mutex<State>,
    queue: Queue,
    waiting: Waiting,
    listeners: Mutex<Option<Box<Listeners>>>,
    data: Kept,
}

/// Where a socket is, and in which rooms.
#[derive(Default)]
struct State {
    phase: Phase,
    /// In the room of everybody in the namespace.
    all: Option<Reader>,
    rooms: Vec<Place>,
    /// The rooms that it was in are of no more interest.
    forgotten: bool,
    /// Everything after this place was for this socket's session, whichever connection it was on.
    begun: Option<Position>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    /// Its middlewares run.
    #[default]
    Joining,
    Connected,
    Left,
    /// The same, because the server meant it to go.
    Dismissed,
}

enum Place {
    /// To be joined at connect. After the socket has left: was joined.
    Named(Arc<str>),
    Joined(Reader),
}

/// A client that asks to join, and what it had before.
pub(crate) struct Newcomer {
    pub(crate) lane: Arc<Lane>,
    pub(crate) handshake: Arc<Handshake>,
    pub(crate) auth: Option<Bytes>,
    pub(crate) runtime: Handle,
}

impl Socket {
    /// The public id: 20 characters, another one in each namespace, kept through recovery.
    pub fn id(&self) -> &SocketId {
        &self.0.id
    }

    /// The namespace.
    pub fn namespace(&self) -> &Namespace {
        &self.0.namespace
    }

    /// The request that began the connection.
    pub fn handshake(&self) -> &Handshake {
        &self.0.handshake
    }

    /// What the client sent along to join (`auth` in its options); an empty object when it sent nothing.
    ///
    /// # Errors
    /// It is of another type.
    pub fn auth<T: serde::de::DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_slice(self.0.auth.as_deref().unwrap_or(b"{}"))
    }

    /// The user that the client has shown to be.
    pub fn user(&self) -> Option<&str> {
        self.0.handshake.identity().user.as_ref().map(Name::as_str)
    }

    /// Takes a new token of the same user, before the one that the client came with expires: it was told so with the
    /// event `expiring`. For handlers; roles stay those of the connection.
    ///
    /// # Errors
    /// The token is none, or another user's. The old one holds on.
    pub fn authenticate(&self, token: &str) -> Result<(), Refusal> {
        let io = self.0.namespace.io().ok_or_else(|| Refusal::later(Code::ShuttingDown, "the server has stopped"))?;
        let identity = io.auth().verify(token)?;
        if identity.user != self.0.handshake.identity().user {
            return Err(Refusal::new(Code::Forbidden, "the token belongs to another user"));
        }
        *lock(&self.0.renewed) = Some(Box::new(identity));
        // So that it is reminded of the new end.
        self.0.lane.outbox.notify(Notice::Due);
        Ok(())
    }

    /// What the application keeps with the socket.
    pub fn data(&self) -> Data<'_> {
        Data::new(self, &self.0.data, self.0.handshake.identity())
    }

    /// What was given to [`Io::provide`](crate::socketio::Io::provide).
    ///
    /// # Panics
    /// If nothing of this type was. In a handler this ends its event only.
    pub fn state<T: Send + Sync + 'static>(&self) -> Arc<T> {
        let state = self.0.namespace.io().and_then(|io| io.state());
        state.unwrap_or_else(|| panic!("no {} was provided", std::any::type_name::<T>()))
    }

    /// Whether it was in the namespace before, and has missed nothing.
    pub fn recovered(&self) -> bool {
        self.0.recovered
    }

    /// Whether it is in the namespace.
    pub fn is_connected(&self) -> bool {
        lock(&self.0.state).phase == Phase::Connected
    }

    // Rooms.

    /// Joins rooms. Everybody in a room gets what is emitted `to` it.
    ///
    /// # Errors
    /// The name is none, the socket is in as many rooms as it may be, has left, or the room belongs to somebody else:
    /// `user:ID` to that user, the id of a socket to that socket. Rooms before that one are joined.
    pub fn join(&self, rooms: impl Rooms) -> Result<(), JoinError> {
        let mut result = Ok(());
        rooms.each(&mut |room| {
            if result.is_ok() {
                result = self.join_one(room);
            }
        });
        result
    }

    fn join_one(&self, room: &str) -> Result<(), JoinError> {
        if room == self.id().as_str() {
            return Ok(());
        }
        if room.strip_prefix("user:").is_some_and(|user| self.user() != Some(user)) {
            return Err(JoinError::Foreign);
        }
        let name = self.0.namespace.rooms().room(room)?;
        let mut table = self.0.namespace.table();
        if room.len() == SocketId::LENGTH && table.socket(room).is_some() {
            return Err(JoinError::Foreign);
        }
        let mut state = lock(&self.0.state);
        if self.places(&state).any(|place| place == room) {
            return Ok(());
        }
        let limit = self.0.namespace.limits().rooms;
        if state.rooms.len() >= limit {
            return Err(JoinError::TooMany { limit });
        }
        let place = match state.phase {
            Phase::Joining => Place::Named(room.into()),
            Phase::Connected => {
                table.join(&name, self.0.key);
                Place::Joined(self.0.namespace.hub().attach_now(&self.0.lane.outbox, &name, EMITS))
            }
            Phase::Left | Phase::Dismissed => {
                drop((state, table));
                return self.amend(|rooms| rooms.push(room.into())).ok_or(JoinError::Disconnected);
            }
        };
        if state.rooms.len() == state.rooms.capacity() {
            // Most sockets are in one room or two, and the vector would begin with four.
            let more = state.rooms.len().max(1);
            state.rooms.reserve_exact(more);
        }
        state.rooms.push(place);
        drop((state, table));
        self.changed();
        Ok(())
    }

    /// What its client would come back to has changed.
    pub(crate) fn changed(&self) {
        if let Some(sessions) = self.0.namespace.sessions() {
            sessions.changed(self);
        }
    }

    /// Leaves a room. Nothing happens if it is not in it; nobody leaves the room of its own id.
    pub fn leave_room(&self, room: &str) {
        let mut table = self.0.namespace.table();
        let mut state = lock(&self.0.state);
        let at = self.places(&state).position(|place| place == room);
        let left = at.map(|at| state.rooms.swap_remove(at));
        if let Some(Place::Joined(reader)) = &left {
            table.leave(reader.room(), self.0.key);
        }
        drop((state, table));
        if left.is_some() {
            self.changed();
        }
        self.amend(|rooms| rooms.retain(|known| **known != *room));
    }

    /// Changes the rooms that a socket which has left comes back to; none if it does not.
    fn amend(&self, change: impl FnOnce(&mut Vec<Arc<str>>)) -> Option<()> {
        let sessions = self.0.namespace.sessions().filter(|_| self.may_return())?;
        sessions.amend(self, |session| change(&mut session.rooms)).then_some(())
    }

    /// The rooms that it is in, its own id first.
    pub fn rooms(&self) -> Vec<String> {
        let state = lock(&self.0.state);
        let own = (!state.forgotten).then(|| self.id().to_string());
        own.into_iter().chain(self.places(&state).map(str::to_owned)).collect()
    }

    fn places<'a>(&'a self, state: &'a State) -> impl Iterator<Item = &'a str> {
        state.rooms.iter().map(|place| match place {
            Place::Named(name) => &**name,
            Place::Joined(reader) => self.0.namespace.rooms().short(reader.room()),
        })
    }

    // What it is told.

    /// Sends the client an event. A tuple is one argument per element, `()` is none, anything else is one; bytes are
    /// binary. Nothing happens when the client has gone.
    ///
    /// # Errors
    /// The event cannot have this name, or the arguments have no form in JSON.
    pub fn emit(&self, event: &str, value: &(impl ToArgs + ?Sized)) -> Result<(), EmitError> {
        Direct::new(self).emit(event, value)
    }

    /// Sends the client an event, and gives its answer to await: see [`Direct::emit_with_ack`]. Without a
    /// [`timeout`](Socket::timeout) it waits until the client has gone.
    pub fn emit_with_ack<T: FromArgs>(
        &self,
        event: &str,
        value: &(impl ToArgs + ?Sized),
    ) -> Answer<Result<T, AckError>> {
        Direct::new(self).emit_with_ack(event, value)
    }

    /// The next emit waits so long for its answer.
    pub fn timeout(&self, timeout: Duration) -> Direct {
        Direct::new(self).timeout(timeout)
    }

    /// The next emit is dropped if the client cannot be written to at this moment.
    pub fn volatile(&self) -> Direct {
        Direct::new(self).volatile()
    }

    /// Whether the next emit may be compressed on its way; default true.
    pub fn compress(&self, compress: bool) -> Direct {
        Direct::new(self).compress(compress)
    }

    /// Everybody in these rooms, but not the socket itself.
    pub fn to(&self, rooms: impl Rooms) -> Broadcast {
        self.broadcast().to(rooms)
    }

    /// The same as [`Socket::to`].
    pub fn in_(&self, rooms: impl Rooms) -> Broadcast {
        self.to(rooms)
    }

    /// Everybody but those in these rooms, and not the socket itself.
    pub fn except(&self, rooms: impl Rooms) -> Broadcast {
        self.broadcast().except(rooms)
    }

    /// Everybody on this node, but not the socket itself.
    pub fn local(&self) -> Broadcast {
        self.broadcast().local()
    }

    /// Everybody, but not the socket itself.
    pub fn broadcast(&self) -> Broadcast {
        self.0.namespace.broadcast().except(self.id())
    }

    /// Takes the client out of the namespace, or (`close`) ends its connection. It never waits: a client that reads
    /// nothing any more goes as well. Events that wait to be run are dropped.
    pub fn disconnect(&self, close: bool) {
        let reason = Reason::ServerNamespaceDisconnect;
        if !self.part(reason) {
            return;
        }
        let packet = Outgoing::disconnect(self.0.namespace.name());
        if close {
            self.0.lane.send(&packet);
            self.0.lane.order(Order::Close(reason));
        } else {
            // The client may join anew as soon as it knows.
            self.0.lane.order(Order::Left(self.clone()));
            self.0.lane.send(&packet);
        }
    }
}

/// What the connection calls.
impl Socket {
    /// Takes an event of the client. False, once until [`Order::Relieved`]: enough of them wait, read no further.
    pub(crate) fn receive(&self, id: Option<u64>, name: &str, args: Args) -> bool {
        let phase = lock(&self.0.state).phase;
        match phase {
            Phase::Joining | Phase::Connected => self.0.queue.event(self, id, name, args),
            Phase::Left | Phase::Dismissed => true,
        }
    }

    /// Whether its client is to be read no further: enough of its events wait, or many more while a handler waits for
    /// what the client may say behind them.
    pub(crate) fn is_full(&self) -> bool {
        let is_asking = || !self.0.waiting.is_empty();
        self.0.queue.is_full(is_asking)
    }

    /// How its client stands.
    pub(crate) fn standing(&self, session: &Session) -> Standing {
        let renewed = lock(&self.0.renewed);
        session.standing(renewed.as_deref().unwrap_or_else(|| self.0.handshake.identity()))
    }

    /// Refuses an event of the client before any handler hears of it.
    pub(crate) fn refuse(&self, id: Option<u64>, refusal: Refusal) {
        let data = serde_json::json!({ "code": refusal.code.as_str(), "retryAfter": refusal.retry_after_ms });
        let failure = Failure::new(refusal.sentence).data(&data);
        if !Ack::new(self, id).fail(&failure) {
            self.tell_error(&failure);
        }
    }

    /// Takes the client's answer to an event.
    pub(crate) fn answer(&self, id: u64, args: Args) {
        self.0.waiting.answered(self.id(), id, args);
    }

    /// The client has left, or its connection has ended. Further calls do nothing.
    pub(crate) fn leave(&self, reason: Reason) {
        self.part(reason);
    }
}

/// What the other parts of the namespace call.
impl Socket {
    pub(crate) fn key(&self) -> u64 {
        self.0.key
    }

    pub(crate) fn pid(&self) -> Option<&Pid> {
        self.0.pid.as_ref()
    }

    pub(crate) fn is_of(&self, user: Option<&Name>) -> bool {
        self.0.handshake.identity().user.as_ref() == user
    }

    pub(crate) fn lane(&self) -> &Arc<Lane> {
        &self.0.lane
    }

    pub(crate) fn runtime(&self) -> &Handle {
        &self.0.runtime
    }

    pub(crate) fn queue(&self) -> &Queue {
        &self.0.queue
    }

    pub(crate) fn waiting(&self) -> &Waiting {
        &self.0.waiting
    }

    /// An answer is awaited now: its connection is to be read, however much waits.
    pub(crate) fn wait_for_answers(&self) {
        if self.0.queue.is_pressed() {
            self.0.lane.outbox.wake();
        }
    }

    /// Nothing more is sent to it.
    pub(crate) fn has_left(&self) -> bool {
        matches!(lock(&self.0.state).phase, Phase::Left | Phase::Dismissed)
    }

    /// It has left, and its client may come back to it.
    pub(crate) fn may_return(&self) -> bool {
        self.0.pid.is_some() && lock(&self.0.state).phase == Phase::Left
    }

    pub(crate) fn is_dismissed(&self) -> bool {
        lock(&self.0.state).phase == Phase::Dismissed
    }

    /// The namespace's listeners, then its own.
    pub(crate) fn listeners<T>(&self, choose: impl Fn(&Handler) -> Option<T>) -> Vec<T> {
        let mut chosen = self.0.namespace.listeners(&choose);
        if let Some(list) = &mut *lock(&self.0.listeners) {
            chosen.extend(list.take(choose));
        }
        chosen
    }

    pub(crate) fn forget_listeners(&self) {
        let listeners = lock(&self.0.listeners).take();
        if listeners.is_some_and(|list| list.has_outgoing()) {
            self.0.namespace.hear_outgoing(-1);
        }
    }

    /// Handlers may have changed what they keep with the socket since it has left.
    pub(crate) fn keep_data(&self) {
        if let Some(sessions) = self.0.namespace.sessions().filter(|_| self.may_return()) {
            sessions.amend(self, |session| session.data = self.0.data.to_map());
        }
    }

    pub(crate) fn forget_rooms(&self) {
        let mut state = lock(&self.0.state);
        state.rooms = Vec::new();
        state.forgotten = true;
    }

    pub(crate) fn relieve(&self) {
        self.0.lane.order(Order::Relieved);
    }

    /// Tells the client of a failure that no ack could tell.
    pub(crate) fn tell_error(&self, failure: &Failure) {
        if self.has_left() {
            return;
        }
        match self.0.lane.version {
            Version::V4 => {
                if let Ok(packet) = Packet::new("error", &serde_json::Value::Object(failure.to_object())) {
                    self.0.namespace.tell(self, &packet, None, Flags::default());
                }
            }
            Version::V3 => {
                let data = failure.data_json();
                let path = self.0.namespace.name();
                self.0.lane.send(&Outgoing::connect_error_v3(path, failure.message(), data.as_deref()));
            }
        }
    }

    /// What other nodes and the application see of it.
    pub(crate) fn describe(&self) -> Description {
        let auth = self.auth().unwrap_or_default();
        Description {
            id: self.id().clone(),
            handshake: self.0.handshake.to_json(&auth),
            rooms: self.rooms(),
            data: self.data().to_json(),
        }
    }
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Socket").field("namespace", &self.0.namespace.name()).field("id", &self.0.id).finish()
    }
}

impl PartialEq for Socket {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Socket {}

/// Why a socket did not join a room.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JoinError {
    /// No room can have this name.
    #[error("the room has no valid name: {0}")]
    Name(#[from] InvalidName),
    /// The socket is in as many as it may be.
    #[error("a socket joins at most {limit} rooms")]
    TooMany {
        /// How many there may be.
        limit: usize,
    },
    /// It is the room of another user, or another socket's own.
    #[error("this room belongs to somebody else")]
    Foreign,
    /// The socket has left.
    #[error("the socket has left the namespace")]
    Disconnected,
}
