//! The bus on core NATS.

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_nats::Subscriber;
use bytes::Bytes;
use denrei_hub::{Bus, BusError, Inbound, Subject};
use futures_util::StreamExt;
use tokio::runtime::Handle;
use tokio::sync::{Notify, mpsc};

use super::link::{Link, Task};
use crate::encoded;

/// A message with this as its reply subject stands for those on its subject that its publisher had to drop.
const DROPPED: &str = "dropped";

pub(super) struct NatsBus {
    link: Arc<Link>,
    prefix: Arc<str>,
    runtime: Handle,
    listening: Mutex<HashMap<Subject, Task>>,
    inbox: Arc<Inbox>,
    arrivals: tokio::sync::Mutex<Arrivals>,
    outbox: Arc<Outbox>,
    _losses: Task,
    _apologies: Task,
}

/// What arrived and was not received yet.
struct Inbox {
    queue: mpsc::Sender<Inbound>,
    /// Bytes in it.
    bytes: AtomicUsize,
    lost: AtomicBool,
    wake: Notify,
}

/// The receiver's end of the inbox.
struct Arrivals {
    queue: mpsc::Receiver<Inbound>,
    /// What came out together with the news of a loss, which goes before it.
    held: Option<Inbound>,
}

/// Counts what was published, and remembers what had to be dropped.
#[derive(Default)]
struct Outbox {
    /// Bytes ever handed to the client, counted as it counts those that it has written.
    bytes: AtomicU64,
    /// Says that there is something in `dropped`, without its lock.
    owes: AtomicBool,
    dropped: Mutex<Dropped>,
}

#[derive(Default)]
struct Dropped {
    subjects: HashSet<Subject>,
    /// More than were counted.
    many: bool,
}

impl NatsBus {
    /// Messages that wait to be received before more are dropped, and their bytes.
    const QUEUE: usize = 16 * 1024;
    const ARRIVED: usize = 64 << 20;

    /// Bytes that wait to be sent before more are dropped.
    const WAITING: u64 = 64 << 20;

    pub(super) fn new(link: Arc<Link>, prefix: &str) -> Self {
        let prefix: Arc<str> = prefix.into();
        let (sender, queue) = mpsc::channel(Self::QUEUE);
        let inbox = Arc::new(Inbox {
            queue: sender,
            bytes: AtomicUsize::new(0),
            lost: AtomicBool::new(false),
            wake: Notify::new(),
        });
        let outbox = Arc::new(Outbox::default());
        let losses = Task::spawn(tell_losses(Arc::clone(&link), Arc::clone(&prefix), Arc::clone(&inbox)));
        let apologies = Task::spawn(apologize(Arc::clone(&link), Arc::clone(&prefix), Arc::clone(&outbox)));
        Self {
            link,
            prefix,
            runtime: Handle::current(),
            listening: Mutex::default(),
            inbox,
            arrivals: tokio::sync::Mutex::new(Arrivals { queue, held: None }),
            outbox,
            _losses: losses,
            _apologies: apologies,
        }
    }

    /// Begins to listen, if it does not yet; what the client's queue has no place for is tried again by the caller.
    fn listen(&self, subject: &Subject) -> Result<(), BusError> {
        let mut listening = lock(&self.listening);
        if !listening.contains_key(subject) {
            let subscriber = self.link.subscribe(written(&self.prefix, subject))?;
            let hearing = hear(subject.clone(), subscriber, Arc::clone(&self.inbox));
            let _runtime = self.runtime.enter();
            listening.insert(subject.clone(), Task::spawn(hearing));
        }
        Ok(())
    }
}

impl Bus for NatsBus {
    fn publish(&self, subject: &Subject, bytes: Bytes) {
        let outbox = &self.outbox;
        let owing = outbox.owes.load(Ordering::Acquire) && !outbox.apologize(&self.link, &self.prefix, Some(subject));
        // A loss is told before what follows it.
        if owing || outbox.send(&self.link, written(&self.prefix, subject), None, bytes).is_err() {
            outbox.drop_on(subject);
        }
    }

    fn subscribe(&self, subject: &Subject) -> Pin<Box<dyn Future<Output = Result<(), BusError>> + Send>> {
        let begun = self.listen(subject);
        let link = Arc::clone(&self.link);
        Box::pin(async move {
            begun?;
            Ok(link.flush().await?)
        })
    }

    fn unsubscribe(&self, subject: &Subject) {
        // With the task goes the subscription. It has a number of its own at the server, so that one that is made anew
        // is not taken for it.
        lock(&self.listening).remove(subject);
    }

    fn receive(&self) -> Pin<Box<dyn Future<Output = Inbound> + Send + '_>> {
        Box::pin(async {
            let mut arrivals = self.arrivals.lock().await;
            let arrivals = &mut *arrivals;
            loop {
                if self.inbox.lost.swap(false, Ordering::AcqRel) {
                    return Inbound::Lost;
                }
                if let Some(held) = arrivals.held.take() {
                    return held;
                }
                tokio::select! {
                    biased;
                    inbound = arrivals.queue.recv() => {
                        if let Some(Inbound::Message(_, bytes)) = &inbound {
                            self.inbox.bytes.fetch_sub(bytes.len(), Ordering::Relaxed);
                        }
                        arrivals.held = inbound;
                    }
                    () = self.inbox.wake.notified() => {}
                }
            }
        })
    }
}

impl Inbox {
    fn put(&self, subject: &Subject, payload: Bytes) {
        let size = payload.len();
        let waiting = self.bytes.fetch_add(size, Ordering::Relaxed);
        let fits = waiting + size <= NatsBus::ARRIVED;
        if !fits || self.queue.try_send(Inbound::Message(subject.clone(), payload)).is_err() {
            self.bytes.fetch_sub(size, Ordering::Relaxed);
            self.lose();
        }
    }

    fn lose(&self) {
        self.lost.store(true, Ordering::Release);
        self.wake.notify_one();
    }
}

impl Outbox {
    /// Subjects whose losses are told on themselves.
    const COUNTED: usize = 1024;

    fn send(
        &self,
        link: &Link,
        subject: async_nats::Subject,
        reply: Option<async_nats::Subject>,
        payload: Bytes,
    ) -> Result<(), ()> {
        let size = (subject.len() + reply.as_ref().map_or(0, |reply| reply.len()) + payload.len()) as u64;
        let written = link.client().statistics().out_bytes.load(Ordering::Relaxed);
        let waiting = self.bytes.load(Ordering::Relaxed).saturating_sub(written);
        // While the connection is cut, what waits would only be old when it arrives.
        if link.is_cut() || waiting + size > NatsBus::WAITING {
            return Err(());
        }
        link.publish(subject, reply, payload).map_err(drop)?;
        self.bytes.fetch_add(size, Ordering::Relaxed);
        Ok(())
    }

    fn drop_on(&self, subject: &Subject) {
        let mut dropped = lock(&self.dropped);
        if dropped.subjects.len() < Self::COUNTED {
            dropped.subjects.insert(subject.clone());
        } else if !dropped.subjects.contains(subject) {
            dropped.many = true;
        }
        self.owes.store(true, Ordering::Release);
    }

    /// Tells the other nodes of what was dropped: on one subject, before what follows there, or wherever it was. False
    /// when that was not possible.
    fn apologize(&self, link: &Link, prefix: &str, on: Option<&Subject>) -> bool {
        let mut dropped = lock(&self.dropped);
        let tell = |subject| self.send(link, subject, Some(DROPPED.into()), Bytes::new()).is_ok();
        match on {
            Some(subject) => {
                if dropped.subjects.contains(subject) && tell(written(prefix, subject)) {
                    dropped.subjects.remove(subject);
                }
            }
            None => dropped.subjects.retain(|subject| !tell(written(prefix, subject))),
        }
        dropped.many = dropped.many && !tell(lost(prefix));
        let owes = dropped.many || !dropped.subjects.is_empty();
        self.owes.store(owes, Ordering::Release);
        !dropped.many && on.map_or(!owes, |subject| !dropped.subjects.contains(subject))
    }
}

/// Moves what arrives on one subject to the inbox.
async fn hear(subject: Subject, mut subscriber: Subscriber, inbox: Arc<Inbox>) {
    while let Some(message) = subscriber.next().await {
        if message.reply.is_some_and(|reply| reply.as_str() == DROPPED) {
            inbox.lose();
        } else {
            inbox.put(&subject, message.payload);
        }
    }
}

/// Tells the node of losses: those of its connection, and those that other nodes tell of.
async fn tell_losses(link: Arc<Link>, prefix: Arc<str>, inbox: Arc<Inbox>) {
    let mut losses = link.losses();
    let Ok(mut told) = link.subscribe(lost(&prefix)) else { return };
    loop {
        tokio::select! {
            changed = losses.changed() => if changed.is_err() { return },
            message = told.next() => if message.is_none() { return },
        }
        inbox.lose();
    }
}

/// Tells of dropped messages on subjects that nothing follows on.
async fn apologize(link: Arc<Link>, prefix: Arc<str>, outbox: Arc<Outbox>) {
    let mut interval = tokio::time::interval(Duration::from_millis(100));
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        if outbox.owes.load(Ordering::Acquire) {
            outbox.apologize(&link, &prefix, None);
        }
    }
}

fn written(prefix: &str, subject: &Subject) -> async_nats::Subject {
    match subject {
        Subject::Room(room) => format!("{prefix}.b.r.{}", encoded(room.as_str())),
        Subject::Nodes => format!("{prefix}.b.nodes"),
        Subject::Node(node) => format!("{prefix}.b.n.{}", encoded(node.as_str())),
    }
    .into()
}

fn lost(prefix: &str) -> async_nats::Subject {
    format!("{prefix}.b.lost").into()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
