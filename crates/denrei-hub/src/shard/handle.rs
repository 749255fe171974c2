//! The half of a shard that others hold: its inbox, what its connections have queued, and whether it has too much to do.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Notify, oneshot};

use super::Command;
use crate::message::Wire;
use crate::outbox::{Outbox, OutboxLimits};
use crate::stats::{EventNames, ShardCounters};
use crate::trace::Tracer;

/// How everyone else reaches a shard.
#[derive(Clone, Debug)]
pub struct ShardHandle(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    number: usize,
    tracer: Arc<Tracer>,
    inbox: Mutex<Inbox>,
    pressed: AtomicBool,
    connections: AtomicUsize,
    outboxes: Outboxes,
    wake: Notify,
    relief: Notify,
    counters: ShardCounters,
}

/// What is queued for the shard's connections, and what may be.
#[derive(Debug, Default)]
struct Outboxes {
    queued: AtomicUsize,
    bytes: AtomicUsize,
    most: AtomicUsize,
}

#[derive(Debug, Default)]
struct Inbox {
    commands: Vec<Command>,
    /// The shard is still about what it took out last.
    busy: bool,
    /// About how much memory their messages hold.
    weight: usize,
}

impl ShardHandle {
    /// When this many commands wait, or messages of so many bytes, publishers pause until the shard has caught up.
    const PRESSED: usize = 4096;
    const HEAVY: usize = 32 << 20;

    pub(crate) fn new(number: usize, names: &EventNames, tracer: Arc<Tracer>) -> Self {
        Self(Arc::new(Shared {
            number,
            tracer,
            inbox: Mutex::default(),
            pressed: AtomicBool::new(false),
            connections: AtomicUsize::new(0),
            outboxes: Outboxes::default(),
            wake: Notify::new(),
            relief: Notify::new(),
            counters: ShardCounters::new(names),
        }))
    }

    /// The shard's number, from 0.
    pub fn number(&self) -> usize {
        self.0.number
    }

    /// How many connections it serves.
    pub fn connections(&self) -> usize {
        self.0.connections.load(Ordering::Relaxed)
    }

    /// Bounds the outboxes of its connections, which are one of so many parts of all.
    pub(crate) fn limit(&self, limits: OutboxLimits, parts: usize) {
        self.0.outboxes.bytes.store(limits.bytes, Ordering::Relaxed);
        self.0.outboxes.most.store(limits.total / parts, Ordering::Relaxed);
    }

    /// How many bytes may be queued for one connection.
    pub(crate) fn outbox_bytes(&self) -> usize {
        self.0.outboxes.bytes.load(Ordering::Relaxed)
    }

    /// Bytes queued for its connections. A message that several have to get counts for each, though it is one.
    pub fn outboxes(&self) -> usize {
        self.0.outboxes.queued.load(Ordering::Relaxed)
    }

    /// How many may be.
    pub(crate) fn outboxes_most(&self) -> usize {
        self.0.outboxes.most.load(Ordering::Relaxed)
    }

    /// A connection had so many bytes queued, and has so many now.
    pub(crate) fn hold(&self, before: usize, now: usize) {
        match now.checked_sub(before) {
            Some(0) => {}
            Some(more) => drop(self.0.outboxes.queued.fetch_add(more, Ordering::Relaxed)),
            None => drop(self.0.outboxes.queued.fetch_sub(before - now, Ordering::Relaxed)),
        }
    }

    pub(super) fn tracer(&self) -> &Arc<Tracer> {
        &self.0.tracer
    }

    pub(crate) fn counters(&self) -> &ShardCounters {
        &self.0.counters
    }

    pub(crate) fn enter(&self, outbox: &Arc<Outbox>, period: u32) {
        self.0.connections.fetch_add(1, Ordering::Relaxed);
        self.send(Command::Enter(Arc::clone(outbox), period));
    }

    pub(crate) fn remind(&self, outbox: &Outbox, after: Duration) {
        self.send(Command::Remind(outbox.number(), after.as_secs().saturating_add(1)));
    }

    pub(crate) fn leave(&self, outbox: &Outbox) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
        self.send(Command::Leave(outbox.number()));
    }

    pub(crate) fn send(&self, command: Command) {
        let mut inbox = self.lock();
        inbox.weight += match &command {
            Command::Deliver(_, message) | Command::Scatter(_, message) => message.weight(),
            Command::Send(.., bytes) => bytes.len(),
            _ => 0,
        };
        inbox.commands.push(command);
        if inbox.commands.len() == 1 {
            self.0.wake.notify_one();
        }
        if inbox.commands.len() >= Self::PRESSED || inbox.weight >= Self::HEAVY {
            self.0.pressed.store(true, Ordering::Relaxed);
        }
    }

    /// Has bytes sent behind what the shard has to do; gives them back when it has nothing to do.
    pub(crate) fn send_behind(&self, outbox: &Arc<Outbox>, wire: Wire, bytes: Bytes) -> Option<Bytes> {
        {
            let inbox = self.lock();
            if !inbox.busy && inbox.commands.is_empty() {
                return Some(bytes);
            }
        }
        self.send(Command::Send(Arc::clone(outbox), wire, bytes));
        None
    }

    pub(crate) fn is_pressed(&self) -> bool {
        self.0.pressed.load(Ordering::Relaxed)
    }

    /// Waits while too much is under way. Publishers call this before they take more in, which bounds the inbox.
    pub(crate) async fn relieved(&self) {
        while self.0.pressed.load(Ordering::Relaxed) {
            let relief = self.0.relief.notified();
            if self.0.pressed.load(Ordering::Relaxed) {
                relief.await;
            }
        }
    }

    /// Waits until something is asked.
    pub(super) async fn woken(&self) {
        self.0.wake.notified().await;
    }

    /// Waits until everything that was sent before has been done.
    pub async fn settled(&self) {
        let (tell, told) = oneshot::channel();
        self.send(Command::Settle(tell));
        // Dropped unanswered in the turn in which the shard panics. After it nobody answers: a process does not outlive
        // its shards.
        let _ = told.await;
    }

    /// What has been asked since the last turn.
    pub(super) fn take(&self) -> Vec<Command> {
        let mut inbox = self.lock();
        let Inbox { commands, .. } = std::mem::replace(&mut *inbox, Inbox { busy: true, ..Inbox::default() });
        // Under the lock, so that no pressure of the next turn is relieved by this one.
        if self.0.pressed.swap(false, Ordering::Relaxed) {
            self.0.relief.notify_waiters();
        }
        commands
    }

    /// The shard is done with what it took.
    pub(super) fn rest(&self) {
        self.lock().busy = false;
    }

    fn lock(&self) -> MutexGuard<'_, Inbox> {
        self.0.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
