//! An emit as it is kept, and as a client comes back to it.

use std::sync::Arc;

use bytes::Bytes;
use denrei_hub::{Draft, Message, Name, Position, RoomName};
use serde::{Deserialize, Serialize};

use crate::app::now_ms;
use crate::socketio::Args;
use crate::socketio::emit::{By, Flags, Packet, Targets};
use crate::socketio::recovery::Session;

/// An emit as it is kept.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// Which of the namespaces that share the log; none means all.
    namespace: Option<Arc<str>>,
    rooms: Option<Vec<Arc<str>>>,
    except: Vec<Arc<str>>,
    args: Bytes,
    attachments: Vec<Bytes>,
    uncompressed: bool,
}

/// An event that a client has missed.
pub(super) struct Missed {
    pub(super) event: Name,
    pub(super) args: Args,
    pub(super) offset: Position,
}

impl Entry {
    /// A draft of it; none when it is too much for the log's codec, which it never is.
    pub(super) fn draft(
        room: &RoomName,
        namespace: Option<&str>,
        targets: &Targets,
        packet: &Packet,
        flags: Flags,
    ) -> Option<Draft> {
        let entry = Self {
            namespace: namespace.map(Arc::from),
            rooms: targets.rooms.clone(),
            except: targets.except.clone(),
            args: packet.args.json().clone(),
            attachments: packet.args.attachments().to_vec(),
            uncompressed: flags.uncompressed,
        };
        Some(Draft {
            from: packet.by.client.clone(),
            user: packet.by.user.clone(),
            origin: packet.by.origin,
            ..Draft::new(room.clone(), packet.event.clone(), rmp_serde::to_vec(&entry).ok()?.into(), now_ms())
        })
    }

    /// Reads a message that is an entry.
    pub(super) fn read(message: &Message) -> Option<Self> {
        rmp_serde::from_slice(&message.payload).ok()
    }

    /// The namespace that it was emitted in; none means all that share the log.
    pub(super) fn namespace(&self) -> Option<&str> {
        self.namespace.as_deref()
    }

    /// The emit again.
    pub(super) fn emit(self, message: &Message) -> Option<(Targets, Packet, Flags)> {
        let by = By { client: message.from.clone(), user: message.user.clone(), origin: message.origin };
        let args = Args::new(self.args, self.attachments).ok()?;
        let flags = Flags { uncompressed: self.uncompressed, ..Flags::default() };
        let targets = Targets { rooms: self.rooms, except: self.except };
        Some((targets, Packet { event: message.event.clone(), args, by }, flags))
    }

    /// What a session of a namespace has missed with a message; none when it is not for it.
    pub(super) fn missed(message: &Message, namespace: &str, session: &Session) -> Option<Missed> {
        let entry = Self::read(message)?;
        if entry.namespace().is_some_and(|own| own != namespace) || !entry.is_for(session) {
            return None;
        }
        let args = Args::new(entry.args, entry.attachments).ok()?;
        Some(Missed { event: message.event.clone(), args, offset: message.position() })
    }

    fn is_for(&self, session: &Session) -> bool {
        let within = |rooms: &[Arc<str>]| {
            rooms.iter().any(|room| **room == *session.id.as_str() || session.rooms.contains(room))
        };
        self.rooms.as_deref().is_none_or(within) && !within(&self.except)
    }
}

/// About how many bytes events are on their way.
pub(super) fn weight(missed: &[Missed]) -> usize {
    let weight = |missed: &Missed| {
        let attached: usize = missed.args.attachments().iter().map(|data| data.len() + 16).sum();
        missed.event.as_str().len() + missed.args.json().len() + attached + 128
    };
    missed.iter().map(weight).sum()
}
