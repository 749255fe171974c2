//! Who is there: the best of all connections of a user, on all nodes, told to those whom it concerns, and to nobody else.
//!
//! It lives as long as its connections. What is kept is when a user was last there. Nothing here is urgent: it is looked
//! at four times a second, and not at all while the shards have too much to do.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use denrei_hub::{Audience, Hub, Message, Name, RoomName, Word};
use denrei_proto::codes::Code;
use denrei_store::Store;
use denrei_store::chat::{Profile, Seen};
use serde::Serialize;
use serde_json::json;
use tokio::sync::oneshot;

use super::elsewhere::{Elsewhere, Heard, There};
use super::{Caller, ChatConfig, draft, unavailable};
use crate::app::now_ms;
use crate::refusal::Refusal;

pub(super) struct Presence {
    store: Arc<Store>,
    hub: Hub,
    /// Rooms with more members are not told.
    largest: u64,
    /// How long a user may be away before others are told.
    leave: Duration,
    people: Mutex<People>,
    elsewhere: Elsewhere,
}

#[derive(Default)]
struct People {
    /// Those who are connected to any node, or were until lately.
    here: HashMap<Name, Person>,
    /// Those who are to be looked at.
    stirred: HashSet<Name>,
    /// Connections that nobody sits at.
    idle: HashMap<Name, HashSet<u64>>,
    /// Who has said since the store was asked whether others are to know.
    said: HashMap<Name, bool>,
}

struct Person {
    /// Others are not to know.
    invisible: bool,
    /// What others were told.
    told: Status,
    /// Since when there is no connection.
    gone: Option<Instant>,
    seen_at: u64,
    /// This node had connections of the user: it keeps when they were there.
    ours: bool,
}

/// How a user is there.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Online,
    Idle,
    Offline,
}

/// What others are told of a user.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Told<'a> {
    user_id: &'a str,
    status: Status,
    last_seen: u64,
}

impl Presence {
    const TICK: Duration = Duration::from_millis(250);
    /// How often it is kept that those who are there are.
    const KEEPING: Duration = Duration::from_secs(60);
    /// Of one user, so many others are told at most.
    const OBSERVERS: usize = 10_000;

    pub(super) fn new(store: Arc<Store>, hub: Hub, config: &ChatConfig) -> Self {
        let ChatConfig { presence_members: largest, presence_leave: leave, .. } = *config;
        let elsewhere = Elsewhere::new(hub.clone());
        Self { store, hub, largest, leave, people: Mutex::default(), elsewhere }
    }

    /// Looks after everybody, until the task is dropped.
    pub(super) async fn run(&self) {
        let mut tick = tokio::time::interval(Self::TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut kept = Instant::now();
        loop {
            tick.tick().await;
            self.look().await;
            self.elsewhere.flush();
            if kept.elapsed() >= Self::KEEPING {
                kept = Instant::now();
                self.keep_seen(self.present()).await;
            }
        }
    }

    /// Says that nobody sits at a connection, or somebody does again; or that others are to know of the user, or not.
    pub(super) async fn set(&self, caller: Caller<'_>, status: &str) -> Result<(), Refusal> {
        let user = caller.user()?;
        let visible = match status {
            "online" | "idle" => {
                let refusal = || Refusal::new(Code::InvalidField, "a connection is idle or online, and this is none");
                let number = caller.connection.ok_or_else(refusal)?.number();
                let mut people = self.lock();
                let idle = people.idle.entry(user.clone()).or_default();
                if status == "idle" {
                    idle.insert(number);
                } else {
                    idle.remove(&number);
                }
                people.stirred.insert(user.clone());
                return Ok(());
            }
            "visible" => true,
            "invisible" => false,
            _ => return Err(Refusal::new(Code::InvalidField, "status is online, idle, visible or invisible")),
        };
        self.keep(Profile::Visible { user: user.clone(), on: visible }).await?;
        self.show(user, visible);
        self.elsewhere.announce_visible(user, visible);
        Ok(())
    }

    /// Others are to know of a user, or not.
    fn show(&self, user: &Name, visible: bool) {
        let mut people = self.lock();
        match people.here.get_mut(user) {
            Some(person) => person.invisible = !visible,
            None => drop(people.said.insert(user.clone(), visible)),
        }
        people.stirred.insert(user.clone());
    }

    /// Another node says something of its users.
    pub(super) fn hear(&self, word: &Word) {
        if let Heard::Visible(user, on) = self.elsewhere.hear(word) {
            self.show(&user, on);
        }
    }

    /// Whether a user has a connection on any node.
    fn is_there(&self, user: &Name) -> bool {
        !self.hub.connections_of(user).is_empty() || self.elsewhere.of(user).is_some()
    }

    /// The presence of those whom a user may know of.
    pub(super) async fn of(&self, user: &Name, others: Vec<Name>) -> Result<serde_json::Value, Refusal> {
        let known = self.store.known_to(user, others, self.largest).await?;
        let people = self.lock();
        let told: Vec<_> = known.iter().map(|(other, seen)| json!(self.told(&people, other, seen))).collect();
        Ok(json!({ "presence": told }))
    }

    pub(super) async fn contacts(&self, user: &Name) -> Result<serde_json::Value, Refusal> {
        Ok(json!({ "contacts": self.store.contacts(user).await? }))
    }

    /// Keeps something of a user.
    pub(super) async fn keep(&self, profile: Profile) -> Result<(), Refusal> {
        let (tell, told) = oneshot::channel();
        self.store.keep_profile(
            profile,
            Box::new(move |outcome| {
                // Who asked may have gone.
                let _ = tell.send(outcome);
            }),
        );
        Ok(told.await.map_err(|_| unavailable())???)
    }

    fn told<'a>(&self, people: &People, user: &'a Name, seen: &Seen) -> Told<'a> {
        let (status, last_seen) = match people.here.get(user) {
            Some(person) => (self.status(user, person, &people.idle), person.seen_at.max(seen.at_ms)),
            // Who has just come is looked at soon.
            None if !seen.invisible && self.is_there(user) => (Status::Online, now_ms()),
            None => (Status::Offline, seen.at_ms),
        };
        Told { user_id: user.as_str(), status, last_seen }
    }

    /// How a user is there, as far as others are to know.
    fn status(&self, user: &Name, person: &Person, idle: &HashMap<Name, HashSet<u64>>) -> Status {
        let connections = self.hub.connections_of(user);
        match person.gone {
            _ if person.invisible => Status::Offline,
            // Who reloads a page has not gone.
            Some(gone) if gone.elapsed() < self.leave => person.told,
            Some(_) => Status::Offline,
            None if self.elsewhere.of(user).is_none_or(|there| there.idle) && is_idle(idle.get(user), &connections) => {
                Status::Idle
            }
            None => Status::Online,
        }
    }

    /// Looks at those who have come and gone, and tells others.
    async fn look(&self) {
        if self.hub.is_pressed() {
            // They are still there to be looked at.
            return;
        }
        let stirred = {
            let mut people = self.lock();
            people.stirred.extend(self.hub.comings_and_goings());
            people.stirred.extend(self.elsewhere.stirred());
            // What was said before now the store says too.
            people.said.clear();
            std::mem::take(&mut people.stirred)
        };
        if stirred.is_empty() {
            return;
        }
        let new: Vec<_> = {
            let people = self.lock();
            stirred.iter().filter(|user| !people.here.contains_key(*user)).cloned().collect()
        };
        let seen = if new.is_empty() { Ok(Vec::new()) } else { self.store.seen(new.clone()).await };
        let Ok(seen) = seen else {
            // Later, when the store can be asked.
            return self.lock().stirred.extend(stirred);
        };
        let seen: HashMap<_, _> = new.into_iter().zip(seen).collect();
        let mut gone = Vec::new();
        let mut stirred = stirred.into_iter();
        while let Some(user) = stirred.next() {
            if self.hub.is_pressed() {
                // The first thing to be put off.
                self.lock().stirred.extend(stirred.by_ref().chain([user]));
                break;
            }
            let news = self.notice(&user, seen.get(&user), &mut gone);
            if let Some((status, last_seen)) = news
                && let Err(refusal) = self.tell(&user, status, last_seen).await
            {
                tracing::debug!(%refusal, %user, "nobody was told how a user is there");
            }
        }
        self.keep_seen(gone).await;
    }

    /// Takes in how a user is there now; gives what others have to be told.
    fn notice(&self, user: &Name, seen: Option<&Seen>, gone: &mut Vec<(Name, u64)>) -> Option<(Status, u64)> {
        let connections = self.hub.connections_of(user);
        let elsewhere = self.elsewhere.of(user);
        let mut people = self.lock();
        let People { here, stirred, idle, said } = &mut *people;
        let is_there = !connections.is_empty() || elsewhere.is_some();
        if !is_there && !here.contains_key(user) {
            return None;
        }
        let person = here.entry(user.clone()).or_insert_with(|| Person {
            invisible: said.remove(user).map_or(seen.is_some_and(|seen| seen.invisible), |visible| !visible),
            told: Status::Offline,
            gone: None,
            seen_at: seen.map_or(0, |seen| seen.at_ms),
            ours: false,
        });
        person.ours |= !connections.is_empty();
        if let (Some(there), true) = (elsewhere, connections.is_empty()) {
            // Only the nodes that the user is at were asked to hide them.
            person.invisible = there.invisible;
        }
        if !is_there {
            if person.gone.is_none() {
                person.gone = Some(Instant::now());
                person.seen_at = if person.invisible { person.seen_at } else { now_ms() };
            }
        } else {
            person.gone = None;
            if let Some(idle) = idle.get_mut(user) {
                idle.retain(|connection| connections.contains(connection));
            }
            if !person.invisible {
                person.seen_at = now_ms();
            }
        }
        let there = There { idle: is_idle(idle.get(user), &connections), invisible: person.invisible };
        self.elsewhere.announce(user, (!connections.is_empty()).then_some(there));
        let status = self.status(user, person, idle);
        let news = (status != person.told).then_some((status, person.seen_at));
        person.told = status;
        match person.gone {
            Some(since) if since.elapsed() < self.leave => drop(stirred.insert(user.clone())),
            Some(_) => {
                if person.ours && !person.invisible {
                    gone.push((user.clone(), person.seen_at));
                }
                here.remove(user);
                idle.remove(user);
            }
            None => {}
        }
        news
    }

    /// Tells those of this node whom it concerns; each node does.
    async fn tell(&self, user: &Name, status: Status, last_seen: u64) -> Result<(), Refusal> {
        if self.hub.connections() == 0 {
            return Ok(());
        }
        let observers = self.store.observers(user, self.largest, Self::OBSERVERS).await?;
        let rooms = observers.iter().filter_map(|user| RoomName::parse(&format!("user:{user}")).ok()).collect();
        let told = Told { user_id: user.as_str(), status, last_seen };
        let room = RoomName::parse("presence").expect("a word is a name");
        let message = Message::signal(draft(room, "presence", &told));
        self.hub.scatter(Audience { rooms, ..Audience::default() }, &Arc::new(message));
        Ok(())
    }

    /// Those who are there, and may be known to be.
    fn present(&self) -> Vec<(Name, u64)> {
        let people = self.lock();
        let present =
            people.here.iter().filter(|(_, person)| person.ours && !person.invisible && person.gone.is_none());
        present.map(|(user, _)| (user.clone(), now_ms())).collect()
    }

    async fn keep_seen(&self, mut seen: Vec<(Name, u64)>) {
        while !seen.is_empty() {
            let rest = seen.split_off(seen.len().min(1000));
            if let Err(refusal) = self.keep(Profile::Seen(seen)).await {
                tracing::debug!(%refusal, "when users were last there is not kept");
            }
            seen = rest;
        }
    }

    fn lock(&self) -> MutexGuard<'_, People> {
        self.people.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether nobody sits at any of these connections.
fn is_idle(idle: Option<&HashSet<u64>>, connections: &[u64]) -> bool {
    match idle {
        Some(idle) => connections.iter().all(|number| idle.contains(number)),
        None => connections.is_empty(),
    }
}
