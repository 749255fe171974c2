//! What all connections share.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use ::http::HeaderValue;
use ::http::request::Parts;
use arc_swap::{ArcSwap, Guard};
use bytes::Bytes;
use denrei_hub::{
    Channels, ClientId, Draft, Epoch, Hub, LocalChannels, Name, Outbox, Position, Published, RoomName, Seq,
    random_token,
};
use denrei_proto::codes::Code;
use denrei_store::Store;
use denrei_store::chat::{NewMessage, Sent};
use denrei_store::objects::Objects;
use futures_util::future::BoxFuture;
use tokio::sync::{Semaphore, oneshot, watch};

use crate::addresses::{Addresses, Place};
use crate::auth::{Auth, Standing};
use crate::chat::{Call, Caller, Chat, is_chat};
use crate::config::{Access, Config, Limits};
use crate::events::Events;
use crate::files::Files;
use crate::health::Health;
use crate::http;
use crate::identity::Identity;
use crate::metrics::Metrics;
use crate::policy::{self, Action, Decision, Policy};
use crate::proxies::is_trusted;
use crate::rates::{Limiter, network};
use crate::refusal::Refusal;
use crate::socketio::bundle::Bundle;
use crate::socketio::desk::Desks;
use crate::socketio::engine::Engine;
use crate::socketio::{self, Io, shared_room};
use crate::spans::Sampler;
use crate::tls::Tls;
use crate::traces::Traces;

/// What an application decides.
pub(crate) struct Rules {
    pub(crate) store: Option<Arc<Store>>,
    pub(crate) objects: Option<Arc<Objects>>,
    pub(crate) channels: Option<Arc<dyn Channels>>,
    pub(crate) policy: Box<dyn Policy>,
    pub(crate) allow_request: Option<AllowRequest>,
    pub(crate) engine: Option<Box<dyn Engine>>,
}

/// The application's word on who may begin a Socket.IO session; the text of a no is told to the client.
pub type AllowRequest = Box<dyn Fn(&Parts) -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

pub(crate) struct App {
    /// As it was at the start; what may change is at [`App::access`] and [`App::limits`].
    pub(crate) config: Config,
    access: ArcSwap<Access>,
    limits: ArcSwap<Limits>,
    pub(crate) hub: Hub,
    pub(crate) io: Io,
    pub(crate) auth: Arc<Auth>,
    pub(crate) limiter: Limiter,
    pub(crate) policy: Box<dyn Policy>,
    pub(crate) events: Events,
    pub(crate) traces: Traces,
    pub(crate) sampler: Arc<Sampler>,
    /// None without a store.
    pub(crate) chat: Option<Chat>,
    /// None without a store, or a place for their bytes.
    pub(crate) files: Option<Files>,
    pub(crate) started: Instant,
    /// The same in s since 1970.
    pub(crate) started_at: f64,
    pub(crate) metrics: Metrics,
    pub(crate) health: Health,
    /// What is spoken TLS with.
    pub(crate) tls: OnceLock<Vec<Tls>>,
    /// Metrics are written once at a time.
    pub(crate) scrape: Semaphore,
    /// How the names of requests begin, and how many there were.
    run: String,
    requests: AtomicU64,
    /// Connections of every kind, those that have not said yet what they want included.
    open: AtomicUsize,
    addresses: Arc<Addresses>,
    /// Bytes of large bodies that are arriving, or were not attended to yet.
    pub(crate) bodies: AtomicUsize,
    /// The sessions of Socket.IO clients, for their requests.
    pub(crate) desks: Desks,
    pub(crate) client_files: Bundle,
    allow_request: Option<AllowRequest>,
    /// Takes the place of namespaces.
    pub(crate) engine: Option<Box<dyn Engine>>,
    /// Set before that, for balancers.
    pub(crate) leaving: AtomicBool,
    /// True once the server is about to stop.
    pub(crate) stopping: watch::Sender<bool>,
}

impl App {
    pub(crate) fn new(config: Config, hub: Hub, parts: Rules) -> Self {
        let Rules { store, objects, channels, policy, allow_request, engine } = parts;
        let channels = channels.unwrap_or_else(|| Arc::new(LocalChannels::default()));
        let (stopping, _) = watch::channel(false);
        let limits = socketio::Limits {
            rooms: config.limits.rooms,
            acks: config.socketio.acks,
            attachments: config.socketio.packets.attachments,
        };
        let metrics = Metrics::new(&config.hub.events, config.hub.shards, &http::templates(&config));
        let auth = Arc::new(Auth::new(config.access.secret.as_ref(), &config.access.tokens));
        let io = Io::new(hub.clone(), limits, Arc::clone(&auth));
        io.reach_by(Arc::clone(&channels));
        let client_files = config.socketio.client_files.as_deref().map(Bundle::read).unwrap_or_default();
        let files = store.clone().zip(objects).map(|(store, objects)| {
            Files::new(store, objects, hub.clone(), config.access.secret.as_ref(), config.files.clone())
        });
        let sampler = Arc::new(Sampler::new(config.spans.clone(), hub.spans().cloned()));
        Self {
            traces: Traces::new(hub.clone()),
            files,
            events: Events::new(channels, hub.clone(), config.events.clone()),
            chat: store.map(|store| Chat::new(store, hub.clone(), config.chat.clone(), Arc::clone(&sampler))),
            sampler,
            limiter: Limiter::new(config.rates.clone()),
            access: ArcSwap::from_pointee(config.access.clone()),
            limits: ArcSwap::from_pointee(config.limits.clone()),
            config,
            hub,
            auth,
            policy,
            started: Instant::now(),
            started_at: now_ms() as f64 / 1000.0,
            metrics,
            health: Health::default(),
            tls: OnceLock::new(),
            scrape: Semaphore::new(1),
            run: random_token(8),
            requests: AtomicU64::new(0),
            open: AtomicUsize::new(0),
            addresses: Arc::default(),
            bodies: AtomicUsize::new(0),
            desks: Desks::default(),
            io,
            client_files,
            allow_request,
            engine,
            leaving: AtomicBool::new(false),
            stopping,
        }
    }

    /// Who may connect from where, now.
    pub(crate) fn access(&self) -> Guard<Arc<Access>> {
        self.access.load()
    }

    /// What peers may send and hold, now.
    pub(crate) fn limits(&self) -> Guard<Arc<Limits>> {
        self.limits.load()
    }

    /// Goes by other settings from now on, where that is possible.
    pub(crate) fn replace(&self, config: Config) {
        self.auth.replace(&self.hub, config.access.secret.as_ref(), &config.access.tokens);
        if let Some(files) = &self.files {
            files.replace(config.access.secret.as_ref());
        }
        self.limiter.replace(config.rates);
        self.hub.limit(config.hub.outbox);
        self.access.store(Arc::new(config.access));
        self.limits.store(Arc::new(config.limits));
    }

    /// Whether the application wants to be asked who may begin a Socket.IO session.
    pub(crate) fn asks_about_requests(&self) -> bool {
        self.allow_request.is_some()
    }

    /// Whether the application lets a Socket.IO client begin a session.
    pub(crate) async fn allow_request(&self, request: &Parts) -> Result<(), String> {
        match &self.allow_request {
            Some(allow) => allow(request).await,
            None => Ok(()),
        }
    }

    /// May this identity do this?
    pub(crate) fn check(&self, caller: Caller<'_>, action: Action<'_>) -> Decision {
        let decision = policy::check(&*self.policy, |namespace| self.io.share(namespace), caller.identity, action);
        match (action, &self.chat, decision) {
            (Action::Read(room), Some(chat), Decision::Now(Ok(()))) if is_chat(room) => {
                Decision::Later(Box::pin(chat.may_read(room, caller)))
            }
            (Action::Read(room), Some(chat), Decision::Later(first)) if is_chat(room) => {
                let second = chat.may_read(room, caller);
                Decision::Later(Box::pin(async move {
                    first.await?;
                    second.await
                }))
            }
            (.., decision) => decision,
        }
    }

    /// Whether a room may be shown to somebody in a list; what was said in it, only where that is known without asking.
    pub(crate) fn may_list(&self, caller: Caller<'_>, room: &RoomName) -> Listing {
        let share = |namespace: &str| self.io.share(namespace);
        match policy::check(&*self.policy, share, caller.identity, Action::Read(room)) {
            Decision::Now(Ok(())) => Listing::Whole,
            Decision::Now(Err(_)) => Listing::Hidden,
            Decision::Later(_) => Listing::Named,
        }
    }

    /// The chat, where there is one.
    pub(crate) fn chat(&self) -> Result<&Chat, Refusal> {
        self.chat.as_ref().ok_or_else(|| Refusal::new(Code::Unavailable, "there is no chat without a store"))
    }

    /// The files, where there are any.
    pub(crate) fn files(&self) -> Result<&Files, Refusal> {
        self.files.as_ref().ok_or_else(|| Refusal::new(Code::Unavailable, "this server keeps no files"))
    }

    /// Reads what somebody asks of the chat, and says whether the application's policy allows it.
    pub(crate) fn call(&self, caller: Caller<'_>, method: &str, payload: &str) -> Result<(Call, Decision), Refusal> {
        let mut call = Call::parse(self.chat()?, caller, method, payload)?;
        if let Some(room) = call.would_make() {
            // What has to be looked up is asked of who makes it on purpose.
            if !matches!(self.check(caller, Action::Chat(room, "chat.create")), Decision::Now(Ok(()))) {
                call = call.makes_nothing();
            }
        }
        let mut decision = call.action().map_or(Decision::Now(Ok(())), |action| self.check(caller, action));
        if let Some(NewMessage { room, id, .. }) = call.message() {
            let id = id.as_ref().map(Name::as_str);
            let sent = Publish { room: room.as_str(), event: "message", payload: "", id, from: caller.connection };
            decision = self.note_decision(caller.identity, sent, decision);
        }
        Ok((call, decision))
    }

    /// Waits for a decision. In the meantime the token of who asked may have come to its end.
    pub(crate) async fn decided(&self, identity: &Identity, decision: Decision) -> Result<(), Refusal> {
        decision.made().await?;
        match self.auth.standing(identity) {
            Standing::Over(refusal) => Err(refusal),
            Standing::Good(_) | Standing::Expiring(..) => Ok(()),
        }
    }

    /// Makes a draft of what a client wants to publish, and says whether it may.
    pub(crate) fn draft(&self, identity: &Identity, publish: Publish<'_>) -> Result<(Drafted, Decision), Refusal> {
        let room = RoomName::parse(publish.room)?;
        let event = Name::parse(publish.event)?;
        let id = publish.id.map(Name::parse).transpose()?;
        let caller = Caller { identity, connection: publish.from };
        let decision = self.check(caller, Action::Publish(&room, publish.event));
        let decision = self.note_decision(identity, publish, decision);
        if let Some(chat) = self.chat.as_ref().filter(|_| is_chat(&room)) {
            if let Decision::Now(Err(refusal)) = decision {
                return Err(refusal);
            }
            let message = Call::published(chat, caller, &room, publish.payload, publish.id)?;
            return Ok((Drafted::Message(Box::new(message)), decision));
        }
        let draft = Draft {
            from: publish.from.map(|outbox| outbox.client().clone()),
            user: identity.user.clone(),
            id,
            origin: publish.from.map_or(0, Outbox::number),
            ..Draft::new(room, event, Bytes::copy_from_slice(publish.payload.as_bytes()), now_ms())
        };
        Ok((Drafted::Event(draft), decision))
    }

    /// Publishes what [`App::draft`] has made, as [`Hub::publish`] does.
    pub(crate) fn publish(&self, drafted: Drafted, done: impl FnOnce(Result<Published, Refusal>) + Send + 'static) {
        match drafted {
            Drafted::Event(draft) if shared_room(&draft.room).is_some() => done(Ok(self.emit(draft))),
            Drafted::Event(draft) => {
                // Boxed: every publish has room for it, and few need it.
                let told = self.events.gives(&draft).then(|| Box::new((self.events.clone(), draft.clone())));
                self.hub.publish(Draft { trail: self.sampler.follow(), ..draft }, move |published| {
                    let is_new = matches!(published, Ok(Published { duplicate: false, .. }));
                    done(published.map_err(Refusal::from));
                    if let Some((events, given)) = told.filter(|_| is_new).map(|told| *told) {
                        events.published(&given);
                    }
                });
            }
            Drafted::Message(message) => match self.chat() {
                Ok(chat) => chat.send(*message, |sent| {
                    done(sent.map(|Sent { event, duplicate }| Published { position: event.position(), duplicate }));
                }),
                Err(refusal) => done(Err(refusal)),
            },
        }
    }

    /// The same as [`Hub::publish_and_wait`] does it.
    pub(crate) async fn publish_and_wait(&self, drafted: Drafted) -> Result<Published, Refusal> {
        let (tell, told) = oneshot::channel();
        self.publish(drafted, move |published| {
            // The caller may have gone; the message has not.
            let _ = tell.send(published);
        });
        told.await.unwrap_or_else(|_| Err(Refusal::later(Code::Unavailable, "the log has stopped")))
    }

    /// What goes to a room of a namespace takes the way of its emits: who was cut off for a moment gets it later.
    fn emit(&self, draft: Draft) -> Published {
        self.io.publish(draft);
        Published { position: Position { epoch: Epoch::none(), seq: Seq::ZERO }, duplicate: false }
    }

    /// When a client is to come back after a shutdown: spread, so that they do not all come at once.
    pub(crate) fn reconnect_delay_ms(&self, connection: u64) -> u64 {
        let settings = &self.config.shutdown;
        // A multiplicative hash of the number: neighbours come back far apart.
        let share = (connection.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as f64 / f64::from(u32::MAX);
        (settings.reconnect_delay + settings.reconnect_spread.mul_f64(share.min(1.0))).as_millis() as u64
    }

    /// A name for a request that has none: unlike that of any other, of this or another run.
    pub(crate) fn request_id(&self) -> HeaderValue {
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        HeaderValue::from_str(&format!("{}-{number}", self.run)).expect("it is letters, digits, - and _")
    }

    /// Waits until the server is about to stop. Cancel safe.
    pub(crate) async fn stopped(&self) {
        let mut stopping = self.stopping.subscribe();
        // The sender lives as long as this.
        let _ = stopping.wait_for(|&stopping| stopping).await;
    }

    /// Whether balancers are to send nobody here any more, though the server still takes who comes.
    pub(crate) fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::Relaxed)
    }

    pub(crate) fn is_stopping(&self) -> bool {
        *self.stopping.borrow()
    }

    /// Counts a connection while the value lives; none when there are as many as there may be.
    pub(crate) fn admit(self: &Arc<Self>) -> Option<Open> {
        self.count(None, None).ok()
    }

    /// The same for a connection that is part of the load of a place, and comes from an address.
    ///
    /// # Errors
    /// The address has too many, or opens them too fast; or all together are too many.
    pub(crate) fn admit_from(self: &Arc<Self>, from: IpAddr, load: Arc<()>) -> Result<Open, Refusal> {
        // Behind a proxy are many clients; and whoever is on this machine is the operator, or a proxy.
        let many = from.to_canonical().is_loopback() || is_trusted(&self.access().trusted_proxies, from);
        let place = if many {
            None
        } else {
            self.limiter.connect(from)?;
            Some(self.addresses.take(network(from), self.limits().address_connections)?)
        };
        self.count(Some(load), place)
    }

    fn count(self: &Arc<Self>, load: Option<Arc<()>>, place: Option<Place>) -> Result<Open, Refusal> {
        let open = Open(Arc::new(Counted { app: Arc::clone(self), _load: load, _place: place }));
        let before = self.open.fetch_add(1, Ordering::Relaxed);
        let full = || Refusal::later(Code::TooManyConnections, "the server has as many connections as it may");
        if before < self.limits().connections { Ok(open) } else { Err(full()) }
    }

    /// Open connections.
    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }
}

/// A connection, which is counted while this or a clone of it lives.
#[derive(Clone)]
pub(crate) struct Open(Arc<Counted>);

struct Counted {
    app: Arc<App>,
    _load: Option<Arc<()>>,
    _place: Option<Place>,
}

impl Open {
    pub(crate) fn app(&self) -> &Arc<App> {
        &self.0.app
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.app.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What may be shown of a room in a list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Listing {
    /// All of it.
    Whole,
    /// That it is there.
    Named,
    Hidden,
}

/// What is to be published.
pub(crate) enum Drafted {
    /// An event.
    Event(Draft),
    /// A message of the chat.
    Message(Box<NewMessage>),
}

/// What a client wants to publish.
#[derive(Clone, Copy)]
pub(crate) struct Publish<'a> {
    pub(crate) room: &'a str,
    pub(crate) event: &'a str,
    pub(crate) payload: &'a str,
    pub(crate) id: Option<&'a str>,
    /// The connection it came by.
    pub(crate) from: Option<&'a Outbox>,
}

/// The id of a new connection: 120 random bits.
pub(crate) fn client_id() -> ClientId {
    random_token(20).into()
}

/// The wall clock, in ms since 1970. Shown to people; nothing is decided by it.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
