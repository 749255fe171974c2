//! Bytes between nodes, by pub/sub: sharded for rooms, so that a cluster spreads them, plain for nodes.

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use bytes::{BufMut, Bytes, BytesMut};
use denrei_hub::{Bus, BusError, Inbound, Name, Subject, random_token};
use tokio::sync::Notify;

use super::ear::{Caught, Ear, Kind, Topic};
use super::servers::{Servers, lock};
use crate::Options;
use crate::encoded;

/// A node's end of the bus.
pub(super) struct RedisBus {
    ear: Ear,
    prefix: String,
    node: Name,
    inbox: Arc<Inbox>,
}

struct Inbox {
    node: Name,
    state: Mutex<Waiting>,
    wake: Notify,
}

#[derive(Default)]
struct Waiting {
    subjects: HashMap<Arc<[u8]>, Subject>,
    queue: VecDeque<Inbound>,
    bytes: usize,
}

impl RedisBus {
    pub(super) fn new(servers: &Servers, options: &Options) -> Self {
        // Not the node's id: that of two nodes which were given the same by mistake would keep them from noticing.
        let node = Name::parse(&random_token(12)).expect("a token is a name");
        let inbox = Arc::new(Inbox { node: node.clone(), state: Mutex::default(), wake: Notify::new() });
        let catcher = Arc::clone(&inbox);
        let ear = Ear::new(servers, Arc::new(move |caught| catcher.take_in(caught)));
        Self { ear, prefix: options.prefix.clone(), node, inbox }
    }

    fn topic(&self, subject: &Subject) -> Topic {
        let prefix = &self.prefix;
        let (kind, name) = match subject {
            Subject::Room(room) => (Kind::Sharded, format!("{prefix}:b:r:{}", encoded(room.as_str()))),
            Subject::Nodes => (Kind::Plain, format!("{prefix}:b:nodes")),
            Subject::Node(node) => (Kind::Plain, format!("{prefix}:b:n:{}", encoded(node.as_str()))),
        };
        Topic { kind, name: name.into_bytes().into() }
    }
}

impl Bus for RedisBus {
    fn publish(&self, subject: &Subject, bytes: Bytes) {
        self.ear.publish(self.topic(subject), wrap(&self.node, &bytes), None);
    }

    fn subscribe(&self, subject: &Subject) -> Pin<Box<dyn Future<Output = Result<(), BusError>> + Send>> {
        let topic = self.topic(subject);
        // Under one lock with what is asked of the ear: both have the last call for a subject.
        let mut waiting = lock(&self.inbox.state);
        waiting.subjects.insert(Arc::clone(&topic.name), subject.clone());
        Box::pin(self.ear.subscribe(&topic))
    }

    fn unsubscribe(&self, subject: &Subject) {
        let topic = self.topic(subject);
        let mut waiting = lock(&self.inbox.state);
        waiting.subjects.remove(&topic.name);
        self.ear.unsubscribe(&topic);
    }

    fn receive(&self) -> Pin<Box<dyn Future<Output = Inbound> + Send + '_>> {
        Box::pin(async {
            loop {
                if let Some(inbound) = lock(&self.inbox.state).next() {
                    return inbound;
                }
                self.inbox.wake.notified().await;
            }
        })
    }
}

impl Inbox {
    fn take_in(&self, caught: Caught) {
        let mut waiting = lock(&self.state);
        match caught {
            Caught::Lost => waiting.lose(),
            Caught::Message { channel, payload, .. } => {
                // Left in the meantime.
                let Some(subject) = waiting.subjects.get(&channel[..]).cloned() else { return };
                match unwrap(payload) {
                    Some((node, _)) if node == self.node.as_str().as_bytes() => return,
                    Some((_, bytes)) => waiting.push(subject, bytes),
                    None => tracing::debug!("a message on the bus could not be read"),
                }
            }
        }
        drop(waiting);
        self.wake.notify_one();
    }
}

impl Waiting {
    /// Messages and bytes that wait for the node before more are dropped.
    const QUEUE: usize = 64 * 1024;
    const BYTES: usize = 64 << 20;

    fn push(&mut self, subject: Subject, bytes: Bytes) {
        if self.queue.len() < Self::QUEUE && self.bytes + bytes.len() <= Self::BYTES {
            self.bytes += bytes.len();
            self.queue.push_back(Inbound::Message(subject, bytes));
        } else {
            self.lose();
        }
    }

    fn lose(&mut self) {
        if self.queue.back() != Some(&Inbound::Lost) {
            self.queue.push_back(Inbound::Lost);
        }
    }

    fn next(&mut self) -> Option<Inbound> {
        let inbound = self.queue.pop_front();
        if let Some(Inbound::Message(_, bytes)) = &inbound {
            self.bytes -= bytes.len();
        }
        if self.queue.is_empty() {
            self.queue.shrink_to(1024);
        }
        inbound
    }
}

/// Before the bytes stands who publishes them: a length, and a node's id.
fn wrap(node: &Name, bytes: &[u8]) -> Bytes {
    let node = node.as_str().as_bytes();
    let mut whole = BytesMut::with_capacity(1 + node.len() + bytes.len());
    // A name has at most 255 bytes.
    whole.put_u8(u8::try_from(node.len()).unwrap_or(u8::MAX));
    whole.put_slice(node);
    whole.put_slice(bytes);
    whole.freeze()
}

fn unwrap(mut whole: Bytes) -> Option<(Bytes, Bytes)> {
    let length = usize::from(*whole.first()?);
    if whole.len() < 1 + length {
        return None;
    }
    let bytes = whole.split_off(1 + length);
    Some((whole.slice(1..), bytes))
}
