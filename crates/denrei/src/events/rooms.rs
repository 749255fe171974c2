//! Between rooms and other programs: `{serverId, event, payload}` on `ws.broadcast.ROOM` (seed §9.4).

use std::borrow::Cow;

use bytes::Bytes;
use denrei_hub::{Channel, Channels, Draft, Hub, Listen, Name, RoomName};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::sync::{Mutex, mpsc};

use super::{listen, next};
use crate::app::now_ms;
use crate::chat::is_chat;
use crate::duty::Duty;
use crate::policy;

const PREFIX: &str = "ws.broadcast.";

/// Rooms that other programs publish to, and hear.
pub(super) struct Rooms {
    patterns: Vec<String>,
    /// What other programs are to hear; many put it in, one task takes it out.
    given: mpsc::Sender<(Channel, Bytes)>,
    giving: Mutex<mpsc::Receiver<(Channel, Bytes)>>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Broadcast<'a> {
    #[serde(borrow, default)]
    server_id: Cow<'a, str>,
    #[serde(borrow, default = "message")]
    event: Cow<'a, str>,
    #[serde(borrow)]
    payload: &'a RawValue,
}

fn message() -> Cow<'static, str> {
    "message".into()
}

impl Rooms {
    /// Events that wait to be given out; what is too much is dropped, and said so.
    const QUEUE: usize = 4096;

    pub(super) fn new(patterns: Vec<String>) -> Self {
        let (given, giving) = mpsc::channel(Self::QUEUE);
        Self { patterns, given, giving: Mutex::new(giving) }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// What is said in the chat has an author and a number of its own: it does not pass here.
    pub(super) fn include(&self, room: &RoomName) -> bool {
        !is_chat(room) && self.patterns.iter().any(|pattern| policy::fits(pattern, room.as_str(), None))
    }

    /// Publishes in rooms what other programs say. One node does, so that it is published once.
    pub(super) async fn take_all(&self, channels: &dyn Channels, hub: &Hub, duty: &Duty) {
        if self.is_empty() {
            return;
        }
        let mut listening = listen(channels, &Listen::Below(PREFIX.into())).await;
        while let Some((channel, bytes)) = next(&mut listening).await {
            if duty.is_ours()
                && let Err(error) = self.take(hub, &channel, &bytes).await
            {
                tracing::debug!(%error, channel = channel.name(), "what another program says was not published");
            }
        }
    }

    async fn take(&self, hub: &Hub, channel: &Channel, bytes: &Bytes) -> Result<(), String> {
        let said: Broadcast<'_> = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        // What nodes give out themselves comes back here.
        if *said.server_id == *hub.node().id.as_str()
            || hub.nodes().iter().any(|node| *node.id.as_str() == *said.server_id)
        {
            return Ok(());
        }
        let room = channel.name().strip_prefix(PREFIX).unwrap_or_default();
        let room = RoomName::parse(room).map_err(|error| error.to_string())?;
        let event = Name::parse(&said.event).map_err(|error| error.to_string())?;
        if !self.include(&room) {
            return Err("other programs do not publish to this room".into());
        }
        policy::publishable(&room, event.as_str()).map_err(|refusal| refusal.to_string())?;
        let draft = Draft::new(room, event, Bytes::copy_from_slice(said.payload.get().as_bytes()), now_ms());
        hub.relieved().await;
        hub.publish_and_wait(draft).await.map(drop).map_err(|error| error.to_string())
    }

    /// Tells other programs what was published in a room.
    ///
    /// It may be called by a thread of the store, which has no runtime: others do what takes a while.
    pub(super) fn give(&self, hub: &Hub, draft: &Draft) {
        let Some(payload) = std::str::from_utf8(&draft.payload).ok().and_then(|json| serde_json::from_str(json).ok())
        else {
            return;
        };
        let server_id = hub.node().id.as_str().into();
        let said = Broadcast { server_id, event: draft.event.as_str().into(), payload };
        let channel = Channel::Plain(format!("{PREFIX}{}", draft.room).into());
        if let Ok(json) = serde_json::to_vec(&said)
            && self.given.try_send((channel, json.into())).is_err()
        {
            tracing::debug!("other programs are not told of an event: too many wait");
        }
    }

    /// Gives out what waits, in order, until the task is dropped.
    pub(super) async fn give_all(&self, channels: &dyn Channels) {
        let mut giving = self.giving.lock().await;
        while let Some((channel, bytes)) = giving.recv().await {
            if let Err(error) = channels.publish(&channel, bytes).await {
                tracing::debug!(%error, "other programs were not told of an event");
            }
        }
    }
}
