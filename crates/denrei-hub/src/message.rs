//! What moves: a draft before it has a number, a message after.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use crate::ids::{ClientId, Epoch, Name, Position, RoomName, Seq};
use crate::span::Trail;

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
    /// None for almost all: nobody asked where its time goes.
    pub trail: Option<Box<Trail>>,
}

impl Draft {
    /// What the server itself says to a room.
    pub fn new(room: RoomName, event: Name, payload: Bytes, timestamp: u64) -> Self {
        Self { room, event, payload, from: None, user: None, id: None, origin: 0, timestamp, trail: None }
    }

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
            trail: self.trail,
        }
    }
}

/// What kind of message it is.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum Kind {
    /// To the readers of a room; the payload is one JSON value.
    #[default]
    Broadcast,
    /// To one client or user; unnumbered.
    Direct,
    /// To the readers of a room, whatever log it keeps, without a place in it. Who cannot be written to at once does not
    /// get it.
    Signal,
    /// Of an application's namespace; the payload is a JSON array of arguments.
    Emit(Box<Emit>),
}

/// What a namespace's message has besides.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Emit {
    /// Binary parts that the payload refers to by their index.
    pub attachments: Vec<Bytes>,
    /// The number under which its receivers answer.
    pub ack: Option<u64>,
    /// Where a receiver of it resumes.
    pub offset: Option<Position>,
    /// Who cannot be written to at once does not get it.
    pub volatile: bool,
    /// It is not worth compressing, or already is.
    pub uncompressed: bool,
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
    /// What kind of message it is.
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
    /// See [`Draft::trail`]. The last field: without it, a message is to other nodes what it was before there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) trail: Option<Box<Trail>>,
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

    /// A message to those who read its room now; unnumbered, and kept nowhere.
    pub fn signal(draft: Draft) -> Self {
        Self { kind: Kind::Signal, ..Self::direct(draft) }
    }

    /// A message of an application's namespace; unnumbered.
    pub fn emit(draft: Draft, emit: Emit) -> Self {
        Self { kind: Kind::Emit(Box::new(emit)), ..Self::direct(draft) }
    }

    /// Where it stands in its room.
    pub fn position(&self) -> Position {
        Position { epoch: self.epoch.clone(), seq: self.seq }
    }

    /// The message's frame for one wire and dialect, encoded at the first call and shared by every reader of these, as
    /// long as the message can keep it.
    pub fn frame(&self, wire: Wire, dialect: Dialect, encoders: &Encoders) -> Bytes {
        let mut frames = self.frames.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((.., frame)) = frames.iter().find(|(w, d, _)| (*w, *d) == (wire, dialect)) {
            return frame.clone();
        }
        let frame = (encoders.0[wire.0 as usize])(self, dialect);
        // As many as the weight counts: a room that is read in every way there is would hold several times its bound.
        let kept: usize = frames.iter().map(|(.., frame)| frame.len()).sum();
        if kept + frame.len() <= Self::FRAMES * self.length() + Self::ENVELOPE {
            frames.push((wire, dialect, frame.clone()));
        }
        frame
    }

    /// It keeps about so many whole frames, and their envelopes.
    const FRAMES: usize = 2;
    const ENVELOPE: usize = 512;

    /// Who cannot be written to at once does not get it.
    pub(crate) fn is_volatile(&self) -> bool {
        match &self.kind {
            Kind::Signal => true,
            Kind::Emit(emit) => emit.volatile,
            Kind::Broadcast | Kind::Direct => false,
        }
    }

    /// How much memory it holds at most: what it says, the frames that it keeps, and about its fields.
    pub fn weight(&self) -> usize {
        (1 + Self::FRAMES) * self.length() + Self::ENVELOPE + 256
    }

    fn length(&self) -> usize {
        let attached: usize = match &self.kind {
            Kind::Emit(emit) => emit.attachments.iter().map(Bytes::len).sum(),
            Kind::Broadcast | Kind::Direct | Kind::Signal => 0,
        };
        self.payload.len() + attached
    }
}

/// How messages look on one kind of connection. The hub caches bytes that it cannot read.
pub type Encode = Box<dyn Fn(&Message, Dialect) -> Bytes + Send + Sync>;

/// One [`Encode`] per [`Wire`], in their order. Cheap to clone.
#[derive(Clone)]
pub struct Encoders(Arc<[Encode]>);

impl Encoders {
    /// The encoders of wires 0, 1, …
    pub fn new(encoders: Vec<Encode>) -> Self {
        Self(encoders.into())
    }

    /// Joins the frames of several messages into one chunk, so that a reader costs one write.
    pub(crate) fn joined(&self, messages: &[Arc<Message>], wire: Wire, dialect: Dialect) -> Bytes {
        match messages {
            [one] => one.frame(wire, dialect, self),
            many => {
                let frames: Vec<_> = many.iter().map(|message| message.frame(wire, dialect, self)).collect();
                let mut chunk = BytesMut::with_capacity(frames.iter().map(Bytes::len).sum());
                for frame in &frames {
                    chunk.extend_from_slice(frame);
                }
                chunk.freeze()
            }
        }
    }
}

/// The number of an encoder: what a connection's bytes are. It may change during its life, see
/// [`crate::Outbox::upgrade`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Wire(pub u8);

/// How a reader wants messages told, in the words of its connection's encoder. Readers of one connection may differ.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Dialect(pub u8);

/// A list: a message is mostly encoded once or twice, and it is kept for long.
#[derive(Debug, Default)]
struct Frames(Mutex<Vec<(Wire, Dialect, Bytes)>>);

#[cfg(test)]
mod tests;
