//! Several nodes in bad weather, under virtual time: what each client sees of each room is the truth, in order, once.
//!
//! A seed fixes what the world does, not which of two ready tasks tokio picks: run a seed that failed some more times.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use denrei_hub::{
    Bus, Draft, Extent, Hub, HubConfig, Log, Outbox, OutboxLimits, Position, RoomName, Seq, random_token,
};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::harness::{Connecting, Connection, MARKED, Node, draft, name, parse};
use crate::history::{Event, View};
use crate::world::{Weather, World};

/// Seeds of one run; more with `DENREI_SEEDS=1000 cargo test`, or one alone with `DENREI_SEED=17`.
const SEEDS: u64 = 60;

#[test]
fn every_reader_sees_the_truth_in_any_weather() {
    let seeds = match (number("DENREI_SEED"), number("DENREI_SEEDS")) {
        (Some(seed), _) => seed..seed + 1,
        (None, many) => 0..many.unwrap_or(SEEDS),
    };
    for seed in seeds {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let objections = runtime.block_on(async { Simulation::new(seed).run().await });
        assert!(objections.is_empty(), "seed {seed}:\n{}", objections.join("\n"));
    }
}

#[expect(clippy::disallowed_methods, reason = "whoever runs the tests asks for more of them, not the product")]
fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// One seed's world, nodes and clients.
struct Simulation {
    world: World,
    nodes: Arc<Mutex<Vec<Option<Node>>>>,
    rooms: Vec<RoomName>,
    clients: Vec<Arc<Client>>,
}

/// What becomes of the clients.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Phase {
    /// They come and go, and publish.
    Busy,
    /// They stay where they are, and listen.
    Quiet,
}

impl Simulation {
    fn new(seed: u64) -> Self {
        let world = World::new(seed, Weather::default());
        let weather = Weather {
            commit: world.below(15),
            read: world.below(15),
            reply: world.below(15),
            fails: world.below(3) * 5,
            travel: world.below(40),
            lost: world.below(3) * 10,
            told_lost: world.below(2) * 3,
            twice: world.below(2) * 10,
            window: [0, 40, 150][world.below(3) as usize],
        };
        world.set_weather(weather);
        let many = 1 + world.below(3) as usize;
        let nodes = (0..many).map(|_| Some(node(&world, many))).collect();
        let rooms: Vec<_> = (0..1 + world.below(3)).map(|room| name(&format!("feed:{room}"))).collect();
        let clients = (0..3 + world.below(5)).map(|_| Arc::new(Client::new(&world))).collect();
        Self { world, nodes: Arc::new(Mutex::new(nodes)), rooms, clients }
    }

    /// Runs it to its end; what the clients object to.
    async fn run(self) -> Vec<String> {
        let (turn, phase) = watch::channel(Phase::Busy);
        let mut tasks = JoinSet::new();
        for client in &self.clients {
            tasks.spawn(Arc::clone(client).live(Arc::clone(&self.nodes), self.rooms.clone(), phase.clone()));
        }
        let poller = Arc::new(Poller::default());
        tasks.spawn(Arc::clone(&poller).live(self.world.clone(), self.hub(), self.rooms[0].clone()));
        self.trouble().await;
        turn.send_replace(Phase::Quiet);
        tokio::time::sleep(Duration::from_secs(60)).await;
        let mut objections = Vec::new();
        for client in &self.clients {
            let views = client.views.lock().unwrap();
            objections.extend(client.objections.lock().unwrap().iter().cloned());
            for room in &self.rooms {
                let finished = self.world.with_truth(room, |truth| views[room].finish(truth));
                objections.extend(finished.err().map(|what| format!("{room} at the end: {what}")));
            }
        }
        let view = poller.view.lock().unwrap();
        objections.extend(poller.objections.lock().unwrap().iter().cloned());
        let finished = self.world.with_truth(&self.rooms[0], |truth| view.finish(truth));
        objections.extend(finished.err().map(|what| format!("the poller at the end: {what}")));
        objections
    }

    /// What happens to nodes and log while the clients are busy.
    async fn trouble(&self) {
        let world = &self.world;
        let nodes = self.nodes.lock().unwrap().len();
        tokio::time::sleep(Duration::from_millis(500 + world.below(2000))).await;
        if world.chance(50) {
            world.begin_another_life();
            // A node alone learns of it from the next message only, which must come.
            self.ghost(nodes > 1).await;
        }
        tokio::time::sleep(Duration::from_millis(500 + world.below(1000))).await;
        if nodes > 1 && world.chance(50) {
            // The first stays: the poller is there.
            let killed = self.nodes.lock().unwrap()[nodes - 1].take();
            drop(killed);
        }
        tokio::time::sleep(Duration::from_millis(500 + world.below(2000))).await;
        self.ghost(nodes > 1).await;
    }

    /// The last message of each room, of which the bus says nothing.
    async fn ghost(&self, silent: bool) {
        for room in &self.rooms {
            let draft = unique(room);
            if silent {
                self.world.commit(draft);
            } else {
                while self.hub().publish_and_wait(draft.clone()).await.is_err() {}
            }
        }
    }

    fn hub(&self) -> Hub {
        self.nodes.lock().unwrap()[0].as_ref().unwrap().hub.clone()
    }
}

fn node(world: &World, nodes: usize) -> Node {
    let (log, work) = world.log();
    let shards = 1 + world.below(2) as usize;
    let outbox = OutboxLimits { bytes: 600 + world.below(4000) as usize, ..OutboxLimits::default() };
    let bus = (nodes > 1).then(|| world.bus() as Arc<dyn Bus>);
    let config = HubConfig { shards, outbox, ..HubConfig::default() };
    let mut node = Node::start(config, Some(log as Arc<dyn Log>), bus);
    node.tasks.spawn(work);
    node
}

fn unique(room: &RoomName) -> Draft {
    draft(room.as_str(), &random_token(10))
}

/// Someone who joins all rooms, publishes, is cut off, and resumes on another node.
struct Client {
    world: World,
    pace: Duration,
    views: Mutex<BTreeMap<RoomName, View>>,
    objections: Mutex<Option<String>>,
}

impl Client {
    fn new(world: &World) -> Self {
        Self {
            world: world.clone(),
            pace: Duration::from_millis([0, 1, 50, 300][world.below(4) as usize]),
            views: Mutex::default(),
            objections: Mutex::default(),
        }
    }

    async fn live(
        self: Arc<Self>,
        nodes: Arc<Mutex<Vec<Option<Node>>>>,
        rooms: Vec<RoomName>,
        mut phase: watch::Receiver<Phase>,
    ) {
        loop {
            let (mut connection, hub, echo) = self.connect(&nodes);
            for room in &rooms {
                self.join(&connection, room, echo).await;
            }
            let outbox = Arc::clone(&connection.outbox);
            tokio::select! {
                () = connection.gone() => continue,
                () = self.publish(&hub, &outbox, &rooms) => {}
                // It has changed, or everything is over.
                _ = phase.changed() => {}
            }
            if *phase.borrow_and_update() == Phase::Quiet {
                connection.gone().await;
            } else {
                connection.close().await;
            }
        }
    }

    fn connect(self: &Arc<Self>, nodes: &Mutex<Vec<Option<Node>>>) -> (Connection, Hub, bool) {
        let mut nodes = nodes.lock().unwrap();
        let mut alive: Vec<_> = nodes.iter_mut().flatten().collect();
        let chosen = self.world.below(alive.len() as u64) as usize;
        let client = Arc::clone(self);
        let connecting = Connecting {
            wire: if self.world.chance(30) { MARKED } else { crate::harness::LINES },
            pace: self.pace,
            deliver: Some(Box::new(move |chunk| client.receive(&chunk))),
            ..Connecting::as_client(&random_token(8))
        };
        let connection = alive[chosen].connect(connecting);
        (connection, alive[chosen].hub.clone(), self.world.chance(20))
    }

    /// The position that was seen last, or from now on, or from the beginning.
    async fn join(&self, connection: &Connection, room: &RoomName, echo: bool) {
        let seen = self.views.lock().unwrap().get(room).and_then(|view| view.place.clone());
        while let Err(error) = connection.attach(room, seen.clone(), echo).await {
            if error == "the session has ended" {
                return;
            }
        }
    }

    async fn publish(&self, hub: &Hub, outbox: &Outbox, rooms: &[RoomName]) {
        for _ in 0..self.world.below(20) {
            tokio::time::sleep(Duration::from_millis(self.world.below(100))).await;
            let room = &rooms[self.world.below(rooms.len() as u64) as usize];
            let burst = if self.world.chance(10) { 40 } else { 1 };
            for _ in 0..burst {
                let draft = Draft {
                    from: Some(Arc::clone(outbox.client())),
                    origin: outbox.number(),
                    id: Some(name(&random_token(8))),
                    ..unique(room)
                };
                hub.relieved().await;
                if self.world.chance(20) {
                    // A resend is harmless, whatever became of the first.
                    hub.publish(draft.clone(), |_| {});
                }
                hub.publish(draft, |_| {});
            }
        }
    }

    fn receive(&self, chunk: &Bytes) {
        for line in std::str::from_utf8(chunk).unwrap().lines() {
            let (room, event) = parse(line);
            let room = name(&room);
            let mut views = self.views.lock().unwrap();
            let view = views.entry(room.clone()).or_default();
            let seen = self.world.with_truth(&room, |truth| view.see(&event, truth));
            if let Err(what) = seen {
                object(&self.objections, format!("{room}: {what}"));
            }
        }
    }
}

/// Someone who asks, and waits a while when there is nothing.
#[derive(Default)]
struct Poller {
    view: Mutex<View>,
    objections: Mutex<Option<String>>,
}

impl Poller {
    async fn live(self: Arc<Self>, world: World, hub: Hub, room: RoomName) {
        loop {
            let Ok(mut watch) = hub.watch(&room).await else { continue };
            if !self.poll(&world, &hub, &room).await {
                // None: what comes next does not follow on. Too long: ask again, as clients do.
                let _ = tokio::time::timeout(Duration::from_secs(25), watch.next()).await;
            }
        }
    }

    /// Takes what there is; false when there is nothing.
    async fn poll(&self, world: &World, hub: &Hub, room: &RoomName) -> bool {
        let place = self.view.lock().unwrap().place.clone();
        let after = place.as_ref().map_or(Seq::ZERO, |place| place.seq);
        let Ok(mut page) = hub.read(room, Extent::After(after, 20)).await else { return true };
        let joined = Position { epoch: page.epoch.clone(), seq: Seq::ZERO };
        let Some(place) = place else {
            self.see(world, room, &Event::Joined { place: joined, client: String::new() });
            return true;
        };
        if page.epoch != place.epoch {
            let Ok(whole) = hub.read(room, Extent::After(Seq::ZERO, 20)).await else { return true };
            page = whole;
        }
        let strange = page.epoch != place.epoch;
        if strange || page.first > place.seq.next() {
            let from = if strange { 0 } else { place.seq.0 + 1 };
            let epoch = page.epoch.as_str().into();
            self.see(world, room, &Event::Gap { epoch, from, to: page.first.0 - 1 });
        }
        for message in &page.messages {
            let payload = String::from_utf8_lossy(&message.payload).into_owned();
            self.see(world, room, &Event::Message { place: message.position(), payload });
        }
        strange || !page.messages.is_empty()
    }

    fn see(&self, world: &World, room: &RoomName, event: &Event) {
        let seen = world.with_truth(room, |truth| self.view.lock().unwrap().see(event, truth));
        if let Err(what) = seen {
            object(&self.objections, format!("poller of {room}: {what}"));
        }
    }
}

/// Keeps the first objection: what follows is of its making.
fn object(objections: &Mutex<Option<String>>, what: String) {
    objections.lock().unwrap().get_or_insert(what);
}
