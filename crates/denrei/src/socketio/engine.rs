//! Engine.IO without Socket.IO above it: messages, and nothing said about what they mean.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use denrei_proto::engineio::{Message, Packet, record};

use crate::socketio::Reason;
use crate::socketio::lane::{Lane, Order};

/// What an application does with bare Engine.IO, see [`crate::Parts::engine`]. Calls come from the connection's task:
/// they must be short.
pub trait Engine: Send + Sync + 'static {
    /// A client has come.
    fn opened(&self, _client: &Client) {}

    /// It says something.
    fn message(&self, client: &Client, message: Data);

    /// It has gone.
    fn closed(&self, _client: &Client, _reason: Reason) {}
}

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    /// Text.
    Text(String),
    /// Bytes.
    Binary(Bytes),
}

/// A client of a bare [`Engine`]. Cheap to clone.
#[derive(Clone)]
pub struct Client(Arc<Lane>);

impl Client {
    pub(crate) fn new(lane: &Arc<Lane>) -> Self {
        Self(Arc::clone(lane))
    }

    /// A name of the client that may be shown: not its secret one.
    pub fn id(&self) -> &str {
        self.0.outbox.client()
    }

    /// Sends a message. A client that takes nothing while more gathers than a connection may hold is ended.
    pub fn send(&self, data: &Data) {
        let packet = match data {
            Data::Text(text) => Packet::Text(text),
            Data::Binary(data) => Packet::Binary((&**data).into()),
        };
        self.0.send_record(record(&packet));
    }

    /// Ends the connection.
    pub fn close(&self) {
        self.0.order(Order::Close(Reason::ForcedClose));
    }
}

impl From<&Message<'_>> for Data {
    fn from(message: &Message<'_>) -> Self {
        match message {
            Message::Text(text) => Self::Text((*text).to_owned()),
            Message::Binary(data) => Self::Binary(Bytes::copy_from_slice(data)),
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Client").field(&self.id()).finish()
    }
}
