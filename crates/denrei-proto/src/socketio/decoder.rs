//! Messages of one connection in, whole packets out.

use std::borrow::Cow;

use bytes::Bytes;
use serde_json::value::RawValue;

use super::args::Args;
use super::header::{Header, Kind, Malformed};
use super::{msgpack, scan};
use crate::engineio::Version;

/// How packets are written as messages. The client chooses, out of band: it is configured on both sides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Parser {
    /// `socket.io-parser`: text, and attachments as binary messages behind it.
    #[default]
    Json,
    /// `socket.io-msgpack-parser`: each packet is one binary message.
    Msgpack,
}

/// A whole packet from a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// Begins with a slash in any sane client; for a v3 client without its query.
    pub namespace: Cow<'a, str>,
    /// What it says.
    pub body: Body<'a>,
}

/// What a packet says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body<'a> {
    /// Wants to join the namespace.
    Connect {
        /// A JSON object. For a v3 client it is made of the namespace's query.
        auth: Option<Bytes>,
    },
    /// Leaves the namespace.
    Disconnect,
    /// An event.
    Event {
        /// There if the client wants an ack.
        id: Option<u64>,
        /// Never a reserved one. A number, which Node takes for a name too, as it was written.
        name: Cow<'a, str>,
        /// What it carries.
        args: Args,
    },
    /// Answers an event of the server.
    Ack {
        /// The event's.
        id: u64,
        /// What it carries.
        args: Args,
    },
    /// Only servers say that: a client that does is closed.
    ConnectError,
}

/// How much of a packet a client may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Attachments of a packet, whatever the parser. Default 10, as in Node.
    pub attachments: u32,
    /// Bytes of a packet's attachments together. Default 10 MB: ten messages of Node's default size.
    pub attachment_bytes: usize,
    /// Bytes of a namespace's name with its query. Default 1024.
    pub namespace: usize,
    /// Bytes of an event's name. Default 1024.
    pub event_name: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { attachments: 10, attachment_bytes: 10_000_000, namespace: 1024, event_name: 1024 }
    }
}

/// The reading half of a connection, above the engine.
///
/// An error is the connection's end. A session that is [collecting](Decoder::is_collecting) holds memory for a client
/// that may never send the rest: close it after some time.
#[derive(Debug)]
pub struct Decoder {
    parser: Parser,
    version: Version,
    limits: Limits,
    collecting: Option<Box<Collecting>>,
}

/// A packet whose attachments are arriving.
#[derive(Debug)]
struct Collecting {
    packet: Packet<'static>,
    missing: u32,
    bytes: usize,
    attachments: Vec<Bytes>,
}

impl Decoder {
    /// A decoder for a new connection.
    pub fn new(parser: Parser, version: Version, limits: Limits) -> Self {
        Self { parser, version, limits, collecting: None }
    }

    /// Takes a text message. There is no packet if attachments must follow, or if Node would ignore it: an event
    /// without a payload, an ack without an id.
    ///
    /// # Errors
    ///
    /// See [`Malformed`].
    pub fn text<'a>(&mut self, text: &'a str) -> Result<Option<Packet<'a>>, Malformed> {
        if self.parser == Parser::Msgpack {
            return Err(Malformed::UnexpectedText);
        }
        if self.collecting.take().is_some() {
            return Err(Malformed::TextAmongAttachments);
        }
        let header = Header::parse(text)?;
        if header.attachments > self.limits.attachments {
            return Err(Malformed::TooManyAttachments { limit: self.limits.attachments });
        }
        let Some(packet) = self.packet(&header)? else { return Ok(None) };
        if header.attachments == 0 {
            return Ok(Some(packet));
        }
        let packet = packet.into_owned();
        self.collecting =
            Some(Box::new(Collecting { packet, missing: header.attachments, bytes: 0, attachments: Vec::new() }));
        Ok(None)
    }

    /// Takes a binary message: an attachment, or a packet in msgpack.
    ///
    /// # Errors
    ///
    /// See [`Malformed`].
    pub fn binary<'a>(&mut self, data: &'a [u8]) -> Result<Option<Packet<'a>>, Malformed> {
        if self.parser == Parser::Msgpack {
            return self.msgpack(data);
        }
        let mut collecting = self.collecting.take().ok_or(Malformed::UnexpectedBinary)?;
        collecting.bytes = collecting.bytes.saturating_add(data.len());
        if collecting.bytes > self.limits.attachment_bytes {
            return Err(Malformed::AttachmentsTooBig { limit: self.limits.attachment_bytes });
        }
        collecting.attachments.push(Bytes::copy_from_slice(data));
        collecting.missing -= 1;
        if collecting.missing > 0 {
            self.collecting = Some(collecting);
            return Ok(None);
        }
        let Collecting { mut packet, attachments, .. } = *collecting;
        if let Body::Event { args, .. } | Body::Ack { args, .. } = &mut packet.body {
            args.attach(attachments)?;
        }
        Ok(Some(packet))
    }

    /// Says whether a packet waits for attachments.
    pub fn is_collecting(&self) -> bool {
        self.collecting.is_some()
    }

    fn msgpack<'a>(&self, message: &'a [u8]) -> Result<Option<Packet<'a>>, Malformed> {
        let Some(msgpack::Read { namespace, mut body }) = msgpack::decode(message, &self.limits)? else {
            return Ok(None);
        };
        let (name, query) = self.namespace(namespace)?;
        if let (Body::Connect { auth }, Some(query)) = (&mut body, query) {
            *auth = Some(query_to_json(query));
        }
        Ok(Some(Packet { namespace: Cow::Borrowed(name), body }))
    }

    /// Reads what the header promises; the attachments are still missing.
    fn packet<'a>(&self, header: &Header<'a>) -> Result<Option<Packet<'a>>, Malformed> {
        let &Header { kind, namespace, id, data, attachments } = header;
        let (namespace, query) = self.namespace(namespace)?;
        let body = match kind {
            Kind::Connect => Body::Connect {
                auth: match query {
                    Some(query) => Some(query_to_json(query)),
                    None if data.is_empty() => None,
                    None => Some(Bytes::copy_from_slice(json(data, b'{')?.as_bytes())),
                },
            },
            Kind::Disconnect if data.is_empty() => Body::Disconnect,
            Kind::Disconnect => return Err(Malformed::Payload),
            Kind::ConnectError => Body::ConnectError,
            Kind::Event | Kind::Ack if data.is_empty() && attachments > 0 => return Err(Malformed::Payload),
            Kind::Event if data.is_empty() => return Ok(None),
            Kind::Event => {
                let (name, args) = event(json(data, b'[')?)?;
                check_name(&name, self.limits.event_name)?;
                Body::Event { id, name, args }
            }
            Kind::Ack => {
                let args = if data.is_empty() { Args::default() } else { Args::of_json(json(data, b'[')?) };
                match id {
                    Some(id) => Body::Ack { id, args },
                    // Its attachments would have no packet to belong to.
                    None if attachments > 0 => return Err(Malformed::Id),
                    None => return Ok(None),
                }
            }
        };
        Ok(Some(Packet { namespace: Cow::Borrowed(namespace), body }))
    }

    /// Checks a namespace's name, and cuts the query off that v3 clients put behind it.
    fn namespace<'a>(&self, name: &'a str) -> Result<(&'a str, Option<&'a str>), Malformed> {
        let limit = self.limits.namespace;
        if name.len() > limit {
            return Err(Malformed::Namespace { limit });
        }
        Ok(match (self.version, name.split_once('?')) {
            (Version::V3, Some((name, query))) => (name, Some(query)),
            _ => (name, None),
        })
    }
}

impl Packet<'_> {
    fn into_owned(self) -> Packet<'static> {
        let body = match self.body {
            Body::Connect { auth } => Body::Connect { auth },
            Body::Disconnect => Body::Disconnect,
            Body::Event { id, name, args } => Body::Event { id, name: Cow::Owned(name.into_owned()), args },
            Body::Ack { id, args } => Body::Ack { id, args },
            Body::ConnectError => Body::ConnectError,
        };
        Packet { namespace: Cow::Owned(self.namespace.into_owned()), body }
    }
}

/// Validates JSON that begins with `first`, and takes off what white space follows.
pub(super) fn json(data: &str, first: u8) -> Result<&str, Malformed> {
    if data.as_bytes().first() != Some(&first) {
        return Err(Malformed::Payload);
    }
    scan::check_depth(data)?;
    let raw: &RawValue = serde_json::from_str(data).map_err(|_| Malformed::Payload)?;
    Ok(raw.get())
}

/// Takes the name off an array that is valid JSON.
fn event(array: &str) -> Result<(Cow<'_, str>, Args), Malformed> {
    const SPACE: [char; 4] = [' ', '\t', '\n', '\r'];
    let inside = array[1..].trim_start_matches(SPACE);
    let (name, rest) = match inside.as_bytes() {
        [b'"', ..] => {
            let end = scan::string_end(inside.as_bytes(), 1);
            let (token, rest) = inside.split_at(end);
            let plain = &token[1..end - 1];
            let name = if plain.contains('\\') {
                Cow::Owned(serde_json::from_str(token).map_err(|_| Malformed::EventName)?)
            } else {
                Cow::Borrowed(plain)
            };
            (name, rest)
        }
        [b'-' | b'0'..=b'9', ..] => {
            let (name, rest) = inside.split_at(scan::scalar_end(inside.as_bytes(), 0));
            (Cow::Borrowed(name), rest)
        }
        _ => return Err(Malformed::EventName),
    };
    // What follows a first element of an array is a comma or the end.
    let args = match rest.trim_start_matches(SPACE).strip_prefix(',') {
        Some(rest) => Args::of_rest(rest),
        None => Args::default(),
    };
    Ok((name, args))
}

/// Names that mean something else in clients and servers; `error` is none of them.
const RESERVED: [&str; 6] =
    ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"];

pub(super) fn check_name(name: &str, longest: usize) -> Result<(), Malformed> {
    if name.len() > longest || RESERVED.contains(&name) { Err(Malformed::EventName) } else { Ok(()) }
}

/// Makes a JSON object of a query: `a=1&b=x%20y` becomes `{"a":"1","b":"x y"}`.
fn query_to_json(query: &str) -> Bytes {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let pairs = pairs.map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (serde_json::Value::from(unescape(key)).to_string(), serde_json::Value::from(unescape(value)).to_string())
    });
    let pairs: Vec<_> = pairs.map(|(key, value)| format!("{key}:{value}")).collect();
    format!("{{{}}}", pairs.join(",")).into()
}

/// Decodes `application/x-www-form-urlencoded`; what is no escape stays as it is.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, behind)) = rest.split_first() {
        rest = behind;
        let hex = |at: usize| behind.get(at).and_then(|&digit| char::from(digit).to_digit(16));
        match (byte, hex(0), hex(1)) {
            (b'+', ..) => bytes.push(b' '),
            (b'%', Some(high), Some(low)) => {
                bytes.push((high * 16 + low) as u8);
                rest = &behind[2..];
            }
            _ => bytes.push(byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
