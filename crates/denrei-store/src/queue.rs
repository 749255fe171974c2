//! A bounded queue to a thread that takes as much as there is.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A queue with two bounds, items and bytes; past either, an item is refused and handed back.
pub(crate) struct Queue<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
    bound: Load,
}

/// How much is in a queue, or may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Load {
    pub(crate) items: usize,
    pub(crate) bytes: usize,
}

struct State<T> {
    items: VecDeque<(T, usize)>,
    bytes: usize,
    door: Door,
    /// Threads that wait for `changed`.
    waiting: usize,
}

enum Door {
    Open,
    /// Nothing is let in for now.
    Shut(Arc<str>),
    /// Nothing will ever be let in again.
    Closed,
}

impl<T> Queue<T> {
    pub(crate) fn new(bound: Load) -> Self {
        let state = State { items: VecDeque::new(), bytes: 0, door: Door::Open, waiting: 0 };
        Self { state: Mutex::new(state), changed: Condvar::new(), bound }
    }

    /// Puts an item of so many bytes at the end, or hands it back with the reason.
    pub(crate) fn push(&self, item: T, bytes: usize) -> Result<(), (T, Arc<str>)> {
        let mut state = self.lock();
        let refusal: Arc<str> = match &state.door {
            Door::Shut(reason) => Arc::clone(reason),
            Door::Closed => "the store is closed".into(),
            Door::Open if state.items.len() >= self.bound.items => {
                format!("{} operations wait for the disk", state.items.len()).into()
            }
            Door::Open if state.bytes + bytes > self.bound.bytes => {
                format!("{} bytes wait for the disk, the limit is {}", state.bytes, self.bound.bytes).into()
            }
            Door::Open => {
                state.items.push_back((item, bytes));
                state.bytes += bytes;
                if state.waiting > 0 {
                    self.changed.notify_one();
                }
                return Ok(());
            }
        };
        Err((item, refusal))
    }

    /// Waits for an item, then takes what there is, at most `most`, but at least one item. None when the queue is
    /// closed and empty.
    pub(crate) fn take(&self, most: Load) -> Option<Vec<T>> {
        let mut state = self.lock();
        while state.items.is_empty() {
            if matches!(state.door, Door::Closed) {
                return None;
            }
            state.waiting += 1;
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.waiting -= 1;
        }
        let mut taken = Load { items: 0, bytes: 0 };
        for (_, bytes) in state.items.iter().take(most.items) {
            if taken.items > 0 && taken.bytes + bytes > most.bytes {
                break;
            }
            taken = Load { items: taken.items + 1, bytes: taken.bytes + bytes };
        }
        state.bytes -= taken.bytes;
        Some(state.items.drain(..taken.items).map(|(item, _)| item).collect())
    }

    /// Lets nothing in until [`Queue::open`], and hands out what was in.
    pub(crate) fn shut(&self, reason: &Arc<str>) -> Vec<T> {
        let mut state = self.lock();
        if !matches!(state.door, Door::Closed) {
            state.door = Door::Shut(Arc::clone(reason));
        }
        state.empty()
    }

    /// Lets items in again, unless the queue was closed.
    pub(crate) fn open(&self) {
        let mut state = self.lock();
        if !matches!(state.door, Door::Closed) {
            state.door = Door::Open;
        }
    }

    /// Lets nothing in any more; what is in can still be taken.
    pub(crate) fn close(&self) {
        self.lock().door = Door::Closed;
        self.changed.notify_all();
    }

    /// Waits for so long, or until the queue is closed: true then.
    pub(crate) fn wait_for_close(&self, most: Duration) -> bool {
        let mut state = self.lock();
        state.waiting += 1;
        let open = |state: &mut State<T>| !matches!(state.door, Door::Closed);
        let waited = self.changed.wait_timeout_while(state, most, open);
        state = waited.unwrap_or_else(PoisonError::into_inner).0;
        state.waiting -= 1;
        !open(&mut state)
    }

    /// What is in it now.
    pub(crate) fn load(&self) -> Load {
        let state = self.lock();
        Load { items: state.items.len(), bytes: state.bytes }
    }

    /// Nothing that runs under the lock can panic half way.
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> State<T> {
    fn empty(&mut self) -> Vec<T> {
        self.bytes = 0;
        self.items.drain(..).map(|(item, _)| item).collect()
    }
}

#[cfg(test)]
mod tests;
