//! Namespaces, sockets and handlers on a real hub. Clients are outboxes without a socket: what they are sent is read
//! from there, what they say goes through the decoder. The clock is the test's: a moment ends when nothing moves.

mod acks;
mod cluster;
mod compat;
mod events;
mod leaving;
mod namespaces;
mod recovery;
mod recovery_nodes;
mod rooms;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use denrei_hub::{Backends, Hub, HubConfig, Name, random_token};
use denrei_proto::engineio::{self, Record, Version};
use denrei_proto::socketio::{Body, Decoder, Limits as PacketLimits, Parser};
use serde_json::Value;

use crate::identity::Identity;
use crate::socketio::lane::{Lane, Order};
use crate::socketio::{Handshake, Io, Limits, Reason, Socket};
use crate::wires::{self, Form, Speech};

/// A server without connections.
struct World {
    io: Io,
    hub: Hub,
}

impl World {
    fn new() -> Self {
        let (hub, shards) = Hub::new(HubConfig::default(), wires::encoders(None, 10), Backends::default());
        for shard in shards {
            tokio::spawn(shard.run());
        }
        let io = Io::new(hub.clone(), Limits { rooms: 8, acks: 4, attachments: 10 }, Arc::default());
        Self { io, hub }
    }

    fn client(&self) -> Client {
        self.client_of(None, Version::V4)
    }

    fn client_of(&self, user: Option<&str>, version: Version) -> Client {
        let speech = Speech { parser: Parser::Json, form: Form::Records };
        let outbox = self.hub.outbox(random_token(20).into(), speech.wire(), None, self.hub.shard());
        outbox.insist();
        let user = user.map(|user| Name::parse(user).expect("a name"));
        let identity = Identity { user, ..Identity::default() };
        let headers = [("Origin", &b"https://app.example"[..])];
        Client {
            io: self.io.clone(),
            lane: Lane::new(outbox, version, denrei_proto::ws::DeflateConfig::default()),
            handshake: Arc::new(Handshake::new(
                headers,
                "/socket.io/?EIO=4&room=a%20b",
                IpAddr::from([127, 0, 0, 1]),
                false,
                identity,
            )),
            decoder: Decoder::new(Parser::Json, version, PacketLimits::default()),
            sockets: HashMap::new(),
            orders: Vec::new(),
        }
    }
}

/// A client, and its connection.
struct Client {
    io: Io,
    lane: Arc<Lane>,
    handshake: Arc<Handshake>,
    decoder: Decoder,
    sockets: HashMap<String, Socket>,
    /// Those that are not about joining.
    orders: Vec<Order>,
}

impl Client {
    /// Joins `/`, and has its answer out of the way.
    async fn joined(mut self) -> Self {
        self.say("0");
        self.heard().await;
        self
    }

    /// Says a packet, as it stands behind the engine's `4`. Whether the connection would read on.
    fn say(&mut self, text: &str) -> bool {
        self.orders();
        let packet = self.decoder.text(text).expect("a packet").expect("a whole packet");
        let socket = self.sockets.get(&*packet.namespace);
        match packet.body {
            Body::Connect { auth } => self.io.connect(&self.lane, &self.handshake, &packet.namespace, auth),
            Body::Disconnect => socket.expect("a socket").leave(Reason::ClientNamespaceDisconnect),
            Body::Event { id, name, args } => return socket.expect("a socket").receive(id, &name, args),
            Body::Ack { id, args } => socket.expect("a socket").answer(id, args),
            Body::ConnectError => panic!("no client says that"),
        }
        true
    }

    /// What it was sent since the last call, once nothing moves any more.
    async fn heard(&mut self) -> Vec<String> {
        settle().await;
        self.orders();
        let chunks = self.lane.outbox.take();
        let records = chunks.iter().flat_map(|chunk| engineio::records(chunk));
        let text = |record| match record {
            Record::Text(packet) => String::from_utf8(packet[1..].to_vec()).expect("text"),
            Record::Binary(data) => format!("binary {data:?}"),
        };
        records.map(text).collect()
    }

    /// The same, of what came of the CONNECT: `sid` and `pid`.
    async fn connected(&mut self) -> (String, Option<String>) {
        let heard = self.heard().await;
        let [connect] = &*heard else { panic!("one packet, not {heard:?}") };
        self.ids(connect)
    }

    fn ids(&self, connect: &str) -> (String, Option<String>) {
        let json = connect.find('{').map(|at| &connect[at..]).expect("an object");
        let json: Value = serde_json::from_str(json).expect("JSON");
        (json["sid"].as_str().expect("a sid").into(), json["pid"].as_str().map(str::to_owned))
    }

    fn socket(&mut self) -> Socket {
        self.orders();
        self.sockets.values().next().expect("it has joined").clone()
    }

    fn id(&mut self) -> String {
        self.socket().id().to_string()
    }

    fn orders(&mut self) {
        for order in self.lane.orders() {
            match order {
                Order::Joined(socket) => {
                    self.sockets.insert(socket.namespace().name().into(), socket);
                }
                other => self.orders.push(other),
            }
        }
    }

    /// The connection ends.
    fn end(&mut self, reason: Reason) {
        self.orders();
        for socket in self.sockets.values() {
            socket.leave(reason);
        }
        self.lane.close();
    }
}

/// Waits until nothing moves.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

/// The last argument of an event of a namespace with recovery.
fn offset(packet: &str) -> String {
    let args: Vec<Value> = serde_json::from_str(&packet[1..]).expect("an event");
    args.last().and_then(Value::as_str).expect("an offset").into()
}

/// What a client says to come back.
fn claim(pid: &str, offset: Option<&str>) -> String {
    match offset {
        Some(offset) => format!(r#"0{{"pid":"{pid}","offset":"{offset}"}}"#),
        None => format!(r#"0{{"pid":"{pid}"}}"#),
    }
}

/// Something that handlers write down.
#[derive(Clone, Default)]
struct Notes(Arc<Mutex<Vec<String>>>);

impl Notes {
    fn write(&self, note: impl Into<String>) {
        self.0.lock().expect("no panic").push(note.into());
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().expect("no panic"))
    }
}
