//! Who is writing: kept in memory, told to those who read the room, and over by itself.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use denrei_hub::{ClientId, Draft, Hub, Message, Name, RoomName};
use denrei_store::chat::room_id;
use serde_json::json;

use super::{Caller, draft};

pub(super) struct Typing {
    hub: Hub,
    writing: Mutex<HashMap<(RoomName, Who), Writing>>,
}

/// A user; of guests the connection.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Who {
    User(Name),
    Guest(ClientId),
}

struct Writing {
    /// The connection that it comes by, which leaves it out.
    client: Option<ClientId>,
    origin: u64,
    told: Instant,
    /// None when it is over, and only the time it was told at still counts.
    ends: Option<Instant>,
}

/// Whether the others must be told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum News {
    /// They know, or there are too many who write.
    No,
    Yes,
}

impl Typing {
    /// It is over after so long without another word.
    const LASTS: Duration = Duration::from_secs(6);
    /// The room is told at most so often that somebody is still writing.
    const AGAIN: Duration = Duration::from_secs(3);
    /// And so often that somebody begins, however often they stop.
    const ANEW: Duration = Duration::from_secs(1);
    /// How many may write at once.
    const MOST: usize = 100_000;

    pub(super) fn new(hub: Hub) -> Self {
        Self { hub, writing: Mutex::default() }
    }

    /// Somebody writes on; says whether this is news, which takes the right to tell.
    pub(super) fn goes_on(&self, room: &RoomName, caller: Caller<'_>) -> News {
        let Some(who) = who(caller) else { return News::No };
        let now = Instant::now();
        let mut writing = self.lock();
        let full = writing.len() >= Self::MOST;
        match writing.get_mut(&(room.clone(), who)) {
            Some(Writing { ends: Some(ends), told, .. }) if *told + Self::AGAIN > now => {
                *ends = now + Self::LASTS;
                News::No
            }
            Some(Writing { ends: None, told, .. }) if *told + Self::ANEW > now => News::No,
            None if full => News::No,
            _ => News::Yes,
        }
    }

    /// Tells the room that somebody, who may, is writing.
    pub(super) fn tell(&self, room: &RoomName, caller: Caller<'_>) {
        let Some(who) = who(caller) else { return };
        let now = Instant::now();
        let client = caller.connection.map(|outbox| outbox.client().clone());
        let origin = caller.connection.map_or(0, denrei_hub::Outbox::number);
        let known = Writing { client, origin, told: now, ends: Some(now + Self::LASTS) };
        let mut payload = json!({ "userId": who.id(), "room": room_id(room) });
        if let Some(name) = &caller.identity.name {
            payload["userName"] = (**name).into();
        }
        self.signal(room, "typing", &who, &known, &payload);
        self.lock().insert((room.clone(), who), known);
    }

    /// Somebody has stopped.
    pub(super) fn stop(&self, room: &RoomName, caller: Caller<'_>) {
        if let Some(who) = who(caller) {
            self.end(room.clone(), who);
        }
    }

    /// Who has sent a message has written it.
    pub(super) fn has_sent(&self, message: &Message) {
        let who = match (&message.user, &message.from) {
            (Some(user), _) => Who::User(user.clone()),
            (None, Some(client)) => Who::Guest(client.clone()),
            (None, None) => return,
        };
        self.end(message.room.clone(), who);
    }

    /// Ends what nobody goes on with, until the task is dropped.
    pub(super) async fn run(&self) {
        let mut tick = tokio::time::interval(Duration::from_millis(250));
        loop {
            tick.tick().await;
            let now = Instant::now();
            let over = |writing: &Writing| {
                let gone = writing.client.as_ref().is_some_and(|client| !self.hub.is_connected(client));
                gone || writing.ends.unwrap_or(writing.told + Self::ANEW) <= now
            };
            let ended: Vec<_> = self.lock().extract_if(|_, writing| over(writing)).collect();
            for ((room, who), writing) in ended {
                if writing.ends.is_some() {
                    self.tell_end(&room, &who, &writing);
                }
            }
        }
    }

    fn end(&self, room: RoomName, who: Who) {
        let key = (room, who);
        let mut writing = self.lock();
        if let Some(known) = writing.get_mut(&key)
            && known.ends.take().is_some()
        {
            self.tell_end(&key.0, &key.1, known);
        }
    }

    fn tell_end(&self, room: &RoomName, who: &Who, writing: &Writing) {
        let payload = json!({ "userId": who.id(), "room": room_id(room) });
        self.signal(room, "stopTyping", who, writing, &payload);
    }

    fn signal(&self, room: &RoomName, event: &str, who: &Who, writing: &Writing, payload: &serde_json::Value) {
        let user = match who {
            Who::User(user) => Some(user.clone()),
            Who::Guest(_) => None,
        };
        let Writing { client, origin, .. } = writing;
        let draft = Draft { user, from: client.clone(), origin: *origin, ..draft(room.clone(), event, payload) };
        self.hub.signal(draft);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(RoomName, Who), Writing>> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Who {
    fn id(&self) -> &str {
        match self {
            Self::User(user) => user.as_str(),
            Self::Guest(client) => client,
        }
    }
}

fn who(caller: Caller<'_>) -> Option<Who> {
    match (&caller.identity.user, caller.connection) {
        (Some(user), _) => Some(Who::User(user.clone())),
        (None, Some(outbox)) => Some(Who::Guest(outbox.client().clone())),
        (None, None) => None,
    }
}
