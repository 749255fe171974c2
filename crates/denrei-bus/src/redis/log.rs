//! The log of memory rooms, shared by all nodes: a hash and a stream for each room, changed by one script.
//!
//! What a node appends while a round trip is under way goes out together, one call of the script for each room. The
//! epoch of a room ends when Redis has let go of a part of it, and when another process of Redis than before has it: that
//! one may have less than was acknowledged, and would give numbers a second time. A connection ends with the process at
//! its other end, so each call says which process it speaks to.

mod appender;
mod entry;

use std::any::Any;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use denrei_hub::{
    BusError, Classes, Done, Draft, Epoch, Extent, Keep, Log, LogError, Page, Position, Reading, RoomName, Seq, Window,
};
use redis::{Cmd, Value};
use sha1::{Digest, Sha1};
use tokio::sync::Notify;
use tokio::task::{JoinHandle, JoinSet};

use self::appender::Appender;
use super::leases::{milliseconds, unreadable};
use super::link::answered;
use super::servers::{Server, Servers, lock};
use crate::Options;
use crate::encoded;

/// See there.
pub(super) const SCRIPT: &str = include_str!("log.lua");

/// The [`Log`] of all nodes at these servers.
pub(super) struct RedisLog {
    rooms: Arc<Rooms>,
    appender: Appender,
    held: Arc<Held>,
    keeper: JoinHandle<()>,
}

/// How rooms are asked about.
struct Rooms {
    servers: Servers,
    prefix: String,
    classes: Arc<Classes>,
    script: String,
}

/// Who holds a room, and when it was renewed, if it was.
type Hold = (Weak<RoomName>, Option<Instant>);

/// Rooms that this node holds.
#[derive(Default)]
struct Held {
    rooms: Mutex<HashMap<RoomName, Hold>>,
    wake: Notify,
}

impl RedisLog {
    /// The weight of a page; see [`denrei_hub::Message::weight`].
    const PAGE: u64 = 2 << 20;

    pub(super) fn new(servers: &Servers, options: &Options) -> Self {
        let script = Sha1::digest(SCRIPT).iter().map(|byte| format!("{byte:02x}")).collect();
        let (prefix, classes) = (options.prefix.clone(), Arc::clone(&options.classes));
        let rooms = Arc::new(Rooms { servers: servers.clone(), prefix, classes, script });
        let held = Arc::new(Held::default());
        let keeper = tokio::spawn(renew(Arc::clone(&rooms), Arc::clone(&held)));
        Self { appender: Appender::new(Arc::clone(&rooms)), rooms, held, keeper }
    }
}

impl Drop for RedisLog {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

impl Log for RedisLog {
    fn append(&self, draft: Draft, done: Done) {
        self.appender.append(draft, done);
    }

    fn read(&self, room: &RoomName, extent: Extent) -> Reading<Page> {
        let (rooms, room) = (Arc::clone(&self.rooms), room.clone());
        Box::pin(async move {
            let (what, after, most) = match extent {
                Extent::After(after, most) => ("after", after.min(Seq::LAST), most),
                Extent::Newest(most) => ("newest", Seq::ZERO, most),
            };
            let answer = rooms.read(&room, what, [after.0, most.min(1 << 20) as u64, Self::PAGE]).await;
            let answer = answer.map_err(unavailable)?;
            entry::page(&room, answer).ok_or_else(|| unavailable(unreadable()))
        })
    }

    fn heads(&self, names: Vec<RoomName>) -> Reading<Vec<Position>> {
        let rooms = Arc::clone(&self.rooms);
        Box::pin(async move { rooms.heads(&names).await.map_err(unavailable) })
    }

    fn hold(&self, room: &RoomName) -> Option<Arc<dyn Any + Send + Sync>> {
        let mut held = lock(&self.held.rooms);
        if let Some(hold) = held.get(room).and_then(|(hold, _)| hold.upgrade()) {
            return Some(hold);
        }
        let hold = Arc::new(room.clone());
        // The room may be old: how much of its time is left is not known.
        held.insert(room.clone(), (Arc::downgrade(&hold), None));
        Some(hold)
    }

    /// Has the rooms that this node holds kept for longer; Redis lets go of the others by itself.
    fn sweep(&self) {
        self.held.wake.notify_one();
    }
}

impl Rooms {
    /// A room that nobody holds, uses or appends to is kept for the time that its messages are, and this much longer.
    const GRACE: Duration = Duration::from_secs(10);
    /// Rooms asked about in one round trip.
    const BATCH: usize = 500;

    /// What chooses a room's server: its keys are there together.
    fn tag(room: &RoomName) -> String {
        encoded(room.as_str())
    }

    fn keys(&self, room: &RoomName) -> [String; 2] {
        let (prefix, tag) = (&self.prefix, Self::tag(room));
        [format!("{prefix}:l:{{{tag}}}:h"), format!("{prefix}:l:{{{tag}}}:s")]
    }

    fn window(&self, room: &RoomName) -> Window {
        match self.classes.of(room).keep {
            Keep::Memory(window) => window,
            Keep::None | Keep::Store(_) => Window::default(),
        }
    }

    /// How long a room is kept that nobody holds.
    fn lasts(&self, room: &RoomName) -> Duration {
        self.window(room).age.saturating_add(Self::GRACE)
    }

    /// A call of the script, to be done by the process that runs at the other end.
    fn command(&self, room: &RoomName, process: &str, what: &str) -> Cmd {
        let window = self.window(room);
        let mut command = redis::cmd("EVALSHA");
        command.arg(&self.script).arg(2).arg(&self.keys(room)).arg(what).arg(process).arg(Epoch::random().as_str());
        command.arg(window.events.max(1)).arg(milliseconds(window.age)).arg(window.bytes);
        command.arg(milliseconds(self.lasts(room)));
        command
    }

    async fn read(&self, room: &RoomName, what: &str, rest: [u64; 3]) -> Result<Value, BusError> {
        let server = self.server(room).await?;
        let live = server.commands.live().await?;
        let mut command = self.command(room, &live.run, what);
        command.arg(&rest);
        let mut commands = redis::pipe();
        commands.add_command(command);
        let answers = self.servers.run(&live, &commands).await?;
        answered(answers.into_iter().next().unwrap_or(Value::Nil))
    }

    async fn server(&self, room: &RoomName) -> Result<Arc<Server>, BusError> {
        let topology = self.servers.topology().await?;
        topology.server(Self::tag(room).as_bytes()).cloned().ok_or_else(|| self.servers.homeless())
    }

    /// Each server is asked about its rooms, all servers at the same time.
    async fn heads(self: Arc<Self>, names: &[RoomName]) -> Result<Vec<Position>, BusError> {
        let mut asking = JoinSet::new();
        for (server, rooms) in self.by_server(names).await? {
            for batch in rooms.chunks(Self::BATCH) {
                let (rooms, server, batch) = (Arc::clone(&self), Arc::clone(&server), batch.to_vec());
                asking.spawn(async move {
                    let live = server.commands.live().await?;
                    let mut commands = redis::pipe();
                    for (_, room) in &batch {
                        commands.add_command(rooms.command(room, &live.run, "head"));
                    }
                    let answers = rooms.servers.run(&live, &commands).await?;
                    let heads = batch
                        .iter()
                        .zip(answers)
                        .map(|((at, _), answer)| Ok((*at, entry::head(answered(answer)?).ok_or_else(unreadable)?)));
                    heads.collect::<Result<Vec<_>, BusError>>()
                });
            }
        }
        let mut heads = vec![None; names.len()];
        while let Some(batch) = asking.join_next().await {
            for (at, head) in batch.map_err(|_| unreadable())?? {
                heads[at] = Some(head);
            }
        }
        heads.into_iter().map(|head| head.ok_or_else(unreadable)).collect()
    }

    /// Rooms with their place in the list, by the server that has them.
    async fn by_server(&self, names: &[RoomName]) -> Result<Vec<(Arc<Server>, Vec<(usize, RoomName)>)>, BusError> {
        let topology = self.servers.topology().await?;
        let mut all: HashMap<Arc<str>, (Arc<Server>, Vec<_>)> = HashMap::new();
        for (at, room) in names.iter().enumerate() {
            let server = topology.server(Self::tag(room).as_bytes()).ok_or_else(|| self.servers.homeless())?;
            let (_, rooms) = all.entry(Arc::clone(&server.name)).or_insert_with(|| (Arc::clone(server), Vec::new()));
            rooms.push((at, room.clone()));
        }
        Ok(all.into_values().collect())
    }
}

/// Has held rooms kept for longer, each when a third of its time is over.
async fn renew(rooms: Arc<Rooms>, held: Arc<Held>) {
    loop {
        held.wake.notified().await;
        let due = held.due(&rooms);
        for batch in due.chunks(Rooms::BATCH) {
            match renew_batch(&rooms, batch).await {
                Ok(()) => held.renewed(batch),
                Err(error) => tracing::debug!(%error, "held rooms could not be kept for longer"),
            }
        }
    }
}

async fn renew_batch(rooms: &Rooms, batch: &[RoomName]) -> Result<(), BusError> {
    for (server, batch) in rooms.by_server(batch).await? {
        let mut commands = redis::pipe();
        for (_, room) in &batch {
            for key in rooms.keys(room) {
                commands.cmd("PEXPIRE").arg(key).arg(milliseconds(rooms.lasts(room)));
            }
        }
        let live = server.commands.live().await?;
        for answer in rooms.servers.run(&live, &commands).await? {
            answered(answer)?;
        }
    }
    Ok(())
}

impl Held {
    /// Forgets rooms that nobody holds any more, and says which of the others are to be renewed.
    fn due(&self, rooms: &Rooms) -> Vec<RoomName> {
        let mut held = lock(&self.rooms);
        held.retain(|_, (hold, _)| hold.strong_count() > 0);
        let due = held
            .iter()
            .filter(|(room, (_, renewed))| renewed.is_none_or(|renewed| renewed.elapsed() > rooms.lasts(room) / 3));
        due.map(|(room, _)| room.clone()).collect()
    }

    fn renewed(&self, batch: &[RoomName]) {
        let mut held = lock(&self.rooms);
        for room in batch {
            if let Some((_, renewed)) = held.get_mut(room) {
                *renewed = Some(Instant::now());
            }
        }
    }
}

fn unavailable(error: BusError) -> LogError {
    LogError::Unavailable(error.0)
}
