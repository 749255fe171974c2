//! Namespaces that are shared with servers of Node: what they say to one another over Redis, both ways.
//!
//! What is known of their formats is what their code does: `@socket.io/redis-adapter` 8.3, `@socket.io/redis-emitter` 5.1.
//!
//! # Reading order
//! `servers` is the other servers as this one sees them, and the one task that hears and speaks; `asked` gathers what they
//! answer. A `format` turns what is meant into messages and back: `classic` or
//! `sharded`. `words` is what both are
//! made of, and `document` the bytes of that.

mod asked;
mod classic;
mod document;
mod format;
mod rooms;
mod servers;
mod sharded;
#[cfg(test)]
mod tests;
mod words;

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;

use crate::socketio::Namespace;
use crate::socketio::cluster::Peers;
use crate::socketio::compat::classic::Classic;
use crate::socketio::compat::format::Format;
pub(crate) use crate::socketio::compat::rooms::Changes;
use crate::socketio::compat::servers::Servers;
use crate::socketio::compat::sharded::Sharded;

/// How a namespace is shared with servers of Node: what their adapter is set to.
///
/// ```
/// # use denrei::socketio::{Compat, InvalidNamespace, Io, Subscriptions};
/// # async fn run(io: &Io) -> Result<(), InvalidNamespace> {
/// // createAdapter(pubClient, subClient)
/// io.of("/shop")?.compat(Compat::node());
/// // createShardedAdapter(pubClient, subClient, { subscriptionMode: "static" })
/// io.of("/news")?.compat(Compat::node().sharded(Subscriptions::Static));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Compat {
    key: String,
    sharded: Option<Subscriptions>,
    requests_timeout: Duration,
    specific_response_channel: bool,
}

/// Which channels servers with the sharded adapter listen to (`subscriptionMode`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Subscriptions {
    /// One for each room as well, so that servers do not hear of rooms that none of their clients is in.
    Dynamic,
    /// One for everything.
    Static,
}

impl Compat {
    /// Servers with the classic adapter (`createAdapter`) of `@socket.io/redis-adapter`, as it is by default.
    pub fn node() -> Self {
        Self {
            key: "socket.io".into(),
            sharded: None,
            requests_timeout: Duration::from_secs(5),
            specific_response_channel: false,
        }
    }

    /// Servers with the sharded adapter (`createShardedAdapter`), which emitters do not reach. All of them must have the
    /// same subscriptions; `dynamic-private` is not spoken.
    #[must_use]
    pub fn sharded(mut self, subscriptions: Subscriptions) -> Self {
        self.sharded = Some(subscriptions);
        self
    }

    /// What the names of all channels begin with: `key` of the classic adapter and of emitters, `channelPrefix` of the
    /// sharded one. Default `socket.io`.
    #[must_use]
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = key.into();
        self
    }

    /// How long answers of other servers are waited for where nothing else is said (`requestsTimeout`). Default 5 s.
    #[must_use]
    pub fn requests_timeout(mut self, timeout: Duration) -> Self {
        self.requests_timeout = timeout;
        self
    }

    /// Answers on the channel of the server that asks instead of the one of all (`publishOnSpecificResponseChannel` of
    /// the classic adapter): fewer messages, where all servers are of version 8.
    #[must_use]
    pub fn publish_on_specific_response_channel(mut self, specific: bool) -> Self {
        self.specific_response_channel = specific;
        self
    }

    pub(crate) fn patience(&self) -> Duration {
        self.requests_timeout
    }

    fn format(&self, namespace: &str) -> Format {
        match self.sharded {
            Some(subscriptions) => Format::Sharded(Sharded::new(&self.key, namespace, subscriptions)),
            None => Format::Classic(Classic::new(&self.key, namespace, self.specific_response_channel)),
        }
    }
}

/// What a namespace knows of how it is shared.
pub(crate) struct Joined {
    compat: Compat,
    runtime: Handle,
    /// None for a pattern.
    servers: Option<Arc<Servers>>,
}

impl Joined {
    pub(crate) fn new(namespace: &Namespace, compat: Compat, runtime: Handle) -> Self {
        let servers = (!namespace.is_pattern())
            .then(|| Servers::start(namespace, compat.format(namespace.name()), &runtime))
            .map(Arc::new);
        Self { compat, runtime, servers }
    }

    /// What a namespace of this pattern is to be shared by.
    pub(crate) fn again(&self) -> (Compat, Handle) {
        (self.compat.clone(), self.runtime.clone())
    }

    pub(crate) fn compat(&self) -> &Compat {
        &self.compat
    }

    pub(crate) fn servers(&self) -> Option<Arc<dyn Peers>> {
        self.servers.clone().map(|servers| servers as Arc<dyn Peers>)
    }
}
