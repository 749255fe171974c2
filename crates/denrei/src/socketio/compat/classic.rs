//! The classic adapter: broadcasts on channels with a pattern, requests and responses on channels of their own.
//!
//! | channel | what |
//! |---|---|
//! | `socket.io#/nsp#`, `socket.io#/nsp#room#` | MessagePack of `[uid, packet, options]`; the second to one room |
//! | `socket.io-request#/nsp#` | requests, by their type |
//! | `socket.io-response#/nsp#`, `socket.io-response#/nsp#uid#` | responses, to all or to who has asked |

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use denrei_hub::{Channel, Listen, random_token};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::socketio::cluster::{Deed, Question};
use crate::socketio::compat::document::{self, Unreadable};
use crate::socketio::compat::format::{Asker, Inquiry, Letter, Part, Said};
use crate::socketio::compat::words::{self, quoted};
use crate::socketio::emit::Targets;

/// Types of requests, of which some are those of their responses too.
mod kind {
    pub(super) const SOCKETS: i64 = 0;
    pub(super) const ALL_ROOMS: i64 = 1;
    pub(super) const REMOTE_JOIN: i64 = 2;
    pub(super) const REMOTE_LEAVE: i64 = 3;
    pub(super) const REMOTE_DISCONNECT: i64 = 4;
    pub(super) const REMOTE_FETCH: i64 = 5;
    pub(super) const SERVER_SIDE_EMIT: i64 = 6;
    pub(super) const BROADCAST: i64 = 7;
    pub(super) const BROADCAST_CLIENT_COUNT: i64 = 8;
    pub(super) const BROADCAST_ACK: i64 = 9;
}

pub(super) struct Classic {
    namespace: Box<str>,
    uid: String,
    /// Those below are of rooms.
    broadcasts: Arc<str>,
    requests: Channel,
    responses: Arc<str>,
    /// Whether who asks is answered on a channel of its own.
    specific: bool,
}

impl Classic {
    pub(super) fn new(key: &str, namespace: &str, specific: bool) -> Self {
        Self {
            namespace: namespace.into(),
            uid: random_token(16),
            broadcasts: format!("{key}#{namespace}#").into(),
            requests: Channel::Plain(format!("{key}-request#{namespace}#").into()),
            responses: format!("{key}-response#{namespace}#").into(),
            specific,
        }
    }

    /// The same with this id.
    #[cfg(test)]
    pub(super) fn called(self, uid: &str) -> Self {
        Self { uid: uid.into(), ..self }
    }

    fn request(&self, document: String) -> Letter {
        Letter { channel: self.requests.clone(), bytes: document::json(document) }
    }

    fn moved(&self, kind: i64, targets: &Targets, rest: &str) -> Option<Letter> {
        if words::is_nobody(targets) {
            return None;
        }
        let (uid, options) = (quoted(&self.uid), words::options(targets, None, None));
        Some(self.request(format!("{{\"uid\":{uid},\"type\":{kind},\"opts\":{options},{rest}}}")))
    }

    /// A message on the channels of broadcasts.
    fn read_broadcast(&self, bytes: &Bytes, attachments: u32) -> Result<Said, Unreadable> {
        let document = document::read(bytes, attachments)?;
        let (uid, packet, options): (Value, &RawValue, Value) = document::parse(&document)?;
        if uid == *self.uid {
            return Ok(Said::Nothing);
        }
        let packet = words::read_packet(packet, &self.namespace, document.attachments())?;
        Ok(Said::Do(Deed::Emit(words::read_targets(&options)?, packet, words::read_flags(&options))))
    }

    fn read_request(&self, bytes: &Bytes, attachments: u32) -> Result<Said, Unreadable> {
        let document = document::read(bytes, attachments)?;
        let message: Message<'_> = document::parse(&document)?;
        if message.uid == *self.uid {
            // What it does is done already, what it asks it does not answer.
            return Ok(Said::Nothing);
        }
        let kind = words::read_whole(&message.kind).ok_or(Unreadable::Said("the request has no type"))?;
        let asker = message.asker();
        let asking = || message.asker().ok_or(Unreadable::Said("the request has no id"));
        let event = || {
            let data = message.data.ok_or(Unreadable::Said("the request has no event"))?;
            words::read_event(data, document.attachments())
        };
        let inquiry = match kind {
            kind::SOCKETS => {
                let rooms = Value::from_iter([("rooms", message.rooms.clone())]);
                Inquiry::Ids(words::read_targets(&rooms)?)
            }
            kind::ALL_ROOMS => Inquiry::Rooms,
            kind::REMOTE_JOIN | kind::REMOTE_LEAVE | kind::REMOTE_DISCONNECT => return message.read_move(kind),
            kind::REMOTE_FETCH => Inquiry::Question(Question::Fetch(words::read_targets(&message.opts)?), None),
            kind::SERVER_SIDE_EMIT if asker.is_none() => return Ok(Said::Do(Deed::ServerSide(event()?))),
            kind::SERVER_SIDE_EMIT => Inquiry::Question(Question::ServerSide(event()?), None),
            kind::BROADCAST => {
                let packet = message.packet.ok_or(Unreadable::Said("the request has no packet"))?;
                let packet = words::read_packet(packet, &self.namespace, document.attachments())?;
                let (targets, flags) = (words::read_targets(&message.opts)?, words::read_flags(&message.opts));
                Inquiry::Question(Question::Emit(targets, packet, flags), flags.timeout)
            }
            // Of a server that is newer.
            _ => return Ok(Said::Nothing),
        };
        Ok(Said::Ask { asker: asking()?, inquiry })
    }

    fn read_response(&self, bytes: &Bytes, attachments: u32) -> Result<Said, Unreadable> {
        let document = document::read(bytes, attachments)?;
        let message: Message<'_> = document::parse(&document)?;
        let Some(request) = words::read_text(&message.request) else { return Ok(Said::Nothing) };
        let args = |arg: Option<&RawValue>| words::read_args(arg.as_slice(), document.attachments());
        let part = match words::read_whole(&message.kind) {
            Some(kind::BROADCAST_CLIENT_COUNT) => {
                let clients = words::read_whole(&message.clients).and_then(|clients| u64::try_from(clients).ok());
                Part::Clients(clients.ok_or(Unreadable::Said("the response has no count"))?)
            }
            Some(kind::BROADCAST_ACK) => Part::Client(args(message.packet)?),
            Some(kind::SERVER_SIDE_EMIT) => Part::ServerSide(args(message.data)?),
            // Those of the other requests do not say what they are.
            _ => match message.sockets {
                Value::Array(sockets) => Part::Sockets(words::read_sockets(sockets)),
                _ => return Ok(Said::Nothing),
            },
        };
        Ok(Said::Answer { request, part })
    }
}

impl Classic {
    pub(super) fn listens(&self) -> (Listen, Vec<Listen>) {
        let own = format!("{}{}#", self.responses, self.uid);
        let responses = [Arc::clone(&self.responses), own.into()];
        // Requests last: from then on this one is counted, and must hear what it is asked.
        let mut others: Vec<_> = responses.map(|name| Listen::To(Channel::Plain(name))).into();
        others.push(Listen::To(self.requests.clone()));
        (Listen::Below(Arc::clone(&self.broadcasts)), others)
    }

    pub(super) fn census(&self) -> Channel {
        self.requests.clone()
    }

    pub(super) fn tell(&self, deed: &Deed) -> Option<Letter> {
        match deed {
            Deed::Emit(targets, ..) if words::is_nobody(targets) => None,
            Deed::Emit(targets, packet, flags) => {
                let channel = match *words::rooms(targets) {
                    [room] => format!("{}{room}#", self.broadcasts).into(),
                    _ => Arc::clone(&self.broadcasts),
                };
                let options = words::options(targets, Some(*flags), None);
                let document = format!("[{},{},{options}]", quoted(&self.uid), words::packet(&self.namespace, packet));
                let bytes = document::msgpack(&document, packet.args.attachments());
                Some(Letter { channel: Channel::Plain(channel), bytes })
            }
            Deed::Join(targets, rooms) => {
                self.moved(kind::REMOTE_JOIN, targets, &format!("\"rooms\":{}", words::names(rooms)))
            }
            Deed::Leave(targets, rooms) => {
                self.moved(kind::REMOTE_LEAVE, targets, &format!("\"rooms\":{}", words::names(rooms)))
            }
            Deed::Disconnect(targets, close) => {
                self.moved(kind::REMOTE_DISCONNECT, targets, &format!("\"close\":{close}"))
            }
            Deed::ServerSide(packet) => {
                let (uid, kind, data) = (quoted(&self.uid), kind::SERVER_SIDE_EMIT, words::data(packet));
                let document = format!("{{\"uid\":{uid},\"type\":{kind},\"data\":{data}}}");
                let bytes = document::either(document, packet.args.attachments());
                Some(Letter { channel: self.requests.clone(), bytes })
            }
        }
    }

    pub(super) fn ask(&self, request: &str, question: &Question, patience: Duration) -> Letter {
        let head = format!("\"uid\":{},\"requestId\":{}", quoted(&self.uid), quoted(request));
        let bytes = match question {
            Question::Fetch(targets) => {
                let options = words::options(targets, None, None);
                document::json(format!("{{{head},\"type\":{},\"opts\":{options}}}", kind::REMOTE_FETCH))
            }
            Question::ServerSide(packet) => {
                let (kind, data) = (kind::SERVER_SIDE_EMIT, words::data(packet));
                document::either(format!("{{{head},\"type\":{kind},\"data\":{data}}}"), packet.args.attachments())
            }
            Question::Emit(targets, packet, flags) => {
                let options = words::options(targets, Some(*flags), Some(patience));
                let (kind, said) = (kind::BROADCAST, words::packet(&self.namespace, packet));
                let document = format!("{{{head},\"type\":{kind},\"packet\":{said},\"opts\":{options}}}");
                document::msgpack(&document, packet.args.attachments())
            }
        };
        Letter { channel: self.requests.clone(), bytes }
    }

    pub(super) fn answer(&self, asker: &Asker, answer: &Part) -> Letter {
        let request = format!("\"requestId\":{}", quoted(&asker.request));
        let first =
            |name: &str, args| words::first(args).map(|value| format!(",\"{name}\":{value}")).unwrap_or_default();
        let texts = |texts: &[String]| words::names(texts);
        let bytes = match answer {
            Part::Sockets(sockets) => document::json(format!("{{{request},\"sockets\":{}}}", words::sockets(sockets))),
            Part::Ids(ids) => document::json(format!("{{{request},\"sockets\":{}}}", texts(ids))),
            Part::Rooms(rooms) => document::json(format!("{{{request},\"rooms\":{}}}", texts(rooms))),
            Part::Done => document::json(format!("{{{request}}}")),
            Part::Clients(clients) => {
                let kind = kind::BROADCAST_CLIENT_COUNT;
                document::json(format!("{{\"type\":{kind},{request},\"clientCount\":{clients}}}"))
            }
            Part::Client(args) => {
                let document = format!("{{\"type\":{},{request}{}}}", kind::BROADCAST_ACK, first("packet", args));
                document::msgpack(&document, args.attachments())
            }
            Part::ServerSide(args) => {
                let document = format!("{{\"type\":{},{request}{}}}", kind::SERVER_SIDE_EMIT, first("data", args));
                document::either(document, args.attachments())
            }
        };
        // What applications answer always goes to all, in Node.
        let specific = self.specific && !matches!(answer, Part::ServerSide(_));
        let channel = match &asker.uid {
            Some(uid) if specific => format!("{}{uid}#", self.responses).into(),
            _ => Arc::clone(&self.responses),
        };
        Letter { channel: Channel::Plain(channel), bytes }
    }

    pub(super) fn read(
        &self,
        channel: &Channel,
        bytes: &Bytes,
        attachments: u32,
        here: impl Fn(&str) -> bool,
    ) -> Result<Said, Unreadable> {
        if channel == &self.requests {
            return self.read_request(bytes, attachments);
        }
        if channel.name().starts_with(&*self.responses) {
            return self.read_response(bytes, attachments);
        }
        let room = channel.name().strip_prefix(&*self.broadcasts).unwrap_or_default();
        match room.strip_suffix('#') {
            Some(room) if !here(room) => Ok(Said::Nothing),
            _ => self.read_broadcast(bytes, attachments),
        }
    }
}

/// A request or a response.
#[derive(Deserialize)]
struct Message<'a> {
    #[serde(default)]
    uid: Value,
    #[serde(default, rename = "type")]
    kind: Value,
    #[serde(default, rename = "requestId")]
    request: Value,
    #[serde(default)]
    opts: Value,
    #[serde(default)]
    rooms: Value,
    #[serde(default)]
    close: Value,
    #[serde(default, borrow)]
    data: Option<&'a RawValue>,
    #[serde(default, borrow)]
    packet: Option<&'a RawValue>,
    #[serde(default, rename = "clientCount")]
    clients: Value,
    #[serde(default)]
    sockets: Value,
    /// Of a request to one socket, as servers before version 7 make it.
    #[serde(default)]
    sid: Value,
    #[serde(default)]
    room: Value,
}

impl Message<'_> {
    fn asker(&self) -> Option<Asker> {
        Some(Asker { uid: words::read_text(&self.uid), request: words::read_text(&self.request)? })
    }

    /// A request that moves sockets.
    fn read_move(&self, kind: i64) -> Result<Said, Unreadable> {
        let deed = |targets, rooms| match kind {
            kind::REMOTE_JOIN => Deed::Join(targets, rooms),
            kind::REMOTE_LEAVE => Deed::Leave(targets, rooms),
            _ => Deed::Disconnect(targets, self.close == true),
        };
        if !self.opts.is_null() {
            return Ok(Said::Do(deed(words::read_targets(&self.opts)?, words::read_names(&self.rooms)?)));
        }
        let (Some(socket), Some(asker)) = (words::read_text(&self.sid), self.asker()) else {
            return Err(Unreadable::Said("the request says nobody"));
        };
        let targets = Targets { rooms: Some(vec![socket.as_str().into()]), except: Vec::new() };
        let rooms = words::read_text(&self.room).into_iter().collect();
        Ok(Said::DoOne { deed: deed(targets, rooms), socket, asker })
    }
}
