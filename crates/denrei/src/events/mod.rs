//! The application's own events: named channels, which its other programs read and write in the plain words of their
//! broker (seed §9.4, §13.2).
//!
//! A channel carries JSON, at most once, to whoever listens: what must not be lost belongs into a room. The channel
//! `ws.broadcast.ROOM` is the way between other programs and rooms, where that is wanted.

mod hooks;
mod rooms;

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use denrei_hub::{BusError, Channel, Channels, Draft, Heard, Hub, Listen, Listening};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::task::AbortHandle;

use crate::duty::Duty;
use crate::socketio::Failure;
use hooks::Hooks;
pub use hooks::{EventHook, HookSecret, InvalidHookSecret};
use rooms::Rooms;

/// Settings of the application's events.
#[derive(Clone, Debug, Default)]
pub struct EventsConfig {
    /// Rooms that other programs publish to, and hear, on `ws.broadcast.ROOM`: patterns in which `*` is anything. Default
    /// none.
    pub rooms: Vec<String>,
    /// Who is told by HTTP of what is published on a channel. Default nobody.
    pub hooks: Vec<EventHook>,
}

/// The application's events. Cheap to clone.
#[derive(Clone)]
pub struct Events(Arc<Inner>);

struct Inner {
    channels: Arc<dyn Channels>,
    hub: Hub,
    duty: Duty,
    rooms: Rooms,
    hooks: Hooks,
    handlers: RwLock<Vec<AbortHandle>>,
}

/// Why an event was not published, or a channel is not listened to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EventError {
    /// The name of a channel is 1 to 255 bytes without control characters.
    #[error("the channel has no valid name: {0}")]
    Channel(denrei_hub::InvalidName),
    /// The event has no form in JSON.
    #[error("the event could not be encoded: {0}")]
    Event(#[from] serde_json::Error),
    /// The broker cannot be reached, or does not take such a name.
    #[error(transparent)]
    Bus(#[from] BusError),
}

impl Events {
    pub(crate) fn new(channels: Arc<dyn Channels>, hub: Hub, config: EventsConfig) -> Self {
        let inner = Inner {
            duty: Duty::default(),
            rooms: Rooms::new(config.rooms),
            hooks: Hooks::new(config.hooks),
            handlers: RwLock::default(),
            channels,
            hub,
        };
        Self(Arc::new(inner))
    }

    /// Publishes an event; done when the broker has it.
    ///
    /// # Errors
    /// Nobody was told.
    pub async fn publish(&self, channel: &str, event: &impl Serialize) -> Result<(), EventError> {
        let json = serde_json::to_vec(event)?;
        self.publish_json(channel, json.into()).await
    }

    pub(crate) async fn publish_json(&self, channel: &str, json: Bytes) -> Result<(), EventError> {
        Ok(self.0.channels.publish(&named(channel)?, json).await?)
    }

    /// Runs a handler for every event of a channel, whoever publishes it, one after the other; a channel may have several.
    /// What cannot be read as `T` is left out. It listens when this is done.
    ///
    /// ```
    /// # async fn run(denrei: &denrei::Denrei) -> Result<(), denrei::EventError> {
    /// denrei.events().subscribe("orders", async |order: serde_json::Value| {
    ///     println!("{order}");
    ///     Ok(())
    /// }).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The broker cannot be reached now.
    pub async fn subscribe<T, F, Fut>(&self, channel: &str, handler: F) -> Result<(), EventError>
    where
        T: DeserializeOwned + Send + 'static,
        F: Fn(T) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), Failure>> + Send + 'static,
    {
        let channel = named(channel)?;
        let mut listening = self.0.channels.subscribe(Listen::To(channel)).await?;
        let task = tokio::spawn(async move {
            while let Some((channel, bytes)) = next(&mut listening).await {
                match serde_json::from_slice(&bytes) {
                    Ok(event) => {
                        if let Err(failure) = handler(event).await {
                            tracing::warn!(error = failure.message(), channel = channel.name(), "a handler failed");
                        }
                    }
                    Err(error) => tracing::debug!(%error, channel = channel.name(), "an event could not be read"),
                }
            }
        });
        self.0.handlers.write().unwrap_or_else(PoisonError::into_inner).push(task.abort_handle());
        Ok(())
    }

    /// Carries events to rooms and to hooks for as long as the server runs.
    pub(crate) async fn run(&self) {
        let Inner { channels, hub, duty, rooms, hooks, .. } = &*self.0;
        if rooms.is_empty() && hooks.is_empty() {
            return;
        }
        tokio::join!(
            duty.run(hub, "events"),
            rooms.take_all(&**channels, hub, duty),
            rooms.give_all(&**channels),
            hooks.run(&**channels, duty)
        );
    }

    /// Tells other programs of what a client has published to a room, if they are to know.
    pub(crate) fn published(&self, draft: &Draft) {
        self.0.rooms.give(&self.0.hub, draft);
    }

    pub(crate) fn gives(&self, draft: &Draft) -> bool {
        self.0.rooms.include(&draft.room)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.handlers.get_mut().unwrap_or_else(PoisonError::into_inner).iter().for_each(AbortHandle::abort);
    }
}

fn named(channel: &str) -> Result<Channel, EventError> {
    let name = denrei_hub::Name::parse(channel).map_err(EventError::Channel)?;
    Ok(Channel::Plain(name.as_str().into()))
}

/// The next message of a subscription; none when there are no more.
async fn next(listening: &mut Listening) -> Option<(Channel, Bytes)> {
    loop {
        match listening.next().await? {
            Heard::Message(channel, bytes) => return Some((channel, bytes)),
            Heard::Lost => tracing::warn!("events of other programs may have been missed"),
        }
    }
}

/// Subscribes, again and again until that succeeds.
async fn listen(channels: &dyn Channels, what: &Listen) -> Listening {
    let mut told = false;
    loop {
        match channels.subscribe(what.clone()).await {
            Ok(listening) => return listening,
            Err(error) if !std::mem::replace(&mut told, true) => {
                tracing::warn!(%error, ?what, "nobody listens to other programs, until the bus is there");
            }
            Err(_) => {}
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

#[cfg(test)]
mod tests;
