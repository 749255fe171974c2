//! What nodes tell one another over a [`Bus`].

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::Map;
use crate::bus::{Bus, Subject};
use crate::ids::{Position, RoomName, Seq};
use crate::message::Message;

/// The version that begins each node message; others are ignored.
const VERSION: u8 = 1;

/// Rooms named in one heartbeat.
const NAMED: usize = 1000;

/// What one node tells the others.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum NodeMessage {
    /// A message was appended or, in a room without a log, sent.
    Published(Arc<Message>),
    /// The last numbers that the sender published in rooms since its last heartbeat: so a lost last message is found.
    Heads(Vec<(RoomName, Position)>),
}

/// This node's voice.
pub(crate) struct Cluster {
    bus: Arc<dyn Bus>,
    published: Mutex<Map<RoomName, Position>>,
}

impl Cluster {
    pub(crate) fn new(bus: Arc<dyn Bus>) -> Self {
        Self { bus, published: Mutex::default() }
    }

    pub(crate) fn bus(&self) -> &dyn Bus {
        &*self.bus
    }

    /// Tells the other nodes of a message.
    pub(crate) fn announce(&self, message: &Arc<Message>) {
        if let Some(bytes) = encode(&NodeMessage::Published(Arc::clone(message))) {
            self.bus.publish(&Subject::Room(message.room.clone()), bytes);
        }
        if message.seq != Seq::ZERO {
            let mut published = self.published.lock().unwrap_or_else(PoisonError::into_inner);
            // Past the bound, rooms go unnamed: the comparison of heads finds what is missing there, a little later.
            if published.len() < NAMED || published.contains_key(&message.room) {
                published.insert(message.room.clone(), message.position());
            }
        }
    }

    /// Says which rooms were published to since the last call.
    pub(crate) fn beat(&self) {
        let published = std::mem::take(&mut *self.published.lock().unwrap_or_else(PoisonError::into_inner));
        if published.is_empty() {
            return;
        }
        if let Some(bytes) = encode(&NodeMessage::Heads(published.into_iter().collect())) {
            self.bus.publish(&Subject::Nodes, bytes);
        }
    }
}

fn encode(message: &NodeMessage) -> Option<Bytes> {
    let mut bytes = vec![VERSION];
    match rmp_serde::encode::write(&mut bytes, message) {
        Ok(()) => Some(bytes.into()),
        Err(error) => {
            tracing::error!(%error, "a node message could not be encoded");
            None
        }
    }
}

/// Reads what another node said; none when it is not of this version or not whole.
pub(crate) fn decode(bytes: &[u8]) -> Option<NodeMessage> {
    let (&VERSION, rest) = bytes.split_first()? else { return None };
    rmp_serde::from_slice(rest).ok()
}
