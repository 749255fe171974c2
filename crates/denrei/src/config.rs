//! What a server can be told, with production-safe defaults.

use std::time::Duration;

use denrei_hub::HubConfig;
use denrei_proto::ws::DeflateConfig;

use crate::identity::Secret;

/// Settings of a server.
#[derive(Clone, Debug)]
pub struct Config {
    /// Who may connect from where.
    pub access: Access,
    /// Bounds of what peers may send and hold.
    pub limits: Limits,
    /// The native WebSocket.
    pub websocket: WebSocket,
    /// Server-sent events.
    pub sse: Sse,
    /// Polling.
    pub poll: Poll,
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
    /// What tokens are signed with (HS256). Without one, every token is refused.
    pub secret: Option<Secret>,
    /// Origins whose pages may connect, exactly as browsers write them (`https://app.example`), besides the server's
    /// own. Default none.
    pub origins: Vec<String>,
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
    /// Publishes of one connection that may be under way before it is read further. Default 256.
    pub publishes: u32,
    /// Time for a request's head to arrive. Default 10 s.
    pub head: Duration,
    /// Time for a request's body to arrive. Default 30 s.
    pub body: Duration,
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

/// How the server stops.
#[derive(Clone, Debug)]
pub struct Shutdown {
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
            access: Access { development: false, anonymous: false, secret: None, origins: Vec::new() },
            limits: Limits {
                message: 1 << 20,
                fragments: 1024,
                rooms: 1000,
                connections: 100_000,
                publishes: 256,
                head: Duration::from_secs(10),
                body: Duration::from_secs(30),
                healthy_connections: 10_000,
            },
            websocket: WebSocket {
                heartbeat: Duration::from_secs(30),
                deflate: Some(DeflateConfig::default()),
                subprotocols: Vec::new(),
            },
            sse: Sse { retry: Duration::from_secs(5), keep_alive: Duration::from_secs(15) },
            poll: Poll { wait: Duration::from_secs(25), limit: 50, most: 500 },
            shutdown: Shutdown {
                reconnect_delay: Duration::from_secs(5),
                reconnect_spread: Duration::from_secs(5),
                grace: Duration::from_secs(10),
            },
            hub: HubConfig::default(),
        }
    }
}
