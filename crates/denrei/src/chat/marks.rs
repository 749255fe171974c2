//! Marks of what was read: what comes while the store is busy goes to it together, of each member only the furthest; rooms
//! are told once a second.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use denrei_hub::{Hub, Name, RoomName};
use denrei_proto::codes::Code;
use denrei_store::Store;
use denrei_store::chat::{Mark, Marked, What, message_id, room_id};
use serde_json::json;
use tokio::sync::{Notify, oneshot};

use super::{draft, to_user, unavailable};
use crate::refusal::Refusal;

pub(super) struct Marks {
    store: Arc<Store>,
    hub: Hub,
    /// Rooms with more members are not told.
    largest: u64,
    waiting: Mutex<HashMap<Key, Waiting>>,
    came: Notify,
    /// What rooms have not been told yet.
    untold: Mutex<HashMap<Key, (u64, u64)>>,
}

type Key = (RoomName, Name, What);

struct Waiting {
    sequence: u64,
    at_ms: u64,
    told: Vec<oneshot::Sender<Result<Marked, Refusal>>>,
}

impl Marks {
    /// Marks that may wait for the store.
    const MOST: usize = 65_536;
    /// How many go to it together.
    const TOGETHER: usize = 512;
    /// How often rooms are told.
    const TELLING: Duration = Duration::from_secs(1);

    pub(super) fn new(store: Arc<Store>, hub: Hub, largest: u64) -> Self {
        let (waiting, untold) = (Mutex::default(), Mutex::default());
        Self { store, hub, largest, waiting, came: Notify::new(), untold }
    }

    /// Moves a mark; done when it is kept.
    pub(super) async fn mark(&self, mark: Mark) -> Result<Marked, Refusal> {
        let (tell, told) = oneshot::channel();
        {
            let mut waiting = lock(&self.waiting);
            let full = waiting.len() >= Self::MOST;
            match waiting.entry((mark.room, mark.user, mark.what)) {
                Entry::Occupied(mut entry) => {
                    let known = entry.get_mut();
                    if known.sequence < mark.sequence {
                        (known.sequence, known.at_ms) = (mark.sequence, mark.at_ms);
                    }
                    // Whoever has gone does not wait.
                    known.told.retain(|tell| !tell.is_closed());
                    known.told.push(tell);
                }
                Entry::Vacant(_) if full => {
                    return Err(Refusal::later(Code::Unavailable, "too many marks wait for the store"));
                }
                Entry::Vacant(entry) => {
                    entry.insert(Waiting { sequence: mark.sequence, at_ms: mark.at_ms, told: vec![tell] });
                }
            }
        }
        self.came.notify_one();
        told.await.map_err(|_| unavailable())?
    }

    /// Hands marks to the store, and tells rooms, until the task is dropped.
    pub(super) async fn run(&self) {
        let telling = async {
            let mut tick = tokio::time::interval(Self::TELLING);
            loop {
                tick.tick().await;
                self.tell_rooms();
            }
        };
        let moving = async {
            loop {
                self.came.notified().await;
                while self.move_some().await {}
            }
        };
        tokio::join!(telling, moving);
    }

    /// Whether there was anything to move.
    async fn move_some(&self) -> bool {
        let (keys, some): (Vec<Key>, Vec<Waiting>) = {
            let mut waiting = lock(&self.waiting);
            let keys: Vec<_> = waiting.keys().take(Self::TOGETHER).cloned().collect();
            keys.into_iter().filter_map(|key| waiting.remove_entry(&key)).unzip()
        };
        if keys.is_empty() {
            return false;
        }
        let mark = |(key, waiting): (&Key, &Waiting)| {
            let (room, user, what) = key.clone();
            Mark { room, user, what, sequence: waiting.sequence, at_ms: waiting.at_ms }
        };
        let (tell, told) = oneshot::channel();
        let marks = keys.iter().zip(&some).map(mark).collect();
        self.store.mark(
            marks,
            Box::new(move |outcome| {
                let _ = tell.send(outcome);
            }),
        );
        let outcome = match told.await {
            Ok(outcome) => outcome.map_err(Refusal::from),
            Err(_) => Err(unavailable()),
        };
        match outcome {
            Ok(marked) => {
                for ((key, waiting), marked) in keys.into_iter().zip(some).zip(marked) {
                    self.settle(key, waiting, &marked.map_err(Refusal::from));
                }
            }
            Err(refusal) => {
                for waiting in some {
                    for tell in waiting.told {
                        let _ = tell.send(Err(refusal.clone()));
                    }
                }
            }
        }
        true
    }

    fn settle(&self, key: Key, waiting: Waiting, marked: &Result<Marked, Refusal>) {
        if let Ok(marked) = marked
            && marked.moved
        {
            let (_, user, what) = &key;
            if *what == What::Read {
                to_user(&self.hub, user, "readState", marked);
            }
            if marked.members <= self.largest {
                lock(&self.untold).insert(key, (marked.sequence, waiting.at_ms));
            }
        }
        for tell in waiting.told {
            // Who asked may have gone.
            let _ = tell.send(marked.clone());
        }
    }

    fn tell_rooms(&self) {
        if self.hub.is_pressed() {
            // What is not told now is told later, or by a later mark.
            return;
        }
        let untold = mem::take(&mut *lock(&self.untold));
        for ((room, user, what), (sequence, at_ms)) in untold {
            let (event, field) = match what {
                What::Read => ("readReceipt", "readAt"),
                What::Delivered => ("deliveryReceipt", "deliveredAt"),
            };
            let id = room_id(&room);
            let payload = json!({
                "userId": user.as_str(), "room": id, "messageId": message_id(id, sequence), "sequence": sequence,
                field: at_ms
            });
            self.hub.signal(draft(room, event, &payload));
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
