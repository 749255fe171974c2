//! How a connection spells the protocol.

use super::protobuf;
use super::request::{Invalid, Ref, Request};
use crate::ws::Opcode;

/// How requests, answers and events are written on a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Syntax {
    /// One JSON object per message.
    Json,
    /// One `denrei.v1.WebSocketFrame` per binary message.
    Protobuf,
}

/// A client's message as it arrived.
#[derive(Clone, Copy, Debug)]
pub enum Data<'a> {
    /// A text message.
    Text(&'a str),
    /// A binary message.
    Binary(&'a [u8]),
}

impl Syntax {
    /// All of them, the one of clients that ask for none first.
    pub const ALL: [Self; 2] = [Self::Json, Self::Protobuf];

    /// The WebSocket subprotocol that asks for it.
    pub const fn subprotocol(self) -> &'static str {
        match self {
            Self::Json => "denrei.v1.json",
            Self::Protobuf => "denrei.v1.protobuf",
        }
    }

    /// The kind of message that the server's frames are.
    pub const fn opcode(self) -> Opcode {
        match self {
            Self::Json => Opcode::Text,
            Self::Protobuf => Opcode::Binary,
        }
    }

    /// Reads a client's message, and shows its reference, if it has one that can be read, and what it asks.
    ///
    /// To a closure: what is shown may borrow from what was decoded.
    pub fn read<R>(self, data: Data<'_>, see: impl FnOnce(Option<Ref<'_>>, Result<Request<'_>, Invalid>) -> R) -> R {
        match (self, data) {
            (Self::Json, Data::Text(text)) => read_json(text, see),
            (Self::Json, Data::Binary(bytes)) => match std::str::from_utf8(bytes) {
                Ok(text) => read_json(text, see),
                Err(_) => see(None, Err(Invalid::format())),
            },
            (Self::Protobuf, Data::Binary(bytes)) => protobuf::read(bytes, see),
            (Self::Protobuf, Data::Text(_)) => {
                see(None, Err(Invalid::message("this connection speaks Protobuf, in binary messages")))
            }
        }
    }
}

fn read_json<R>(text: &str, see: impl FnOnce(Option<Ref<'_>>, Result<Request<'_>, Invalid>) -> R) -> R {
    let (reference, request) = Request::parse(text);
    see(reference, request)
}
