//! What a node has seen lately of each room, so that readers who are a little late do not each read the log.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::ids::Seq;
use crate::message::Message;

/// The bound of all tails of a hub.
#[derive(Debug)]
pub(crate) struct Tails {
    most: usize,
    bytes: AtomicUsize,
}

/// The newest messages of a room, without holes.
pub(crate) struct Tail {
    messages: VecDeque<Arc<Message>>,
    bytes: usize,
    /// Something came since the last sweep.
    moved: bool,
    all: Arc<Tails>,
}

impl Tails {
    pub(crate) fn new(most: usize) -> Self {
        Self { most, bytes: AtomicUsize::new(0) }
    }

    /// Whether rooms in which nothing happens should make place for others.
    pub(crate) fn are_tight(&self) -> bool {
        self.bytes.load(Ordering::Relaxed) > self.most / 2
    }
}

impl Tail {
    const MESSAGES: usize = 256;
    const BYTES: usize = 1 << 20;

    pub(crate) fn new(all: Arc<Tails>) -> Self {
        Self { messages: VecDeque::new(), bytes: 0, moved: false, all }
    }

    /// Past the bound of all, the tail begins anew: readers of the room page its log.
    pub(crate) fn push(&mut self, message: &Arc<Message>) {
        self.moved = true;
        self.bytes += message.weight();
        self.messages.push_back(Arc::clone(message));
        let before = self.all.bytes.fetch_add(message.weight(), Ordering::Relaxed);
        if before + message.weight() > self.all.most {
            return self.clear();
        }
        while self.messages.len() > Self::MESSAGES || self.bytes > Self::BYTES {
            let Some(oldest) = self.messages.pop_front() else { return };
            self.release(oldest.weight());
        }
    }

    /// What follows a number, if all of it is here.
    pub(crate) fn after(&self, after: Seq, limit: usize) -> Option<Vec<Arc<Message>>> {
        let first = self.messages.front()?.seq;
        let skip = usize::try_from(after.next().0.checked_sub(first.0)?).ok()?;
        (skip <= self.messages.len()).then(|| self.messages.range(skip..).take(limit).cloned().collect())
    }

    pub(crate) fn clear(&mut self) {
        self.messages = VecDeque::new();
        self.release(self.bytes);
    }

    /// Lets go of everything if nothing came since the last call.
    pub(crate) fn sweep(&mut self) {
        if !std::mem::replace(&mut self.moved, false) {
            self.clear();
        }
    }

    fn release(&mut self, bytes: usize) {
        self.bytes -= bytes;
        self.all.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        self.clear();
    }
}

#[cfg(test)]
mod tests;
