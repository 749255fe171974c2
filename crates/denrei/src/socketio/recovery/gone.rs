//! Sessions whose clients may come back, within their bounds.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::time::Instant;

use crate::socketio::names::Pid;
use crate::socketio::recovery::{Recovery, Session};

/// How many sessions wait in a namespace, or in all namespaces of a pattern together: each client can make one of those.
pub(crate) type Count = Arc<AtomicUsize>;

pub(super) struct Gone {
    config: Recovery,
    count: Count,
    waiting: HashMap<Pid, Waiting>,
    /// The order in which they expire. Two sessions may expire at the same time.
    deadlines: BTreeMap<(Instant, u64), Pid>,
    next: u64,
    /// About how many bytes they hold.
    weight: usize,
}

struct Waiting {
    session: Session,
    deadline: (Instant, u64),
    weight: usize,
}

impl Gone {
    pub(super) fn new(config: Recovery, count: Count) -> Self {
        Self { config, count, waiting: HashMap::new(), deadlines: BTreeMap::new(), next: 0, weight: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(super) fn get(&self, pid: &str) -> Option<&Session> {
        self.waiting.get(pid).map(|waiting| &waiting.session)
    }

    /// Keeps a session; the oldest go for it, to `lost`. Where others have all the room it is lost itself.
    pub(super) fn keep(&mut self, session: Session, lost: &mut Vec<Session>) {
        let weight = session.weight();
        let is_full = |gone: &Self| {
            gone.count.load(Ordering::Relaxed) >= gone.config.sessions.max(1)
                || gone.weight + weight > gone.config.bytes
        };
        while is_full(self) {
            match self.oldest() {
                Some(oldest) => lost.push(oldest),
                None => return lost.push(session),
            }
        }
        self.next += 1;
        let deadline = (Instant::now() + self.config.max_disconnection, self.next);
        self.deadlines.insert(deadline, session.pid.clone());
        self.weight += weight;
        self.count.fetch_add(1, Ordering::Relaxed);
        self.waiting.insert(session.pid.clone(), Waiting { session, deadline, weight });
    }

    /// Changes a session that waits; false if there is none.
    pub(super) fn amend(&mut self, pid: &str, change: impl FnOnce(&mut Session)) -> bool {
        let Some(waiting) = self.waiting.get_mut(pid) else { return false };
        change(&mut waiting.session);
        let weight = waiting.session.weight();
        self.weight = self.weight - waiting.weight + weight;
        waiting.weight = weight;
        true
    }

    /// Takes a session out, and whether its time is not over.
    pub(super) fn take(&mut self, pid: &str) -> Option<(Session, bool)> {
        let Waiting { session, deadline, weight } = self.waiting.remove(pid)?;
        self.deadlines.remove(&deadline);
        self.weight -= weight;
        self.count.fetch_sub(1, Ordering::Relaxed);
        Some((session, deadline.0 > Instant::now()))
    }

    /// Takes out those whose time is over, and says when the next one's is.
    pub(super) fn expire(&mut self, now: Instant) -> (Vec<Session>, Option<Instant>) {
        let mut expired = Vec::new();
        while self.next_deadline().is_some_and(|at| at <= now) {
            expired.extend(self.oldest());
        }
        (expired, self.next_deadline())
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first_key_value().map(|((at, _), _)| *at)
    }

    fn oldest(&mut self) -> Option<Session> {
        let pid = self.deadlines.first_key_value()?.1.clone();
        self.take(pid.as_str()).map(|(session, _)| session)
    }
}

impl Drop for Gone {
    fn drop(&mut self) {
        self.count.fetch_sub(self.waiting.len(), Ordering::Relaxed);
    }
}
