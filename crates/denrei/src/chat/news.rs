//! What users are told of their rooms a little later, because it has to be looked up, or comes too often.

use std::collections::HashSet;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use denrei_hub::{Hub, Name, RoomName};
use denrei_store::Store;
use denrei_store::chat::{Actor, room_id};
use serde_json::json;

use super::{draft, to_user};
use crate::app::now_ms;

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
            for room in readers {
                let payload = json!({ "room": room_id(&room), "members": self.hub.readers(&room) });
                self.hub.signal(draft(room, "roomInfo", &payload));
            }
            for (room, user) in added {
                let actor = Actor { user: Some(user.clone()), ..Actor::default() };
                match self.store.chat_room(&room, &actor, now_ms()).await {
                    Ok(Ok(theirs)) => to_user(&self.hub, &user, "roomAdded", &theirs),
                    other => tracing::debug!(?other, %user, "a user is not told of a new room"),
                }
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
