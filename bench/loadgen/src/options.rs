//! The command line.

use std::{net::SocketAddrV4, time::Duration};

use clap::{Parser, ValueEnum};

/// Drives one server on the loopback interface and prints one line of JSON.
#[derive(Parser, Debug)]
pub(crate) struct Options {
    /// What to measure.
    pub(crate) scenario: Kind,

    /// The server, within 127.0.0.0/8.
    #[arg(long, default_value = "127.0.0.1:9000", value_parser = loopback)]
    pub(crate) addr: SocketAddrV4,
    /// The server's process: its CPU time and memory, with its children's, go into the report.
    #[arg(long)]
    pub(crate) pid: Option<u32>,
    /// Copied into the report.
    #[arg(long, default_value = "")]
    pub(crate) label: String,

    /// Connections; for `connect`, the handshakes after which it stops early.
    #[arg(long)]
    pub(crate) n: Option<usize>,
    /// Connections being opened at the same time.
    #[arg(long, default_value_t = 128)]
    pub(crate) conc: usize,
    /// Seconds measured, at most 120.
    #[arg(long, default_value = "4", value_parser = seconds::<120>)]
    pub(crate) secs: Duration,
    /// Seconds of load before the measurement, at most 60.
    #[arg(long, default_value = "1", value_parser = seconds::<60>)]
    pub(crate) warmup: Duration,
    /// Seconds of rest between opening and load, at most 60.
    #[arg(long, default_value = "0.5", value_parser = seconds::<60>)]
    pub(crate) settle: Duration,
    /// `idle`: seconds that the open connections are held, at most 120.
    #[arg(long, default_value = "3", value_parser = seconds::<120>)]
    pub(crate) hold: Duration,
    /// Microseconds between two looks for events; 20 for `fanout`, else 0.
    #[arg(long)]
    pub(crate) gap: Option<u64>,

    /// How subscribers are connected.
    #[arg(long, value_enum, default_value_t = Wire::Ws)]
    pub(crate) proto: Wire,
    /// Path of the subscribers, knows {room} {i} and {cursor}; default /ws, /sse or /lp.
    #[arg(long)]
    pub(crate) path: Option<String>,
    /// A message that each subscriber sends after the handshake; repeatable. For sio with its type: 42["join","{room}"].
    #[arg(long)]
    pub(crate) join: Vec<String>,
    /// Messages that a subscriber awaits before it counts as ready.
    #[arg(long, default_value_t = 0)]
    pub(crate) join_acks: u32,

    /// How publishers are connected, ws, sio or http (POST); default: ws for ws, sio for sio and sio-poll, else http.
    #[arg(long, value_enum)]
    pub(crate) pub_proto: Option<Wire>,
    /// Path of the publishers; default: the subscribers' when the protocol is the same, else /ws or /pub.
    #[arg(long)]
    pub(crate) pub_path: Option<String>,
    /// A message that each publisher sends after the handshake; repeatable.
    #[arg(long)]
    pub(crate) pub_join: Vec<String>,
    /// Messages that a publisher awaits before it counts as ready.
    #[arg(long, default_value_t = 0)]
    pub(crate) pub_join_acks: u32,
    /// Publishers; default 8 for http, else 1. Several reorder by themselves.
    #[arg(long)]
    pub(crate) pub_conns: Option<usize>,

    /// One published message (a text frame or a POST body), knows {payload} {room} {i} {id} {seq}.
    #[arg(long, default_value = "{payload}")]
    pub(crate) publish: String,
    /// Bytes of {payload}.
    #[arg(long, default_value_t = 128)]
    pub(crate) size: usize,
    /// What {payload} is: text, or a JSON object (write it without quotes then).
    #[arg(long, value_enum, default_value_t = Payload::Text)]
    pub(crate) payload: Payload,
    /// Content-Type of a POST.
    #[arg(long, default_value = "text/plain")]
    pub(crate) content_type: String,
    /// A header line for every request; repeatable.
    #[arg(long)]
    pub(crate) header: Vec<String>,

    /// `fanout`: messages published and not yet seen by all their subscribers, at most.
    #[arg(long, default_value_t = 16)]
    pub(crate) inflight: u64,
    /// `fanout`: messages per second; 0 is as fast as --inflight allows.
    #[arg(long, default_value_t = 0.0)]
    pub(crate) rate: f64,
    /// `fanout`: messages, at most.
    #[arg(long, default_value_t = 1_000_000_000)]
    pub(crate) msgs: u64,
    /// `fanout`: subscribers besides --n that read nothing once they have joined.
    #[arg(long, default_value_t = 0)]
    pub(crate) stopped: usize,
    /// `fanout`: rooms that the subscribers are spread over; publishers go round them.
    #[arg(long, default_value_t = 1)]
    pub(crate) rooms: usize,
    /// `fanout`: seconds without a delivery after which the missing ones are counted as lost.
    #[arg(long, default_value = "3", value_parser = seconds::<60>)]
    pub(crate) stall: Duration,
    /// `echo`: messages outstanding on each connection.
    #[arg(long, default_value_t = 1)]
    pub(crate) depth: u32,

    /// `ws`: offers permessage-deflate. Compressed frames are counted and told apart by their order, not inflated.
    #[arg(long)]
    pub(crate) deflate: bool,
    /// The offer to make.
    #[arg(long, default_value = "permessage-deflate; client_max_window_bits")]
    pub(crate) deflate_offer: String,
    /// `lp`: the response header whose value becomes {cursor}. Until there is one, the query parameter that holds
    /// {cursor} is left out. Without this option Last-Modified and ETag go back as conditions.
    #[arg(long)]
    pub(crate) lp_cursor: Option<String>,
}

/// A scenario.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// Messages from a publisher to many subscribers.
    Fanout,
    /// Messages that the server sends back.
    Echo,
    /// Open connections that do nothing.
    Idle,
    /// Handshakes, each followed by a reset.
    Connect,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Fanout => "fanout",
            Kind::Echo => "echo",
            Kind::Idle => "idle",
            Kind::Connect => "connect",
        }
    }
}

/// How a connection carries messages.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Wire {
    /// WebSocket, text frames.
    Ws,
    /// EventSource.
    Sse,
    /// Long polling: the next GET goes out when the answer is in.
    Lp,
    /// Socket.IO 5 over Engine.IO 4, by WebSocket.
    Sio,
    /// The same by long polling: one request at a time, a POST when there is something to say, else a GET.
    SioPoll,
    /// POST on a kept-alive connection, one at a time; for publishers.
    Http,
}

impl Wire {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Wire::Ws => "ws",
            Wire::Sse => "sse",
            Wire::Lp => "lp",
            Wire::Sio => "sio",
            Wire::SioPoll => "sio-poll",
            Wire::Http => "http",
        }
    }

    pub(crate) fn usual_path(self) -> &'static str {
        match self {
            Wire::Ws => "/ws",
            Wire::Sse => "/sse",
            Wire::Lp => "/lp",
            Wire::Sio => "/socket.io/?EIO=4&transport=websocket",
            Wire::SioPoll => "/socket.io/?EIO=4&transport=polling",
            Wire::Http => "/pub",
        }
    }
}

/// The kind of a payload.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Payload {
    /// The marker and letters.
    Text,
    /// A JSON object with the marker in a string.
    Json,
}

// A generator that could be pointed at other people's machines would be a weapon.
fn loopback(text: &str) -> Result<SocketAddrV4, String> {
    let address: SocketAddrV4 = text.parse().map_err(|_| format!("not an IPv4 address and port: {text}"))?;
    if address.ip().is_loopback() { Ok(address) } else { Err(format!("{address} is not within 127.0.0.0/8")) }
}

fn seconds<const MAX: u64>(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| format!("not a number: {text}"))?;
    let asked = Duration::try_from_secs_f64(seconds).map_err(|e| e.to_string())?;
    Ok(asked.min(Duration::from_secs(MAX)))
}
