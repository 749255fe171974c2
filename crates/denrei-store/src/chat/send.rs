//! A new message.

use denrei_hub::{Draft, Name, RoomName};
use serde_json::value::RawValue;

use super::ledger::Entered;
use super::{
    Actor, Event, Message, MessageKind, Refused, Role, RoomKind, Thread, Told, json, message_id, room_id, rows,
    with_fields,
};
use crate::files::{self, File};
use crate::group::Group;
use crate::sql::{Fault, Transaction};

/// What somebody wants to send.
#[derive(Clone, Debug)]
pub struct NewMessage {
    /// The log of the room.
    pub room: RoomName,
    /// Who.
    pub by: Actor,
    /// What it is.
    pub kind: MessageKind,
    /// What it says.
    pub content: Box<str>,
    /// The client's own id of it: sent again, it is the same message, for as long as that is kept.
    pub id: Option<Name>,
    /// The number of the message that it answers.
    pub reply_to: Option<u64>,
    /// The number of the message whose thread it belongs to.
    pub thread: Option<u64>,
    /// Users; those that are no members are left out.
    pub mentions: Vec<Name>,
    /// What an application adds.
    pub data: Option<Box<RawValue>>,
    /// The file that it brings, which is the sender's own: it becomes the room's, and what readers need to know of it is
    /// told in the data, as `file`.
    pub file: Option<Box<str>>,
    /// When it came, in ms since 1970.
    pub at_ms: u64,
}

/// A message that was kept.
#[derive(Clone, Debug)]
pub struct Sent {
    /// The event that tells of it, with the message as its payload.
    pub event: Event,
    /// It had been sent before, under the same id.
    pub duplicate: bool,
}

/// A message on its way.
pub(crate) struct Sending {
    pub(crate) message: NewMessage,
    /// Its event, as far as it is known before the message has its number.
    pub(crate) draft: Draft,
    outcome: Option<Result<Sent, Refused>>,
    told: Told<Sent>,
}

impl Sending {
    pub(crate) fn new(mut message: NewMessage, told: Told<Sent>) -> Self {
        let draft = Draft {
            from: message.by.client.clone(),
            user: message.by.user.clone(),
            id: message.id.clone(),
            origin: message.by.origin,
            trail: message.by.trail.take(),
            ..Draft::new(
                message.room.clone(),
                Name::parse("message").expect("a word is a name"),
                bytes::Bytes::new(),
                message.at_ms,
            )
        };
        Self { message, draft, outcome: None, told }
    }

    /// About how much memory it holds.
    pub(crate) fn bytes(&self) -> usize {
        let data = self.message.data.as_ref().map_or(0, |data| data.get().len());
        self.message.content.len() + data + 512
    }

    pub(crate) fn apply(&mut self, group: &mut Group<'_>) -> Result<(), Fault> {
        self.outcome = Some(self.outcome(group)?);
        Ok(())
    }

    fn outcome(&self, group: &mut Group<'_>) -> Result<Result<Sent, Refused>, Fault> {
        let Some(room) = group.room(&self.message.room)? else { return Ok(Err(Refused::NoRoom)) };
        if let Some(event) = group.earlier(&self.draft)? {
            return Ok(Ok(Sent { event, duplicate: true }));
        }
        let outcome = send(group, room, &self.message, &self.draft)?;
        if outcome.is_err()
            && let Some(event) = group.stored_earlier(&self.draft)?
        {
            // What was sent is not refused when it is sent again.
            return Ok(Ok(Sent { event, duplicate: true }));
        }
        Ok(outcome)
    }

    pub(crate) fn settle(self, outcome: Result<(), denrei_hub::LogError>) {
        (self.told)(outcome.and_then(|()| self.outcome.ok_or_else(crate::operation::unanswered)));
    }
}

fn send(group: &mut Group<'_>, room: i64, message: &NewMessage, draft: &Draft) -> Result<Result<Sent, Refused>, Fault> {
    let Group { ledger, transaction, .. } = group;
    let Some(found) = ledger.room(transaction, room)? else { return Ok(Err(Refused::NoRoom)) };
    let (kind, slow, sequence) = (found.kind, found.slow_ms, found.sequence + 1);
    let NewMessage { by, at_ms: now, .. } = message;
    match &by.user {
        None if by.admin => {}
        // A guest, of whom nobody knows when they have sent before.
        None if kind == RoomKind::Public && slow == 0 => {}
        None => return outsider(transaction, message).map(Err),
        Some(user) => match ledger.member(transaction, room, user)? {
            None if by.admin => {}
            None => return outsider(transaction, message).map(Err),
            Some(member) if member.muted_until > *now => return Ok(Err(Refused::Muted(member.muted_until))),
            Some(member) if slow > 0 && member.role == Role::Member && member.sent_at + slow > *now => {
                return Ok(Err(Refused::Slow(member.sent_at + slow)));
            }
            Some(_) => {}
        },
    }
    let mut thread = None;
    for (target, is_thread) in [(message.reply_to, false), (message.thread, true)] {
        let Some(target) = target else { continue };
        match ledger.target(transaction, room, target)? {
            None => return Ok(Err(Refused::Missing("there is no such message to answer"))),
            Some(found) if is_thread && found.thread > 0 => {
                return Ok(Err(Refused::Invalid("an answer in a thread has no thread of its own")));
            }
            Some(found) if is_thread => {
                found.replies += 1;
                thread = Some((target, Thread { replies: found.replies, last_reply_at: *now }));
            }
            Some(_) => {}
        }
    }
    let mut mentioned = Vec::new();
    for user in &message.mentions {
        if ledger.member(transaction, room, user)?.is_some() && !mentioned.contains(user) {
            mentioned.push(user.clone());
        }
    }
    let data = match &message.file {
        None => message.data.clone(),
        Some(file) => match files::claim(transaction, file, &message.room, by.user.as_ref())? {
            Err(refused) => return Ok(Err(refused)),
            Ok(file) => Some(with_file(message.data.as_deref(), &file)),
        },
    };
    // Nothing can refuse it any more.
    if let Some(found) = ledger.room(transaction, room)? {
        (found.sequence, found.active_at) = (sequence, *now);
    }
    if let Some(user) = &by.user
        && let Some(member) = ledger.member(transaction, room, user)?
    {
        (member.sent_at, member.read) = (*now, sequence);
    }
    let mentions = (!mentioned.is_empty()).then(|| {
        let users: Vec<_> = mentioned.iter().map(Name::as_str).collect();
        RawValue::from_string(serde_json::json!(users).to_string()).expect("it is JSON")
    });
    let id = room_id(&message.room);
    let told = Message {
        id: message_id(id, sequence),
        sequence,
        room_id: id.into(),
        user_id: by.shown_id().into(),
        user_name: by.name.clone(),
        content: message.content.clone(),
        timestamp: *now,
        status: "sent",
        kind: message.kind,
        version: 1,
        client_message_id: message.id.as_ref().map(|id| id.as_str().into()),
        reply_to: message.reply_to.map(|sequence| message_id(id, sequence)),
        thread_id: message.thread.map(|sequence| message_id(id, sequence)),
        mentions,
        data,
        reactions: Vec::new(),
        thread: None,
        edited_at: None,
        deleted_at: None,
    };
    let root = thread.map(|(root, thread)| {
        format!("\"root\":{}", serde_json::json!({ "id": message_id(id, root), "thread": thread }))
    });
    let payload = with_fields(json(&told), &root.unwrap_or_default());
    let event = group.give(Draft { payload, ..draft.clone() })?;
    let entered = Entered {
        room,
        sequence,
        seq: event.seq.0,
        kind: message.kind,
        user: by.id().into(),
        client: by.client.as_deref().map(Into::into),
        name: told.user_name,
        id: told.client_message_id,
        sent_at: *now,
        reply_to: message.reply_to.unwrap_or(0),
        thread: message.thread.unwrap_or(0),
        mentions: told.mentions.map(|mentions| mentions.get().into()),
        data: told.data.map(|data| data.get().into()),
        content: told.content,
    };
    group.ledger.enter(entered, by.user.as_ref(), &mentioned);
    Ok(Ok(Sent { event, duplicate: false }))
}

/// The data of a message with what is known of its file.
fn with_file(data: Option<&RawValue>, file: &File) -> Box<RawValue> {
    let mut fields: serde_json::Map<String, serde_json::Value> =
        data.and_then(|data| serde_json::from_str(data.get()).ok()).unwrap_or_default();
    let File { id, name, kind, bytes, width, height, thumbnail, .. } = file;
    let mut told = serde_json::json!({ "id": id, "name": name, "type": kind, "bytes": bytes });
    for (side, length) in [("width", width), ("height", height)] {
        if let Some(length) = length {
            told[side] = (*length).into();
        }
    }
    told["thumbnail"] = thumbnail.is_some().into();
    fields.insert("file".into(), told);
    RawValue::from_string(serde_json::Value::Object(fields).to_string()).expect("it is JSON")
}

/// Why who is no member does not send.
fn outsider(transaction: &Transaction<'_>, message: &NewMessage) -> Result<Refused, Fault> {
    let access = rows::access(transaction, &message.room, &message.by, message.at_ms)?;
    Ok(access.map_or_else(|refused| refused, |access| access.outside()))
}
