//! What nodes tell one another over a [`Bus`]: the node's own voice, whom it knows, and what it asks them.

use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::bus::{Bus, BusError, Subject};
use crate::ids::{ClientId, Name, Position, RoomName, Seq, random_number, random_token};
use crate::message::Message;
use crate::stats::{BusCounters, BusStatistics, add};
use crate::{Map, lock};

/// The version that begins each node message; others are ignored.
const VERSION: u8 = 1;

/// How long a subscription may take; a bus that is slower is down.
const PATIENCE: Duration = Duration::from_secs(2);

/// Rooms named in one heartbeat.
const NAMED: usize = 1000;

/// A node that was not heard for so long is not waited for.
const SILENT: Duration = Duration::from_secs(5);

/// Questions that may be under way.
const ASKED: usize = 65_536;

/// A node, as the others know it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Node {
    /// Its name among them.
    pub id: Name,
    /// Which run of it: a node that was started anew knows nothing of what it was asked before.
    pub run: Arc<str>,
    /// Where other nodes reach it by HTTP (`http://10.0.0.3:8080`), if they can.
    pub address: Option<Arc<str>>,
}

impl Node {
    /// This run of a node.
    pub fn new(id: Name, address: Option<&str>) -> Self {
        Self { id, run: random_token(8).into(), address: address.map(Into::into) }
    }
}

impl Default for Node {
    /// A node that nobody has to tell from others.
    fn default() -> Self {
        Self::new(Name::parse(&random_token(8)).expect("a token is a name"), None)
    }
}

/// What one node tells the others.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum NodeMessage {
    /// A message was appended or, in a room without a log, sent.
    Published(Arc<Message>),
    /// The last numbers that the sender published in rooms since its last heartbeat: so a lost last message is found.
    Heads(Vec<(RoomName, Position)>),
    /// A user may not read a room any more.
    Expelled(Name, RoomName),
    /// The log of a room holds something else than was told of it.
    Rewritten(RoomName),
    /// The sender is there.
    Alive(Node),
    /// The sender leaves.
    Bye(Node),
    /// Bytes for whoever listens to a topic.
    Told { from: Name, topic: Box<str>, bytes: Bytes },
    /// The same, and the sender waits for an answer.
    Asked { from: Name, number: u64, topic: Box<str>, bytes: Bytes },
    /// A message for a client or a user, if it is connected to the receiver; how often it was is the answer.
    Direct { from: Name, number: u64, to: Whom, message: Arc<Message> },
    /// The answer.
    Answered { from: Name, number: u64, bytes: Bytes },
}

impl NodeMessage {
    /// Whether connections are written to because of it.
    pub(crate) fn is_written(&self) -> bool {
        match self {
            Self::Published(_) | Self::Told { .. } | Self::Asked { .. } | Self::Direct { .. } => true,
            Self::Heads(_)
            | Self::Expelled(..)
            | Self::Rewritten(_)
            | Self::Alive(_)
            | Self::Bye(_)
            | Self::Answered { .. } => false,
        }
    }
}

/// Whom a message is for that belongs to no room.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Whom {
    Client(ClientId),
    User(Name),
}

/// What another node says on a topic.
pub struct Word {
    /// Which node.
    pub from: Name,
    /// What it says.
    pub bytes: Bytes,
    /// How it is answered, if it asked.
    pub answer: Option<Answering>,
}

/// The way back to a node that asked.
pub struct Answering {
    cluster: Arc<Cluster>,
    to: Name,
    number: u64,
}

impl Answering {
    /// Answers.
    pub fn with(self, bytes: Bytes) {
        let from = self.cluster.node.id.clone();
        self.cluster.say(&Subject::Node(self.to), &NodeMessage::Answered { from, number: self.number, bytes });
    }
}

/// Hears what other nodes say on a topic: as short as a callback under a lock; it may hand on what takes longer.
pub type Listener = Box<dyn Fn(Word) + Send + Sync>;

/// What the other nodes have answered.
#[derive(Debug, Default)]
pub struct Answers {
    /// Each node's answer.
    pub given: Vec<(Name, Bytes)>,
    /// Nodes that were there and have not.
    pub missing: Vec<Name>,
}

/// This node among the others.
pub(crate) struct Cluster {
    pub(crate) node: Node,
    bus: Arc<dyn Bus>,
    lease: Duration,
    published: Mutex<Map<RoomName, Position>>,
    others: Mutex<Map<Name, (Node, Instant)>>,
    asked: Mutex<Map<u64, Asked>>,
    numbers: AtomicU64,
    listeners: OnceLock<Map<Box<str>, Listener>>,
    /// The last subscription failed.
    down: AtomicBool,
    /// This node has said goodbye.
    left: AtomicBool,
    pub(crate) counters: BusCounters,
}

/// Whose answers are awaited, and who waits.
struct Asked {
    of: Vec<Name>,
    tell: mpsc::Sender<(Name, Bytes)>,
}

impl Cluster {
    /// Longer than any node runs.
    const FOR_EVER: Duration = Duration::from_secs(u32::MAX as u64);

    pub(crate) fn new(node: Node, lease: Duration, bus: Arc<dyn Bus>) -> Self {
        Self {
            node,
            bus,
            lease,
            published: Mutex::default(),
            others: Mutex::default(),
            asked: Mutex::default(),
            // Late answers to what an earlier run has asked are nobody's.
            numbers: AtomicU64::new(random_number()),
            listeners: OnceLock::new(),
            down: AtomicBool::new(false),
            left: AtomicBool::new(false),
            counters: BusCounters::default(),
        }
    }

    pub(crate) fn bus(&self) -> &dyn Bus {
        &*self.bus
    }

    pub(crate) fn is_down(&self) -> bool {
        self.down.load(Ordering::Relaxed)
    }

    /// Subscribes; false when the bus cannot, for now. Subscribing to what is subscribed to already changes nothing.
    pub(crate) async fn hears(&self, subject: &Subject) -> bool {
        let subscribed = tokio::time::timeout(PATIENCE, self.bus.subscribe(subject)).await;
        let outcome = subscribed.unwrap_or_else(|_| Err(BusError("it does not answer".into())));
        let was_down = self.down.swap(outcome.is_err(), Ordering::Relaxed);
        add(&self.counters.failed, u64::from(outcome.is_err()));
        match &outcome {
            Err(error) if !was_down => tracing::warn!(%error, "the other nodes cannot be heard"),
            Ok(()) if was_down => tracing::info!("the other nodes can be heard again"),
            _ => {}
        }
        outcome.is_ok()
    }

    /// Tells the other nodes of a message.
    pub(crate) fn announce(&self, message: &Arc<Message>) {
        self.say(&Subject::Room(message.room.clone()), &NodeMessage::Published(Arc::clone(message)));
        if message.seq != Seq::ZERO {
            let mut published = lock(&self.published);
            // Past the bound, rooms go unnamed: the comparison of heads finds what is missing there, a little later.
            if published.len() < NAMED || published.contains_key(&message.room) {
                published.insert(message.room.clone(), message.position());
            }
        }
    }

    /// Tells the nodes that listen to a subject.
    pub(crate) fn say(&self, subject: &Subject, message: &NodeMessage) {
        if let Some(bytes) = encode(message) {
            add(&self.counters.told, 1);
            add(&self.counters.told_bytes, bytes.len() as u64);
            self.bus.publish(subject, bytes);
        }
    }

    pub(crate) fn statistics(&self) -> BusStatistics {
        let BusCounters { told, told_bytes, heard, heard_bytes, lost, unread, failed } = &self.counters;
        let value = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        BusStatistics {
            told: (value(told), value(told_bytes)),
            heard: (value(heard), value(heard_bytes)),
            lost: value(lost),
            unread: value(unread),
            failed: value(failed),
            connected: !self.is_down(),
            nodes: lock(&self.others).len(),
        }
    }

    /// Says that the node is there, and which rooms were published to since the last call.
    pub(crate) fn beat(&self) {
        if !self.left.load(Ordering::Relaxed) {
            self.say(&Subject::Nodes, &NodeMessage::Alive(self.node.clone()));
        }
        let published = std::mem::take(&mut *lock(&self.published));
        if !published.is_empty() {
            self.say(&Subject::Nodes, &NodeMessage::Heads(published.into_iter().collect()));
        }
        let lease = self.lease;
        lock(&self.others).retain(|id, (_, heard)| {
            let lives = heard.elapsed() < lease;
            if !lives {
                tracing::warn!(node = %id, "a node was not heard for the time of its lease, and counts as gone");
            }
            lives
        });
    }

    /// Says goodbye.
    pub(crate) fn leave(&self) {
        self.left.store(true, Ordering::Relaxed);
        self.say(&Subject::Nodes, &NodeMessage::Bye(self.node.clone()));
    }

    /// A node says that it is there.
    pub(crate) fn meet(&self, node: Node) {
        if node.id == self.node.id {
            if node.run != self.node.run {
                tracing::error!(node = %node.id, "another node has the same id: give each its own (DENREI_NODE_ID)");
            }
            return;
        }
        let known = lock(&self.others).insert(node.id.clone(), (node.clone(), Instant::now()));
        if known.is_none_or(|(known, _)| known.run != node.run) {
            tracing::info!(node = %node.id, at = node.address.as_deref(), "a node has come");
            if !self.left.load(Ordering::Relaxed) {
                // It need not wait for the next beat to know this one.
                self.say(&Subject::Node(node.id), &NodeMessage::Alive(self.node.clone()));
            }
        }
    }

    /// A node leaves.
    pub(crate) fn part(&self, node: &Node) {
        let mut others = lock(&self.others);
        if others.get(&node.id).is_some_and(|(known, _)| known.run == node.run) {
            others.remove(&node.id);
            tracing::info!(node = %node.id, "a node has left");
        }
    }

    pub(crate) fn others(&self) -> Vec<Node> {
        lock(&self.others).values().map(|(node, _)| node.clone()).collect()
    }

    /// Has what other nodes say on topics heard; once.
    pub(crate) fn listen(&self, listeners: Vec<(&str, Listener)>) {
        let listeners = listeners.into_iter().map(|(topic, listener)| (topic.into(), listener)).collect();
        // A second call would be a mistake of this process, and changes nothing.
        let _ = self.listeners.set(listeners);
    }

    /// Another node says something on a topic.
    pub(crate) fn hear(self: &Arc<Self>, from: Name, asked: Option<u64>, topic: &str, bytes: Bytes) {
        let Some(listener) = self.listeners.get().and_then(|listeners| listeners.get(topic)) else {
            return tracing::debug!(topic, node = %from, "nobody listens to what a node says");
        };
        let answer = asked.map(|number| self.answering(from.clone(), number));
        listener(Word { from, bytes, answer });
    }

    pub(crate) fn answering(self: &Arc<Self>, to: Name, number: u64) -> Answering {
        Answering { cluster: Arc::clone(self), to, number }
    }

    /// Tells all other nodes, or one.
    pub(crate) fn tell(&self, to: Option<&Name>, topic: &str, bytes: Bytes) {
        let subject = to.map_or(Subject::Nodes, |node| Subject::Node(node.clone()));
        self.say(&subject, &NodeMessage::Told { from: self.node.id.clone(), topic: topic.into(), bytes });
    }

    /// Asks all other nodes that are there, or one. What is asked goes out now, and not when the answer is awaited.
    pub(crate) fn ask<F>(
        self: &Arc<Self>,
        to: Option<&Name>,
        patience: Duration,
        question: F,
    ) -> impl Future<Output = Answers> + Send + use<F>
    where
        F: FnOnce(Name, u64) -> NodeMessage,
    {
        let mut missing: Vec<Name> = {
            let others = lock(&self.others);
            let there = others.iter().filter(|(_, (_, heard))| heard.elapsed() < SILENT).map(|(id, _)| id);
            there.filter(|id| to.is_none_or(|to| to == *id)).cloned().collect()
        };
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let (tell, mut told) = mpsc::channel(missing.len().max(1));
        let mut asked = lock(&self.asked);
        let full = asked.len() >= ASKED;
        if !missing.is_empty() && !full {
            asked.insert(number, Asked { of: missing.clone(), tell });
            drop(asked);
            let subject = to.map_or(Subject::Nodes, |node| Subject::Node(node.clone()));
            self.say(&subject, &question(self.node.id.clone(), number));
        }
        let asking = Asking { cluster: Arc::clone(self), number };
        let end = Instant::now().checked_add(patience).unwrap_or_else(|| Instant::now() + Self::FOR_EVER);
        async move {
            let _asking = asking;
            let mut given = Vec::new();
            while !missing.is_empty() && !full {
                let Ok(Some((from, bytes))) = tokio::time::timeout_at(end, told.recv()).await else { break };
                missing.retain(|node| *node != from);
                given.push((from, bytes));
            }
            Answers { given, missing }
        }
    }

    /// Another node answers.
    pub(crate) fn answered(&self, from: Name, number: u64, bytes: Bytes) {
        if let Some(Asked { of, tell }) = lock(&self.asked).get(&number)
            && of.contains(&from)
        {
            // Who has answered once already is not heard.
            let _ = tell.try_send((from, bytes));
        }
    }
}

/// A question that is under way.
struct Asking {
    cluster: Arc<Cluster>,
    number: u64,
}

impl Drop for Asking {
    fn drop(&mut self) {
        lock(&self.cluster.asked).remove(&self.number);
    }
}

fn encode(message: &NodeMessage) -> Option<Bytes> {
    let mut bytes = vec![VERSION];
    match rmp_serde::encode::write(&mut bytes, message) {
        Ok(()) => Some(bytes.into()),
        Err(error) => {
            tracing::error!(%error, "a node message could not be encoded");
            None
        }
    }
}

/// Reads what another node said; none when it is not of this version or not whole.
pub(crate) fn decode(bytes: &[u8]) -> Option<NodeMessage> {
    let (&VERSION, rest) = bytes.split_first()? else { return None };
    rmp_serde::from_slice(rest).ok()
}
