//! What users are told of their rooms a little later, because it has to be looked up, or comes too often.

use std::collections::HashSet;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use denrei_hub::{Hub, Kind, Message, Name, RoomName, Word};
use denrei_store::Store;
use denrei_store::chat::{Actor, room_id};
use serde::Deserialize;
use serde_json::json;

use super::{draft, is_chat, to_user};
use crate::app::now_ms;

pub(super) const READERS: &str = "chat.readers";

/// Says how many readers rooms have on this node.
pub(super) fn answer_readers(hub: &Hub, word: Word) {
    let Some(answer) = word.answer else { return };
    match rmp_serde::from_slice::<Vec<RoomName>>(&word.bytes) {
        Ok(rooms) => {
            let counts: Vec<_> = rooms.iter().map(|room| hub.readers(room)).collect();
            answer.with(rmp_serde::to_vec(&counts).unwrap_or_default().into());
        }
        Err(error) => tracing::warn!(%error, node = %word.from, "what a node asks of rooms could not be read"),
    }
}

pub(super) struct News {
    store: Arc<Store>,
    hub: Hub,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    /// Users who are members of a room now.
    added: HashSet<(RoomName, Name)>,
    /// Users who have left a room, which they may perhaps not read any more.
    left: HashSet<(RoomName, Name)>,
    /// Rooms whose readers are to be told how many they are.
    readers: HashSet<RoomName>,
}

impl News {
    const TICK: Duration = Duration::from_millis(100);
    /// In one question to other nodes.
    const ROOMS: usize = 1000;
    /// How long they may take.
    const PATIENCE: Duration = Duration::from_millis(500);
    /// Of each kind; what is too much is not told.
    const MOST: usize = 100_000;

    pub(super) fn new(store: Arc<Store>, hub: Hub) -> Self {
        Self { store, hub, waiting: Mutex::default() }
    }

    pub(super) fn added(&self, room: RoomName, user: Name) {
        insert(&mut self.lock().added, (room, user));
    }

    pub(super) fn left(&self, room: RoomName, user: Name) {
        insert(&mut self.lock().left, (room, user));
    }

    pub(super) fn readers(&self, room: RoomName) {
        insert(&mut self.lock().readers, room);
    }

    /// Tells what waits, until the task is dropped.
    pub(super) async fn run(&self) {
        let mut tick = tokio::time::interval(Self::TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            let Waiting { added, left, readers } = mem::take(&mut *self.lock());
            for (room, user) in left {
                let actor = Actor { user: Some(user.clone()), ..Actor::default() };
                if !matches!(self.store.may_read(&room, &actor, now_ms()).await, Ok(Ok(()))) {
                    self.hub.expel(&user, &room);
                }
            }
            self.tell_readers(readers).await;
            for (room, user) in added {
                let actor = Actor { user: Some(user.clone()), ..Actor::default() };
                match self.store.chat_room(&room, &actor, now_ms()).await {
                    Ok(Ok(theirs)) => to_user(&self.hub, &user, "roomAdded", &theirs),
                    other => tracing::debug!(?other, %user, "a user is not told of a new room"),
                }
            }
        }
    }

    /// Tells the readers of rooms how many they are, on all nodes together.
    async fn tell_readers(&self, rooms: HashSet<RoomName>) {
        let rooms: Vec<_> = rooms.into_iter().collect();
        for rooms in rooms.chunks(Self::ROOMS) {
            let mut counts: Vec<_> = rooms.iter().map(|room| self.hub.readers(room)).collect();
            let asked = rmp_serde::to_vec(rooms).unwrap_or_default();
            let answers = self.hub.ask_nodes(None, READERS, asked.into(), Self::PATIENCE).await;
            for (node, bytes) in answers.given {
                match rmp_serde::from_slice::<Vec<u32>>(&bytes) {
                    Ok(theirs) => counts.iter_mut().zip(theirs).for_each(|(count, more)| *count += more),
                    Err(error) => tracing::warn!(%error, %node, "how many readers a node has could not be read"),
                }
            }
            for (room, count) in rooms.iter().zip(counts) {
                let payload = json!({ "room": room_id(room), "members": count });
                self.hub.signal(draft(room.clone(), "roomInfo", &payload));
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn insert<T: std::hash::Hash + Eq>(set: &mut HashSet<T>, value: T) {
    if set.len() < News::MOST {
        set.insert(value);
    }
}

/// Whose reading of a room ends with an event of its log: who was sent away hears of that, and of nothing behind it, on
/// every node and however late that comes to read it. Who has left may perhaps read on, see [`News::left`].
pub(crate) fn expels(message: &Message) -> Option<Name> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Gone<'a> {
        user_id: Name,
        reason: &'a str,
    }
    if message.event.as_str() != "userLeft" || !is_chat(&message.room) || message.kind != Kind::Broadcast {
        return None;
    }
    let gone: Gone<'_> = serde_json::from_slice(&message.payload).ok()?;
    (gone.reason != "left").then_some(gone.user_id)
}
