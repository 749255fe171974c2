//! Emitting: to one socket, or to everybody whom a chain of `to` and `except` names.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use denrei_hub::{ClientId, InvalidName, Name};
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::socketio::cluster::{Deed, Question, Replies, Reply};
use crate::socketio::names::{EventNameError, event_name};
use crate::socketio::nodes::carried;
use crate::socketio::{
    AckError, Answer, Answers, Args, ArgsError, Fetched, FromArgs, Namespace, RemoteSocket, Rooms, Socket, SocketId,
    ToArgs, ack,
};

/// Why an event was not emitted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EmitError {
    /// The name means something to clients themselves.
    #[error("the event name {0:?} is reserved")]
    Reserved(Box<str>),
    /// No event can have this name.
    #[error("the event has no valid name: {0}")]
    Name(InvalidName),
    /// The arguments have no form in JSON.
    #[error("the arguments could not be encoded: {0}")]
    Arguments(#[from] ArgsError),
}

/// An event that may be sent.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Packet {
    pub(crate) event: Name,
    #[serde(with = "carried")]
    pub(crate) args: Args,
    pub(crate) by: By,
}

/// Who publishes in a room of a namespace without being in it; nobody if the application emits.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct By {
    pub(crate) client: Option<ClientId>,
    pub(crate) user: Option<Name>,
    /// The connection, which does not hear itself; means nothing on another node.
    #[serde(skip)]
    pub(crate) origin: u64,
}

impl Packet {
    pub(crate) fn new(event: &str, value: &(impl ToArgs + ?Sized)) -> Result<Self, EmitError> {
        let event = event_name(event).map_err(|error| match error {
            EventNameError::Reserved => EmitError::Reserved(event.into()),
            EventNameError::Invalid(why) => EmitError::Name(why),
        })?;
        Ok(Self { event, args: value.to_args()?, by: By::default() })
    }
}

/// How an event is to be sent.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Flags {
    pub(crate) volatile: bool,
    pub(crate) uncompressed: bool,
    pub(crate) local: bool,
    pub(crate) timeout: Option<Duration>,
}

impl Flags {
    fn deadline(&self) -> Option<Instant> {
        self.timeout.and_then(ack::after)
    }
}

/// Whom an event goes to.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Targets {
    /// Rooms and ids; none means everybody.
    pub(crate) rooms: Option<Vec<Arc<str>>>,
    /// Rooms and ids.
    pub(crate) except: Vec<Arc<str>>,
}

impl Targets {
    pub(crate) fn one(id: &SocketId) -> Self {
        Self { rooms: Some(vec![id.as_str().into()]), except: Vec::new() }
    }

    /// The socket, if it is one and nobody is excepted.
    pub(crate) fn single(&self) -> Option<&str> {
        match (self.rooms.as_deref(), &*self.except) {
            (Some([id]), []) if id.len() == SocketId::LENGTH => Some(id),
            _ => None,
        }
    }
}

/// What sockets of a namespace are told or made to do: those in one of the rooms (`to`), or all, without those in one
/// of the excepted. Each is reached once, however many of the rooms it is in.
#[derive(Clone, Debug)]
#[must_use = "nothing is sent before `emit`"]
pub struct Broadcast {
    namespace: Namespace,
    targets: Targets,
    flags: Flags,
}

impl Broadcast {
    pub(crate) fn new(namespace: Namespace) -> Self {
        Self { namespace, targets: Targets::default(), flags: Flags::default() }
    }

    pub(crate) fn flagged(mut self, flags: Flags) -> Self {
        self.flags = flags;
        self
    }

    /// Adds rooms, or ids of sockets. After `to` with none at all, nobody is meant.
    pub fn to(mut self, rooms: impl Rooms) -> Self {
        let targets = self.targets.rooms.get_or_insert_default();
        rooms.each(&mut |room| targets.push(room.into()));
        self
    }

    /// The same as [`Broadcast::to`].
    pub fn in_(self, rooms: impl Rooms) -> Self {
        self.to(rooms)
    }

    /// Leaves out those in these rooms, or with these ids.
    pub fn except(mut self, rooms: impl Rooms) -> Self {
        rooms.each(&mut |room| self.targets.except.push(room.into()));
        self
    }

    /// Sockets of this node only.
    pub fn local(mut self) -> Self {
        self.flags.local = true;
        self
    }

    /// Who cannot be written to at this moment does not get it.
    pub fn volatile(mut self) -> Self {
        self.flags.volatile = true;
        self
    }

    /// Whether it may be compressed on its way; default true.
    pub fn compress(mut self, compress: bool) -> Self {
        self.flags.uncompressed = !compress;
        self
    }

    /// How long answers are waited for; default 5 s.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.flags.timeout = Some(timeout);
        self
    }

    /// Sends an event. A tuple is one argument per element, `()` is none, anything else is one.
    ///
    /// # Errors
    /// The event cannot have this name, or the arguments have no form in JSON.
    pub fn emit(&self, event: &str, value: &(impl ToArgs + ?Sized)) -> Result<(), EmitError> {
        self.send(Packet::new(event, value)?);
        Ok(())
    }

    /// Sends an event and gathers what each client answers, until all have or the time is over.
    pub fn emit_with_ack<T: FromArgs>(
        &self,
        event: &str,
        value: &(impl ToArgs + ?Sized),
    ) -> Answer<Result<Answers<T>, EmitError>> {
        let packet = match Packet::new(event, value) {
            Ok(packet) => packet,
            Err(error) => return Answer::new(std::future::ready(Err(error))),
        };
        let question = Question::Emit(self.targets.clone(), packet, self.flags);
        let replies = self.inquire(&question);
        Answer::new(async move {
            let Replies { replies, missing } = replies.await;
            let gathered = replies.into_iter().filter_map(|reply| match reply {
                Reply::Answers(gathered) => Some(gathered),
                _ => None,
            });
            Ok(Answers::of(gathered, missing))
        })
    }

    /// The sockets, of all nodes.
    pub async fn fetch_sockets(&self) -> Fetched {
        let Replies { replies, missing } = self.inquire(&Question::Fetch(self.targets.clone())).await;
        let described = replies.into_iter().filter_map(|reply| match reply {
            Reply::Sockets(sockets) => Some(sockets),
            _ => None,
        });
        let namespace = &self.namespace;
        let sockets = described.flatten().map(|described| RemoteSocket::new(namespace, described)).collect();
        Fetched { sockets, missing_nodes: missing }
    }

    /// Has the sockets join rooms; those that may not, or are in too many, do not.
    pub fn sockets_join(&self, rooms: impl Rooms) {
        self.everywhere(&Deed::Join(self.targets.clone(), listed(rooms)));
    }

    /// Has the sockets leave rooms.
    pub fn sockets_leave(&self, rooms: impl Rooms) {
        self.everywhere(&Deed::Leave(self.targets.clone(), listed(rooms)));
    }

    /// Takes the sockets out of the namespace, or (`close`) ends their connections.
    pub fn disconnect_sockets(&self, close: bool) {
        self.everywhere(&Deed::Disconnect(self.targets.clone(), close));
    }

    pub(crate) fn send(&self, packet: Packet) {
        self.everywhere(&Deed::Emit(self.targets.clone(), packet, self.flags));
    }

    fn everywhere(&self, deed: &Deed) {
        self.namespace.everywhere(deed, self.flags.local);
    }

    /// Asks this node and the others.
    fn inquire(&self, question: &Question) -> BoxFuture<'static, Replies> {
        let patience = self.flags.timeout.unwrap_or_else(|| self.namespace.patience());
        let here = self.namespace.answer(question, patience);
        let there = (!self.flags.local).then(|| self.namespace.inquire(question, patience));
        Box::pin(async move {
            let there = async move {
                match there {
                    Some(there) => there.await,
                    None => Replies::default(),
                }
            };
            let (here, mut all) = tokio::join!(here, there);
            all.replies.extend(here);
            all
        })
    }
}

fn listed(rooms: impl Rooms) -> Vec<String> {
    let mut list = Vec::new();
    rooms.each(&mut |room| list.push(room.to_owned()));
    list
}

/// An event for one socket, with flags.
#[derive(Clone)]
#[must_use = "nothing is sent before `emit`"]
pub struct Direct {
    socket: Socket,
    flags: Flags,
}

impl Direct {
    pub(crate) fn new(socket: &Socket) -> Self {
        Self { socket: socket.clone(), flags: Flags::default() }
    }

    /// Dropped if the client cannot be written to at this moment.
    pub fn volatile(mut self) -> Self {
        self.flags.volatile = true;
        self
    }

    /// Whether it may be compressed on its way; default true.
    pub fn compress(mut self, compress: bool) -> Self {
        self.flags.uncompressed = !compress;
        self
    }

    /// How long the answer is waited for; default until the client has gone.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.flags.timeout = Some(timeout);
        self
    }

    /// Goes on with these flags to everybody in these rooms but the socket itself.
    pub fn to(self, rooms: impl Rooms) -> Broadcast {
        self.broadcast().to(rooms)
    }

    /// Goes on with these flags to everybody but the socket itself.
    pub fn broadcast(self) -> Broadcast {
        self.socket.broadcast().flagged(self.flags)
    }

    /// Sends an event; see [`Broadcast::emit`]. Nothing happens when the client has gone.
    ///
    /// # Errors
    /// The event cannot have this name, or the arguments have no form in JSON.
    pub fn emit(&self, event: &str, value: &(impl ToArgs + ?Sized)) -> Result<(), EmitError> {
        self.socket.namespace().tell(&self.socket, &Packet::new(event, value)?, None, self.flags);
        Ok(())
    }

    /// Sends an event, and gives the client's answer to await: a tuple takes all its arguments, anything else the first.
    /// The event is sent now.
    ///
    /// Awaiting it fails when the time is over, when the client goes, or when it answers something else.
    pub fn emit_with_ack<T: FromArgs>(
        &self,
        event: &str,
        value: &(impl ToArgs + ?Sized),
    ) -> Answer<Result<T, AckError>> {
        let packet = Packet::new(event, value);
        ack::ask(&self.socket, self.flags.deadline(), |id| {
            self.socket.namespace().tell(&self.socket, &packet?, Some(id), self.flags);
            Ok(())
        })
    }
}

impl fmt::Debug for Direct {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Direct").field("socket", self.socket.id()).field("flags", &self.flags).finish()
    }
}
