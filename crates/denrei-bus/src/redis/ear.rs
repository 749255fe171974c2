//! Subscriptions at all servers, kept over lost connections and moved slots; and what is published.
//!
//! Each server has a [`Line`]: a connection for what is heard and said, a task that makes the server's subscriptions what
//! is wanted, and one that publishes what has queued up while the last round trip was under way.

use std::collections::{HashMap, HashSet, VecDeque};
use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};

use bytes::Bytes;
use denrei_hub::BusError;
use redis::{Pipeline, PushInfo, PushKind, Value};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::fault;
use super::link::{Link, Live, PATIENCE, Pushes, State, answered};
use super::servers::{Known, Server, Servers, Topology, lock};

/// What can be subscribed to.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Topic {
    pub(super) kind: Kind,
    /// The channel's name, or the pattern.
    pub(super) name: Arc<[u8]>,
}

/// The worlds of channels.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Kind {
    Plain,
    Sharded,
    Pattern,
}

/// What is heard.
pub(super) enum Caught {
    /// Bytes on a channel, by a subscription of this kind.
    Message { kind: Kind, subscription: Vec<u8>, channel: Vec<u8>, payload: Bytes },
    /// Something may have been missed.
    Lost,
}

/// Takes what is heard. Called by the tasks of connections: it must be short.
pub(super) type Sink = Arc<dyn Fn(Caught) + Send + Sync>;

/// Tells how something that was asked for has ended.
type Teller = oneshot::Sender<Result<(), BusError>>;

/// A node's ear and voice at all servers.
pub(super) struct Ear {
    shared: Arc<Shared>,
    follower: JoinHandle<()>,
}

struct Shared {
    servers: Servers,
    sink: Sink,
    state: Mutex<Wanted>,
    /// Bytes that wait to be published.
    weight: AtomicUsize,
}

#[derive(Default)]
struct Wanted {
    /// Wanted topics, the line of each, and who waits for it.
    topics: HashMap<Topic, Want>,
    lines: HashMap<Arc<str>, Line>,
    topology: Option<Arc<Topology>>,
    /// Said before the servers were known.
    early: VecDeque<Saying>,
    /// Why nothing is known of the servers.
    down: Option<BusError>,
}

#[derive(Default)]
struct Want {
    line: Option<Arc<str>>,
    waiters: Vec<Teller>,
}

/// One server's.
struct Line {
    link: Arc<Link>,
    /// Topics whose subscription may have to change.
    changed: HashSet<Topic>,
    /// Some of them were another server's: what was said on the way here is lost.
    moved: bool,
    wake: Arc<Notify>,
    say: mpsc::Sender<Saying>,
    tasks: [JoinHandle<()>; 2],
}

struct Saying {
    topic: Topic,
    payload: Bytes,
    told: Option<Teller>,
}

impl Ear {
    /// What waits to be published, for each server, before more is dropped.
    const QUEUE: usize = 64 * 1024;
    const QUEUE_BYTES: usize = 64 << 20;

    pub(super) fn new(servers: &Servers, sink: Sink) -> Self {
        let (state, weight) = (Mutex::default(), AtomicUsize::new(0));
        let shared = Arc::new(Shared { servers: servers.clone(), sink, state, weight });
        let follower = tokio::spawn(follow(Arc::downgrade(&shared), servers.known()));
        Self { shared, follower }
    }

    /// Begins to listen. The last call for a topic counts, when it was made; the answer comes when Redis has confirmed it.
    /// A failed subscription is made as soon as it can be.
    pub(super) fn subscribe(&self, topic: &Topic) -> impl Future<Output = Result<(), BusError>> + Send + use<> {
        let (tell, told) = oneshot::channel();
        self.shared.want(topic, tell);
        async move {
            match timeout(PATIENCE, told).await {
                Ok(Ok(outcome)) => outcome,
                Ok(Err(_)) => Err(fault("the subscription was given up")),
                Err(_) => Err(fault("Redis has not confirmed a subscription in time")),
            }
        }
    }

    /// Ends it.
    pub(super) fn unsubscribe(&self, topic: &Topic) {
        let mut state = lock(&self.shared.state);
        let Some(want) = state.topics.remove(topic) else { return };
        for waiter in want.waiters {
            // What came later has overtaken it; whoever waited may be gone.
            let _ = waiter.send(Ok(()));
        }
        if let Some(line) = want.line {
            state.touch(&line, topic);
        }
    }

    /// Publishes: keeps the order of the calls for one topic; never blocks. `told` hears when the server has it.
    pub(super) fn publish(&self, topic: Topic, payload: Bytes, told: Option<Teller>) {
        let saying = Saying { topic, payload, told };
        let weight = saying.payload.len();
        if self.shared.weight.fetch_add(weight, Ordering::Relaxed) + weight > Self::QUEUE_BYTES {
            return self.shared.drop_saying(saying, &fault("too much waits to be published"));
        }
        let mut state = lock(&self.shared.state);
        if state.topology.is_some() {
            self.shared.say(&state, saying);
        } else if let Some(down) = &state.down {
            self.shared.drop_saying(saying, down);
        } else if state.early.len() < Self::QUEUE {
            state.early.push_back(saying);
        } else {
            self.shared.drop_saying(saying, &fault("too much waits to be published"));
        }
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        self.follower.abort();
        lock(&self.shared.state).lines.clear();
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Wanted {
    /// Has a line look at a topic again.
    fn touch(&mut self, line: &Arc<str>, topic: &Topic) {
        if let Some(line) = self.lines.get_mut(line) {
            line.changed.insert(topic.clone());
            line.wake.notify_one();
        }
    }
}

impl Shared {
    fn want(&self, topic: &Topic, tell: Teller) {
        let mut state = lock(&self.state);
        let state = &mut *state;
        let home = state.topology.as_ref().and_then(|topology| topology.server(&topic.name));
        let home = home.map(|server| Arc::clone(&server.name));
        let want = state.topics.entry(topic.clone()).or_default();
        want.line.clone_from(&home);
        let reason = match home.as_ref().and_then(|line| state.lines.get(line)) {
            Some(line) => match &*line.link.state().borrow() {
                State::Down(error) => Some(error.clone()),
                State::Trying | State::Live(_) => None,
            },
            None => state.down.clone(),
        };
        match reason {
            // It stays wanted, and is made when that is possible.
            Some(error) => drop(tell.send(Err(error))),
            None => {
                // Those who do not wait any more make place.
                want.waiters.retain(|waiter| !waiter.is_closed());
                want.waiters.push(tell);
            }
        }
        if let Some(line) = home {
            state.touch(&line, topic);
        }
    }

    fn say(&self, state: &Wanted, saying: Saying) {
        let home = state.topology.as_ref().and_then(|topology| topology.server(&saying.topic.name));
        let Some(line) = home.and_then(|server| state.lines.get(&server.name)) else {
            return self.drop_saying(saying, &self.servers.homeless());
        };
        if let Err(full) = line.say.try_send(saying) {
            self.drop_saying(full.into_inner(), &fault("too much waits to be published"));
        }
    }

    fn drop_saying(&self, saying: Saying, error: &BusError) {
        self.weight.fetch_sub(saying.payload.len(), Ordering::Relaxed);
        if let Some(told) = saying.told {
            let _ = told.send(Err(error.clone()));
        }
    }

    /// Makes the lines those of a topology, and gives each topic to the line of its server.
    fn follow(self: &Arc<Self>, topology: Arc<Topology>) {
        let mut state = lock(&self.state);
        let state = &mut *state;
        state.down = None;
        state.lines.retain(|name, _| topology.servers.iter().any(|server| server.name == *name));
        for server in &topology.servers {
            state.lines.entry(Arc::clone(&server.name)).or_insert_with(|| self.line(server));
        }
        let mut touched = Vec::new();
        for (topic, want) in &mut state.topics {
            let home = topology.server(&topic.name).map(|server| Arc::clone(&server.name));
            let left = std::mem::replace(&mut want.line, home.clone());
            if left != home {
                touched.extend([left, home].into_iter().flatten().map(|line| (line, topic.clone())));
            }
        }
        let moves = state.topology.replace(topology).is_some();
        for (line, topic) in touched {
            state.touch(&line, &topic);
            if let Some(line) = state.lines.get_mut(&line) {
                line.moved |= moves;
            }
        }
        for saying in std::mem::take(&mut state.early) {
            self.say(state, saying);
        }
    }

    /// The servers cannot be found.
    fn despair(&self, error: &BusError) {
        let mut state = lock(&self.state);
        state.down = Some(error.clone());
        for waiter in state.topics.values_mut().flat_map(|want| want.waiters.drain(..)) {
            let _ = waiter.send(Err(error.clone()));
        }
        for saying in std::mem::take(&mut state.early) {
            self.drop_saying(saying, error);
        }
    }

    fn line(self: &Arc<Self>, server: &Arc<Server>) -> Line {
        let (sink, looks) = (Arc::clone(&self.sink), self.servers.look());
        // How many sharded channels this node is leaving: to be thrown out of others means that their slot has moved.
        let leaving = Arc::new(AtomicUsize::new(0));
        let expected = Arc::clone(&leaving);
        let pushes: Pushes = Arc::new(move |push| {
            if push.kind == PushKind::SUnsubscribe {
                let asked =
                    expected.fetch_update(Ordering::AcqRel, Ordering::Acquire, |left| left.checked_sub(1)).is_ok();
                if !asked {
                    looks.notify_one();
                }
                return asked;
            }
            if let Some(caught) = catch(push) {
                sink(caught);
            }
            true
        });
        let link = Arc::new(Link::new(server.info.clone(), &[], pushes, self.servers.look()));
        let wake = Arc::new(Notify::new());
        let (say, said) = mpsc::channel(Ear::QUEUE);
        let listener = Listener {
            shared: Arc::downgrade(self),
            line: Arc::clone(&server.name),
            state: link.state(),
            wake: Arc::clone(&wake),
            leaving,
        };
        let speaking = speak(Arc::downgrade(self), Arc::clone(&link), said);
        let tasks = [tokio::spawn(listener.run()), tokio::spawn(speaking)];
        Line { link, changed: HashSet::new(), moved: false, wake, say, tasks }
    }
}

/// Keeps the lines those of the servers that are known.
async fn follow(shared: Weak<Shared>, mut known: watch::Receiver<Known>) {
    loop {
        let present = known.borrow_and_update().clone();
        let Some(shared) = shared.upgrade() else { return };
        match present {
            Known::Nothing => {}
            Known::Down(error) => shared.despair(&error),
            Known::All(topology) => shared.follow(topology),
        }
        drop(shared);
        if known.changed().await.is_err() {
            return;
        }
    }
}

fn catch(push: PushInfo) -> Option<Caught> {
    let mut data = push.data.into_iter().map(|value| match value {
        Value::BulkString(bytes) => Some(bytes),
        _ => None,
    });
    let mut next = || data.next().flatten();
    let (kind, pattern) = match push.kind {
        PushKind::Message => (Kind::Plain, None),
        PushKind::SMessage => (Kind::Sharded, None),
        PushKind::PMessage => (Kind::Pattern, Some(next()?)),
        _ => return None,
    };
    let (channel, payload) = (next()?, next()?);
    let subscription = pattern.unwrap_or_else(|| channel.clone());
    Some(Caught::Message { kind, subscription, channel, payload: payload.into() })
}

/// Makes the subscriptions of one server what is wanted.
struct Listener {
    shared: Weak<Shared>,
    line: Arc<str>,
    state: watch::Receiver<State>,
    wake: Arc<Notify>,
    leaving: Arc<AtomicUsize>,
}

impl Listener {
    /// Subscriptions that change in one round trip.
    const BATCH: usize = 1000;

    async fn run(mut self) {
        loop {
            let state = self.state.borrow_and_update().clone();
            if let State::Down(error) = &state {
                self.fail(error);
            }
            let State::Live(live) = state else {
                if self.state.changed().await.is_err() {
                    return;
                }
                continue;
            };
            if self.serve(&live).await.is_none() {
                return;
            }
        }
    }

    /// Does so for the life of one connection; none when nobody listens any more.
    async fn serve(&mut self, live: &Live) -> Option<()> {
        let mut confirmed = HashSet::new();
        self.leaving.store(0, Ordering::Release);
        self.touch_all()?;
        let mut restoring = live.before > 0;
        loop {
            let (changes, moved) = self.changes(&confirmed)?;
            if changes.is_empty() {
                if std::mem::take(&mut restoring) || moved {
                    (self.shared.upgrade()?.sink)(Caught::Lost);
                }
                tokio::select! {
                    () = self.wake.notified() => {}
                    changed = self.state.changed() => return changed.ok(),
                }
                continue;
            }
            let mut commands = Pipeline::with_capacity(changes.len());
            for (topic, wanted) in &changes {
                commands.cmd(verb(topic.kind, *wanted)).arg(&topic.name[..]);
            }
            let left = changes.iter().filter(|(topic, wanted)| topic.kind == Kind::Sharded && !wanted).count();
            self.leaving.fetch_add(left, Ordering::AcqRel);
            // A connection that fails here is given up, and all of it is tried again on the next one.
            let Ok(answers) = live.run(&commands).await else { return self.state.changed().await.ok() };
            self.settle(&mut confirmed, changes, answers)?;
        }
    }

    fn touch_all(&self) -> Option<()> {
        let shared = self.shared.upgrade()?;
        let mut state = lock(&shared.state);
        let mine = |want: &Want| want.line.as_ref() == Some(&self.line);
        let topics: HashSet<_> =
            state.topics.iter().filter(|(_, want)| mine(want)).map(|(topic, _)| topic.clone()).collect();
        state.lines.get_mut(&self.line)?.changed = topics;
        Some(())
    }

    /// What differs between what is wanted and what is confirmed, and once that is nothing, whether topics were moved here;
    /// who waits for what is so already is told.
    fn changes(&self, confirmed: &HashSet<Topic>) -> Option<(Vec<(Topic, bool)>, bool)> {
        let shared = self.shared.upgrade()?;
        let mut state = lock(&shared.state);
        let state = &mut *state;
        let line = state.lines.get_mut(&self.line)?;
        let mut changes = Vec::new();
        while changes.len() < Self::BATCH {
            let Some(topic) = line.changed.iter().next().cloned() else { break };
            line.changed.remove(&topic);
            let want = state.topics.get_mut(&topic).filter(|want| want.line.as_ref() == Some(&self.line));
            match (want, confirmed.contains(&topic)) {
                (Some(want), true) => tell_all(&mut want.waiters, &Ok(())),
                (Some(_), false) => changes.push((topic, true)),
                (None, true) => changes.push((topic, false)),
                (None, false) => {}
            }
        }
        let moved = changes.is_empty() && std::mem::take(&mut line.moved);
        Some((changes, moved))
    }

    fn settle(&self, confirmed: &mut HashSet<Topic>, changes: Vec<(Topic, bool)>, answers: Vec<Value>) -> Option<()> {
        let shared = self.shared.upgrade()?;
        let mut state = lock(&shared.state);
        for ((topic, wanted), answer) in changes.into_iter().zip(answers) {
            shared.servers.heed(&answer);
            let outcome = answered(answer).map(drop);
            if outcome.is_ok() && wanted {
                confirmed.insert(topic.clone());
            } else {
                confirmed.remove(&topic);
            }
            // Unwanted in the meantime, or wanted again: it is in the list of changes once more.
            if let Some(want) = state.topics.get_mut(&topic).filter(|_| wanted) {
                tell_all(&mut want.waiters, &outcome);
            }
        }
        Some(())
    }

    /// Who waits is told that it takes longer.
    fn fail(&self, error: &BusError) {
        let Some(shared) = self.shared.upgrade() else { return };
        let mut state = lock(&shared.state);
        for want in state.topics.values_mut().filter(|want| want.line.as_ref() == Some(&self.line)) {
            tell_all(&mut want.waiters, &Err(error.clone()));
        }
        // All of it is looked at again when there is a connection: until then it would only grow.
        if let Some(line) = state.lines.get_mut(&self.line) {
            line.changed.clear();
        }
    }
}

fn tell_all(waiters: &mut Vec<Teller>, outcome: &Result<(), BusError>) {
    for waiter in waiters.drain(..) {
        let _ = waiter.send(outcome.clone());
    }
}

fn verb(kind: Kind, wanted: bool) -> &'static str {
    match (kind, wanted) {
        (Kind::Plain, true) => "SUBSCRIBE",
        (Kind::Plain, false) => "UNSUBSCRIBE",
        (Kind::Sharded, true) => "SSUBSCRIBE",
        (Kind::Sharded, false) => "SUNSUBSCRIBE",
        (Kind::Pattern, true) => "PSUBSCRIBE",
        (Kind::Pattern, false) => "PUNSUBSCRIBE",
    }
}

/// Publishes to one server, one batch at a time.
async fn speak(shared: Weak<Shared>, link: Arc<Link>, mut said: mpsc::Receiver<Saying>) {
    const BATCH: usize = 2048;
    const BATCH_BYTES: usize = 1 << 20;
    while let Some(first) = said.recv().await {
        let mut bytes = first.payload.len();
        let mut batch = vec![first];
        while batch.len() < BATCH
            && bytes < BATCH_BYTES
            && let Ok(next) = said.try_recv()
        {
            bytes += next.payload.len();
            batch.push(next);
        }
        let mut commands = Pipeline::with_capacity(batch.len());
        for saying in &batch {
            let verb = if saying.topic.kind == Kind::Sharded { "SPUBLISH" } else { "PUBLISH" };
            commands.cmd(verb).arg(&saying.topic.name[..]).arg(&saying.payload[..]);
        }
        let outcome = match link.live().await {
            Ok(live) => live.run(&commands).await,
            Err(error) => Err(error),
        };
        let Some(shared) = shared.upgrade() else { return };
        shared.weight.fetch_sub(bytes, Ordering::Relaxed);
        match outcome {
            Ok(answers) => {
                for (saying, answer) in batch.into_iter().zip(answers) {
                    shared.servers.heed(&answer);
                    if let Some(told) = saying.told {
                        let _ = told.send(answered(answer).map(drop));
                    }
                }
            }
            Err(error) => {
                for told in batch.into_iter().filter_map(|saying| saying.told) {
                    let _ = told.send(Err(error.clone()));
                }
            }
        }
    }
}
