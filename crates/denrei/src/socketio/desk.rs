//! Where requests find the engine session they belong to.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use denrei_hub::{Hub, Node, random_token};
use denrei_proto::engineio::{Response, Transport, Version};
use tokio::sync::oneshot;

use crate::socketio::admin::Tally;
use crate::socketio::channel::Channel;
use crate::socketio::lane::Lane;
use crate::socketio::mailbox::Mailbox;

/// The secret id of a new session. Other nodes read in it whose session it is: the run, behind the dot.
pub(crate) fn new_sid(hub: &Hub) -> Arc<str> {
    let secret = random_token(20);
    if hub.is_clustered() { format!("{secret}.{}", hub.node().run).into() } else { secret.into() }
}

/// The node that has a session, if it is another one, and can be reached.
pub(crate) fn owner(hub: &Hub, sid: &str) -> Option<Node> {
    let (_, run) = sid.split_once('.')?;
    hub.nodes().into_iter().find(|node| *node.run == *run && node.address.is_some())
}

/// The engine sessions of this node, by their secret ids.
#[derive(Default)]
pub(crate) struct Desks {
    by_sid: Mutex<HashMap<Arc<str>, Arc<Desk>>>,
    /// What has come and gone since the start.
    pub(crate) tally: Tally,
}

/// A session's front for requests. Its task is woken and attends to them one by one.
pub(crate) struct Desk {
    pub(crate) sid: Arc<str>,
    pub(crate) lane: Arc<Lane>,
    upgraded: AtomicBool,
    visits: Mailbox<Visit>,
}

/// A request that has come for a session.
pub(crate) enum Visit {
    /// It takes what is queued, or waits for something.
    Poll(oneshot::Sender<Response>),
    /// It brings packets, which follow as [`Visit::Body`].
    Post(oneshot::Sender<Response>),
    /// What the POST brought.
    Body(Post),
    /// A WebSocket that wants to take over.
    WebSocket(Box<Channel>),
}

/// What a POST brought.
pub(crate) enum Post {
    /// Its body; `binary` if it came as `application/octet-stream`.
    Body { body: Bytes, binary: bool },
    /// More than may be.
    TooBig,
}

impl Desks {
    pub(crate) fn add(&self, desk: &Arc<Desk>) {
        self.tally.opened.fetch_add(1, Ordering::Relaxed);
        self.lock().insert(Arc::clone(&desk.sid), Arc::clone(desk));
    }

    /// A session has ended; false if it had before.
    pub(crate) fn remove(&self, sid: &str) -> bool {
        let removed = self.lock().remove(sid).is_some();
        if removed {
            self.tally.closed.fetch_add(1, Ordering::Relaxed);
        }
        removed
    }

    /// How many there are, and how many of them poll.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let desks = self.lock();
        let polling = desks.values().filter(|desk| desk.transport() == Transport::Polling).count();
        (desks.len(), polling)
    }

    pub(crate) fn find(&self, sid: &str) -> Option<Arc<Desk>> {
        self.lock().get(sid).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, Arc<Desk>>> {
        self.by_sid.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Desk {
    pub(crate) fn new(sid: Arc<str>, lane: Arc<Lane>, transport: Transport) -> Arc<Self> {
        let upgraded = AtomicBool::new(transport == Transport::WebSocket);
        Arc::new(Self { sid, lane, upgraded, visits: Mailbox::default() })
    }

    pub(crate) fn version(&self) -> Version {
        self.lane.version
    }

    /// What carries the session now.
    pub(crate) fn transport(&self) -> Transport {
        if self.upgraded.load(Ordering::Acquire) { Transport::WebSocket } else { Transport::Polling }
    }

    pub(crate) fn has_upgraded(&self) {
        self.upgraded.store(true, Ordering::Release);
    }

    /// A request comes in. If the session has ended it is let go, which answers it.
    pub(crate) fn visit(&self, visit: Visit) {
        if self.visits.put(visit).is_ok() {
            self.lane.outbox.wake();
        }
    }

    pub(crate) fn visits(&self) -> Vec<Visit> {
        self.visits.take()
    }

    /// The session has ended.
    pub(crate) fn close(&self) {
        self.visits.close();
        self.lane.close();
    }
}
