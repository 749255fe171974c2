//! What several nodes share, simulated: one log and one bus, in whatever weather.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use denrei_hub::{
    Appended, Bus, BusError, Done, Draft, Epoch, Extent, Inbound, Log, LogError, Message, Name, Page, Position,
    Reading, RoomName, Seq, Subject,
};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::history::{Life, Record, Truth};

/// The log's database and the bus's server. Weather and chance come from its seed.
#[derive(Clone)]
pub(crate) struct World(Arc<Mutex<State>>);

/// How badly things go. Chances are in percent, delays at most so many ms.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Weather {
    /// From the call of an append to the commit, and again from there to the answer.
    pub(crate) commit: u64,
    /// From the call of a reading to the moment that it shows.
    pub(crate) read: u64,
    /// And again from there to the answer.
    pub(crate) reply: u64,
    /// Of an append or a reading that fails.
    pub(crate) fails: u64,
    /// On the bus.
    pub(crate) travel: u64,
    /// Of a bus message that is lost without a word.
    pub(crate) lost: u64,
    /// Of one that is lost, and the node is told.
    pub(crate) told_lost: u64,
    /// Of one that arrives again later.
    pub(crate) twice: u64,
    /// How many messages of a room are kept; 0 for all.
    pub(crate) window: usize,
}

struct State {
    random: Random,
    weather: Weather,
    epoch: Epoch,
    rooms: BTreeMap<RoomName, Room>,
    readings: usize,
    ports: Vec<Port>,
    /// When the last message of a publisher arrives: it cannot be overtaken by its next one.
    arrival: HashMap<(usize, usize, Subject), Instant>,
    sent: u64,
}

#[derive(Default)]
struct Room {
    kept: VecDeque<Arc<Message>>,
    head: u64,
    ids: HashMap<(Option<Name>, Name), Arc<Message>>,
    truth: Truth,
}

#[derive(Default)]
struct Port {
    subjects: HashSet<Subject>,
    /// By time of arrival, then by when they were sent.
    inbox: BTreeMap<(Instant, u64), Inbound>,
    wake: Arc<Notify>,
}

impl World {
    pub(crate) fn new(seed: u64, weather: Weather) -> Self {
        let state = State {
            random: Random(seed),
            weather,
            epoch: Epoch::parse("life-1").unwrap(),
            rooms: BTreeMap::new(),
            readings: 0,
            ports: Vec::new(),
            arrival: HashMap::new(),
            sent: 0,
        };
        Self(Arc::new(Mutex::new(state)))
    }

    pub(crate) fn set_weather(&self, weather: Weather) {
        self.lock().weather = weather;
    }

    /// The database was replaced: what it kept is gone.
    pub(crate) fn begin_another_life(&self) {
        let mut state = self.lock();
        let state = &mut *state;
        let number = 1 + state.epoch.as_str().trim_start_matches("life-").parse::<u32>().unwrap();
        state.epoch = Epoch::parse(&format!("life-{number}")).unwrap();
        for room in state.rooms.values_mut() {
            for life in room.truth.lives.values_mut() {
                life.forgotten = life.records.len() as u64;
            }
            room.begin(&state.epoch);
        }
    }

    /// Commits a draft and tells no one, as a node does that dies between commit and bus.
    pub(crate) fn commit(&self, draft: Draft) -> Appended {
        self.lock().commit(draft)
    }

    /// Lets the checker look.
    pub(crate) fn with_truth<T>(&self, room: &RoomName, look: impl FnOnce(&Truth) -> T) -> T {
        look(&self.lock().room(room).truth)
    }

    /// How often the log was read, heads apart.
    pub(crate) fn readings(&self) -> usize {
        self.lock().readings
    }

    /// A number below a bound.
    pub(crate) fn below(&self, bound: u64) -> u64 {
        self.lock().random.below(bound)
    }

    pub(crate) fn chance(&self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// One node's way to the log, and the work that it needs done as long as the node lives.
    pub(crate) fn log(&self) -> (Arc<NodeLog>, impl Future<Output = ()> + use<>) {
        let log = Arc::new(NodeLog { world: self.clone(), queue: Mutex::default(), wake: Notify::new() });
        (Arc::clone(&log), log.write())
    }

    /// One node's end of the bus.
    pub(crate) fn bus(&self) -> Arc<NodeBus> {
        let mut state = self.lock();
        let wake = Arc::new(Notify::new());
        state.ports.push(Port { wake: Arc::clone(&wake), ..Port::default() });
        Arc::new(NodeBus { world: self.clone(), number: state.ports.len() - 1, wake })
    }

    async fn nap(&self, most: impl Fn(&Weather) -> u64) {
        let ms = {
            let mut state = self.lock();
            let most = most(&state.weather);
            state.random.below(most + 1)
        };
        if ms > 0 {
            tokio::time::sleep(Duration::from_millis(ms)).await;
        }
    }

    fn fails(&self) -> Result<(), LogError> {
        let mut state = self.lock();
        let percent = state.weather.fails;
        if state.random.below(100) < percent { Err(LogError::Unavailable("bad weather".into())) } else { Ok(()) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn room(&mut self, name: &RoomName) -> &mut Room {
        self.rooms.entry(name.clone()).or_insert_with(|| {
            let mut room = Room::default();
            room.begin(&self.epoch);
            room
        })
    }

    fn commit(&mut self, draft: Draft) -> Appended {
        let (epoch, window) = (self.epoch.clone(), self.weather.window);
        let room = self.room(&draft.room);
        let key = draft.id.clone().map(|id| (draft.user.clone(), id));
        if let Some(message) = key.as_ref().and_then(|key| room.ids.get(key)) {
            return Appended { message: Arc::clone(message), duplicate: true };
        }
        room.head += 1;
        let place = Position { epoch, seq: Seq(room.head) };
        // What is read later does not know the connection that it came by.
        let stored = Arc::new(Message::stored(Draft { origin: 0, ..draft.clone() }, place.clone()));
        let payload = String::from_utf8_lossy(&draft.payload).into_owned();
        let record = Record { payload, from: draft.from.as_deref().map(Into::into) };
        room.life().records.push(record);
        room.kept.push_back(Arc::clone(&stored));
        if let Some(key) = key {
            room.ids.insert(key, stored);
        }
        while window > 0 && room.kept.len() > window {
            room.kept.pop_front();
        }
        room.life().forgotten = room.head - room.kept.len() as u64;
        Appended { message: Arc::new(draft.assigned(place)), duplicate: false }
    }

    fn page(&mut self, room: &RoomName, extent: Extent) -> Page {
        let epoch = self.epoch.clone();
        let room = self.room(room);
        let (skip, take) = match extent {
            Extent::After(after, limit) => (room.kept.iter().filter(|message| message.seq <= after).count(), limit),
            Extent::Newest(limit) => (room.kept.len().saturating_sub(limit), limit),
        };
        let messages = room.kept.iter().skip(skip).take(take).cloned().collect();
        let head = Seq(room.head);
        Page { epoch, messages, head, first: Seq(room.head + 1 - room.kept.len() as u64) }
    }

    fn send(&mut self, from: usize, to: usize, subject: &Subject, bytes: &Bytes) {
        let weather = self.weather;
        if self.random.below(100) < weather.lost {
            return;
        }
        let mut at = Instant::now() + Duration::from_millis(self.random.below(weather.travel + 1));
        if self.random.below(100) < weather.told_lost {
            return self.deliver(to, at, Inbound::Lost);
        }
        let last = self.arrival.entry((from, to, subject.clone())).or_insert(at);
        at = at.max(*last);
        *last = at;
        self.deliver(to, at, Inbound::Message(subject.clone(), bytes.clone()));
        if self.random.below(100) < weather.twice {
            let later = at + Duration::from_millis(self.random.below(10 * weather.travel + 1));
            self.deliver(to, later, Inbound::Message(subject.clone(), bytes.clone()));
        }
    }

    fn deliver(&mut self, to: usize, at: Instant, inbound: Inbound) {
        self.sent += 1;
        self.ports[to].inbox.insert((at, self.sent), inbound);
        self.ports[to].wake.notify_one();
    }
}

impl Room {
    fn begin(&mut self, epoch: &Epoch) {
        self.kept.clear();
        self.ids.clear();
        self.head = 0;
        self.truth.epoch = epoch.as_str().into();
        self.truth.lives.insert(epoch.as_str().into(), Life::default());
    }

    fn life(&mut self) -> &mut Life {
        self.truth.lives.entry(self.truth.epoch.clone()).or_default()
    }
}

/// A node's log: drafts queue, and are committed and answered in order, some at a time.
pub(crate) struct NodeLog {
    world: World,
    queue: Mutex<VecDeque<(Draft, Done)>>,
    wake: Notify,
}

impl NodeLog {
    async fn write(self: Arc<Self>) {
        loop {
            let batch: Vec<_> = {
                let mut queue = self.queue.lock().unwrap();
                let many = queue.len().min(16);
                queue.drain(..many).collect()
            };
            if batch.is_empty() {
                self.wake.notified().await;
                continue;
            }
            self.world.nap(|weather| weather.commit).await;
            let committed: Vec<_> = batch
                .into_iter()
                .map(|(draft, done)| (self.world.fails().map(|()| self.world.commit(draft)), done))
                .collect();
            // A node that ends here has committed what it will tell no one.
            self.world.nap(|weather| weather.commit).await;
            for (appended, done) in committed {
                done(appended);
            }
        }
    }
}

impl Log for NodeLog {
    fn append(&self, draft: Draft, done: Done) {
        self.queue.lock().unwrap().push_back((draft, done));
        self.wake.notify_one();
    }

    fn read(&self, room: &RoomName, extent: Extent) -> Reading<Page> {
        let (world, room) = (self.world.clone(), room.clone());
        Box::pin(async move {
            world.nap(|weather| weather.read).await;
            world.fails()?;
            let page = {
                let mut state = world.lock();
                state.readings += 1;
                state.page(&room, extent)
            };
            world.nap(|weather| weather.reply).await;
            Ok(page)
        })
    }

    fn heads(&self, rooms: Vec<RoomName>) -> Reading<Vec<Position>> {
        let world = self.world.clone();
        Box::pin(async move {
            world.nap(|weather| weather.read).await;
            world.fails()?;
            let heads = {
                let mut state = world.lock();
                rooms.iter().map(|room| state.page(room, Extent::Newest(0)).position()).collect()
            };
            world.nap(|weather| weather.reply).await;
            Ok(heads)
        })
    }
}

/// A node's end of the bus.
pub(crate) struct NodeBus {
    world: World,
    number: usize,
    wake: Arc<Notify>,
}

impl Bus for NodeBus {
    fn publish(&self, subject: &Subject, bytes: Bytes) {
        let mut state = self.world.lock();
        for to in 0..state.ports.len() {
            if to != self.number && state.ports[to].subjects.contains(subject) {
                state.send(self.number, to, subject, &bytes);
            }
        }
    }

    fn subscribe(&self, subject: &Subject) -> Pin<Box<dyn Future<Output = Result<(), BusError>> + Send>> {
        self.world.lock().ports[self.number].subjects.insert(subject.clone());
        let world = self.world.clone();
        Box::pin(async move {
            world.nap(|weather| weather.travel).await;
            world.fails().map_err(|_| BusError("bad weather".into()))
        })
    }

    fn unsubscribe(&self, subject: &Subject) {
        self.world.lock().ports[self.number].subjects.remove(subject);
    }

    fn receive(&self) -> Pin<Box<dyn Future<Output = Inbound> + Send + '_>> {
        Box::pin(async {
            loop {
                let due = {
                    let mut state = self.world.lock();
                    match state.ports[self.number].inbox.first_entry() {
                        Some(first) if first.key().0 <= Instant::now() => return first.remove(),
                        first => first.map(|first| first.key().0),
                    }
                };
                match due {
                    Some(at) => tokio::select! {
                        () = tokio::time::sleep_until(at) => {}
                        () = self.wake.notified() => {}
                    },
                    None => self.wake.notified().await,
                }
            }
        })
    }
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}
