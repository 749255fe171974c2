//! Sockets as they are fetched: described, and still to be acted on.

use std::ops::Deref;

use serde_json::{Map, Value};

use crate::socketio::cluster::Description;
use crate::socketio::{Broadcast, EmitError, Namespace, Rooms, SocketId, ToArgs};

/// A socket of this or another node, as it was when it was fetched.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RemoteSocket {
    /// Its id.
    pub id: SocketId,
    /// Its handshake, in Node's shape.
    pub handshake: Value,
    /// The rooms that it was in, its own id first.
    pub rooms: Vec<String>,
    /// What the application kept with it.
    pub data: Map<String, Value>,
    namespace: Namespace,
}

impl RemoteSocket {
    pub(crate) fn new(namespace: &Namespace, described: Description) -> Self {
        let Description { id, handshake, rooms, data } = described;
        Self { id, handshake, rooms, data, namespace: namespace.clone() }
    }

    /// Sends it an event; see [`Broadcast::emit`].
    ///
    /// # Errors
    /// The event cannot have this name, or the arguments have no form in JSON.
    pub fn emit(&self, event: &str, value: &(impl ToArgs + ?Sized)) -> Result<(), EmitError> {
        self.itself().emit(event, value)
    }

    /// Has it join rooms.
    pub fn join(&self, rooms: impl Rooms) {
        self.itself().sockets_join(rooms);
    }

    /// Has it leave rooms.
    pub fn leave(&self, rooms: impl Rooms) {
        self.itself().sockets_leave(rooms);
    }

    /// Takes it out of the namespace, or (`close`) ends its connection.
    pub fn disconnect(&self, close: bool) {
        self.itself().disconnect_sockets(close);
    }

    fn itself(&self) -> Broadcast {
        self.namespace.to(&self.id)
    }
}

/// The sockets that were found.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Fetched {
    /// Those of the nodes that answered.
    pub sockets: Vec<RemoteSocket>,
    /// Nodes that did not answer in time; none where there is one node.
    pub missing_nodes: Vec<String>,
}

impl Deref for Fetched {
    type Target = [RemoteSocket];

    fn deref(&self) -> &[RemoteSocket] {
        &self.sockets
    }
}

impl IntoIterator for Fetched {
    type Item = RemoteSocket;
    type IntoIter = std::vec::IntoIter<RemoteSocket>;

    fn into_iter(self) -> Self::IntoIter {
        self.sockets.into_iter()
    }
}

/// What the applications of other nodes answered.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct NodeAnswers<T> {
    /// Their answers, in no order.
    pub received: Vec<T>,
    /// Nodes that did not answer in time.
    pub missing_nodes: Vec<String>,
}
