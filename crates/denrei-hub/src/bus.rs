//! The seam between nodes: bytes on subjects, at most once.

use std::collections::{HashSet, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tokio::sync::Notify;

use crate::ids::{Name, RoomName};
use crate::lock;

/// Carries bytes to the other nodes. A bus may lose messages, and may deliver those of different publishers in any
/// order: delivery is made true by numbers, heads and the log, never by the bus.
///
/// # Laws
/// Every implementation passes the suite in `laws.rs` (feature `laws`):
/// 1. What one node publishes on one subject arrives in that order or not at all, at every subscribed node.
/// 2. A node does not hear itself.
/// 3. Calls to `subscribe` and `unsubscribe` for one subject take effect in the order they were made; after
///    `subscribe` has answered, what others publish arrives.
/// 4. When messages may have been lost, [`Inbound::Lost`] says so.
pub trait Bus: Send + Sync + 'static {
    /// Hands bytes over; never blocks. Past the bound of its queue a bus drops them.
    fn publish(&self, subject: &Subject, bytes: Bytes);

    /// Begins to receive a subject.
    fn subscribe(&self, subject: &Subject) -> Pin<Box<dyn Future<Output = Result<(), BusError>> + Send>>;

    /// Ends it; never blocks.
    fn unsubscribe(&self, subject: &Subject);

    /// The next thing that arrived; for one caller. Cancel safe.
    fn receive(&self) -> Pin<Box<dyn Future<Output = Inbound> + Send + '_>>;
}

/// What bytes are published on; each bus has its own way to write it safely.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Subject {
    /// The messages of one room.
    Room(RoomName),
    /// All nodes.
    Nodes,
    /// One node, by its id.
    Node(Name),
}

/// What a bus has for its node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Inbound {
    /// Bytes from another node.
    Message(Subject, Bytes),
    /// Messages may have been missed since the last call.
    Lost,
}

/// A bus cannot be reached.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the bus is unavailable: {0}")]
pub struct BusError(pub Arc<str>);

/// A bus between hubs in one process: for tests, and the form that the other buses are measured against.
#[derive(Clone, Default)]
pub struct LocalBus(Arc<Mutex<Vec<Arc<Member>>>>);

/// One hub's end of a [`LocalBus`].
pub struct LocalNode {
    bus: LocalBus,
    member: Arc<Member>,
}

#[derive(Default)]
struct Member {
    state: Mutex<MemberState>,
    wake: Notify,
}

#[derive(Default)]
struct MemberState {
    subjects: HashSet<Subject>,
    queue: VecDeque<Inbound>,
}

impl LocalBus {
    /// Messages that wait for one node before more are dropped.
    const QUEUE: usize = 16 * 1024;

    /// Adds a node.
    pub fn node(&self) -> LocalNode {
        let member = Arc::new(Member::default());
        lock(&self.0).push(Arc::clone(&member));
        LocalNode { bus: self.clone(), member }
    }
}

impl Bus for LocalNode {
    fn publish(&self, subject: &Subject, bytes: Bytes) {
        for member in lock(&self.bus.0).iter().filter(|member| !Arc::ptr_eq(member, &self.member)) {
            let mut state = lock(&member.state);
            if !state.subjects.contains(subject) {
                continue;
            }
            if state.queue.len() < LocalBus::QUEUE {
                state.queue.push_back(Inbound::Message(subject.clone(), bytes.clone()));
            } else if state.queue.back() != Some(&Inbound::Lost) {
                state.queue.push_back(Inbound::Lost);
            }
            member.wake.notify_one();
        }
    }

    fn subscribe(&self, subject: &Subject) -> Pin<Box<dyn Future<Output = Result<(), BusError>> + Send>> {
        lock(&self.member.state).subjects.insert(subject.clone());
        Box::pin(std::future::ready(Ok(())))
    }

    fn unsubscribe(&self, subject: &Subject) {
        lock(&self.member.state).subjects.remove(subject);
    }

    fn receive(&self) -> Pin<Box<dyn Future<Output = Inbound> + Send + '_>> {
        Box::pin(async {
            loop {
                if let Some(inbound) = lock(&self.member.state).queue.pop_front() {
                    return inbound;
                }
                self.member.wake.notified().await;
            }
        })
    }
}

impl Drop for LocalNode {
    fn drop(&mut self) {
        lock(&self.bus.0).retain(|member| !Arc::ptr_eq(member, &self.member));
    }
}
