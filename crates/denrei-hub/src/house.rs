//! What a hub does by itself: it lets go of what is old, hears the other nodes, and finds and reads what was missed.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::MissedTickBehavior;

use crate::bus::{Inbound, Subject};
use crate::class::Retained;
use crate::cluster::{self, NodeMessage};
use crate::hub::{Hub, Inner};
use crate::ids::Name;
use crate::lease::Lease;
use crate::lock;
use crate::log::{Extent, Log};
use crate::room::Room;
use crate::stats::add;
use crate::trace::{Outcome, Record, Step};

impl Hub {
    /// How long a missing message may still arrive by itself before it is read from the log.
    pub(crate) const PATIENCE: Duration = Duration::from_millis(20);
    /// How long it may, when nothing behind it has arrived either.
    const ON_ITS_WAY: Duration = Duration::from_millis(250);
    /// How often the heads of rooms with readers are compared with the log, when there are other nodes.
    const COMPARE: Duration = Duration::from_secs(2);

    /// Keeps house until the task is dropped: lets go of what is past its window, hears the other nodes, finds what
    /// the bus has lost and reads it from the log.
    pub async fn run(self) {
        let lost = Notify::new();
        // Apart, so that readers who are slow to be written to hold back neither signs of life nor what is read.
        tokio::join!(self.hear_all(&lost), self.keep(&lost));
    }

    async fn hear_all(&self, lost: &Notify) {
        loop {
            match self.0.inbound().await {
                Inbound::Message(_, bytes) => self.hear(&bytes).await,
                Inbound::Lost => {
                    if let Some(cluster) = &self.0.cluster {
                        add(&cluster.counters.lost, 1);
                    }
                    lost.notify_one();
                }
            }
        }
    }

    async fn keep(&self, lost: &Notify) {
        let mut sweep = steady(Duration::from_secs(5));
        let mut compare = steady(Self::COMPARE);
        let mut beat = steady(Duration::from_secs(1));
        let mut reading = JoinSet::new();
        // One at a time: a log that hangs must not gather comparisons.
        let mut comparing: Option<AbortHandle> = None;
        let mut trim = steady(self.0.classes.trimming());
        loop {
            let clustered = self.0.cluster.is_some();
            tokio::select! {
                () = self.0.missed.notified() => {
                    for room in std::mem::take(&mut *lock(&self.0.missing)) {
                        reading.spawn(catch_up(self.clone(), room));
                    }
                }
                Some(_) = reading.join_next() => {}
                () = lost.notified() => compare.reset_immediately(),
                _ = compare.tick(), if clustered && comparing.as_ref().is_none_or(AbortHandle::is_finished) => {
                    comparing = Some(reading.spawn(compare_heads(Arc::clone(&self.0))));
                }
                _ = beat.tick() => {
                    self.0.reach.tracer.sweep();
                    if let Some(cluster) = &self.0.cluster {
                        cluster.beat();
                    }
                }
                _ = sweep.tick() => {
                    self.0.memory.sweep();
                    if self.0.tails.are_tight() {
                        self.0.present().iter().for_each(|room| room.sweep());
                    }
                }
                _ = trim.tick() => if let Some(store) = &self.0.store {
                    reading.spawn(trim_store(Arc::clone(&self.0), Arc::clone(store)));
                },
            }
        }
    }

    /// Has a room compared with its log, which was seen to stand elsewhere.
    pub(crate) fn doubt(&self, room: &Arc<Room>) {
        room.doubt();
        self.0.miss(room);
    }

    async fn hear(&self, bytes: &[u8]) {
        let Some(cluster) = &self.0.cluster else { return };
        add(&cluster.counters.heard, 1);
        add(&cluster.counters.heard_bytes, bytes.len() as u64);
        let Some(message) = cluster::decode(bytes) else {
            add(&cluster.counters.unread, 1);
            return tracing::debug!(bytes = bytes.len(), "a message from another node could not be read");
        };
        if message.is_written() {
            self.relieved().await;
        }
        match message {
            NodeMessage::Published(message) => {
                if self.tracer().is_on() {
                    self.tracer().note(Record::message(Step::Bus, Outcome::Heard, &message));
                }
                self.0.accept(&message);
            }
            NodeMessage::Heads(heads) => {
                for (name, head) in heads {
                    if let Some(room) = self.0.find(&name) {
                        self.0.compare(&room, &head);
                    }
                }
            }
            NodeMessage::Expelled(user, room) => self.show_out(&user, &room),
            NodeMessage::Rewritten(room) => self.forget_recent(&room),
            NodeMessage::Alive(node) => cluster.meet(node),
            NodeMessage::Bye(node) => cluster.part(&node),
            NodeMessage::Told { from, topic, bytes } => cluster.hear(from, None, &topic, bytes),
            NodeMessage::Asked { from, number, topic, bytes } => cluster.hear(from, Some(number), &topic, bytes),
            NodeMessage::Direct { from, number, to, message } => self.hear_direct(from, number, &to, &message),
            NodeMessage::Answered { from, number, bytes } => cluster.answered(from, number, bytes),
        }
    }
}

impl Inner {
    async fn inbound(&self) -> Inbound {
        match &self.cluster {
            Some(cluster) => cluster.bus().receive().await,
            None => std::future::pending().await,
        }
    }
}

/// Reads from the log what a room misses, until nothing is.
async fn catch_up(hub: Hub, room: Arc<Room>) {
    let Some(log) = room.log.clone() else { return };
    let mut failures = 0;
    // A busy room is always a little behind its log: what is on its way is not read from there, where it may be gone.
    let patience = if room.may_come() { Hub::ON_ITS_WAY } else { Hub::PATIENCE };
    tokio::time::sleep(patience).await;
    while let Some(after) = room.lacks() {
        hub.relieved().await;
        // A broker that comes back has something for every room.
        let _turn = hub.0.readings.acquire().await;
        let further = match log.read(&room.name, Extent::After(after, 256)).await {
            Ok(page) => room.fill(&page, &hub.0.reach),
            Err(error) => {
                tracing::debug!(%error, failures, "a room could not be brought up from its log");
                room.doubt();
                false
            }
        };
        if room.lock().interest == 0 {
            return;
        }
        if further {
            failures = 0;
        } else {
            failures += 1;
            tokio::time::sleep(Hub::PATIENCE * (1 << failures.min(6))).await;
        }
    }
}

/// Has the store forget what was kept long enough. Of several nodes one does it each time: the lease is not given back.
async fn trim_store(inner: Arc<Inner>, store: Arc<dyn Log>) {
    let thing = Name::parse("trim").expect("a word is a name");
    match Lease::take(&inner.leases, &thing, inner.classes.trimming() / 2).await {
        Ok(Some(_)) => {}
        Ok(None) => return,
        Err(error) => return tracing::debug!(%error, "nobody can say which node trims the store"),
    }
    for (rooms, age) in inner.classes.retained() {
        let_go(Arc::clone(&store), rooms, age).await;
    }
}

/// Has the store forget what is older than its class is kept for.
async fn let_go(store: Arc<dyn Log>, rooms: Retained, age: Duration) {
    // The clock of the day decides here and nowhere else: what is kept for 30 days outlives the process.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let before = now.saturating_sub(age).as_millis();
    match store.trim(rooms.clone(), u64::try_from(before).unwrap_or(u64::MAX)).await {
        Ok(0) => {}
        Ok(events) => tracing::debug!(?rooms, events, "let go of what was kept long enough"),
        Err(error) => tracing::warn!(?rooms, %error, "what was kept long enough is still there"),
    }
}

/// Compares the heads of rooms with readers with their logs: finds a lost last message, also when its publisher died
/// between commit and bus. Beside that, subscribes to what the bus would not take earlier. None waits for the others: the
/// store is there when the broker is away.
async fn compare_heads(inner: Arc<Inner>) {
    let mut rooms = inner.present();
    rooms.retain(|room| room.started.initialized());
    let store = async {
        if let Some(store) = &inner.store {
            compare_with(&inner, &rooms, store).await;
        }
    };
    tokio::join!(listen_again(&inner), compare_with(&inner, &rooms, &inner.memory), store);
}

async fn listen_again(inner: &Arc<Inner>) {
    let Some(cluster) = &inner.cluster else { return };
    cluster.hears(&Subject::Node(cluster.node.id.clone())).await;
    cluster.hears(&Subject::Nodes).await;
    // Those that nobody else is interested in any more would only gather here.
    lock(&inner.deaf).retain(|interest| interest.room.lock().interest > 1);
    while let Some(interest) = { lock(&inner.deaf).pop() } {
        if !cluster.hears(&Subject::Room(interest.room.name.clone())).await {
            lock(&inner.deaf).push(interest);
            break;
        }
    }
}

async fn compare_with(inner: &Arc<Inner>, rooms: &[Arc<Room>], log: &Arc<dyn Log>) {
    let theirs: Vec<_> = rooms.iter().filter(|room| room.log.as_ref().is_some_and(|l| Arc::ptr_eq(l, log))).collect();
    for batch in theirs.chunks(500) {
        match log.heads(batch.iter().map(|room| room.name.clone()).collect()).await {
            Ok(heads) => batch.iter().zip(&heads).for_each(|(room, head)| inner.compare(room, head)),
            Err(error) => tracing::debug!(%error, "heads could not be compared with the log"),
        }
    }
}

fn steady(period: Duration) -> tokio::time::Interval {
    let mut interval = tokio::time::interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}
