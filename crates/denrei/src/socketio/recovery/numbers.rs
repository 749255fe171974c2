//! What gives emits their places.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use denrei_hub::{Class, Classes, Draft, Keep, Log, MemoryLimits, MemoryLog, Message, Position, RoomName, Window};
use futures_util::FutureExt;

use crate::socketio::recovery::Shared;

/// Numbers come from a log.
pub(super) enum Numbers {
    Own(Box<OwnLog>),
    Shared(Arc<Shared>),
}

/// A log in this node's memory. It keeps the last emit only: all of them are in the ring.
pub(super) struct OwnLog {
    log: MemoryLog,
    room: RoomName,
}

impl OwnLog {
    /// A log that refuses emits of more bytes.
    pub(super) fn new(bytes: usize) -> Self {
        let mut classes = Classes::default();
        classes.set("live", Class { keep: Keep::Memory(Window { events: 1, age: Duration::MAX, bytes }) });
        let log = MemoryLog::new(Arc::new(classes), MemoryLimits { rooms: 1, bytes });
        Self { log, room: RoomName::parse("emits").expect("it is a name") }
    }

    pub(super) fn room(&self) -> &RoomName {
        &self.room
    }

    /// A log in memory answers at once.
    pub(super) fn head(&self) -> Option<Position> {
        self.log.heads(vec![self.room.clone()]).now_or_never()?.ok()?.pop()
    }

    /// None when it is too much.
    pub(super) fn append(&self, draft: Draft) -> Option<Arc<Message>> {
        let answer = Arc::new(OnceLock::new());
        let tell = Arc::clone(&answer);
        self.log.append(
            draft,
            Box::new(move |appended| {
                // It is told once, and before `append` returns.
                let _ = tell.set(appended.map(|appended| appended.message));
            }),
        );
        match answer.get()? {
            Ok(message) => Some(Arc::clone(message)),
            Err(error) => {
                tracing::warn!(%error, "an event cannot be recovered");
                None
            }
        }
    }
}
