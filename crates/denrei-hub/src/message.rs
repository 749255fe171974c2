//! What moves: a draft before it has a number, a message after.

use std::sync::{Arc, OnceLock};

use bytes::{Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use crate::ids::{ClientId, Epoch, Name, Position, RoomName, Seq};

/// An event before its room's log has given it a number.
#[derive(Clone, Debug)]
pub struct Draft {
    /// The room it goes to.
    pub room: RoomName,
    /// The event's name; `message` where the client names none.
    pub event: Name,
    /// The payload: one JSON value as text, passed through unparsed.
    pub payload: Bytes,
    /// The connection it came by; none for HTTP and for the server itself.
    pub from: Option<ClientId>,
    /// Who sent it, where that is known.
    pub user: Option<Name>,
    /// The client's own id of the message: the same id again in the same room and from the same user is the same
    /// message, so that a resend is harmless.
    pub id: Option<Name>,
    /// The number of the connection it came by on this node ([`crate::Outbox::number`]), 0 for none: its own
    /// broadcasts are left out there.
    pub origin: u64,
    /// When it was received, in ms since 1970.
    pub timestamp: u64,
}

impl Draft {
    /// Gives the draft its number. Only implementations of [`crate::Log`] call this.
    pub fn assigned(self, position: Position) -> Message {
        Message {
            room: self.room,
            epoch: position.epoch,
            seq: position.seq,
            kind: Kind::Broadcast,
            event: self.event,
            payload: self.payload,
            from: self.from,
            user: self.user,
            timestamp: self.timestamp,
            origin: self.origin,
            frames: Frames::default(),
        }
    }
}

/// Whether a message went to a room or to one client.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Kind {
    /// To the readers of a room.
    Broadcast,
    /// To one client or user; unnumbered.
    Direct,
}

/// An event with its place in the room's log.
#[derive(Debug, Serialize, Deserialize)]
pub struct Message {
    /// The room.
    pub room: RoomName,
    /// The life of the room's log.
    pub epoch: Epoch,
    /// The number in it; 0 when the room keeps no log.
    pub seq: Seq,
    /// To a room or to one client.
    pub kind: Kind,
    /// The event's name.
    pub event: Name,
    /// One JSON value as text.
    pub payload: Bytes,
    /// The connection it came by.
    pub from: Option<ClientId>,
    /// Who sent it.
    pub user: Option<Name>,
    /// When it was received, in ms since 1970.
    pub timestamp: u64,
    /// See [`Draft::origin`]; means nothing on another node.
    #[serde(skip)]
    pub origin: u64,
    #[serde(skip)]
    frames: Frames,
}

impl Message {
    /// A message that was stored earlier, read back from a log.
    pub fn stored(draft: Draft, position: Position) -> Self {
        draft.assigned(position)
    }

    /// A message to one client or user, which belongs to no room's log.
    pub fn direct(draft: Draft) -> Self {
        let unnumbered = Position { epoch: Epoch::none(), seq: Seq::ZERO };
        Self { kind: Kind::Direct, ..draft.assigned(unnumbered) }
    }

    /// Where it stands in its room.
    pub fn position(&self) -> Position {
        Position { epoch: self.epoch.clone(), seq: self.seq }
    }

    /// The message's frame for one wire, encoded at the first call and shared by every reader of that wire.
    pub fn frame(&self, wire: Wire, encoders: &Encoders) -> &Bytes {
        self.frames.0[wire.0 as usize].get_or_init(|| (encoders.0[wire.0 as usize])(self))
    }

    /// About how much memory it holds: the payload, one frame of it, and the fields.
    pub fn weight(&self) -> usize {
        2 * self.payload.len() + 512
    }
}

/// How messages look on one kind of connection. The hub caches bytes that it cannot read.
pub type Encode = Box<dyn Fn(&Message) -> Bytes + Send + Sync>;

/// One [`Encode`] per [`Wire`], in their order. Cheap to clone.
#[derive(Clone)]
pub struct Encoders(Arc<[Encode]>);

impl Encoders {
    /// The encoders of wires 0, 1, …
    ///
    /// # Panics
    /// With more than [`Wire::MOST`] of them.
    pub fn new(encoders: Vec<Encode>) -> Self {
        assert!(encoders.len() <= Wire::MOST, "a hub has at most {} wires", Wire::MOST);
        Self(encoders.into())
    }

    /// Joins the frames of several messages into one chunk, so that a reader costs one write.
    pub(crate) fn joined(&self, messages: &[Arc<Message>], wire: Wire) -> Bytes {
        match messages {
            [one] => one.frame(wire, self).clone(),
            many => {
                let length = many.iter().map(|message| message.frame(wire, self).len()).sum();
                let mut chunk = BytesMut::with_capacity(length);
                for message in many {
                    chunk.extend_from_slice(message.frame(wire, self));
                }
                chunk.freeze()
            }
        }
    }
}

/// The number of an encoder: which of a message's frames a reader gets.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Wire(pub u8);

impl Wire {
    /// How many wires a hub can have.
    pub const MOST: usize = 8;
}

#[derive(Debug, Default)]
struct Frames([OnceLock<Bytes>; Wire::MOST]);
