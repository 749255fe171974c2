//! Chat: what clients ask of rooms with members, whatever protocol they speak.
//!
//! A [`Call`] is what somebody asks, read from a method's name and a JSON object ([`calls`]); [`Chat::answer`] does it
//! and answers with a JSON object. The store decides what is allowed in a room, within the transaction that does it; the
//! application's policy is asked before. What the store has kept is handed to the hub here, in the order of its numbers.
//!
//! [`marks`] moves marks of what was read, [`news`] tells what may be told a little later, [`typing`] and [`presence`] are
//! kept in memory only.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use denrei_hub::{
    Draft, Hub, Listener, Name, Outbox, Outcome, PublishOutcome as Counted, Record, RoomName, Seq, Step, Word,
};
use denrei_proto::codes::Code;
use denrei_store::Store;
use denrei_store::chat::{Actor, Change, Changed, NewMessage, Own, Refused, RoomKind, Sent, room_id};
use serde::Serialize;
use serde_json::json;
use tokio::sync::oneshot;

use crate::app::{App, now_ms};
use crate::identity::Identity;
use crate::refusal::Refusal;
use crate::spans::Sampler;

mod answers;
mod calls;
mod elsewhere;
mod marks;
mod names;
mod news;
mod presence;
mod typing;

pub(crate) use answers::told;
pub(crate) use calls::Call;
pub(crate) use names::{is_chat, room_name};
pub(crate) use news::expels;

use marks::Marks;
use news::News;
use presence::Presence;
use typing::Typing;

/// Settings of the chat.
#[derive(Clone, Debug)]
pub struct ChatConfig {
    /// Whether joining a missing public room makes it. Default true.
    pub create_on_join: bool,
    /// Bytes of a message's content, and of its data. Default 16 KiB.
    pub content: usize,
    /// Rooms with more members get no receipts. Default 100.
    pub receipts_members: u64,
    /// Presence is not told in rooms with more members. Default 200.
    pub presence_members: u64,
    /// How long a user may be away before others are told. Default 10 s.
    pub presence_leave: Duration,
}

impl Default for ChatConfig {
    fn default() -> Self {
        Self {
            create_on_join: true,
            content: 16 << 10,
            receipts_members: 100,
            presence_members: 200,
            presence_leave: Duration::from_secs(10),
        }
    }
}

/// The chat of a server.
pub(crate) struct Chat {
    store: Arc<Store>,
    hub: Hub,
    config: ChatConfig,
    marks: Marks,
    typing: Arc<Typing>,
    news: Arc<News>,
    presence: Presence,
    sampler: Arc<Sampler>,
}

/// Who asks something.
#[derive(Clone, Copy)]
pub(crate) struct Caller<'a> {
    pub(crate) identity: &'a Identity,
    /// The connection that it comes by; none for a request of its own.
    pub(crate) connection: Option<&'a Outbox>,
}

impl Caller<'_> {
    fn actor(&self) -> Actor {
        let Identity { user, name, .. } = self.identity;
        Actor {
            user: user.clone(),
            name: name.clone(),
            client: self.connection.map(|outbox| outbox.client().clone()),
            origin: self.connection.map_or(0, Outbox::number),
            admin: self.identity.has_role("admin"),
            trail: None,
        }
    }

    /// The user, for what guests cannot do.
    fn user(&self) -> Result<&Name, Refusal> {
        let refusal = || Refusal::new(Code::Forbidden, "guests cannot do this: it takes a token");
        self.identity.user.as_ref().ok_or_else(refusal)
    }
}

impl Chat {
    pub(crate) fn new(store: Arc<Store>, hub: Hub, config: ChatConfig, sampler: Arc<Sampler>) -> Self {
        let typing = Arc::new(Typing::new(hub.clone()));
        Self {
            marks: Marks::new(Arc::clone(&store), hub.clone(), config.receipts_members),
            news: Arc::new(News::new(Arc::clone(&store), hub.clone())),
            presence: Presence::new(Arc::clone(&store), hub.clone(), &config),
            typing,
            sampler,
            store,
            hub,
            config,
        }
    }

    /// What is to be heard of other nodes' users.
    pub(crate) fn listeners(app: &Weak<App>) -> Vec<(&'static str, Listener)> {
        let (present, reading) = (Weak::clone(app), Weak::clone(app));
        let presence = Box::new(move |word: Word| {
            if let Some(chat) = present.upgrade().as_ref().and_then(|app| app.chat.as_ref()) {
                chat.presence.hear(&word);
            }
        });
        let readers = Box::new(move |word: Word| {
            if let Some(app) = reading.upgrade() {
                news::answer_readers(&app.hub, word);
            }
        });
        vec![(elsewhere::TOPIC, presence), (news::READERS, readers)]
    }

    /// Keeps house for as long as the server runs.
    pub(crate) async fn run(&self) {
        tokio::join!(self.marks.run(), self.typing.run(), self.news.run(), self.presence.run());
    }

    /// Whether somebody may read a room.
    pub(crate) fn may_read(
        &self,
        room: &RoomName,
        caller: Caller<'_>,
    ) -> impl Future<Output = Result<(), Refusal>> + Send + use<> {
        let asked = self.store.may_read(room, &caller.actor(), now_ms());
        async move { asked.await?.map_err(Refusal::from) }
    }

    /// Whether somebody may send to a room now, as far as this can be told before it is tried.
    pub(crate) async fn may_send(&self, room: &RoomName, caller: Caller<'_>) -> Result<(), Refusal> {
        let (by, now) = (caller.actor(), now_ms());
        let found = self.store.chat_room(room, &by, now).await?.map_err(Refusal::from)?;
        let refused = match found.own {
            _ if by.admin => return Ok(()),
            Some(Own { muted_until: Some(until), .. }) if until > now => Refused::Muted(until),
            Some(_) => return Ok(()),
            None if by.user.is_none() && found.kind == RoomKind::Public => return Ok(()),
            None => Refused::NotMember,
        };
        Err(refused.into())
    }

    /// Sends a message; never blocks. Those that one caller sends one after another keep their order in each room.
    pub(crate) fn send(&self, mut message: NewMessage, done: impl FnOnce(Result<Sent, Refusal>) + Send + 'static) {
        let (hub, typing) = (self.hub.clone(), Arc::clone(&self.typing));
        let (room, begun) = (message.room.clone(), Instant::now());
        let noted = self.note(&message);
        message.by.trail = self.sampler.follow();
        let span = self.hub.open_span(&room, "message", &mut message.by.trail);
        let told = move |outcome: denrei_store::chat::Outcome<Sent>| {
            let counted = match &outcome {
                Ok(Ok(Sent { duplicate: false, .. })) => Some(Counted::Taken),
                Ok(Ok(_)) => Some(Counted::Duplicate),
                // A rule of the chat's refused it, and no log was asked.
                Ok(Err(_)) => None,
                Err(_) => Some(Counted::Unavailable),
            };
            if let Some(counted) = counted {
                hub.answered(&room, counted, begun.elapsed());
            }
            let sent = outcome.map_err(Refusal::from).and_then(|sent| sent.map_err(Refusal::from));
            if let Ok(Sent { event, duplicate: false }) = &sent {
                hub.appended(event);
                typing.has_sent(event);
            }
            if let Some(span) = span {
                let place = |Sent { event, duplicate }: &Sent| (event.seq, *duplicate);
                span.close(sent.as_ref().map(place).map_err(|refusal| refusal.code.as_str()));
            }
            if let (Some(noted), Err(refusal)) = (noted, &sent) {
                hub.tracer().note(Record { outcome: Outcome::Refused, ..*noted }.because(refusal.code.as_str()));
            }
            done(sent);
        };
        self.store.send(message, Box::new(told));
    }

    /// Where it is kept.
    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// Notes a message that is about to be sent, if somebody investigates.
    fn note(&self, message: &NewMessage) -> Option<Box<Record>> {
        let tracer = self.hub.tracer();
        tracer.is_on().then(|| {
            let record = Record::new(Step::Publish, Outcome::Accepted).room(&message.room);
            let record = Record {
                id: message.id.clone(),
                client: message.by.client.clone(),
                connection: (message.by.origin != 0).then_some(message.by.origin),
                ..record.user(message.by.user.as_ref())
            };
            tracer.note(record.clone());
            Box::new(record)
        })
    }

    /// Makes a change, and hands its events on; shows out who is no member any more.
    async fn change(&self, room: RoomName, mut by: Actor, change: Change) -> Result<Changed, Refusal> {
        by.trail = self.sampler.follow();
        let span = self.hub.open_span(&room, "change", &mut by.trail);
        let (tell, told) = oneshot::channel();
        let (hub, news, log) = (self.hub.clone(), Arc::clone(&self.news), room.clone());
        let rewrites = matches!(change, Change::Delete { .. });
        let done = move |outcome: denrei_store::chat::Outcome<Changed>| {
            if let Ok(Ok(changed)) = &outcome {
                if rewrites {
                    // What is at hand still says what the message said.
                    hub.rewritten(&log);
                }
                changed.events.iter().for_each(|event| hub.appended(event));
                match &changed.removed {
                    // Who leaves a public room may go on reading it.
                    Some((user, "left")) => news.left(log.clone(), user.clone()),
                    // The event that tells them has done it, if they were a member.
                    Some((user, _)) => hub.expel(user, &log),
                    None => {}
                }
                if let Some((user, reason)) = &changed.removed {
                    to_user(&hub, user, "roomRemoved", &json!({ "roomId": room_id(&log), "reason": reason }));
                }
                changed.added.iter().for_each(|user| news.added(log.clone(), user.clone()));
            }
            if let Some(span) = span {
                span.close(match &outcome {
                    Ok(Ok(changed)) => Ok((changed.events.last().map_or(Seq::ZERO, |event| event.seq), false)),
                    Ok(Err(refused)) => Err(Refusal::from(refused.clone()).code.as_str()),
                    Err(_) => Err(Code::Unavailable.as_str()),
                });
            }
            // Who asked may have gone; the change has not.
            let _ = tell.send(outcome);
        };
        self.store.change(room, by, now_ms(), change, Box::new(done));
        told.await.map_err(|_| unavailable())??.map_err(Refusal::from)
    }

    fn to_user(&self, user: &Name, event: &str, payload: &impl Serialize) {
        to_user(&self.hub, user, event, payload);
    }
}

/// Tells a user's own connections.
fn to_user(hub: &Hub, user: &Name, event: &str, payload: &impl Serialize) {
    // A user's id may be too long to name a room.
    if let Ok(room) = RoomName::parse(&format!("user:{user}")) {
        hub.signal(draft(room, event, payload));
    }
}

/// What the server itself says.
fn draft(room: RoomName, event: &str, payload: &impl Serialize) -> Draft {
    Draft::new(room, Name::parse(event).expect("a word is a name"), json_of(payload), now_ms())
}

fn json_of(value: &impl Serialize) -> Bytes {
    serde_json::to_vec(value).expect("texts and numbers have a form in JSON").into()
}

fn unavailable() -> Refusal {
    Refusal::later(Code::Unavailable, "the store has stopped")
}

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Self {
        let wait = |until: u64| Some(until.saturating_sub(now_ms()).max(1));
        match refused {
            Refused::NoRoom => Self::new(Code::NotFound, "there is no such chat room"),
            Refused::Missing(what) => Self::new(Code::NotFound, what),
            Refused::NotMember => Self::new(Code::NotAMember, "only members of the room may do this: join it first"),
            Refused::Banned => Self::new(Code::Banned, "you are banned from this room"),
            Refused::Forbidden(why) => Self::new(Code::Forbidden, why),
            Refused::Muted(until) => {
                Self { retry_after_ms: wait(until), ..Self::new(Code::Muted, "you are muted in this room") }
            }
            Refused::Slow(until) => {
                Self { retry_after_ms: wait(until), ..Self::new(Code::SlowMode, "this room is in slow mode") }
            }
            Refused::Conflict(why) => Self::new(Code::Conflict, why),
            Refused::Invalid(why) => Self::new(Code::InvalidField, why),
        }
    }
}
