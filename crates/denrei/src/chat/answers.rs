//! What the chat does and says when it is asked.

use std::sync::Arc;

use bytes::Bytes;
use denrei_hub::{Draft, Message, RoomName};
use denrei_proto::codes::Code;
use denrei_store::chat::{
    Actor, Answer, Followed, Mark, Marked, NewMessage, Page, Profile, Room, Sent, Synced, room_id,
};
use serde::Serialize;
use serde_json::json;
use serde_json::value::RawValue;
use tokio::sync::oneshot;

use super::calls::Ask;
use super::typing::News;
use super::{Call, Caller, Chat, json_of};
use crate::app::{App, Listing, now_ms};
use crate::refusal::Refusal;

impl Chat {
    /// Does what somebody asks, who may; answers with a JSON object.
    pub(crate) async fn answer(&self, app: &App, caller: Caller<'_>, call: Call) -> Result<Bytes, Refusal> {
        let (actor, now) = (caller.actor(), now_ms());
        Ok(match call.what {
            Ask::Send(message) => told(&self.send_and_wait(*message).await?),
            Ask::Change(room, change) => {
                let changed = self.change(room, actor, change).await?;
                if let Answer::Mark(mark) = &changed.answer {
                    self.tell_mark(caller, mark)?;
                }
                json_of(&changed.answer)
            }
            Ask::Room(room) => json_of(&self.store.chat_room(&room, &actor, now).await??),
            Ask::Rooms { after, limit } => {
                let (mut rooms, next) = self.store.chat_rooms(&actor, after, limit).await?;
                rooms.retain_mut(|room| listed(app, caller, room) != Listing::Hidden);
                list("rooms", &rooms, next.map(|(time, row)| format!("{time}:{row}")))
            }
            Ask::Directory { after, limit } => {
                let (mut rooms, next) = self.store.chat_directory(&actor, after, limit).await?;
                rooms.retain_mut(|room| listed(app, caller, room) != Listing::Hidden);
                list("rooms", &rooms, next.map(|row| row.to_string()))
            }
            Ask::Members { room, after, limit } => {
                let members = self.store.members(&room, &actor, now, &after, limit).await??;
                let next = members.last().filter(|_| members.len() == limit).map(|last| last.user_id.to_string());
                list("members", &members, next)
            }
            Ask::Bans(room) => list("bans", &self.store.bans(&room, &actor, now).await??, None),
            Ask::History { room, extent, thread, limit } => {
                json_of(&self.store.history(&room, &actor, now, extent, thread, limit).await??)
            }
            Ask::Message(room, sequence) => {
                let found = self.store.chat_message(&room, &actor, now, sequence).await??;
                json_of(&found.ok_or_else(|| Refusal::new(Code::NotFound, "there is no such message"))?)
            }
            Ask::Receipts(room, sequence) => json_of(&self.store.receipts(&room, &actor, now, sequence).await??),
            Ask::Mark(room, what, sequence) => {
                let user = caller.user()?.clone();
                json_of(&self.marks.mark(Mark { room, user, what, sequence, at_ms: now }).await?)
            }
            Ask::Typing(room, false) => {
                self.typing.stop(&room, caller);
                done()
            }
            Ask::Typing(room, true) => {
                if self.typing.goes_on(&room, caller) == News::Yes && self.tells_typing(&room, caller).await? {
                    self.typing.tell(&room, caller);
                }
                done()
            }
            Ask::Sync { wanted, limit } => {
                let named: Vec<_> = wanted.iter().map(|wanted| wanted.room.clone()).collect();
                let mut synced = self.store.sync(&actor, wanted, limit).await?;
                synced.retain_mut(|synced| match listed(app, caller, &mut synced.room) {
                    Listing::Whole => true,
                    Listing::Named => {
                        synced.since = None;
                        true
                    }
                    Listing::Hidden => false,
                });
                let theirs = |room: &&RoomName| synced.iter().all(|synced| *synced.room.id != *room_id(room));
                let removed = named.iter().filter(theirs).map(room_id).collect();
                let rooms = synced.iter().map(|synced| self.brought(synced)).collect();
                json_of(&Answered { rooms, removed })
            }
            Ask::Presence(users) => json_of(&self.presence.of(caller.user()?, users).await?),
            Ask::SetPresence(status) => {
                self.presence.set(caller, &status).await?;
                done()
            }
            Ask::Contacts => json_of(&self.presence.contacts(caller.user()?).await?),
            Ask::Contact { contact, on } => {
                let user = caller.user()?.clone();
                self.presence.keep(Profile::Contact { user, contact, on }).await?;
                done()
            }
        })
    }

    /// Does what somebody asks who joins a room; says also whether it is a new member.
    pub(crate) async fn join(&self, app: &App, caller: Caller<'_>, call: Call) -> Result<(Bytes, bool), Refusal> {
        match call.what {
            Ask::Change(room, change) => {
                let changed = self.change(room, caller.actor(), change).await?;
                Ok((json_of(&changed.answer), !changed.added.is_empty()))
            }
            what => Ok((self.answer(app, caller, Call { what, ..call }).await?, false)),
        }
    }

    async fn send_and_wait(&self, message: NewMessage) -> Result<Sent, Refusal> {
        let (tell, sent) = oneshot::channel();
        self.send(message, move |outcome| {
            // Who asked may have gone; the message has not.
            let _ = tell.send(outcome);
        });
        sent.await.map_err(|_| super::unavailable())?
    }

    /// Whether it is told in a room that somebody writes, who must be one that could send: not in large rooms.
    async fn tells_typing(&self, room: &RoomName, caller: Caller<'_>) -> Result<bool, Refusal> {
        let found = self.store.chat_room(room, &caller.actor(), now_ms()).await??;
        if found.members > self.config.receipts_members {
            return Ok(false);
        }
        match (&found.own, &caller.identity.user) {
            (Some(own), _) if own.muted_until.is_some_and(|until| until > now_ms()) => {
                Err(denrei_store::chat::Refused::Muted(own.muted_until.unwrap_or_default()).into())
            }
            (None, Some(_)) if !caller.identity.has_role("admin") => Err(denrei_store::chat::Refused::NotMember.into()),
            _ => Ok(true),
        }
    }

    fn tell_mark(&self, caller: Caller<'_>, mark: &Marked) -> Result<(), Refusal> {
        self.to_user(caller.user()?, "readState", mark);
        Ok(())
    }

    /// A room that a client is brought up to date in.
    fn brought<'a>(&self, Synced { room, since }: &'a Synced) -> Brought<'a> {
        let own = room.own.as_ref();
        let object = |event: &Arc<Message>| {
            let frame = self.hub.frame(event, crate::wires::OBJECT, denrei_hub::Dialect::default());
            serde_json::from_slice(&frame).expect("an event's object is JSON")
        };
        let (events, gap, page) = match since {
            None => (None, false, None),
            Some(Followed::Events(events)) => (Some(events.iter().map(object).collect()), false, None),
            Some(Followed::Page(page)) => (None, true, Some(page)),
            Some(Followed::TooMuch) => (None, true, None),
        };
        Brought {
            room_id: &room.id,
            sequence: room.sequence,
            epoch: &room.epoch,
            seq: room.seq,
            read: own.map(|own| own.read),
            unread: own.map(|own| own.unread),
            mentions: own.map(|own| own.mentions),
            events,
            gap,
            page,
        }
    }

    /// Tells who reads a room that somebody does now, member or not (seed §5.2).
    pub(crate) fn tell_arrival(&self, room: &RoomName, caller: Caller<'_>) {
        self.tell_of(room, caller, "userJoined");
    }

    /// And that somebody does no more.
    pub(crate) fn tell_departure(&self, room: &RoomName, caller: Caller<'_>) {
        self.tell_of(room, caller, "userLeft");
    }

    fn tell_of(&self, room: &RoomName, caller: Caller<'_>, event: &str) {
        let actor = caller.actor();
        let id = actor.user.as_ref().map(denrei_hub::Name::as_str).or(actor.client.as_deref());
        let payload = json!({ "userId": id, "room": room_id(room) });
        let Actor { user, client: from, origin, .. } = actor;
        self.hub.signal(Draft { user, from, origin, ..super::draft(room.clone(), event, &payload) });
    }

    /// Has who reads a room told how many they are (seed §5.2), soon.
    pub(crate) fn tell_readers(&self, room: RoomName) {
        self.news.readers(room);
    }
}

/// What may be shown of a room in a list; takes out of it what may not.
fn listed(app: &App, caller: Caller<'_>, room: &mut Room) -> Listing {
    let log = super::room_name(&room.id);
    let listing = log.map_or(Listing::Hidden, |log| app.may_list(caller, &log));
    if listing == Listing::Named {
        room.last_message = None;
    }
    listing
}

/// The answer to a sync.
#[derive(Serialize)]
struct Answered<'a> {
    rooms: Vec<Brought<'a>>,
    removed: Vec<&'a str>,
}

/// A room in it. Events and pages may be large: they are written as they are.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Brought<'a> {
    room_id: &'a str,
    sequence: u64,
    epoch: &'a str,
    seq: u64,
    read: Option<u64>,
    unread: Option<u64>,
    mentions: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    events: Option<Vec<Box<RawValue>>>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    gap: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    page: Option<&'a Page>,
}

/// What is said of a message that was sent.
pub(crate) fn told(sent: &Sent) -> Bytes {
    let Sent { event, duplicate } = sent;
    // The payload is an object of ours, and not empty.
    let object = event.payload.strip_suffix(b"}").unwrap_or_default();
    let place = format!(r#","seq":{},"epoch":"{}","duplicate":{duplicate}}}"#, event.seq, event.epoch);
    [object, place.as_bytes()].concat().into()
}

fn list(name: &str, items: &[impl Serialize], next: Option<String>) -> Bytes {
    let items = RawValue::from_string(serde_json::to_string(items).expect("texts and numbers have a form in JSON"));
    let items = items.expect("it is JSON");
    let next = next.map_or_else(String::new, |next| format!(",\"next\":{}", json!(next)));
    format!("{{\"{name}\":{items}{next}}}").into()
}

fn done() -> Bytes {
    Bytes::from_static(b"{}")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use denrei_hub::{Epoch, Name, Position, Seq};

    use super::*;

    #[test]
    fn a_message_that_was_sent_has_its_place_in_the_log() {
        let draft = Draft {
            payload: Bytes::from_static(br#"{"id":"r-1"}"#),
            ..crate::chat::draft(Name::parse("chat:r").expect("a name"), "message", &json!({}))
        };
        let position = Position { epoch: Epoch::parse("e").expect("an epoch"), seq: Seq(7) };
        let sent = Sent { event: Arc::new(Message::stored(draft, position)), duplicate: false };
        assert_eq!(&told(&sent)[..], br#"{"id":"r-1","seq":7,"epoch":"e","duplicate":false}"#);
    }
}
