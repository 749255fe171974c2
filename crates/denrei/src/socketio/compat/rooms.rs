//! Which rooms have members here, for servers that listen to a room's own channel.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use denrei_hub::{Absorbed, Channels, Listen, Listening, RoomName};
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::{Notify, oneshot};

use crate::socketio::compat::format::Format;
use crate::socketio::{Namespace, lock};

/// Rooms that have their first member since somebody looked, or lost their last.
#[derive(Default)]
pub(crate) struct Changes {
    rooms: Mutex<HashSet<RoomName>>,
    some: Notify,
}

impl Changes {
    /// Called under the lock of the table: what is true then is known later.
    pub(crate) fn add(&self, room: &RoomName) {
        lock(&self.rooms).insert(room.clone());
        self.some.notify_one();
    }

    /// The next, all at once. Cancel safe.
    async fn next(&self) -> HashSet<RoomName> {
        loop {
            let rooms = std::mem::take(&mut *lock(&self.rooms));
            if !rooms.is_empty() {
                return rooms;
            }
            self.some.notified().await;
        }
    }
}

/// Keeps listening to the channels of those that have members.
#[derive(Default)]
pub(super) struct RoomChannels {
    heard: HashMap<RoomName, Absorbed>,
    /// Those whose subscription is under way, each until its end is dropped: a broker that is away must not be owed more
    /// than there are rooms.
    beginning: HashMap<RoomName, oneshot::Sender<()>>,
    begun: FuturesUnordered<Begun>,
}

/// None where it was given up.
type Begun = BoxFuture<'static, Option<(RoomName, Listening)>>;

/// What happened to rooms.
pub(super) enum Turn {
    Changed(HashSet<RoomName>),
    Begun(Option<(RoomName, Listening)>),
}

impl RoomChannels {
    /// Waits for something to do. Cancel safe.
    pub(super) async fn next(&mut self, changes: &Changes) -> Turn {
        tokio::select! {
            Some(begun) = self.begun.next() => Turn::Begun(begun),
            rooms = changes.next() => Turn::Changed(rooms),
        }
    }

    /// Does it.
    pub(super) fn turn(
        &mut self,
        turn: Turn,
        namespace: &Namespace,
        format: &Format,
        channels: &Arc<dyn Channels>,
        listening: &mut Listening,
    ) {
        match turn {
            Turn::Changed(rooms) => {
                for room in rooms {
                    if !namespace.table().has(&room) {
                        self.heard.remove(&room);
                        self.beginning.remove(&room);
                    } else if !self.heard.contains_key(&room)
                        && !self.beginning.contains_key(&room)
                        && let Some(channel) = format.room(namespace.rooms().short(&room))
                    {
                        let (end, ended) = oneshot::channel();
                        self.beginning.insert(room.clone(), end);
                        self.begun.push(begin(Arc::clone(channels), Listen::To(channel), room, ended));
                    }
                }
            }
            Turn::Begun(None) => {}
            Turn::Begun(Some((room, begun))) => {
                self.beginning.remove(&room);
                if namespace.table().has(&room) {
                    self.heard.insert(room, listening.absorb(begun));
                }
            }
        }
    }
}

fn begin(channels: Arc<dyn Channels>, what: Listen, room: RoomName, ended: oneshot::Receiver<()>) -> Begun {
    Box::pin(async move {
        tokio::select! {
            listening = subscribed(&*channels, what) => Some((room, listening)),
            _ = ended => None,
        }
    })
}

/// Subscribes, however often it takes.
pub(super) async fn subscribed(channels: &dyn Channels, what: Listen) -> Listening {
    const AGAIN: Duration = Duration::from_secs(1);
    loop {
        match channels.subscribe(what.clone()).await {
            Ok(listening) => return listening,
            Err(error) => {
                tracing::warn!(%error, "a channel of other servers could not be subscribed to");
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}
