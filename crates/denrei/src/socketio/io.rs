//! All namespaces of a server.

use std::sync::Arc;

use bytes::Bytes;
use denrei_hub::Hub;
use denrei_proto::socketio::Outgoing;

use crate::socketio::Handshake;
use crate::socketio::lane::{Lane, Order};

/// The Socket.IO server. Cheap to clone.
#[derive(Clone)]
pub struct Io(Arc<Inner>);

struct Inner {
    _hub: Hub,
}

impl Io {
    pub(crate) fn new(hub: Hub) -> Self {
        Self(Arc::new(Inner { _hub: hub }))
    }

    /// Whether the application has a namespace of this name.
    pub fn has(&self, _name: &str) -> bool {
        false
    }

    /// A client asks to join a namespace. It is answered, and its connection gets [`Order::Joined`] or
    /// [`Order::Refused`], now or later. Call it on the runtime of the connection.
    pub(crate) fn connect(&self, lane: &Arc<Lane>, _: &Arc<Handshake>, namespace: &str, _: Option<Bytes>) {
        lane.send(&Outgoing::connect_error(namespace, "Invalid namespace", None));
        lane.order(Order::Refused(namespace.into()));
    }
}
