//! What nodes tell one another over a [`Bus`].

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::Map;
use crate::bus::{Bus, BusError, Subject};
use crate::ids::{Name, Position, RoomName, Seq};
use crate::message::Message;

/// The version that begins each node message; others are ignored.
const VERSION: u8 = 1;

/// How long a subscription may take; a bus that is slower is down.
const PATIENCE: Duration = Duration::from_secs(2);

/// Rooms named in one heartbeat.
const NAMED: usize = 1000;

/// What one node tells the others.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum NodeMessage {
    /// A message was appended or, in a room without a log, sent.
    Published(Arc<Message>),
    /// The last numbers that the sender published in rooms since its last heartbeat: so a lost last message is found.
    Heads(Vec<(RoomName, Position)>),
    /// A user may not read a room any more.
    Expelled(Name, RoomName),
    /// The log of a room holds something else than was told of it.
    Rewritten(RoomName),
}

/// This node's voice.
pub(crate) struct Cluster {
    bus: Arc<dyn Bus>,
    published: Mutex<Map<RoomName, Position>>,
    /// The last subscription failed.
    down: AtomicBool,
}

impl Cluster {
    pub(crate) fn new(bus: Arc<dyn Bus>) -> Self {
        Self { bus, published: Mutex::default(), down: AtomicBool::new(false) }
    }

    pub(crate) fn bus(&self) -> &dyn Bus {
        &*self.bus
    }

    /// Subscribes; false when the bus cannot, for now. Subscribing to what is subscribed to already changes nothing.
    pub(crate) async fn hears(&self, subject: &Subject) -> bool {
        let subscribed = tokio::time::timeout(PATIENCE, self.bus.subscribe(subject)).await;
        let outcome = subscribed.unwrap_or_else(|_| Err(BusError("it does not answer".into())));
        let was_down = self.down.swap(outcome.is_err(), Ordering::Relaxed);
        match &outcome {
            Err(error) if !was_down => tracing::warn!(%error, "the other nodes cannot be heard"),
            Ok(()) if was_down => tracing::info!("the other nodes can be heard again"),
            _ => {}
        }
        outcome.is_ok()
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

    /// Tells the nodes that have readers in a room.
    pub(crate) fn tell(&self, room: &RoomName, message: &NodeMessage) {
        if let Some(bytes) = encode(message) {
            self.bus.publish(&Subject::Room(room.clone()), bytes);
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
