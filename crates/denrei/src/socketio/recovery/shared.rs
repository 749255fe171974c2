//! Recovery on several nodes: one log for all of them.
//!
//! It is a room of the hub that nobody else can reach, `emits:NAMESPACE`, with the window of its class: `emits:/chat` for
//! the namespace `/chat`, `emits:/dyn-{id}` for all that fit this pattern. What is emitted is appended there; each node
//! follows the room, keeps its newest entries at hand, and sends them to its own sockets. What the log refuses is sent all
//! the same, without a place in it: whoever misses it cannot come back.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use denrei_hub::{Epoch, Extent, Hub, Keep, LogError, Message, Page, Position, RoomName, Seq, Shelf, Watch, Window};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};

use crate::socketio::cluster::Deed;
use crate::socketio::emit::{Flags, Packet, Targets};
use crate::socketio::recovery::record::Records;
use crate::socketio::recovery::{Entry, Recovery, Ring};
use crate::socketio::{Namespace, lock, namespace};

/// The log that the nodes of a cluster have in common for a namespace, or for all that fit a pattern.
pub(crate) struct Shared {
    hub: Hub,
    room: RoomName,
    /// The namespace or the pattern.
    root: namespace::Weak,
    emits: Arc<Mutex<Ring>>,
    /// Up to where everything was sent on this node; none until it is known where the log stands.
    place: watch::Sender<Option<Position>>,
    records: Records,
    started: AtomicBool,
    unkept: mpsc::Sender<Unkept>,
    sending: Mutex<Option<mpsc::Receiver<Unkept>>>,
}

/// An emit that the log has refused.
type Unkept = (namespace::Weak, Deed);

impl Shared {
    /// Refused emits that wait to be sent; what is too much is dropped.
    const UNKEPT: usize = 1024;
    const PAGE: usize = 256;
    /// However it is told of nothing, it looks again.
    const LOOK: Duration = Duration::from_secs(10);

    /// None where the namespace has no name that other nodes know it by.
    pub(crate) fn new(root: &Namespace, hub: &Hub, shelf: Arc<dyn Shelf>, config: Recovery) -> Option<Arc<Self>> {
        let room = RoomName::parse(&format!("emits:{}", root.name())).ok().filter(|_| !root.name().is_empty())?;
        let window = match hub.class(&room).keep {
            Keep::Memory(window) => window,
            Keep::None | Keep::Store(_) => Window::default(),
        };
        let (unkept, sending) = mpsc::channel(Self::UNKEPT);
        Some(Arc::new(Self {
            records: Records::new(hub.clone(), shelf, config.max_disconnection),
            hub: hub.clone(),
            room,
            root: root.downgrade(),
            emits: Arc::new(Mutex::new(Ring::new(window, None))),
            place: watch::Sender::new(None),
            started: AtomicBool::new(false),
            unkept,
            sending: Mutex::new(Some(sending)),
        }))
    }

    pub(super) fn emits(&self) -> &Arc<Mutex<Ring>> {
        &self.emits
    }

    pub(super) fn records(&self) -> &Records {
        &self.records
    }

    pub(super) fn place(&self) -> Option<Position> {
        self.place.borrow().clone()
    }

    /// Appends an emit. Every node sends it once it is there.
    pub(crate) fn publish(&self, namespace: &Namespace, targets: &Targets, packet: &Packet, flags: Flags) {
        let own = (!namespace.is_pattern()).then(|| namespace.name());
        let Some(draft) = Entry::draft(&self.room, own, targets, packet, flags) else { return };
        let unkept = self.unkept.clone();
        let emit = (namespace.downgrade(), Deed::Emit(targets.clone(), packet.clone(), flags));
        self.hub.publish(draft, move |published| {
            if let Err(error) = published {
                let sent = unkept.try_send(emit).is_ok();
                tracing::warn!(%error, sent, "an event cannot be recovered");
            }
        });
    }

    /// Begins to follow the log, with the first client. On the runtime of a connection.
    pub(crate) fn start(self: &Arc<Self>, runtime: &Handle) {
        if !self.started.swap(true, Ordering::Relaxed) {
            let shared = Arc::clone(self);
            runtime.spawn(async move {
                tokio::select! {
                    () = shared.follow() => {}
                    () = shared.send_unkept() => {}
                    () = shared.records.keep(&shared.root) => {}
                }
            });
        }
    }

    /// Waits until everything up to a place was sent here, or at least it is known where the log stands. In another life
    /// of the log no place of this one comes.
    pub(super) async fn reach(&self, place: Option<&Position>) {
        let is_there = |at: &Option<Position>| match (at, place) {
            (None, _) => false,
            (Some(_), None) => true,
            (Some(at), Some(place)) => at.epoch != place.epoch || at.seq >= place.seq,
        };
        // Whoever has the other half is `self`.
        let _ = self.place.subscribe().wait_for(is_there).await;
    }

    /// Sends what the log has refused: here, and by word of mouth elsewhere.
    async fn send_unkept(&self) {
        let Some(mut sending) = lock(&self.sending).take() else { return };
        while let Some((namespace, deed)) = sending.recv().await {
            if let Some(namespace) = namespace.upgrade() {
                namespace.perform(&deed);
                namespace.elsewhere(&deed);
            }
        }
    }

    /// Ends with the namespace.
    async fn follow(&self) {
        let mut last = None;
        while self.root.upgrade().is_some() {
            if let Err(error) = self.step(&mut last).await {
                tracing::warn!(%error, room = %self.room, "the log of a namespace could not be read, trying again");
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        }
    }

    /// Sends what is there, and waits for more.
    async fn step(&self, last: &mut Option<Watch>) -> Result<(), LogError> {
        // Watched first, read then: what comes in between is found by one or the other. The last one goes after that, or
        // the room would be forgotten in between.
        let mut watch = self.hub.watch(&self.room).await?;
        *last = None;
        loop {
            // What is sent must not pile up before the connections.
            self.hub.relieved().await;
            let Some(place) = self.place() else {
                self.begin().await?;
                continue;
            };
            let page = self.hub.read_after(&self.room, &place, Self::PAGE).await?;
            if page.epoch != place.epoch || (page.first > place.seq.next() && page.head > place.seq) {
                // What was before is kept nowhere any more.
                let place = before_first(page.epoch, page.first);
                lock(&self.emits).jump(place.clone());
                self.stand(place);
                continue;
            }
            if page.messages.is_empty() {
                break;
            }
            page.messages.iter().for_each(|message| self.send(message));
        }
        // None: something is missing, and is found by looking.
        let _ = tokio::time::timeout(Self::LOOK, watch.next()).await;
        *last = Some(watch);
        Ok(())
    }

    /// Learns what is kept: clients may come to this node that have missed it on another.
    async fn begin(&self) -> Result<(), LogError> {
        let Page { epoch, first, head, .. } = self.hub.read(&self.room, Extent::Newest(1)).await?;
        let mut ring = Ring::new(lock(&self.emits).window(), None);
        let mut at = before_first(epoch, first);
        ring.jump(at.clone());
        while at.seq < head {
            let page = self.hub.read(&self.room, Extent::After(at.seq, 1000)).await?;
            let follows = page.epoch == at.epoch && page.first <= at.seq.next();
            if page.messages.is_empty() || !follows {
                // It went on in the meantime.
                at = page.position();
                ring.jump(at.clone());
                break;
            }
            for message in page.messages {
                at.seq = message.seq;
                ring.push(message);
            }
        }
        *lock(&self.emits) = ring;
        self.stand(at);
        Ok(())
    }

    /// Begins, or goes on, at a place that nothing that was sent leads to.
    fn stand(&self, place: Position) {
        for sessions in self.namespaces().iter().filter_map(Namespace::sessions) {
            sessions.jump(&place);
        }
        self.place.send_replace(Some(place));
    }

    fn namespaces(&self) -> Vec<Namespace> {
        self.root.upgrade().map(|root| root.concrete()).unwrap_or_default()
    }

    /// Sends an entry to those on this node whom it is for.
    fn send(&self, message: &Arc<Message>) {
        let place = message.position();
        // Kept first: a namespace that a client makes now begins behind it.
        lock(&self.emits).push(Arc::clone(message));
        match Entry::read(message) {
            Some(entry) => self.emit(entry, message, &place),
            None => tracing::warn!(%place, room = %self.room, "an entry was not understood"),
        }
        self.place.send_replace(Some(place));
    }

    fn emit(&self, entry: Entry, message: &Message, place: &Position) {
        let Some(root) = self.root.upgrade() else { return };
        let namespaces = match entry.namespace() {
            Some(name) if root.is_pattern() => root.io().and_then(|io| io.known(name)).into_iter().collect(),
            _ => root.concrete(),
        };
        let Some((targets, packet, flags)) = entry.emit(message) else { return };
        namespaces.iter().for_each(|namespace| namespace.deliver(&targets, &packet, flags, place));
    }
}

fn before_first(epoch: Epoch, first: Seq) -> Position {
    Position { epoch, seq: Seq(first.0.saturating_sub(1)) }
}
