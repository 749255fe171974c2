//! All namespaces of a server, and how a client comes into one.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock, Weak};

use bytes::Bytes;
use denrei_hub::{Channels, Draft, Hub, LocalChannels, RoomName, Shelf};
use denrei_proto::engineio::Version;
use denrei_proto::socketio::Outgoing;
use serde_json::Value;
use tokio::runtime::Handle;

use crate::auth::Auth;
use crate::socketio::cluster::Peers;
use crate::socketio::lane::{Lane, Order};
use crate::socketio::listeners::{self, contained};
use crate::socketio::names::HubRooms;
use crate::socketio::namespace::{Kind, Middleware, Visit};
use crate::socketio::pattern::Pattern;
use crate::socketio::recovery::{Claim, Resumed};
use crate::socketio::socket::{Newcomer, Parted};
use crate::socketio::{
    Broadcast, Failure, Handshake, InvalidNamespace, Listener, Namespace, Outcome, Reason, Share, Socket, lock,
};

/// The Socket.IO side of a server: its namespaces. What it does itself, it does in the namespace `/`. Cheap to clone.
#[derive(Clone)]
pub struct Io(Arc<Inner>);

pub(crate) struct WeakIo(Weak<Inner>);

struct Inner {
    hub: Hub,
    limits: Limits,
    auth: Arc<Auth>,
    spaces: Mutex<Spaces>,
    middlewares: RwLock<Vec<Middleware>>,
    states: RwLock<HashMap<TypeId, Arc<dyn Any + Send + Sync>>>,
    peers: OnceLock<Arc<dyn Peers>>,
    channels: OnceLock<Arc<dyn Channels>>,
    shelf: OnceLock<Arc<dyn Shelf>>,
}

/// Bounds of what one socket may have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Rooms.
    pub(crate) rooms: usize,
    /// Answers that are awaited.
    pub(crate) acks: usize,
    /// Attachments that clients take.
    pub(crate) attachments: u32,
}

#[derive(Default)]
struct Spaces {
    named: HashMap<Arc<str>, Namespace>,
    /// In the order in which they are asked.
    patterns: Vec<(Rule, Namespace)>,
}

#[derive(Clone)]
enum Rule {
    Pattern(Pattern),
    Predicate(Predicate),
}

type Predicate = Arc<dyn Fn(String, Value) -> Pin<Box<dyn Future<Output = bool> + Send>> + Send + Sync>;

impl Io {
    pub(crate) fn new(hub: Hub, limits: Limits, auth: Arc<Auth>) -> Self {
        Self(Arc::new(Inner {
            hub,
            limits,
            auth,
            spaces: Mutex::default(),
            middlewares: RwLock::default(),
            states: RwLock::default(),
            peers: OnceLock::new(),
            channels: OnceLock::new(),
            shelf: OnceLock::new(),
        }))
    }

    /// A namespace, made at the first call. A name with parts in braces, as `/dyn-{id}`, is a pattern: a namespace that
    /// fits it is made when a client asks for it, and goes away with its last socket.
    ///
    /// # Errors
    /// The name does not begin with a slash, has a colon or control characters, or more than 128 bytes.
    pub fn of(&self, name: &str) -> Result<Namespace, InvalidNamespace> {
        if Pattern::is_meant(name) {
            let pattern = Pattern::parse(name)?;
            return Ok(self.pattern(name, Rule::Pattern(pattern)));
        }
        let rooms = HubRooms::of(name)?;
        let mut spaces = lock(&self.0.spaces);
        if let Some(known) = spaces.named.get(name) {
            known.stay();
            return Ok(known.clone());
        }
        let fits = spaces.patterns.iter().find_map(|(rule, parent)| match rule {
            Rule::Pattern(pattern) => pattern.matches(name).map(|parts| (parent.clone(), parts)),
            Rule::Predicate(_) => None,
        });
        let kind = match fits {
            Some((parent, parts)) => Kind::Child { rooms, parent, parts, passing: false },
            None => Kind::Alone(rooms),
        };
        Ok(self.make(&mut spaces, name, kind))
    }

    /// The namespaces for which a function says yes. It is given the name that a client asks for, and what the client
    /// sent along; each client is asked about. Namespaces, patterns and earlier functions come before it.
    ///
    /// In Node the function is asked when there is no such namespace only: while one client is in it, others come in
    /// unasked.
    ///
    /// ```
    /// # fn run(io: &denrei::socketio::Io) {
    /// let tenants = io.of_fn(async |name, auth| name.starts_with("/tenant-") && auth["token"] == "ours");
    /// tenants.on_connect(async |socket| {
    ///     socket.emit("hello", socket.namespace().name())?;
    ///     Ok(())
    /// });
    /// # }
    /// ```
    pub fn of_fn<F, Fut>(&self, predicate: F) -> Namespace
    where
        F: Fn(String, Value) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = bool> + Send + 'static,
    {
        let predicate = Arc::new(predicate);
        let ask: Predicate = Arc::new(move |name, auth| {
            let predicate = Arc::clone(&predicate);
            Box::pin(async move { predicate(name, auth).await })
        });
        self.pattern("", Rule::Predicate(ask))
    }

    /// Runs a middleware for each client that asks to join any namespace, before those of the namespace; see
    /// [`Namespace::use_fn`]. Node's `io.use` is that of `/` only: here that is `io.of("/")?.use_fn`.
    ///
    /// The built-in rooms of `/` know no middlewares: with this `/` is not served by them.
    pub fn use_fn<F, Fut>(&self, middleware: F) -> &Self
    where
        F: Fn(Socket) -> Fut + Send + Sync + 'static,
        Fut: Future + Send + 'static,
        Fut::Output: Outcome,
    {
        let middleware = listeners::socket(middleware);
        self.0.middlewares.write().unwrap_or_else(PoisonError::into_inner).push(middleware);
        self
    }

    /// Runs a handler for each socket that has joined the namespace `/`; see [`Namespace::on_connect`].
    pub fn on_connect<F, Fut>(&self, handler: F) -> Listener
    where
        F: Fn(Socket) -> Fut + Send + Sync + 'static,
        Fut: Future + Send + 'static,
        Fut::Output: Outcome,
    {
        self.root().on_connect(handler)
    }

    /// Keeps a value of the application for all handlers: [`Socket::state`] gives it to them. One of each type.
    pub fn provide<T: Send + Sync + 'static>(&self, state: T) -> &Self {
        let mut states = self.0.states.write().unwrap_or_else(PoisonError::into_inner);
        states.insert(TypeId::of::<T>(), Arc::new(state));
        drop(states);
        self
    }

    /// What was [provided](Io::provide).
    pub fn state<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        let states = self.0.states.read().unwrap_or_else(PoisonError::into_inner);
        states.get(&TypeId::of::<T>())?.clone().downcast().ok()
    }

    /// Everybody in the namespace `/`: the beginning of a chain.
    pub fn broadcast(&self) -> Broadcast {
        self.reach().broadcast()
    }

    /// Whether there is a namespace of this name.
    pub fn has(&self, name: &str) -> bool {
        lock(&self.0.spaces).named.contains_key(name)
    }

    /// All namespaces, in the order of their names; patterns are not among them.
    pub fn namespaces(&self) -> Vec<Namespace> {
        let mut all: Vec<_> = lock(&self.0.spaces).named.values().cloned().collect();
        all.sort_by(|a, b| a.name().cmp(b.name()));
        all
    }

    /// Whether a namespace is the application's, and not served by the house.
    pub(crate) fn takes(&self, namespace: &str) -> bool {
        self.has(namespace) || !self.0.middlewares.read().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// `/` for someone who registers something there: from now on it is the application's.
    fn root(&self) -> Namespace {
        self.of("/").expect("it is a valid name")
    }

    /// `/` as it is; without anybody in it if it is not the application's.
    fn reach(&self) -> Namespace {
        let known = lock(&self.0.spaces).named.get("/").cloned();
        known.unwrap_or_else(|| {
            let rooms = HubRooms::of("/").expect("it is a valid name");
            Namespace::new(self.downgrade(), self.0.hub.clone(), self.0.limits, "/", Kind::Alone(rooms))
        })
    }

    fn pattern(&self, name: &str, rule: Rule) -> Namespace {
        let mut spaces = lock(&self.0.spaces);
        let known = spaces.patterns.iter().find(|(_, parent)| !name.is_empty() && parent.name() == name);
        if let Some((_, parent)) = known {
            return parent.clone();
        }
        let parent = Namespace::new(self.downgrade(), self.0.hub.clone(), self.0.limits, name, Kind::Pattern);
        spaces.patterns.push((rule, parent.clone()));
        parent
    }

    fn make(&self, spaces: &mut Spaces, name: &str, kind: Kind) -> Namespace {
        let namespace = Namespace::new(self.downgrade(), self.0.hub.clone(), self.0.limits, name, kind);
        spaces.named.insert(name.into(), namespace.clone());
        namespace
    }

    pub(crate) fn downgrade(&self) -> WeakIo {
        WeakIo(Arc::downgrade(&self.0))
    }
}

impl WeakIo {
    pub(crate) fn upgrade(&self) -> Option<Io> {
        self.0.upgrade().map(Io)
    }
}

/// What clients of other protocols come to, who call a room `sio:NAMESPACE:ROOM`.
impl Io {
    /// What they may do in a namespace.
    pub(crate) fn share(&self, namespace: &str) -> Share {
        let spaces = lock(&self.0.spaces);
        let fits = || {
            spaces.patterns.iter().find_map(|(rule, parent)| match rule {
                Rule::Pattern(pattern) => pattern.matches(namespace).map(|_| parent),
                // It is asked for clients that say who they are.
                Rule::Predicate(_) => None,
            })
        };
        spaces.named.get(namespace).or_else(fits).map_or(Share::Nothing, Namespace::shared)
    }

    /// They publish to a room, as [`Io::share`] allows.
    pub(crate) fn publish(&self, draft: Draft) {
        let name = draft.room.clone();
        let Some((namespace, room)) = shared_room(&name) else { return };
        if let Found::Namespace(visit) = self.find(namespace) {
            visit.namespace().publish(room, draft);
        }
    }
}

/// The namespace and its room, none for everybody, of `sio:NAMESPACE:ROOM`.
pub(crate) fn shared_room(room: &RoomName) -> Option<(&str, Option<&str>)> {
    let rest = room.as_str().strip_prefix("sio:")?;
    Some(rest.split_once(':').map_or((rest, None), |(namespace, room)| (namespace, Some(room))))
}

/// What namespaces call.
impl Io {
    pub(crate) fn children(&self, parent: &Namespace) -> Vec<Namespace> {
        let spaces = lock(&self.0.spaces);
        spaces.named.values().filter(|namespace| namespace.is_child_of(parent)).cloned().collect()
    }

    /// The other nodes, where there are any.
    pub(crate) fn peers(&self) -> Option<Arc<dyn Peers>> {
        self.0.peers.get().cloned()
    }

    /// The node becomes one of several; once.
    pub(crate) fn meet(&self, peers: Arc<dyn Peers>) {
        // A node is of one cluster.
        let _ = self.0.peers.set(peers);
    }

    /// What reaches other programs; by default nobody.
    pub(crate) fn channels(&self) -> Arc<dyn Channels> {
        Arc::clone(self.0.channels.get_or_init(|| Arc::new(LocalChannels::default())))
    }

    /// Other programs are reached by these; once, before there are namespaces.
    pub(crate) fn reach_by(&self, channels: Arc<dyn Channels>) {
        let _ = self.0.channels.set(channels);
    }

    /// Where nodes put aside what clients may come back to on another; none without others.
    pub(crate) fn shelf(&self) -> Option<Arc<dyn Shelf>> {
        self.0.shelf.get().cloned()
    }

    /// The nodes have such a place; once, before there are namespaces.
    pub(crate) fn keep_on(&self, shelf: Arc<dyn Shelf>) {
        let _ = self.0.shelf.set(shelf);
    }

    pub(crate) fn auth(&self) -> &Auth {
        &self.0.auth
    }

    /// A namespace or pattern that another node names.
    pub(crate) fn known(&self, name: &str) -> Option<Namespace> {
        let spaces = lock(&self.0.spaces);
        let pattern = || spaces.patterns.iter().map(|(_, parent)| parent).find(|parent| parent.name() == name);
        spaces.named.get(name).or_else(pattern).filter(|_| !name.is_empty()).cloned()
    }

    /// Forgets a namespace if nobody can come to need it in the meantime.
    pub(crate) fn remove_if(&self, namespace: &Namespace, unused: impl FnOnce() -> bool) {
        let mut spaces = lock(&self.0.spaces);
        if spaces.named.get(namespace.name()) == Some(namespace) && unused() {
            spaces.named.remove(namespace.name());
        }
    }
}

/// How a client comes in.
impl Io {
    /// A client asks to join a namespace. It is answered, and its connection gets [`Order::Joined`] or
    /// [`Order::Refused`], now or later. Call it on the runtime of the connection.
    pub(crate) fn connect(&self, lane: &Arc<Lane>, handshake: &Arc<Handshake>, namespace: &str, auth: Option<Bytes>) {
        let (lane, handshake) = (Arc::clone(lane), Arc::clone(handshake));
        let newcomer = Newcomer { lane, handshake, auth, runtime: Handle::current() };
        let found = self.find(namespace);
        if let Found::Namespace(visit) = found {
            return self.enter(visit, newcomer);
        }
        let Found::Ask(predicates) = found else { return refuse(&newcomer.lane, namespace, &unknown()) };
        let (io, name) = (self.clone(), namespace.to_owned());
        tokio::spawn(async move {
            let auth = newcomer.auth.as_deref().and_then(|auth| serde_json::from_slice(auth).ok());
            let auth: Value = auth.unwrap_or_else(|| Value::Object(serde_json::Map::new()));
            for (predicate, parent) in predicates {
                let answer = contained(async { Ok(predicate(name.clone(), auth.clone()).await) }).await;
                if answer.unwrap_or(false)
                    && let Some(visit) = io.child(&parent, &name)
                {
                    return io.enter(visit, newcomer);
                }
            }
            refuse(&newcomer.lane, &name, &unknown());
        });
    }

    fn find(&self, name: &str) -> Found {
        let mut spaces = lock(&self.0.spaces);
        if let Some(known) = spaces.named.get(name) {
            let asked = known.parent().and_then(|parent| {
                let (rule, _) = spaces.patterns.iter().find(|(_, namespace)| namespace == parent)?;
                match rule {
                    Rule::Predicate(predicate) => Some((Arc::clone(predicate), parent.clone())),
                    Rule::Pattern(_) => None,
                }
            });
            return match asked {
                // That others are in it says nothing about this client.
                Some(asked) => Found::Ask(vec![asked]),
                None => Found::Namespace(known.visit()),
            };
        }
        let Ok(rooms) = HubRooms::of(name) else { return Found::Nothing };
        let mut predicates = Vec::new();
        let mut fits = None;
        for (rule, parent) in &spaces.patterns {
            match rule {
                Rule::Pattern(pattern) if fits.is_none() => {
                    fits = pattern.matches(name).map(|parts| (parent.clone(), parts));
                }
                Rule::Pattern(_) => {}
                Rule::Predicate(predicate) => predicates.push((Arc::clone(predicate), parent.clone())),
            }
        }
        match fits {
            Some((parent, parts)) => {
                let kind = Kind::Child { rooms, parent, parts, passing: true };
                Found::Namespace(self.make(&mut spaces, name, kind).visit())
            }
            None if predicates.is_empty() => Found::Nothing,
            None => Found::Ask(predicates),
        }
    }

    /// The child of a pattern for which a function has said yes.
    fn child(&self, parent: &Namespace, name: &str) -> Option<Visit> {
        let rooms = HubRooms::of(name).ok()?;
        let mut spaces = lock(&self.0.spaces);
        if let Some(known) = spaces.named.get(name) {
            return Some(known.visit());
        }
        let kind = Kind::Child { rooms, parent: parent.clone(), parts: Vec::new(), passing: true };
        Some(self.make(&mut spaces, name, kind).visit())
    }

    /// What other nodes have of it first, if it may be.
    fn enter(&self, visit: Visit, newcomer: Newcomer) {
        let claim = Claim::of(newcomer.auth.as_ref()).filter(|_| newcomer.lane.version == Version::V4);
        let sessions = visit.namespace().sessions().filter(|_| newcomer.lane.version == Version::V4);
        if sessions.is_none_or(|sessions| sessions.is_prepared(claim.as_ref())) {
            return self.welcome(visit, newcomer, claim.as_ref());
        }
        let io = self.clone();
        tokio::spawn(async move {
            let namespace = visit.namespace();
            if let Some(sessions) = namespace.sessions() {
                sessions.prepare(namespace, claim.as_ref(), newcomer.handshake.identity().user.as_ref()).await;
            }
            io.welcome(visit, newcomer, claim.as_ref());
        });
    }

    /// Middlewares, if there are any, on a task of their own; then in.
    fn welcome(&self, visit: Visit, newcomer: Newcomer, claim: Option<&Claim>) {
        let namespace = visit.namespace();
        let resumed = claim.and_then(|claim| resume(namespace, claim, &newcomer));
        let socket = Socket::new(namespace, newcomer, resumed.as_ref().map(|resumed| resumed.session.clone()));
        let mut middlewares = Vec::new();
        let skip = resumed.is_some() && namespace.sessions().is_some_and(|sessions| sessions.config().skip_middlewares);
        if !skip {
            middlewares.extend(self.0.middlewares.read().unwrap_or_else(PoisonError::into_inner).iter().cloned());
            middlewares.extend(namespace.middlewares());
        }
        if middlewares.is_empty() {
            return admit(&visit, &socket, resumed.as_ref());
        }
        tokio::spawn(async move {
            for middleware in middlewares {
                if let Err(failure) = contained(middleware(socket.clone())).await {
                    // A session that it came back to waits on.
                    socket.part(Reason::TransportClose);
                    socket.forget_listeners();
                    return refuse(socket.lane(), visit.namespace().name(), &failure);
                }
            }
            admit(&visit, &socket, resumed.as_ref());
        });
    }
}

enum Found {
    Namespace(Visit),
    Ask(Vec<(Predicate, Namespace)>),
    Nothing,
}

fn unknown() -> Failure {
    Failure::new("Invalid namespace")
}

/// The session that a client has a claim to.
fn resume(namespace: &Namespace, claim: &Claim, newcomer: &Newcomer) -> Option<Resumed> {
    let sessions = namespace.sessions()?;
    let user = newcomer.handshake.identity().user.as_ref();
    let claimed = sessions.claim(namespace.name(), claim, &newcomer.lane, user);
    if let Some((socket, parted)) = claimed.ended {
        dismiss(&socket, parted);
    }
    sessions.follow_up(namespace, &newcomer.runtime);
    claimed.resumed
}

/// The client is elsewhere: this connection is dead, and does not know yet.
pub(crate) fn dismiss(socket: &Socket, parted: Parted) {
    socket.finish(parted, Reason::TransportClose);
    socket.lane().order(Order::Close(Reason::TransportClose));
}

fn admit(visit: &Visit, socket: &Socket, resumed: Option<&Resumed>) {
    let opened = match (visit.namespace().sessions(), resumed) {
        (Some(sessions), Some(resumed)) => match sessions.resume(socket, resumed) {
            Some(opened) => opened,
            None => {
                // It asks again by itself, and begins anew.
                socket.lane().order(Order::Close(Reason::TransportClose));
                false
            }
        },
        (Some(sessions), None) => sessions.open(socket),
        (None, _) => socket.open(None),
    };
    if opened {
        socket.begin();
    } else {
        // A session that it came back to waits on.
        socket.part(Reason::TransportClose);
        socket.forget_listeners();
    }
}

fn refuse(lane: &Lane, namespace: &str, failure: &Failure) {
    let data = failure.data_json();
    let packet = match lane.version {
        Version::V4 => Outgoing::connect_error(namespace, failure.message(), data.as_deref()),
        Version::V3 => Outgoing::connect_error_v3(namespace, failure.message(), data.as_deref()),
    };
    // The client may ask again as soon as it knows.
    lane.order(Order::Refused(namespace.into()));
    lane.send(&packet);
}
