//! Packets from the server.

use std::borrow::Cow;

use bytes::Bytes;
use serde::Serialize;

use super::args::Args;
use super::decoder::Parser;
use super::msgpack;
use crate::engineio::{Wire, message_frames, message_records};

/// A packet that is about to be written: once per parser and wire, however many clients it goes to.
///
/// ```
/// # use denrei_proto::engineio::Wire;
/// # use denrei_proto::socketio::{Args, Outgoing, Parser};
/// let args = Args::encode(&("hello", 5))?;
/// let frames = Outgoing::event("/", None, "greeting", &args, None).frames(Parser::Json, Wire::V4);
/// assert_eq!(&frames[..], b"\x81\x1842[\"greeting\",\"hello\",5]");
/// # Ok::<(), denrei_proto::socketio::ArgsError>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    pub(super) namespace: &'a str,
    pub(super) what: What<'a>,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum What<'a> {
    Connect { sid: &'a str, pid: Option<&'a str> },
    ConnectV3,
    ConnectError { message: &'a str, data: Option<&'a str> },
    ErrorV3 { message: &'a str, data: Option<&'a str> },
    Disconnect,
    Event { id: Option<u64>, name: &'a str, args: &'a Args, offset: Option<&'a str> },
    Ack { id: u64, args: &'a Args },
}

impl<'a> Outgoing<'a> {
    /// The namespace was joined. `sid` is the public id in the namespace, `pid` the secret one with which the session
    /// can be recovered, if it can.
    pub fn connect(namespace: &'a str, sid: &'a str, pid: Option<&'a str>) -> Self {
        Self { namespace, what: What::Connect { sid, pid } }
    }

    /// The namespace was joined, to a v3 client, which makes up its id out of the engine's.
    pub fn connect_v3(namespace: &'a str) -> Self {
        Self { namespace, what: What::ConnectV3 }
    }

    /// The namespace could not be joined. `data` is JSON.
    pub fn connect_error(namespace: &'a str, message: &'a str, data: Option<&'a str>) -> Self {
        Self { namespace, what: What::ConnectError { message, data } }
    }

    /// The namespace could not be joined, to a v3 client: `data`, or else the message.
    pub fn connect_error_v3(namespace: &'a str, message: &'a str, data: Option<&'a str>) -> Self {
        Self { namespace, what: What::ErrorV3 { message, data } }
    }

    /// The server takes the client out of the namespace.
    pub fn disconnect(namespace: &'a str) -> Self {
        Self { namespace, what: What::Disconnect }
    }

    /// An event. With an `id` the client is to answer; an `offset` goes behind the arguments, for recovery.
    pub fn event(namespace: &'a str, id: Option<u64>, name: &'a str, args: &'a Args, offset: Option<&'a str>) -> Self {
        Self { namespace, what: What::Event { id, name, args, offset } }
    }

    /// Answers the event with this `id`.
    pub fn ack(namespace: &'a str, id: u64, args: &'a Args) -> Self {
        Self { namespace, what: What::Ack { id, args } }
    }

    /// Appends the packet without its attachments: text, or with [`Parser::Msgpack`] a whole binary message.
    pub fn write(&self, parser: Parser, out: &mut Vec<u8>) {
        match parser {
            Parser::Json => self.write_text(out),
            Parser::Msgpack => msgpack::encode(self, out),
        }
    }

    /// The binary messages that must follow the packet at once.
    pub fn attachments(&self, parser: Parser) -> &'a [Bytes] {
        match (parser, self.args()) {
            (Parser::Json, Some(args)) => args.attachments(),
            _ => &[],
        }
    }

    /// The packet and its attachments as WebSocket frames.
    pub fn frames(&self, parser: Parser, wire: Wire) -> Bytes {
        let attachments = self.attachments(parser).iter().map(|data| &data[..]);
        message_frames(wire, parser == Parser::Msgpack, self.size(), |out| self.write(parser, out), attachments)
    }

    /// The packet and its attachments as a chunk of [records](crate::engineio::Record), for a client that polls.
    pub fn records(&self, parser: Parser) -> Bytes {
        let attachments = self.attachments(parser).iter().map(|data| &data[..]);
        message_records(parser == Parser::Msgpack, self.size(), |out| self.write(parser, out), attachments)
    }

    pub(super) fn args(&self) -> Option<&'a Args> {
        match self.what {
            What::Event { args, .. } | What::Ack { args, .. } => Some(args),
            _ => None,
        }
    }

    /// A guess of the packet's size that is seldom too small.
    fn size(&self) -> usize {
        let inside = match self.what {
            What::Event { name, args, offset, .. } => name.len() + args.json().len() + offset.map_or(0, str::len),
            What::Ack { args, .. } => args.json().len(),
            What::ConnectError { message, data } | What::ErrorV3 { message, data } => {
                message.len() + data.map_or(0, str::len)
            }
            What::Connect { .. } | What::ConnectV3 | What::Disconnect => 64,
        };
        inside + self.namespace.len() + 48
    }

    fn write_text(&self, out: &mut Vec<u8>) {
        let (plain, binary) = match self.what {
            What::Connect { .. } | What::ConnectV3 => (b'0', b'0'),
            What::Disconnect => (b'1', b'1'),
            What::Event { .. } => (b'2', b'5'),
            What::Ack { .. } => (b'3', b'6'),
            What::ConnectError { .. } | What::ErrorV3 { .. } => (b'4', b'4'),
        };
        let attachments = self.attachments(Parser::Json).len();
        if attachments == 0 {
            out.push(plain);
        } else {
            out.push(binary);
            out.extend_from_slice(itoa::Buffer::new().format(attachments).as_bytes());
            out.push(b'-');
        }
        if self.namespace != "/" {
            out.extend_from_slice(self.namespace.as_bytes());
            out.push(b',');
        }
        if let What::Event { id: Some(id), .. } | What::Ack { id, .. } = self.what {
            out.extend_from_slice(itoa::Buffer::new().format(id).as_bytes());
        }
        match self.what {
            What::Connect { .. } | What::ConnectError { .. } | What::ErrorV3 { .. } => {
                out.extend_from_slice(self.object().as_bytes());
            }
            What::ConnectV3 | What::Disconnect => {}
            What::Event { name, args, offset, .. } => {
                out.push(b'[');
                write_json(name, out);
                if !args.is_empty() {
                    out.push(b',');
                    out.extend_from_slice(args.inside());
                }
                if let Some(offset) = offset {
                    out.push(b',');
                    write_json(offset, out);
                }
                out.push(b']');
            }
            What::Ack { args, .. } => out.extend_from_slice(args.json()),
        }
    }

    /// What a connect or connect error carries, as JSON.
    pub(super) fn object(&self) -> Cow<'a, str> {
        let mut out = Vec::new();
        match self.what {
            What::Connect { sid, pid } => {
                out.extend_from_slice(b"{\"sid\":");
                write_json(sid, &mut out);
                if let Some(pid) = pid {
                    out.extend_from_slice(b",\"pid\":");
                    write_json(pid, &mut out);
                }
                out.push(b'}');
            }
            What::ConnectError { message, data } => {
                out.extend_from_slice(b"{\"message\":");
                write_json(message, &mut out);
                if let Some(data) = data {
                    out.extend_from_slice(b",\"data\":");
                    out.extend_from_slice(data.as_bytes());
                }
                out.push(b'}');
            }
            What::ErrorV3 { data: Some(data), .. } => return Cow::Borrowed(data),
            What::ErrorV3 { message, data: None } => write_json(message, &mut out),
            What::ConnectV3 | What::Disconnect | What::Event { .. } | What::Ack { .. } => {}
        }
        // Made of text only.
        Cow::Owned(String::from_utf8(out).unwrap_or_default())
    }
}

/// Appends a value that always has a form in JSON.
fn write_json<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) {
    // Writing into a vector does not fail, and neither do strings.
    let _ = serde_json::to_writer(out, value);
}
