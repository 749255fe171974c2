//! The sharded adapter: messages of Node's cluster adapters, `{type, data, uid, nsp}`, on sharded channels of Redis 7.
//!
//! | channel | what |
//! |---|---|
//! | `socket.io#/nsp#` | to all servers |
//! | `socket.io#/nsp#room#` | an event to one room, with dynamic subscriptions |
//! | `socket.io#/nsp#uid#` | responses to the server with this id |

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use denrei_hub::{Channel, Listen, random_token};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::socketio::cluster::{Deed, Question};
use crate::socketio::compat::Subscriptions;
use crate::socketio::compat::document::{self, Unreadable};
use crate::socketio::compat::format::{Asker, Inquiry, Letter, Part, Said};
use crate::socketio::compat::words::{self, quoted};
use crate::socketio::emit::{Flags, Packet, Targets};
use crate::socketio::{Args, SocketId};

/// Types of messages.
mod kind {
    pub(super) const BROADCAST: i64 = 3;
    pub(super) const SOCKETS_JOIN: i64 = 4;
    pub(super) const SOCKETS_LEAVE: i64 = 5;
    pub(super) const DISCONNECT_SOCKETS: i64 = 6;
    pub(super) const FETCH_SOCKETS: i64 = 7;
    pub(super) const FETCH_SOCKETS_RESPONSE: i64 = 8;
    pub(super) const SERVER_SIDE_EMIT: i64 = 9;
    pub(super) const SERVER_SIDE_EMIT_RESPONSE: i64 = 10;
    pub(super) const BROADCAST_CLIENT_COUNT: i64 = 11;
    pub(super) const BROADCAST_ACK: i64 = 12;
}

pub(super) struct Sharded {
    namespace: Box<str>,
    uid: String,
    all: Arc<str>,
    subscriptions: Subscriptions,
}

impl Sharded {
    pub(super) fn new(key: &str, namespace: &str, subscriptions: Subscriptions) -> Self {
        Self {
            namespace: namespace.into(),
            uid: random_token(16),
            all: format!("{key}#{namespace}#").into(),
            subscriptions,
        }
    }

    /// The channel below that of all, of a room or a server.
    fn below(&self, name: &str) -> Channel {
        Channel::Sharded(format!("{}{name}#", self.all).into())
    }

    /// A message with its data inside.
    fn letter(&self, channel: Channel, kind: i64, data: &str, attachments: &[Bytes]) -> Letter {
        let (uid, namespace) = (quoted(&self.uid), quoted(&self.namespace));
        let document = format!("{{\"type\":{kind},\"data\":{{{data}}},\"uid\":{uid},\"nsp\":{namespace}}}");
        Letter { channel, bytes: document::either(document, attachments) }
    }

    fn to_all(&self, kind: i64, data: &str, packet: Option<&Packet>) -> Letter {
        let attachments = packet.map(|packet| packet.args.attachments()).unwrap_or_default();
        self.letter(self.census(), kind, data, attachments)
    }

    fn moved(&self, kind: i64, targets: &Targets, rest: &str) -> Option<Letter> {
        let options = words::options(targets, Some(Flags::default()), None);
        (!words::is_nobody(targets)).then(|| self.to_all(kind, &format!("\"opts\":{options},{rest}"), None))
    }
}

impl Sharded {
    pub(super) fn listens(&self) -> (Listen, Vec<Listen>) {
        // That of all last: from then on this one is counted, and must hear what it is asked.
        (Listen::To(self.below(&self.uid)), vec![Listen::To(self.census())])
    }

    pub(super) fn census(&self) -> Channel {
        Channel::Sharded(Arc::clone(&self.all))
    }

    pub(super) fn room(&self, room: &str) -> Option<Channel> {
        (self.subscriptions == Subscriptions::Dynamic).then(|| self.below(room))
    }

    pub(super) fn tell(&self, deed: &Deed) -> Option<Letter> {
        match deed {
            Deed::Emit(targets, ..) if words::is_nobody(targets) => None,
            Deed::Emit(targets, packet, flags) => {
                let channel = match *words::rooms(targets) {
                    // Node takes a name of this length for a socket's.
                    [room] if room.encode_utf16().count() != SocketId::LENGTH => self.room(room),
                    _ => None,
                };
                let options = words::options(targets, Some(*flags), None);
                let data = format!("\"packet\":{},\"opts\":{options}", words::packet(&self.namespace, packet));
                let channel = channel.unwrap_or_else(|| self.census());
                Some(self.letter(channel, kind::BROADCAST, &data, packet.args.attachments()))
            }
            Deed::Join(targets, rooms) => {
                self.moved(kind::SOCKETS_JOIN, targets, &format!("\"rooms\":{}", words::names(rooms)))
            }
            Deed::Leave(targets, rooms) => {
                self.moved(kind::SOCKETS_LEAVE, targets, &format!("\"rooms\":{}", words::names(rooms)))
            }
            Deed::Disconnect(targets, close) => {
                self.moved(kind::DISCONNECT_SOCKETS, targets, &format!("\"close\":{close}"))
            }
            Deed::ServerSide(packet) => {
                let data = format!("\"packet\":{}", words::data(packet));
                Some(self.to_all(kind::SERVER_SIDE_EMIT, &data, Some(packet)))
            }
        }
    }

    pub(super) fn ask(&self, request: &str, question: &Question, patience: Duration) -> Letter {
        let request = format!("\"requestId\":{}", quoted(request));
        match question {
            Question::Fetch(targets) => {
                let options = words::options(targets, Some(Flags::default()), None);
                self.to_all(kind::FETCH_SOCKETS, &format!("\"opts\":{options},{request}"), None)
            }
            Question::ServerSide(packet) => {
                let data = format!("{request},\"packet\":{}", words::data(packet));
                self.to_all(kind::SERVER_SIDE_EMIT, &data, Some(packet))
            }
            Question::Emit(targets, packet, flags) => {
                let options = words::options(targets, Some(*flags), Some(patience));
                let said = words::packet(&self.namespace, packet);
                let data = format!("\"packet\":{said},{request},\"opts\":{options}");
                self.to_all(kind::BROADCAST, &data, Some(packet))
            }
        }
    }

    pub(super) fn answer(&self, asker: &Asker, answer: &Part) -> Option<Letter> {
        let request = format!("\"requestId\":{}", quoted(&asker.request));
        let first = |args| words::first(args).map(|value| format!(",\"packet\":{value}")).unwrap_or_default();
        let (kind, rest, attachments) = match answer {
            Part::Sockets(sockets) => {
                (kind::FETCH_SOCKETS_RESPONSE, format!(",\"sockets\":{}", words::sockets(sockets)), &[][..])
            }
            Part::Clients(clients) => (kind::BROADCAST_CLIENT_COUNT, format!(",\"clientCount\":{clients}"), &[][..]),
            Part::Client(args) => (kind::BROADCAST_ACK, first(args), args.attachments()),
            Part::ServerSide(args) => (kind::SERVER_SIDE_EMIT_RESPONSE, first(args), args.attachments()),
            // Nobody asks that.
            Part::Ids(_) | Part::Rooms(_) | Part::Done => return None,
        };
        let channel = self.below(asker.uid.as_deref()?);
        Some(self.letter(channel, kind, &format!("{request}{rest}"), attachments))
    }

    pub(super) fn read(&self, bytes: &Bytes, attachments: u32) -> Result<Said, Unreadable> {
        let document = document::read(bytes, attachments)?;
        let message: Message<'_> = document::parse(&document)?;
        if message.uid == *self.uid || message.nsp != *self.namespace {
            return Ok(Said::Nothing);
        }
        let kind = words::read_whole(&message.kind).ok_or(Unreadable::Said("the message has no type"))?;
        let Some(data) = message.data else { return Ok(Said::Nothing) };
        let data: Data<'_> = serde_json::from_str(data.get())?;
        let request = words::read_text(&data.request);
        let asker = request.clone().map(|request| Asker { uid: words::read_text(&message.uid), request });
        let asking = || asker.clone().ok_or(Unreadable::Said("the message has no id"));
        let answers = || request.clone().ok_or(Unreadable::Said("the answer has no id"));
        let packet = || data.packet.ok_or(Unreadable::Said("the message has no packet"));
        let event = || words::read_event(packet()?, document.attachments());
        let args = || words::read_args(data.packet.as_slice(), document.attachments());
        let targets = || words::read_targets(&data.opts);
        let rooms = || words::read_names(&data.rooms);
        Ok(match kind {
            kind::BROADCAST => {
                let packet = words::read_packet(packet()?, &self.namespace, document.attachments())?;
                let flags = words::read_flags(&data.opts);
                match asker {
                    Some(asker) => {
                        let question = Question::Emit(targets()?, packet, flags);
                        Said::Ask { asker, inquiry: Inquiry::Question(question, flags.timeout) }
                    }
                    None => Said::Do(Deed::Emit(targets()?, packet, flags)),
                }
            }
            kind::SOCKETS_JOIN => Said::Do(Deed::Join(targets()?, rooms()?)),
            kind::SOCKETS_LEAVE => Said::Do(Deed::Leave(targets()?, rooms()?)),
            kind::DISCONNECT_SOCKETS => Said::Do(Deed::Disconnect(targets()?, data.close == true)),
            kind::FETCH_SOCKETS => {
                Said::Ask { asker: asking()?, inquiry: Inquiry::Question(Question::Fetch(targets()?), None) }
            }
            kind::SERVER_SIDE_EMIT => match asker {
                Some(asker) => Said::Ask { asker, inquiry: Inquiry::Question(Question::ServerSide(event()?), None) },
                None => Said::Do(Deed::ServerSide(event()?)),
            },
            kind::FETCH_SOCKETS_RESPONSE => {
                // What applications keep with their sockets is JSON here: binary is written as other wires have it.
                let plain = Args::new(document.to_plain_json(), Vec::new())?;
                let (Message { data, .. },): (Message<'_>,) = serde_json::from_slice(plain.json())?;
                let data: Option<Data<'_>> = data.map(|data| serde_json::from_str(data.get())).transpose()?;
                let sockets = data.and_then(|data| data.sockets.as_array().cloned()).unwrap_or_default();
                Said::Answer { request: answers()?, part: Part::Sockets(words::read_sockets(sockets)) }
            }
            kind::SERVER_SIDE_EMIT_RESPONSE => Said::Answer { request: answers()?, part: Part::ServerSide(args()?) },
            kind::BROADCAST_CLIENT_COUNT => {
                let clients = words::read_whole(&data.clients).and_then(|clients| u64::try_from(clients).ok());
                let clients = clients.ok_or(Unreadable::Said("the answer has no count"))?;
                Said::Answer { request: answers()?, part: Part::Clients(clients) }
            }
            kind::BROADCAST_ACK => Said::Answer { request: answers()?, part: Part::Client(args()?) },
            // Heartbeats, and what is newer.
            _ => Said::Nothing,
        })
    }
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(default, rename = "type")]
    kind: Value,
    #[serde(default, borrow)]
    data: Option<&'a RawValue>,
    #[serde(default)]
    uid: Value,
    #[serde(default)]
    nsp: Value,
}

#[derive(Deserialize)]
struct Data<'a> {
    #[serde(default, rename = "requestId")]
    request: Value,
    #[serde(default)]
    opts: Value,
    #[serde(default)]
    rooms: Value,
    #[serde(default)]
    close: Value,
    #[serde(default, borrow)]
    packet: Option<&'a RawValue>,
    #[serde(default, rename = "clientCount")]
    clients: Value,
    #[serde(default)]
    sockets: Value,
}
