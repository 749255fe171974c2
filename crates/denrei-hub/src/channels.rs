//! The seam to other programs: channels under the names that those know, with nothing of ours around the bytes.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::bus::BusError;
use crate::lock;

/// Carries bytes on named channels between programs, at most once. Who publishes hears itself, if it listens.
///
/// # Laws
/// Every implementation passes the suite in `laws.rs` (feature `laws`):
/// 1. After `subscribe` has answered, what anybody publishes on the channels arrives, in the order that one caller has
///    published it in, or [`Heard::Lost`] says that something may be missing.
/// 2. Nothing else arrives: no character of a channel's name or of a prefix means anything.
/// 3. A channel is counted once for each node that listens to exactly it, however often it does.
/// 4. Nothing arrives any more for a [`Listening`] that was dropped, and it is not counted.
pub trait Channels: Send + Sync + 'static {
    /// Publishes; done when the bytes were handed to the broker. Calls made one after another, each of which is awaited
    /// or not, keep their order.
    fn publish(&self, channel: &Channel, bytes: Bytes) -> Carrying<()>;

    /// Begins to listen.
    fn subscribe(&self, what: Listen) -> Carrying<Listening>;

    /// How many programs listen to exactly this channel.
    fn count(&self, channel: &Channel) -> Carrying<u64>;
}

/// An answer of [`Channels`] that may take a while.
pub type Carrying<T> = Pin<Box<dyn Future<Output = Result<T, BusError>> + Send>>;

/// A channel.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Channel {
    /// Of this name.
    Plain(Arc<str>),
    /// The same in a world apart, which some brokers spread over their nodes (Redis: `SPUBLISH`).
    Sharded(Arc<str>),
}

impl Channel {
    /// Its name.
    pub fn name(&self) -> &str {
        match self {
            Self::Plain(name) | Self::Sharded(name) => name,
        }
    }
}

/// What to listen to.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Listen {
    /// One channel.
    To(Channel),
    /// All plain channels whose names begin so.
    Below(Arc<str>),
}

impl Listen {
    /// Whether what is published on a channel is to arrive.
    pub fn includes(&self, channel: &Channel) -> bool {
        match (self, channel) {
            (Self::To(one), other) => one == other,
            (Self::Below(prefix), Channel::Plain(name)) => name.starts_with(&**prefix),
            (Self::Below(_), Channel::Sharded(_)) => false,
        }
    }
}

/// What is heard.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Heard {
    /// What somebody has published.
    Message(Channel, Bytes),
    /// Messages may have been missed since the last call.
    Lost,
}

/// A subscription, until it is dropped; or several, heard as one.
pub struct Listening {
    queue: mpsc::Receiver<Heard>,
    lost: Arc<AtomicBool>,
    /// What its [`Hearer`] fills; gone with it.
    ear: Weak<Mutex<Ear>>,
    end: Box<dyn Send + Sync>,
}

/// A subscription whose messages come out of a [`Listening`] that has absorbed it, until this is dropped.
pub struct Absorbed {
    _end: Box<dyn Send + Sync>,
}

/// The other end of a [`Listening`], for implementations.
pub struct Hearer(Arc<Mutex<Ear>>);

#[derive(Clone)]
struct Ear {
    queue: mpsc::Sender<Heard>,
    lost: Arc<AtomicBool>,
}

impl Listening {
    /// Messages that wait before more are dropped.
    pub const QUEUE: usize = 4096;

    /// Both ends; `end` is dropped with the [`Listening`], and ends the subscription by that.
    pub fn new(end: Box<dyn Send + Sync>) -> (Hearer, Self) {
        let (sender, queue) = mpsc::channel(Self::QUEUE);
        let lost = Arc::new(AtomicBool::new(false));
        let ear = Arc::new(Mutex::new(Ear { queue: sender, lost: Arc::clone(&lost) }));
        let listening = Self { queue, lost, ear: Arc::downgrade(&ear), end };
        (Hearer(ear), listening)
    }

    /// The next message; none when there will be no more. Cancel safe.
    pub async fn next(&mut self) -> Option<Heard> {
        match self.queue.try_recv() {
            Ok(heard) => Some(heard),
            Err(_) if self.lost.swap(false, Ordering::AcqRel) => Some(Heard::Lost),
            // What is lost from now on finds a full queue, which wakes.
            Err(_) => self.queue.recv().await,
        }
    }

    /// Hears another subscription as well, from now on in the one order in which messages of both come to this node, as
    /// far as the broker has one: two that are heard one beside the other would say nothing of it.
    pub fn absorb(&mut self, mut other: Self) -> Absorbed {
        if let (Some(own), Some(theirs)) = (self.ear.upgrade(), other.ear.upgrade()) {
            let own = lock(&own).clone();
            let mut theirs = lock(&theirs);
            while let Ok(heard) = other.queue.try_recv() {
                own.hear(heard);
            }
            if other.lost.load(Ordering::Acquire) {
                own.hear(Heard::Lost);
            }
            *theirs = own;
        }
        Absorbed { _end: other.end }
    }
}

impl Hearer {
    /// Hands a message over; never blocks, and has one caller at a time. What is too much is dropped, and said to be lost
    /// where it is missing.
    pub fn hear(&self, heard: Heard) {
        lock(&self.0).hear(heard);
    }
}

impl Ear {
    fn hear(&self, heard: Heard) {
        let lost = self.lost.load(Ordering::Acquire);
        match self.queue.try_reserve_many(1 + usize::from(lost)) {
            Ok(mut places) => {
                if lost
                    && self.lost.swap(false, Ordering::AcqRel)
                    && let Some(place) = places.next()
                {
                    place.send(Heard::Lost);
                }
                if let Some(place) = places.next() {
                    place.send(heard);
                }
            }
            Err(_) => self.lost.store(true, Ordering::Release),
        }
    }
}

/// [`Channels`] within one process: for tests, and for a server that is alone.
#[derive(Default)]
pub struct LocalChannels {
    all: Arc<Mutex<Vec<Local>>>,
    node: Arc<()>,
}

struct Local {
    what: Listen,
    node: Arc<()>,
    lives: Weak<()>,
    hearer: Hearer,
}

impl LocalChannels {
    /// Another node at the same channels.
    #[must_use]
    pub fn node(&self) -> Self {
        Self { all: Arc::clone(&self.all), node: Arc::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Local>> {
        let mut all = lock(&self.all);
        all.retain(|local| local.lives.strong_count() > 0);
        all
    }
}

impl Channels for LocalChannels {
    fn publish(&self, channel: &Channel, bytes: Bytes) -> Carrying<()> {
        for local in self.lock().iter().filter(|local| local.what.includes(channel)) {
            local.hearer.hear(Heard::Message(channel.clone(), bytes.clone()));
        }
        Box::pin(std::future::ready(Ok(())))
    }

    fn subscribe(&self, what: Listen) -> Carrying<Listening> {
        let lives = Arc::new(());
        let weak = Arc::downgrade(&lives);
        let (hearer, listening) = Listening::new(Box::new(lives));
        self.lock().push(Local { what, node: Arc::clone(&self.node), lives: weak, hearer });
        Box::pin(std::future::ready(Ok(listening)))
    }

    fn count(&self, channel: &Channel) -> Carrying<u64> {
        let what = Listen::To(channel.clone());
        let all = self.lock();
        let mut nodes: Vec<_> = all.iter().filter(|local| local.what == what).map(|local| &local.node).collect();
        nodes.sort_unstable_by_key(|node| Arc::as_ptr(node));
        nodes.dedup_by(|a, b| Arc::ptr_eq(a, b));
        Box::pin(std::future::ready(Ok(nodes.len() as u64)))
    }
}
