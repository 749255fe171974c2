//! A namespace: sockets, rooms, and what the application does with them.
//!
//! # Locks
//! Taken in this order, none across an await, and no code of the application runs under one: namespaces of the server
//! (`io.rs`) → sessions ([`Sessions`]) → [`Table`] → state of a socket → everything else, which is taken alone. The hub
//! is called under these; it never calls back but into a log's `done`, which takes none.

mod operators;
mod sending;
mod table;

use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicIsize, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};

use denrei_hub::{Channels, Hub, LocalChannels};
use tokio::runtime::Handle;

use crate::socketio::cluster::{Deed, Peers, Question, Replies, Reply};
use crate::socketio::compat::Joined;
use crate::socketio::emit::{Flags, Packet};
use crate::socketio::io::{Limits, WeakIo};
use crate::socketio::listeners::{self, Handler, Listeners, OnAny, Run};
use crate::socketio::names::HubRooms;
use crate::socketio::namespace::table::Table;
use crate::socketio::recovery::{Count, Sessions, Shared};
use crate::socketio::{
    Ack, Answer, Args, Broadcast, Compat, EmitError, ExpiredSession, Failure, FromArgs, Io, Listener, NodeAnswers,
    Outcome, Reason, Recovery, Socket, ToArgs, lock,
};

/// A namespace, or the pattern of some. Cheap to clone.
///
/// What is registered here is shared by all sockets and costs none of them memory. What is registered with a pattern
/// holds in every namespace that fits it, and what is emitted there reaches all of them.
#[derive(Clone)]
pub struct Namespace(Arc<Inner>);

struct Inner {
    io: WeakIo,
    name: Arc<str>,
    /// None for a pattern.
    rooms: Option<HubRooms>,
    hub: Hub,
    limits: Limits,
    /// The pattern that it fits.
    parent: Option<Namespace>,
    parts: Vec<(Box<str>, Box<str>)>,
    /// A client has made it: without sockets it goes away.
    passing: AtomicBool,
    listeners: RwLock<Listeners>,
    middlewares: RwLock<Vec<Middleware>>,
    event_middlewares: RwLock<Vec<OnAny>>,
    table: Mutex<Table>,
    keys: AtomicU64,
    acks: AtomicU64,
    /// How many hear what is sent: 0 almost always.
    outgoing: AtomicIsize,
    /// Clients that are about to join.
    visits: AtomicUsize,
    sessions: OnceLock<Sessions>,
    recovery: OnceLock<Recovering>,
    share: Mutex<Option<Share>>,
    compat: OnceLock<Joined>,
}

/// What clients of the other protocols may do in the rooms of a namespace, which they call `sio:/shop:ROOM`, and
/// `sio:/shop` for everybody in it. The rules of rooms hold there too: `user:ID` is that user's own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Share {
    /// There are no such rooms for them.
    #[default]
    Nothing,
    /// Hear what is emitted there.
    Read,
    /// Hear it, and publish: sockets are told as if the application had emitted it.
    Publish,
}

/// How clients come back, of a namespace or of all that fit a pattern.
#[derive(Clone)]
struct Recovering {
    config: Recovery,
    count: Count,
    log: Option<Arc<Shared>>,
}

pub(crate) type Middleware = Arc<dyn Fn(Socket) -> Run + Send + Sync>;

impl Namespace {
    /// Its name, or the pattern as it was written.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// What a part of the pattern stands for in this name: in `/dyn-7`, `id` of `/dyn-{id}` is `7`.
    pub fn part(&self, name: &str) -> Option<&str> {
        self.0.parts.iter().find(|(part, _)| **part == *name).map(|(_, value)| &**value)
    }

    // What happens in it.

    /// Runs a handler for each socket that has joined, before any of its events.
    ///
    /// ```
    /// # fn run(io: &denrei::socketio::Io) -> Result<(), denrei::socketio::InvalidNamespace> {
    /// io.of("/chat")?.on_connect(async |socket| {
    ///     socket.join("lobby")?;
    ///     socket.to("lobby").emit("user joined", socket.id())?;
    ///     socket.on("message", async |socket, text: String, _| {
    ///         socket.to("lobby").emit("message", &(socket.id(), text))?;
    ///         Ok(())
    ///     });
    ///     Ok(())
    /// });
    /// # Ok(())
    /// # }
    /// ```
    pub fn on_connect<F, Fut>(&self, handler: F) -> Listener
    where
        F: Fn(Socket) -> Fut + Send + Sync + 'static,
        Fut: Future + Send + 'static,
        Fut::Output: Outcome,
    {
        self.register(Handler::Connect(listeners::socket(handler)))
    }

    /// Runs a handler for each event of this name, of every socket; see [`Socket::on`].
    pub fn on<T, F, Fut>(&self, event: &str, handler: F) -> Listener
    where
        F: Fn(Socket, T, Ack) -> Fut + Send + Sync + 'static,
        Fut: Future + Send + 'static,
        Fut::Output: Outcome,
        T: FromArgs,
    {
        self.register(Handler::Event(event.into(), listeners::event(handler)))
    }

    /// Runs a handler for every event of every socket; see [`Socket::on_any`].
    pub fn on_any<F, Fut>(&self, handler: F) -> Listener
    where
        F: Fn(Socket, String, Args) -> Fut + Send + Sync + 'static,
        Fut: Future + Send + 'static,
        Fut::Output: Outcome,
    {
        self.register(Handler::Any(listeners::any(handler)))
    }

    /// Calls a function for every event that is sent, once per receiver; see [`Socket::on_any_outgoing`].
    pub fn on_any_outgoing(&self, handler: impl Fn(&Socket, &str, &Args) + Send + Sync + 'static) -> Listener {
        let mut list = write(&self.0.listeners);
        if !list.has_outgoing() {
            self.hear_outgoing(1);
        }
        list.add(Handler::Outgoing(Arc::new(handler)), false)
    }

    /// Runs a handler when a handler or a middleware of an event has failed.
    pub fn on_error<F, Fut>(&self, handler: F) -> Listener
    where
        F: Fn(Socket, Failure) -> Fut + Send + Sync + 'static,
        Fut: Future + Send + 'static,
        Fut::Output: Outcome,
    {
        self.register(Handler::Error(listeners::error(handler)))
    }

    /// Runs a handler when a socket has left; see [`Socket::on_disconnecting`].
    pub fn on_disconnecting<F, Fut>(&self, handler: F) -> Listener
    where
        F: Fn(Socket, Reason) -> Fut + Send + Sync + 'static,
        Fut: Future + Send + 'static,
        Fut::Output: Outcome,
    {
        self.register(Handler::Disconnecting(listeners::reason(handler)))
    }

    /// Runs a handler when a socket has left; see [`Socket::on_disconnect`].
    pub fn on_disconnect<F, Fut>(&self, handler: F) -> Listener
    where
        F: Fn(Socket, Reason) -> Fut + Send + Sync + 'static,
        Fut: Future + Send + 'static,
        Fut::Output: Outcome,
    {
        self.register(Handler::Disconnect(listeners::reason(handler)))
    }

    /// Runs a handler when a session that could be recovered has not been: its client did not come back in time, or not
    /// to everything that it missed.
    pub fn on_session_expired<F, Fut>(&self, handler: F) -> Listener
    where
        F: Fn(ExpiredSession) -> Fut + Send + Sync + 'static,
        Fut: Future + Send + 'static,
        Fut::Output: Outcome,
    {
        self.register(Handler::Expired(listeners::expired(handler)))
    }

    /// Runs a handler for each event that another node sends with [`Namespace::server_side_emit`]. What it returns is the
    /// answer, where one is asked for.
    pub fn on_server_side<T, F, Fut>(&self, event: &str, handler: F) -> Listener
    where
        F: Fn(T) -> Fut + Send + Sync + 'static,
        Fut: Future + Send + 'static,
        Fut::Output: ToArgs + Send,
        T: FromArgs,
    {
        self.register(Handler::ServerSide(event.into(), listeners::server_side(handler)))
    }

    /// Takes off what was registered here.
    pub fn off(&self, listener: Listener) {
        let mut list = write(&self.0.listeners);
        let heard = list.has_outgoing();
        list.remove(listener);
        if heard && !list.has_outgoing() {
            self.hear_outgoing(-1);
        }
    }

    fn register(&self, handler: Handler) -> Listener {
        write(&self.0.listeners).add(handler, false)
    }

    /// Runs a middleware for each client that asks to join, after those that were registered before. If it fails, the
    /// client does not join, and is told the failure as its connect error.
    ///
    /// ```
    /// # use denrei::socketio::{Failure, Namespace};
    /// # fn register(admin: &Namespace) {
    /// admin.use_fn(async |socket| match socket.user() {
    ///     Some(_) => Ok(()),
    ///     None => Err(Failure::new("Unauthorized").data(&serde_json::json!({"code": 401}))),
    /// });
    /// # }
    /// ```
    pub fn use_fn<F, Fut>(&self, middleware: F) -> &Self
    where
        F: Fn(Socket) -> Fut + Send + Sync + 'static,
        Fut: Future + Send + 'static,
        Fut::Output: Outcome,
    {
        write(&self.0.middlewares).push(listeners::socket(middleware));
        self
    }

    /// Runs a middleware for each event of every socket, before its listeners. If it fails, they are not run, and the
    /// client is told, in the ack or else as an event `error`.
    pub fn use_event<F, Fut>(&self, middleware: F) -> &Self
    where
        F: Fn(Socket, String, Args) -> Fut + Send + Sync + 'static,
        Fut: Future + Send + 'static,
        Fut::Output: Outcome,
    {
        write(&self.0.event_middlewares).push(listeners::any(middleware));
        self
    }

    /// Lets clients that were cut off come back to what they missed, on whichever node. Off without this; call it before
    /// clients join, and behind [`Namespace::compat`]. A second call changes nothing.
    ///
    /// In a cluster what is emitted is appended to a log that the nodes share, and sent when it is there. A namespace that
    /// is shared with servers of Node, or that a [function](Io::of_fn) makes, has no such log: there a client finds its
    /// session on the node that it was on.
    pub fn recovery(&self, recovery: Recovery) -> &Self {
        let Inner { hub, io, .. } = &*self.0;
        let shelf = io.upgrade().and_then(|io| io.shelf()).filter(|_| self.shared_as().is_none());
        let log = shelf.and_then(|shelf| Shared::new(self, hub, shelf, recovery));
        self.recover(Recovering { config: recovery, count: Count::default(), log });
        self
    }

    /// Opens the rooms to clients of the other protocols, as far as the server's [`Policy`](crate::Policy) lets them.
    pub fn share(&self, share: Share) -> &Self {
        *lock(&self.0.share) = Some(share);
        self
    }

    /// Shares the namespace with servers of Node, which have one of their Redis adapters, and with their emitters: what
    /// is done in it here is done there as well, and the other way round. Several nodes of denrei meet in it in the same
    /// way. Call it before clients join, and before anything is emitted; a second call changes nothing. Of a pattern,
    /// each namespace that fits is shared.
    ///
    /// Takes the [`channels`](crate::Parts::channels) of a broker: without them there is nobody to share it with.
    ///
    /// # Panics
    /// Outside of a tokio runtime: what it hears and says are a task there.
    pub fn compat(&self, compat: Compat) -> &Self {
        self.join_servers(compat, Handle::current());
        self
    }

    /// Everybody: the beginning of a chain.
    pub fn broadcast(&self) -> Broadcast {
        Broadcast::new(self.clone())
    }

    /// Sends an event to the other nodes of the cluster, where [`Namespace::on_server_side`] hears it.
    ///
    /// # Errors
    /// The event cannot have this name, or the arguments have no form in JSON.
    pub fn server_side_emit(&self, event: &str, value: &(impl ToArgs + ?Sized)) -> Result<(), EmitError> {
        self.elsewhere(&Deed::ServerSide(Packet::new(event, value)?));
        Ok(())
    }

    /// Sends an event to the other nodes of the cluster and gathers what they answer within 5 s. Nodes in
    /// [`NodeAnswers::missing_nodes`] that are servers of Node have no names, and are `unnamed`.
    pub fn server_side_emit_with_ack<T: FromArgs>(
        &self,
        event: &str,
        value: &(impl ToArgs + ?Sized),
    ) -> Answer<Result<NodeAnswers<T>, EmitError>> {
        let question = Packet::new(event, value).map(Question::ServerSide);
        let replies = question.map(|question| self.inquire(&question, self.patience()));
        Answer::new(async move {
            let Replies { replies, missing } = replies?.await;
            let answers = replies.into_iter().filter_map(|reply| match reply {
                Reply::ServerSide(args) => T::from_args(args).ok(),
                _ => None,
            });
            Ok(NodeAnswers { received: answers.collect(), missing_nodes: missing })
        })
    }

    /// A socket by its id, if it is on this node.
    pub fn socket(&self, id: &str) -> Option<Socket> {
        self.concrete().iter().find_map(|namespace| namespace.table().socket(id).cloned())
    }

    /// How many sockets are on this node.
    pub fn socket_count(&self) -> usize {
        self.concrete().iter().map(|namespace| namespace.table().all().len()).sum()
    }
}

/// What the other parts of a server's namespaces call.
impl Namespace {
    /// A namespace. A pattern has no rooms.
    pub(crate) fn new(io: WeakIo, hub: Hub, limits: Limits, name: &str, kind: Kind) -> Self {
        let (rooms, parent, parts, passing) = match kind {
            Kind::Pattern => (None, None, Vec::new(), false),
            Kind::Alone(rooms) => (Some(rooms), None, Vec::new(), false),
            Kind::Child { rooms, parent, parts, passing } => (Some(rooms), Some(parent), parts, passing),
        };
        let recovering = parent.as_ref().and_then(|parent| parent.0.recovery.get().cloned());
        let compat = parent.as_ref().and_then(|parent| parent.0.compat.get().map(Joined::again));
        let namespace = Self(Arc::new(Inner {
            io,
            name: name.into(),
            rooms,
            hub,
            limits,
            parent,
            parts,
            passing: AtomicBool::new(passing),
            listeners: RwLock::default(),
            middlewares: RwLock::default(),
            event_middlewares: RwLock::default(),
            table: Mutex::default(),
            keys: AtomicU64::new(0),
            acks: AtomicU64::new(0),
            outgoing: AtomicIsize::new(0),
            visits: AtomicUsize::new(0),
            sessions: OnceLock::new(),
            recovery: OnceLock::new(),
            share: Mutex::default(),
            compat: OnceLock::new(),
        }));
        if let Some(recovering) = recovering {
            namespace.recover(recovering);
        }
        if let Some((compat, runtime)) = compat {
            namespace.join_servers(compat, runtime);
        }
        namespace
    }

    fn join_servers(&self, compat: Compat, runtime: Handle) {
        self.0.compat.get_or_init(|| Joined::new(self, compat, runtime));
    }

    /// How it is shared.
    pub(crate) fn shared_as(&self) -> Option<&Compat> {
        self.0.compat.get().map(Joined::compat)
    }

    /// The servers of Node that the namespace is shared with; none for a pattern.
    pub(crate) fn servers(&self) -> Option<Arc<dyn Peers>> {
        self.0.compat.get()?.servers()
    }

    fn recover(&self, recovering: Recovering) {
        if self.0.recovery.set(recovering.clone()).is_ok() && self.0.rooms.is_some() {
            let Recovering { config, count, log } = recovering;
            self.0.sessions.get_or_init(|| Sessions::new(config, count, log));
        }
    }

    /// The log that an emit goes to so that clients can come back to it on any node; none where there is none, and for
    /// what nobody comes back to.
    pub(crate) fn shared_log(&self, flags: Flags) -> Option<&Arc<Shared>> {
        self.0.recovery.get()?.log.as_ref().filter(|_| !flags.volatile && !flags.local)
    }

    /// What is shared; if nothing was said, what its pattern says.
    pub(crate) fn shared(&self) -> Share {
        let own = *lock(&self.0.share);
        own.or_else(|| self.0.parent.as_ref().map(Self::shared)).unwrap_or_default()
    }

    /// Itself, or those that fit it if it is a pattern.
    pub(crate) fn concrete(&self) -> Vec<Self> {
        match &self.0.rooms {
            Some(_) => vec![self.clone()],
            None => self.io().map(|io| io.children(self)).unwrap_or_default(),
        }
    }

    pub(crate) fn parent(&self) -> Option<&Self> {
        self.0.parent.as_ref()
    }

    pub(crate) fn is_child_of(&self, parent: &Self) -> bool {
        self.0.parent.as_ref().is_some_and(|own| Arc::ptr_eq(&own.0, &parent.0))
    }

    pub(crate) fn io(&self) -> Option<Io> {
        self.0.io.upgrade()
    }

    pub(crate) fn is_pattern(&self) -> bool {
        self.0.rooms.is_none()
    }

    /// What reaches other programs.
    pub(crate) fn channels(&self) -> Arc<dyn Channels> {
        self.io().map_or_else(|| Arc::new(LocalChannels::default()) as Arc<dyn Channels>, |io| io.channels())
    }

    /// Whether somebody on this node is in a room, or has this id.
    pub(crate) fn has_room(&self, room: &str) -> bool {
        let table = self.table();
        table.socket(room).is_some() || self.rooms().room(room).is_ok_and(|name| table.has(&name))
    }

    /// The rooms that somebody on this node is in, the ids of sockets included.
    pub(crate) fn room_names(&self) -> Vec<String> {
        let table = self.table();
        let ids = table.all().map(|socket| socket.id().to_string());
        ids.chain(table.rooms().map(|room| self.rooms().short(room).to_owned())).collect()
    }

    pub(crate) fn hub(&self) -> &Hub {
        &self.0.hub
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.0.limits
    }

    /// Sockets are in namespaces that are no patterns.
    pub(crate) fn rooms(&self) -> &HubRooms {
        self.0.rooms.as_ref().expect("a namespace with sockets has rooms")
    }

    pub(crate) fn table(&self) -> MutexGuard<'_, Table> {
        lock(&self.0.table)
    }

    pub(crate) fn sessions(&self) -> Option<&Sessions> {
        self.0.sessions.get()
    }

    pub(crate) fn next_key(&self) -> u64 {
        self.0.keys.fetch_add(1, Ordering::Relaxed)
    }

    /// One counter for all of a namespace, so that an event to many is the same packet for all.
    pub(crate) fn next_ack(&self) -> u64 {
        self.0.acks.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn hear_outgoing(&self, more: isize) {
        self.0.outgoing.fetch_add(more, Ordering::Relaxed);
    }

    fn lineage(&self) -> impl Iterator<Item = &Self> {
        self.0.parent.as_ref().into_iter().chain([self])
    }

    /// Its pattern's, then its own.
    pub(crate) fn listeners<T>(&self, choose: &impl Fn(&Handler) -> Option<T>) -> Vec<T> {
        let mut chosen = Vec::new();
        for namespace in self.lineage() {
            chosen.extend(read(&namespace.0.listeners).choose(choose));
        }
        chosen
    }

    pub(crate) fn middlewares(&self) -> Vec<Middleware> {
        self.lineage().flat_map(|namespace| read(&namespace.0.middlewares).clone()).collect()
    }

    pub(crate) fn event_middlewares(&self) -> Vec<OnAny> {
        self.lineage().flat_map(|namespace| read(&namespace.0.event_middlewares).clone()).collect()
    }

    pub(crate) fn downgrade(&self) -> Weak {
        Weak(Arc::downgrade(&self.0))
    }

    /// The application has asked for it: it stays.
    pub(crate) fn stay(&self) {
        self.0.passing.store(false, Ordering::Relaxed);
    }

    /// A client is about to join: the namespace stays until it is in, or refused.
    pub(crate) fn visit(&self) -> Visit {
        self.0.visits.fetch_add(1, Ordering::Relaxed);
        Visit(self.clone())
    }

    /// Goes away if a client made it and nobody is in it any more.
    pub(crate) fn tidy(&self) {
        if self.0.passing.load(Ordering::Relaxed)
            && let Some(io) = self.io()
        {
            io.remove_if(self, || {
                // Again: the application may have asked for it in the meantime.
                self.0.passing.load(Ordering::Relaxed)
                    && self.0.visits.load(Ordering::Relaxed) == 0
                    && !self.sessions().is_some_and(Sessions::is_waiting)
                    && self.table().all().len() == 0
            });
        }
    }
}

/// How a namespace comes to be.
pub(crate) enum Kind {
    Pattern,
    Alone(HubRooms),
    Child { rooms: HubRooms, parent: Namespace, parts: Vec<(Box<str>, Box<str>)>, passing: bool },
}

/// See [`Namespace::visit`].
pub(crate) struct Visit(Namespace);

impl Visit {
    pub(crate) fn namespace(&self) -> &Namespace {
        &self.0
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.0.0.visits.fetch_sub(1, Ordering::Relaxed);
        self.0.tidy();
    }
}

/// A namespace, for those who must not keep it.
pub(crate) struct Weak(std::sync::Weak<Inner>);

impl Weak {
    pub(crate) fn upgrade(&self) -> Option<Namespace> {
        self.0.upgrade().map(Namespace)
    }
}

fn read<T>(lock: &RwLock<T>) -> std::sync::RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> std::sync::RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Namespace({:?})", self.name())
    }
}

impl PartialEq for Namespace {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Namespace {}
