//! What the server says to one client.

use bytes::Bytes;

use super::event::{number, string};
use super::request::Ref;
use super::{Syntax, protobuf};
use crate::codes::Code;
use crate::ws::{FrameWriter, Opcode};

/// One frame from the server that answers or informs one client.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Answer<'a> {
    /// The first frame.
    Welcome {
        /// The connection's id.
        client: &'a str,
        /// Who the token says it is.
        user: Option<&'a str>,
        /// How often the server shows a sign of life, in ms.
        heartbeat_ms: u64,
        /// ms since 1970.
        timestamp: u64,
    },
    /// The one answer to a request with a reference.
    Reply {
        /// The request's reference.
        reference: Ref<'a>,
        /// A JSON value as text.
        payload: &'a str,
    },
    /// A no.
    Error {
        /// The request's reference, if it had one.
        reference: Option<Ref<'a>>,
        /// Its code.
        code: Code,
        /// A sentence for people.
        sentence: &'a str,
        /// When it may be worth trying again, in ms.
        retry_after_ms: Option<u64>,
    },
    /// What could not be replayed.
    Gap {
        /// The room.
        room: &'a str,
        /// The first lost number; 0 after a change of epoch.
        from: u64,
        /// The last lost number.
        to: u64,
        /// The epoch of the numbers.
        epoch: &'a str,
    },
    /// Rooms that advanced, each with the position up to which everything has been sent.
    Positions {
        /// The rooms, and positions as they are written.
        rooms: &'a [(&'a str, &'a str)],
    },
    /// The client's token expires soon: the connection ends then, unless `auth` brings a new one.
    Expiring {
        /// ms since 1970.
        expires_at: u64,
    },
    /// The server is about to stop.
    Shutdown {
        /// When to reconnect, in ms.
        reconnect_delay_ms: u64,
    },
}

impl Answer<'_> {
    /// The sentence of [`Answer::Shutdown`], in the words of the seed (§12.2).
    pub const SHUTDOWN: &'static str = "Server is shutting down. Please reconnect.";

    /// Writes the frame.
    pub fn encode(&self, syntax: Syntax) -> Bytes {
        match syntax {
            Syntax::Json => self.json(),
            Syntax::Protobuf => protobuf::answer(self),
        }
    }

    fn json(&self) -> Bytes {
        match *self {
            Answer::Welcome { client, user, heartbeat_ms, timestamp } => {
                let mut frame = Frame::new("welcome").field("clientId", |out| string(out, client));
                if let Some(user) = user {
                    frame = frame.field("userId", |out| string(out, user));
                }
                frame
                    .field("heartbeat", |out| number(out, heartbeat_ms))
                    .field("timestamp", |out| number(out, timestamp))
                    .finish()
            }
            Answer::Reply { reference, payload } => Frame::new("reply")
                .field("ref", |out| out.extend_from_slice(reference.as_str().as_bytes()))
                .field("payload", |out| out.extend_from_slice(payload.as_bytes()))
                .finish(),
            Answer::Error { reference, code, sentence, retry_after_ms } => {
                let mut frame = Frame::new("error")
                    .field("error", |out| string(out, sentence))
                    .field("code", |out| string(out, code.as_str()));
                if let Some(reference) = reference {
                    frame = frame.field("ref", |out| out.extend_from_slice(reference.as_str().as_bytes()));
                }
                if let Some(after) = retry_after_ms {
                    frame = frame.field("retryAfter", |out| number(out, after));
                }
                frame.finish()
            }
            Answer::Gap { room, from, to, epoch } => Frame::new("gap")
                .field("room", |out| string(out, room))
                .field("from", |out| number(out, from))
                .field("to", |out| number(out, to))
                .field("epoch", |out| string(out, epoch))
                .finish(),
            Answer::Positions { rooms } => Frame::new("position").field("rooms", |out| positions(out, rooms)).finish(),
            Answer::Expiring { expires_at } => {
                Frame::new("expiring").field("expiresAt", |out| number(out, expires_at)).finish()
            }
            Answer::Shutdown { reconnect_delay_ms } => Frame::new("shutdown")
                .field("message", |out| string(out, Self::SHUTDOWN))
                .field("reconnectDelay", |out| number(out, reconnect_delay_ms))
                .finish(),
        }
    }
}

/// A JSON object being written as one WebSocket text frame.
struct Frame(FrameWriter);

impl Frame {
    fn new(kind: &str) -> Self {
        let mut writer = FrameWriter::with_capacity(128);
        writer.buffer().extend_from_slice(br#"{"type":""#);
        writer.buffer().extend_from_slice(kind.as_bytes());
        writer.buffer().push(b'"');
        Self(writer)
    }

    fn field(mut self, name: &str, write: impl FnOnce(&mut Vec<u8>)) -> Self {
        let out = self.0.buffer();
        out.extend_from_slice(b",\"");
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"\":");
        write(out);
        self
    }

    fn finish(mut self) -> Bytes {
        self.0.buffer().push(b'}');
        self.0.finish(Opcode::Text)
    }
}

fn positions(out: &mut Vec<u8>, rooms: &[(&str, &str)]) {
    out.push(b'{');
    for (index, (room, position)) in rooms.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        string(out, room);
        out.push(b':');
        string(out, position);
    }
    out.push(b'}');
}
