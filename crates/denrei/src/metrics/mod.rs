//! What the server counts of its own work, and how it is asked for it.
//!
//! Everything is an array over a closed enum, so what peers send can neither add a series nor cost a look-up. The hub
//! counts deliveries, see [`denrei_hub::HubStatistics`].

mod process;
mod report;
mod text;

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use denrei_hub::{EventNames, Histogram};
use denrei_proto::codes::Code;

pub(crate) use self::report::report;
pub(crate) use self::text::Format;
use crate::socketio::Reason;

/// Who may ask for the metrics, and what they name.
#[derive(Clone, Debug, Default)]
pub struct MetricsConfig {
    /// What a scraper brings as its bearer token; none leaves `/metrics` to identities with the role `admin`. In
    /// development mode everybody may ask.
    pub token: Option<MetricsToken>,
    /// Names of the application's own events that are counted apart; all that are not known are counted as `other`.
    pub events: Vec<String>,
}

/// A scraper's token. Shown nowhere.
#[derive(Clone)]
pub struct MetricsToken(Box<str>);

impl MetricsToken {
    const LEAST: usize = 16;

    /// A token of at least 16 characters.
    ///
    /// # Errors
    /// A sentence: it is shorter, or cannot stand in a header.
    pub fn new(token: &str) -> Result<Self, String> {
        if token.len() < Self::LEAST || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(format!("a token for metrics has {} or more visible characters of ASCII", Self::LEAST));
        }
        Ok(Self(token.into()))
    }

    pub(crate) fn is(&self, token: &str) -> bool {
        verify_slices_are_equal(self.0.as_bytes(), token.as_bytes()).is_ok()
    }
}

impl fmt::Debug for MetricsToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MetricsToken(…)")
    }
}

/// What carries a client that is connected for long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    WebSocket,
    Sse,
    SocketIoPolling,
    SocketIoWebSocket,
}

impl Transport {
    const ALL: [Self; 4] = [Self::WebSocket, Self::Sse, Self::SocketIoPolling, Self::SocketIoWebSocket];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::WebSocket => "websocket",
            Self::Sse => "sse",
            Self::SocketIoPolling => "socketio_polling",
            Self::SocketIoWebSocket => "socketio_websocket",
        }
    }
}

/// Why a client's connection has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The client closed it.
    Client,
    /// The client is gone without a word.
    Gone,
    /// No sign of life, or nothing taken, for too long.
    Silent,
    /// A message was left unfinished for too long.
    Unfinished,
    /// The client broke the protocol.
    Protocol,
    /// The client sent more than may be.
    TooLarge,
    /// Its token ended or was taken back, or it may not read what it came for.
    Unauthorized,
    /// It went on asking although it was refused.
    Abuse,
    /// It was too slow for what must not be lost.
    Slow,
    /// The application ended it.
    Application,
    /// The server stops.
    Shutdown,
}

impl Ending {
    const ALL: [Self; 11] = [
        Self::Client,
        Self::Gone,
        Self::Silent,
        Self::Unfinished,
        Self::Protocol,
        Self::TooLarge,
        Self::Unauthorized,
        Self::Abuse,
        Self::Slow,
        Self::Application,
        Self::Shutdown,
    ];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Gone => "gone",
            Self::Silent => "silent",
            Self::Unfinished => "unfinished",
            Self::Protocol => "protocol",
            Self::TooLarge => "too_large",
            Self::Unauthorized => "unauthorized",
            Self::Abuse => "abuse",
            Self::Slow => "slow",
            Self::Application => "application",
            Self::Shutdown => "shutdown",
        }
    }
}

impl From<Reason> for Ending {
    fn from(reason: Reason) -> Self {
        match reason {
            Reason::TransportClose | Reason::ClientNamespaceDisconnect => Self::Client,
            Reason::TransportError | Reason::ForcedClose | Reason::ParseError => Self::Protocol,
            Reason::PingTimeout => Self::Silent,
            Reason::ServerShuttingDown => Self::Shutdown,
            Reason::ForcedServerClose | Reason::ServerNamespaceDisconnect => Self::Application,
        }
    }
}

/// What clients ask that is no event of theirs.
const REQUESTS: [&str; 11] =
    ["join", "leave", "direct", "call", "auth", "ping", "poll", "connect", "disconnect", "ack", "invalid"];

/// Events of the house.
const EVENTS: [&str; 16] = [
    "message",
    "notification",
    "typing",
    "stopTyping",
    "messageUpdated",
    "userJoined",
    "userLeft",
    "roomUpdated",
    "memberUpdated",
    "readReceipt",
    "deliveryReceipt",
    "roomInfo",
    "presence",
    "readState",
    "roomAdded",
    "roomRemoved",
];

/// Every name that messages are counted by.
pub(crate) fn names(declared: &[String]) -> EventNames {
    EventNames::new(REQUESTS.into_iter().chain(EVENTS).chain(declared.iter().map(String::as_str)))
}

/// Refusals by their codes.
#[derive(Debug)]
pub(crate) struct ByCode([AtomicU64; Code::ALL.len()]);

impl Default for ByCode {
    fn default() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::new(0)))
    }
}

impl ByCode {
    pub(crate) fn count(&self, code: Code) {
        if let Some(at) = Code::ALL.iter().position(|known| *known == code) {
            self.0[at].fetch_add(1, Ordering::Relaxed);
        }
    }

    fn read(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Code::ALL.iter().zip(&self.0).map(|(code, count)| (code.as_str(), count.load(Ordering::Relaxed)))
    }
}

/// The connections of one transport.
#[derive(Debug, Default)]
struct Connections {
    open: AtomicUsize,
    opened: AtomicU64,
    closed: [AtomicU64; Ending::ALL.len()],
}

/// Requests of one method, by the first digit of their status.
type Statuses = [AtomicU64; 5];

/// The requests of one route.
#[derive(Debug)]
struct Route {
    methods: [Statuses; METHODS.len()],
    took: Histogram,
}

/// The last stands for all others.
const METHODS: [&str; 6] = ["GET", "POST", "PUT", "PATCH", "DELETE", "other"];

/// Bounds for the times of requests, in ns: a poll waits for up to 25 s.
const REQUEST_TIMES: &[u64] = &[
    1_000_000,
    5_000_000,
    10_000_000,
    50_000_000,
    100_000_000,
    500_000_000,
    1_000_000_000,
    5_000_000_000,
    30_000_000_000,
];

/// What this crate counts.
#[derive(Debug)]
pub(crate) struct Metrics {
    names: EventNames,
    /// What clients have asked, by shard and name: a core writes to lines of its own.
    asked: Box<[Asked]>,
    connections: [Connections; Transport::ALL.len()],
    pub(crate) admission: ByCode,
    /// Long polls that wait for something.
    waiting: AtomicUsize,
    /// Templates of paths, and where they are counted; the last of `routes` stands for all others.
    templates: HashMap<Box<str>, usize>,
    labels: Vec<Box<str>>,
    routes: Vec<Route>,
}

#[derive(Debug)]
#[repr(align(128))]
struct Asked(Box<[AtomicU64]>);

impl Metrics {
    /// `routes` are templates of paths, and under which name they are counted.
    pub(crate) fn new(names: &EventNames, shards: usize, routes: &[(String, &str)]) -> Self {
        let asked = || Asked((0..names.count()).map(|_| AtomicU64::new(0)).collect());
        let mut labels: Vec<Box<str>> = Vec::new();
        let mut templates = HashMap::new();
        for (template, label) in routes {
            let known = labels.iter().position(|known| **known == **label);
            let at = known.unwrap_or_else(|| {
                labels.push((*label).into());
                labels.len() - 1
            });
            templates.insert(template.as_str().into(), at);
        }
        labels.push("other".into());
        let route = |_| Route { methods: Default::default(), took: Histogram::new(REQUEST_TIMES) };
        Self {
            names: names.clone(),
            asked: (0..shards.max(1)).map(|_| asked()).collect(),
            connections: Default::default(),
            admission: ByCode::default(),
            waiting: AtomicUsize::new(0),
            templates,
            routes: (0..labels.len()).map(route).collect(),
            labels,
        }
    }

    /// A client on a shard has asked this, or published an event of this name.
    pub(crate) fn asked(&self, shard: usize, name: &str) {
        self.asked[shard % self.asked.len()].0[self.names.number(name)].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn opened(&self, transport: Transport) {
        let connections = &self.connections[transport as usize];
        connections.open.fetch_add(1, Ordering::Relaxed);
        connections.opened.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn closed(&self, transport: Transport, ending: Ending) {
        let connections = &self.connections[transport as usize];
        connections.open.fetch_sub(1, Ordering::Relaxed);
        connections.closed[ending as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// A connection is carried by something else from now on.
    pub(crate) fn moved(&self, from: Transport, to: Transport) {
        self.connections[from as usize].open.fetch_sub(1, Ordering::Relaxed);
        self.connections[to as usize].open.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a poll while it waits.
    pub(crate) fn wait(&self) -> Waiting<'_> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        Waiting(&self.waiting)
    }

    /// Where requests to a path of this template are counted.
    pub(crate) fn route(&self, template: Option<&str>) -> RouteNumber {
        let known = template.and_then(|template| self.templates.get(template));
        RouteNumber(known.copied().unwrap_or(self.routes.len() - 1))
    }

    pub(crate) fn label(&self, RouteNumber(route): RouteNumber) -> &str {
        &self.labels[route]
    }

    pub(crate) fn answered(&self, RouteNumber(route): RouteNumber, method: &str, status: u16, took: Duration) {
        let Route { methods, took: times } = &self.routes[route];
        let method = METHODS.iter().position(|known| *known == method).unwrap_or(METHODS.len() - 1);
        let class = usize::from(status / 100).clamp(1, 5) - 1;
        methods[method][class].fetch_add(1, Ordering::Relaxed);
        times.observe_time(took);
    }
}

/// A path that requests are counted by.
#[derive(Clone, Copy)]
pub(crate) struct RouteNumber(usize);

/// A poll that waits.
pub(crate) struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
