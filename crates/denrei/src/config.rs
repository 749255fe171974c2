//! What a server can be told, with production-safe defaults.

use std::path::PathBuf;
use std::time::Duration;

use denrei_hub::HubConfig;
use denrei_proto::ws::DeflateConfig;

use crate::admission::AllowOrigin;
use crate::auth::Tokens;
use crate::chat::ChatConfig;
use crate::events::EventsConfig;
use crate::files::FilesConfig;
use crate::identity::Secret;
use crate::metrics::MetricsConfig;
use crate::proxies::Network;
use crate::rates::Rates;
use crate::spans::SpansConfig;

/// Settings of a server.
#[derive(Clone, Debug)]
pub struct Config {
    /// Who may connect from where.
    pub access: Access,
    /// Bounds of what peers may send and hold.
    pub limits: Limits,
    /// How often they may ask. Default without limits.
    pub rates: Rates,
    /// The native WebSocket.
    pub websocket: WebSocket,
    /// Server-sent events.
    pub sse: Sse,
    /// Polling.
    pub poll: Poll,
    /// Socket.IO.
    pub socketio: SocketIo,
    /// Chat.
    pub chat: ChatConfig,
    /// The application's own events.
    pub events: EventsConfig,
    /// Who may ask for the metrics.
    pub metrics: MetricsConfig,
    /// How much of it is followed, if [`denrei_hub::Backends`] says who is told.
    pub spans: SpansConfig,
    /// Uploaded files.
    pub files: FilesConfig,
    /// How the server stops.
    pub shutdown: Shutdown,
    /// Rooms and their classes.
    pub hub: HubConfig,
}

/// Who may connect from where.
#[derive(Clone, Debug)]
pub struct Access {
    /// Development mode, for loopback addresses only: a request must name a loopback host, and pages of loopback
    /// origins may connect. So no website can drive a developer's server.
    pub development: bool,
    /// Whether clients may connect without a token. Default false.
    pub anonymous: bool,
    /// What the server's own tokens are signed with. Without it and without keys in `tokens`, every token is refused.
    pub secret: Option<Secret>,
    /// What tokens must say, and who else may have signed them.
    pub tokens: Tokens,
    /// Origins whose pages may connect, as browsers write them (`https://app.example`), besides the server's own;
    /// `https://*.app.example` means all below that name. Default none.
    pub origins: Vec<String>,
    /// Is asked about origins that are not listed. Default none, which refuses them.
    pub allow_origin: Option<AllowOrigin>,
    /// Proxies that are trusted to say where clients are, in `X-Forwarded-For`. Default none.
    pub trusted_proxies: Vec<Network>,
}

/// Bounds of what peers may send and hold.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bytes of a WebSocket message after inflation, and of a request's body. Default 1 MiB.
    pub message: usize,
    /// Frames of one WebSocket message. Default 1,024.
    pub fragments: u32,
    /// Rooms that one connection may join. Default 1,000.
    pub rooms: usize,
    /// Connections of the process. Default 100,000; the limit of open files is usually lower.
    pub connections: usize,
    /// Connections of one address, of IPv6 of the first 64 bits, unless it is this machine's or a trusted proxy's.
    /// Default 1,000.
    pub address_connections: usize,
    /// Publishes of one connection that may be under way before it is read further. Default 256.
    pub publishes: u32,
    /// Time for a request's head to arrive. Default 10 s.
    pub head: Duration,
    /// Time for a request's body to arrive. Default 30 s.
    pub body: Duration,
    /// Bytes of bodies that may be arriving at once, not counting the first 64 KiB of each. Default 32 MiB.
    pub bodies: usize,
    /// Connections above which `/health` says `degraded` (seed §12.1). Default 10,000.
    pub healthy_connections: usize,
}

/// The native WebSocket.
#[derive(Clone, Debug)]
pub struct WebSocket {
    /// Time between pings; a peer that shows no sign of life in between is ended. Default 30 s.
    pub heartbeat: Duration,
    /// permessage-deflate; none turns it off.
    pub deflate: Option<DeflateConfig>,
    /// Subprotocols, besides `denrei.v1.json`, that mean the JSON protocol. Default none.
    pub subprotocols: Vec<String>,
    /// Whether a WebSocket may be a stream of HTTP/2 (RFC 8441). Default false: browsers that see it take it, and a
    /// connection of its own is faster.
    pub http2: bool,
}

/// Server-sent events.
#[derive(Clone, Debug)]
pub struct Sse {
    /// What `retry:` tells browsers. Default 5 s.
    pub retry: Duration,
    /// Time between keep-alive comments. Default 15 s.
    pub keep_alive: Duration,
}

/// Polling.
#[derive(Clone, Debug)]
pub struct Poll {
    /// The longest that a request is held. Default 25 s.
    pub wait: Duration,
    /// Events in an answer when the request does not say. Default 50.
    pub limit: usize,
    /// The most events in an answer. Default 500.
    pub most: usize,
}

/// Socket.IO. The names are Node's where they are plain.
#[derive(Clone, Debug)]
pub struct SocketIo {
    /// Whether it is served. Default true.
    pub enabled: bool,
    /// Where: begins and ends with a slash. Default `/socket.io/`.
    pub path: String,
    /// Whether namespace `/` serves rooms while no application has taken it. Default true.
    pub rooms: bool,
    /// Time between the server's pings. Default 25 s.
    pub ping_interval: Duration,
    /// How long a client may be silent after one. Default 20 s.
    pub ping_timeout: Duration,
    /// How long a WebSocket may take to replace polling. Default 10 s.
    pub upgrade_timeout: Duration,
    /// How long a connection may be in no namespace. Default 45 s.
    pub connect_timeout: Duration,
    /// How long the attachments of a packet may take to come. Default 10 s.
    pub packet_timeout: Duration,
    /// Bytes of one message, and of one body (`maxHttpBufferSize`). Default 1,000,000.
    pub max_payload: usize,
    /// Packets in one body. Default 16,384.
    pub payload_packets: usize,
    /// Bounds of one packet.
    pub packets: denrei_proto::socketio::Limits,
    /// Namespaces that one connection may be in. Default 100.
    pub namespaces: usize,
    /// Answers that may be awaited of one socket. Default 256.
    pub acks: usize,
    /// Whether clients may poll. Default true.
    pub polling: bool,
    /// Whether clients may use a WebSocket. Default true.
    pub websocket: bool,
    /// Whether a WebSocket may replace polling. Default true.
    pub upgrades: bool,
    /// Whether clients of Engine.IO 3 are served: those of Socket.IO 2. Default false.
    pub allow_v3: bool,
    /// How packets are written; clients must be set to the same. Default JSON.
    pub parser: denrei_proto::socketio::Parser,
    /// The name of a cookie that holds the session's id, for load balancers; none sets no cookie. Default none.
    pub cookie: Option<String>,
    /// Whether namespace `/admin` answers the Admin UI. Default true: it takes the role `admin`.
    pub admin: bool,
    /// The folder that has the official client's files, such as `node_modules/socket.io-client/dist`: they are served
    /// below [`SocketIo::path`]. Default none.
    pub client_files: Option<PathBuf>,
    /// Bodies of polls of so many bytes are compressed for clients that take it; none compresses none. Default 1024.
    pub compression: Option<usize>,
}

/// How the server stops.
#[derive(Clone, Debug)]
pub struct Shutdown {
    /// How long `/readyz` says that the server stops before it does, for balancers to notice. Default 0.
    pub delay: Duration,
    /// The least that clients are told to wait before they reconnect. Default 5 s.
    pub reconnect_delay: Duration,
    /// How far their delays are spread above that, so that they do not all come back at once. Default 5 s.
    pub reconnect_spread: Duration,
    /// How long connections may take to drain. Default 10 s.
    pub grace: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            access: Access {
                development: false,
                anonymous: false,
                secret: None,
                tokens: Tokens::default(),
                origins: Vec::new(),
                allow_origin: None,
                trusted_proxies: Vec::new(),
            },
            limits: Limits {
                message: 1 << 20,
                fragments: 1024,
                rooms: 1000,
                connections: 100_000,
                address_connections: 1000,
                publishes: 256,
                head: Duration::from_secs(10),
                body: Duration::from_secs(30),
                bodies: 32 << 20,
                healthy_connections: 10_000,
            },
            rates: Rates::default(),
            websocket: WebSocket {
                heartbeat: Duration::from_secs(30),
                deflate: Some(DeflateConfig::default()),
                subprotocols: Vec::new(),
                http2: false,
            },
            sse: Sse { retry: Duration::from_secs(5), keep_alive: Duration::from_secs(15) },
            poll: Poll { wait: Duration::from_secs(25), limit: 50, most: 500 },
            socketio: SocketIo {
                enabled: true,
                path: "/socket.io/".into(),
                rooms: true,
                ping_interval: Duration::from_secs(25),
                ping_timeout: Duration::from_secs(20),
                upgrade_timeout: Duration::from_secs(10),
                connect_timeout: Duration::from_secs(45),
                packet_timeout: Duration::from_secs(10),
                max_payload: 1_000_000,
                payload_packets: 16_384,
                packets: denrei_proto::socketio::Limits::default(),
                namespaces: 100,
                acks: 256,
                polling: true,
                websocket: true,
                upgrades: true,
                allow_v3: false,
                parser: denrei_proto::socketio::Parser::Json,
                cookie: None,
                admin: true,
                client_files: None,
                compression: Some(1024),
            },
            chat: ChatConfig::default(),
            events: EventsConfig::default(),
            metrics: MetricsConfig::default(),
            spans: SpansConfig::default(),
            files: FilesConfig::default(),
            shutdown: Shutdown {
                delay: Duration::ZERO,
                reconnect_delay: Duration::from_secs(5),
                reconnect_spread: Duration::from_secs(5),
                grace: Duration::from_secs(10),
            },
            hub: HubConfig::default(),
        }
    }
}
