//! A realtime server as a library: one ordered, resumable log per room, reached by every transport.
//!
//! ```no_run
//! # async fn run() -> std::io::Result<()> {
//! use denrei::{Config, Denrei};
//!
//! let mut config = Config::default();
//! config.access.anonymous = true;
//! let denrei = Denrei::new(config);
//! let app = axum::Router::new().merge(denrei.router());
//! axum::serve(tokio::net::TcpListener::bind("127.0.0.1:8080").await?, app).await
//! # }
//! ```
//!
//! [`Denrei::router`] is for an application that has a server of its own. [`Denrei::serve`] is the server with the
//! front door, where an event stream takes about a tenth of the memory that hyper keeps for one.
//!
//! How a request becomes a message: `front` accepts, `admission` says who may come in, `transport` and `http` speak
//! the protocols, `dispatch` acts, `session` holds what a client reads; the rest is [`denrei_hub`].

mod addresses;
mod admission;
mod app;
mod auth;
mod chat;
mod config;
mod dispatch;
mod duty;
mod events;
mod facts;
mod files;
mod front;
mod health;
mod http;
mod identity;
mod link;
mod metrics;
mod outgoing;
mod policy;
mod proxies;
mod rates;
mod refusal;
mod session;
pub mod socketio;
mod spans;
mod tls;
mod traces;
mod transport;
mod wires;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Router;
use denrei_hub::{Backends, Channels, Class, Hub, Keep, Shard, Shelf, Window};
use denrei_store::Store;
use denrei_store::objects::Objects;
use tokio::net::TcpListener;

pub use crate::admission::AllowOrigin;
pub use crate::app::AllowRequest;
use crate::app::{App, Rules};
pub use crate::auth::{Algorithm, InvalidKey, Key, KeySet, KeySource, Revocation, Tokens};
pub use crate::chat::ChatConfig;
pub use crate::config::{Access, Config, Limits, Poll, Shutdown, SocketIo, Sse, WebSocket};
pub use crate::events::{EventError, EventHook, Events, EventsConfig, HookSecret, InvalidHookSecret};
pub use crate::files::FilesConfig;
pub use crate::front::{Listener, Place};
pub use crate::http::not_found;
pub use crate::identity::{Identity, NewToken, Secret};
pub use crate::metrics::{MetricsConfig, MetricsToken};
pub use crate::policy::{Action, Decision, OnFailure, OpenPolicy, PatternPolicy, Policy, Rule, Webhook, Who};
pub use crate::proxies::Network;
pub use crate::rates::{Rate, Rates};
pub use crate::refusal::Refusal;
pub use crate::spans::SpansConfig;
pub use crate::tls::{InvalidTls, Tls};

/// A realtime server.
#[derive(Clone)]
pub struct Denrei {
    app: Arc<App>,
}

/// Whether the server may ask what is at an address: with `https`, or `http` on this machine.
///
/// # Errors
/// A sentence for the operator.
pub fn check_address(address: &str) -> Result<(), String> {
    outgoing::checked(address).map(drop)
}

impl Denrei {
    /// A server on the current runtime, without a store.
    ///
    /// # Panics
    /// Outside of a tokio runtime: its shards are tasks there.
    pub fn new(config: Config) -> Self {
        let (denrei, shards) = Self::with(config, Parts::default());
        for shard in shards {
            tokio::spawn(shard.run());
        }
        tokio::spawn(denrei.clone().run());
        denrei
    }

    /// A server of these parts. The caller runs the shards, each on the runtime that serves its connections, and
    /// [`Denrei::run`] once. They end by a panic only, and should end the process with them: what is left would take
    /// connections and not write to them.
    pub fn with(mut config: Config, mut parts: Parts) -> (Self, Vec<Shard>) {
        if let Some(store) = &parts.store {
            parts.backends.store.get_or_insert_with(|| Arc::clone(store) as _);
        }
        if parts.backends.store.is_none() {
            // What was taken back stays so until the server ends.
            let keep = Keep::Memory(Window { events: usize::MAX, age: Duration::MAX, bytes: usize::MAX });
            config.hub.classes.set("sys", Class { keep });
        }
        config.hub.expels = Some(chat::expels);
        config.hub.events = metrics::names(&config.metrics.events);
        let encoders = wires::encoders(config.websocket.deflate, config.socketio.packets.attachments);
        let Parts { backends, shelf, channels, store, objects, policy, allow_request, engine } = parts;
        let (hub, shards) = Hub::new(config.hub.clone(), encoders, backends);
        let app = Arc::new(App::new(config, hub, Rules { store, objects, channels, policy, allow_request, engine }));
        if app.hub.is_clustered() {
            app.io.meet(Arc::new(socketio::nodes::Nodes::new(app.hub.clone())));
            if let Some(shelf) = shelf {
                app.io.keep_on(shelf);
            }
            let mut listeners = socketio::nodes::listeners(&app.io);
            listeners.extend(chat::Chat::listeners(&Arc::downgrade(&app)));
            listeners.extend(traces::Traces::listeners(&Arc::downgrade(&app)));
            app.hub.listen(listeners);
        }
        if app.config.socketio.enabled && app.config.socketio.admin {
            socketio::admin::install(&app);
        }
        (Self { app }, shards)
    }

    /// Keeps house for as long as the server runs: rooms, keys, what was taken back, who is there.
    pub async fn run(self) {
        let chat = async {
            if let Some(chat) = &self.app.chat {
                chat.run().await;
            }
        };
        let files = async {
            if let Some(files) = &self.app.files {
                files.run().await;
            }
        };
        let traces = self.app.traces.run();
        let (hub, auth) = (self.app.hub.clone().run(), self.app.auth.run(&self.app.hub));
        tokio::join!(hub, auth, chat, self.app.events.run(), files, traces);
    }

    /// Waits until the server knows who may come in: until it has read what was taken back. Needs [`Denrei::run`]. Who
    /// serves before that may let in somebody who was sent away. Cancel safe.
    pub async fn ready(&self) {
        self.app.auth.ready().await;
    }

    /// Takes a token back, or all of a user's, on every node: live sessions end at once. Done when it is kept.
    ///
    /// # Errors
    /// It could not be kept; nothing was taken back.
    pub async fn revoke(&self, revocation: Revocation) -> Result<(), Refusal> {
        self.app.auth.revoke(&self.app.hub, revocation).await
    }

    /// The rooms.
    pub fn hub(&self) -> &Hub {
        &self.app.hub
    }

    /// The application's own events, between all its programs.
    pub fn events(&self) -> &Events {
        &self.app.events
    }

    /// Socket.IO's namespaces, and what happens in them.
    pub fn io(&self) -> &socketio::Io {
        &self.app.io
    }

    /// Serves rooms in a namespace of Socket.IO that is [shared](socketio::Namespace::compat) with servers of Node and
    /// with emitters: clients `join` and `leave` rooms and `publish` there without handlers of an application. See
    /// "Together with Node's servers" in `docs/socketio.md`. Call it before clients join.
    ///
    /// # Errors
    /// No namespace can have this name.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn relay(&self, namespace: &str, compat: socketio::Compat) -> Result<(), socketio::InvalidNamespace> {
        socketio::relay::open(&self.app, namespace, compat)
    }

    /// Serves `/metrics`, `/health`, `/livez` and `/readyz` alone, on a listener that only operators can reach, until the
    /// task is dropped. Metrics take no more than the token of [`MetricsConfig`], if there is one.
    pub async fn serve_operators(&self, listener: TcpListener) {
        front::serve_operators(http::operators(Arc::clone(&self.app)), listener).await;
    }

    /// The routes, to be merged into an application's own. They have no fallback: that is the application's, and may be
    /// [`not_found`].
    pub fn router(&self) -> Router {
        http::router(Arc::clone(&self.app))
    }

    /// Goes by other settings from now on: [`Config::access`], [`Config::limits`], [`Config::rates`] and the bounds of
    /// outboxes. Live connections are looked at again, and those end whose key is gone. The rest stays as it was at the
    /// start, and so does what a connection has agreed on when it began.
    pub fn reload(&self, config: Config) {
        self.app.replace(config);
    }

    /// Serves listeners with the front door until `stop` ends, then says goodbye to every client and waits until they
    /// are gone, at most for the time of [`Shutdown::grace`]. What denrei has no path for goes to `others` and
    /// their fallback.
    pub async fn serve(
        &self,
        listeners: impl IntoIterator<Item = Listener>,
        places: Vec<Place>,
        others: Router,
        stop: impl Future<Output = ()>,
    ) {
        let router = self.router().merge(others);
        let listeners: Vec<_> = listeners.into_iter().collect();
        // Whoever serves twice is told of the first.
        let _ = self.app.tls.set(listeners.iter().filter_map(|listener| listener.tls.clone()).collect());
        let accepting = front::accept(Arc::clone(&self.app), router, listeners, places);
        let stopping = async {
            stop.await;
            // Balancers look at `/readyz`, and send clients elsewhere.
            self.app.leaving.store(true, Ordering::Relaxed);
            tokio::time::sleep(self.app.config.shutdown.delay).await;
            // First nobody is let in any more, then those who are in are told.
            self.app.stopping.send_replace(true);
            self.app.hub.shutdown();
        };
        tokio::join!(accepting, stopping);
        let gone = async {
            while self.app.open() > 0 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        if tokio::time::timeout(self.app.config.shutdown.grace, gone).await.is_err() {
            tracing::warn!(connections = self.app.open(), "connections did not end in time and are cut");
        }
        self.app.hub.leave();
        if self.app.hub.is_clustered() {
            // The bus has queued the goodbye, and perhaps what was said before it.
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    }
}

/// What a server is made of, besides its settings.
pub struct Parts {
    /// What keeps rooms and joins the server with others.
    pub backends: Backends,
    /// Keeps what nodes put aside for one another, as the sessions of Socket.IO clients that may come back; none for
    /// nothing.
    pub shelf: Option<Arc<dyn Shelf>>,
    /// Reaches other programs; none for this process alone.
    pub channels: Option<Arc<dyn Channels>>,
    /// Keeps the chat, and stored rooms if `backends` does not say what does; none for no chat.
    pub store: Option<Arc<Store>>,
    /// Keeps the bytes of files; none, or none without `store`, for no files.
    pub objects: Option<Arc<Objects>>,
    /// The application's rules.
    pub policy: Box<dyn Policy>,
    /// Who may begin a Socket.IO session; none asks nobody.
    pub allow_request: Option<AllowRequest>,
    /// Takes what Socket.IO clients say as it is, instead of namespaces; none for namespaces.
    pub engine: Option<Box<dyn socketio::engine::Engine>>,
}

impl Default for Parts {
    fn default() -> Self {
        Self {
            backends: Backends::default(),
            shelf: None,
            channels: None,
            store: None,
            objects: None,
            policy: Box::new(OpenPolicy),
            allow_request: None,
            engine: None,
        }
    }
}
