//! What clients can ask, and how it is written.

use std::collections::BTreeMap;
use std::time::Duration;

use denrei_hub::{Name, RoomName};
use denrei_proto::codes::Code;
use denrei_store::chat::{Change, Extent, MessageKind, NewMessage, Role, RoomKind, Wanted, What, room_id};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::names::{direct_room, new_room, random_room, room_name, sequence_of};
use super::{Caller, Chat};
use crate::app::now_ms;
use crate::files::is_id;
use crate::policy::Action;
use crate::refusal::Refusal;

/// What somebody asks of the chat.
#[derive(Debug)]
pub(crate) struct Call {
    /// The method's name, by which the application's policy knows it.
    pub(super) method: &'static str,
    pub(super) what: Ask,
}

#[derive(Debug)]
pub(super) enum Ask {
    Send(Box<NewMessage>),
    Change(RoomName, Change),
    Room(RoomName),
    Rooms { after: Option<(u64, i64)>, limit: usize },
    Directory { after: i64, limit: usize },
    Members { room: RoomName, after: String, limit: usize },
    Bans(RoomName),
    History { room: RoomName, extent: Extent, thread: Option<u64>, limit: usize },
    Message(RoomName, u64),
    Receipts(RoomName, u64),
    Mark(RoomName, What, u64),
    Typing(RoomName, bool),
    Sync { wanted: Vec<Wanted>, limit: usize },
    Presence(Vec<Name>),
    SetPresence(String),
    Contacts,
    Contact { contact: Name, on: bool },
}

/// The fields of all calls. Requests write numbers as text.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Fields<'a> {
    #[serde(alias = "roomId")]
    room: Option<String>,
    message_id: Option<String>,
    #[serde(deserialize_with = "number")]
    sequence: Option<u64>,
    user_id: Option<String>,
    kind: Option<RoomKind>,
    title: Option<String>,
    members: Vec<String>,
    #[serde(deserialize_with = "number")]
    slow_mode: Option<u64>,
    #[serde(deserialize_with = "number")]
    limit: Option<u64>,
    after: Option<serde_json::Value>,
    #[serde(deserialize_with = "number")]
    since: Option<u64>,
    #[serde(deserialize_with = "number")]
    before: Option<u64>,
    #[serde(deserialize_with = "number")]
    around: Option<u64>,
    thread_id: Option<String>,
    reply_to: Option<String>,
    role: Option<Role>,
    #[serde(deserialize_with = "number")]
    seconds: Option<u64>,
    reason: Option<String>,
    #[serde(alias = "text")]
    content: Option<String>,
    #[serde(rename = "type")]
    message_kind: Option<MessageKind>,
    client_message_id: Option<String>,
    mentions: Option<Vec<String>>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    emoji: Option<String>,
    #[serde(deserialize_with = "number")]
    version: Option<u64>,
    rooms: BTreeMap<String, String>,
    #[serde(deserialize_with = "list")]
    users: Vec<String>,
    status: Option<String>,
}

/// The most of what may be asked for at once.
const LIMIT: usize = 100;
const MENTIONS: usize = 50;
const MEMBERS: usize = 1000;
const TITLE: usize = 200;
const EMOJI: usize = 64;
const REASON: usize = 500;

impl Call {
    /// Whether a method is one of the chat's.
    pub(crate) fn is_method(method: &str) -> bool {
        method.starts_with("chat.") || method.starts_with("presence.")
    }

    /// Reads a call.
    pub(crate) fn parse(chat: &Chat, caller: Caller<'_>, method: &str, payload: &str) -> Result<Self, Refusal> {
        let Some((method, ask)) = METHODS.iter().find(|(name, _)| *name == method) else {
            return Err(Refusal::new(Code::NotFound, "there is no such method"));
        };
        let fields = match payload.trim_start().as_bytes().first() {
            Some(b'{') => serde_json::from_str(payload).map_err(|error| invalid(short(&error)))?,
            _ if payload == "null" => Fields::default(),
            _ => return Err(invalid("the payload of a call is an object")),
        };
        Ok(Self { method, what: ask(&Asking { chat, caller, fields })? })
    }

    /// What a publish to a room of the chat asks: that a message is sent.
    pub(crate) fn published(
        chat: &Chat,
        caller: Caller<'_>,
        room: &RoomName,
        payload: &str,
        id: Option<&str>,
    ) -> Result<NewMessage, Refusal> {
        let fields = match payload.trim_start().as_bytes().first() {
            Some(b'{') => serde_json::from_str(payload).map_err(|error| invalid(short(&error)))?,
            Some(b'"') => {
                let content = serde_json::from_str(payload).map_err(|error| invalid(short(&error)))?;
                Fields { content: Some(content), ..Fields::default() }
            }
            _ => return Err(invalid("a message of a chat room is a text, or an object with content")),
        };
        let id = id.map(Into::into).or_else(|| fields.client_message_id.clone());
        let room = Some(room_id(room).to_owned());
        Asking { chat, caller, fields: Fields { room, client_message_id: id, ..fields } }.message()
    }

    /// The message that it sends, if it is that.
    pub(crate) fn message(&self) -> Option<&NewMessage> {
        match &self.what {
            Ask::Send(message) => Some(message),
            _ => None,
        }
    }

    /// Whether it is a message to send, which is put under way and waits for nothing.
    pub(crate) fn into_message(self) -> Result<NewMessage, Self> {
        match self.what {
            Ask::Send(message) => Ok(*message),
            what => Err(Self { what, ..self }),
        }
    }

    /// The room that it would make if it were not there.
    pub(crate) fn would_make(&self) -> Option<&RoomName> {
        match &self.what {
            Ask::Change(room, Change::Join { create: true }) => Some(room),
            _ => None,
        }
    }

    /// The same, but that it makes nothing.
    pub(crate) fn makes_nothing(self) -> Self {
        match self.what {
            Ask::Change(room, Change::Join { .. }) => {
                Self { what: Ask::Change(room, Change::Join { create: false }), ..self }
            }
            what => Self { what, ..self },
        }
    }

    /// A message that waits for something after all.
    pub(crate) fn of(message: NewMessage) -> Self {
        Self { method: "chat.send", what: Ask::Send(Box::new(message)) }
    }

    /// What the policies are asked.
    pub(crate) fn action(&self) -> Option<Action<'_>> {
        let room = match &self.what {
            Ask::Send(message) => return Some(Action::Publish(&message.room, "message")),
            Ask::Change(room, _)
            | Ask::Room(room)
            | Ask::Members { room, .. }
            | Ask::Bans(room)
            | Ask::History { room, .. }
            | Ask::Message(room, _)
            | Ask::Receipts(room, _)
            | Ask::Mark(room, ..)
            | Ask::Typing(room, _) => room,
            Ask::Rooms { .. }
            | Ask::Directory { .. }
            | Ask::Sync { .. }
            | Ask::Presence(_)
            | Ask::SetPresence(_)
            | Ask::Contacts
            | Ask::Contact { .. } => return None,
        };
        Some(Action::Chat(room, self.method))
    }
}

type Read = fn(&Asking<'_>) -> Result<Ask, Refusal>;

/// Every method, and how its payload is read.
const METHODS: &[(&str, Read)] = &[
    ("chat.create", |asking| asking.create()),
    ("chat.rooms", |asking| asking.rooms()),
    ("chat.directory", |asking| Ok(Ask::Directory { after: asking.place()?.unwrap_or(0), limit: asking.limit(50)? })),
    ("chat.room", |asking| Ok(Ask::Room(asking.room()?))),
    ("chat.update", |asking| asking.update()),
    ("chat.join", |asking| asking.join()),
    ("chat.leave", |asking| asking.change(Change::Leave)),
    ("chat.members", |asking| asking.members()),
    ("chat.invite", |asking| asking.change(Change::Invite { user: asking.user()? })),
    ("chat.setRole", |asking| {
        let role = asking.fields.role.ok_or_else(|| invalid("role is owner, moderator or member"))?;
        asking.change(Change::SetRole { user: asking.user()?, role })
    }),
    ("chat.mute", |asking| {
        let until_ms = match asking.fields.seconds {
            None => return Err(invalid("seconds is missing: how long, or 0 to end it")),
            Some(0) => 0,
            Some(seconds) => until(seconds),
        };
        asking.change(Change::Mute { user: asking.user()?, until_ms })
    }),
    ("chat.kick", |asking| asking.change(Change::Kick { user: asking.user()? })),
    ("chat.ban", |asking| asking.ban()),
    ("chat.unban", |asking| asking.change(Change::Unban { user: asking.user()? })),
    ("chat.bans", |asking| Ok(Ask::Bans(asking.room()?))),
    ("chat.send", |asking| Ok(Ask::Send(Box::new(asking.message()?)))),
    ("chat.history", |asking| asking.history()),
    ("chat.message", |asking| Ok(Ask::Message(asking.room()?, asking.sequence()?))),
    ("chat.edit", |asking| asking.edit()),
    ("chat.delete", |asking| asking.change(Change::Delete { sequence: asking.sequence()? })),
    ("chat.react", |asking| asking.react(true)),
    ("chat.unreact", |asking| asking.react(false)),
    ("chat.markRead", |asking| asking.mark(What::Read)),
    ("chat.markDelivered", |asking| asking.mark(What::Delivered)),
    ("chat.markUnread", |asking| asking.change(Change::MarkUnread { sequence: asking.sequence()? })),
    ("chat.receipts", |asking| Ok(Ask::Receipts(asking.room()?, asking.sequence()?))),
    ("chat.typing", |asking| Ok(Ask::Typing(asking.room()?, true))),
    ("chat.stopTyping", |asking| Ok(Ask::Typing(asking.room()?, false))),
    ("chat.sync", |asking| asking.sync()),
    ("presence.get", |asking| asking.presence()),
    ("presence.set", |asking| {
        let status = asking.fields.status.clone();
        Ok(Ask::SetPresence(status.ok_or_else(|| invalid("status is missing"))?))
    }),
    ("presence.contacts", |_| Ok(Ask::Contacts)),
    ("presence.addContact", |asking| Ok(Ask::Contact { contact: asking.user()?, on: true })),
    ("presence.removeContact", |asking| Ok(Ask::Contact { contact: asking.user()?, on: false })),
];

/// A call that is being read.
struct Asking<'a> {
    chat: &'a Chat,
    caller: Caller<'a>,
    fields: Fields<'a>,
}

impl Asking<'_> {
    fn room(&self) -> Result<RoomName, Refusal> {
        room_name(self.fields.room.as_deref().ok_or_else(|| invalid("room is missing"))?)
    }

    fn user(&self) -> Result<Name, Refusal> {
        Ok(Name::parse(self.fields.user_id.as_deref().ok_or_else(|| invalid("userId is missing"))?)?)
    }

    fn change(&self, change: Change) -> Result<Ask, Refusal> {
        Ok(Ask::Change(self.room()?, change))
    }

    /// The number of the message that is named.
    fn sequence(&self) -> Result<u64, Refusal> {
        let id = match (&self.fields.message_id, self.fields.sequence) {
            (Some(id), _) => id.clone(),
            (None, Some(sequence)) => sequence.to_string(),
            (None, None) => return Err(invalid("messageId is missing")),
        };
        sequence_of(&self.room()?, &id)
    }

    fn limit(&self, usual: usize) -> Result<usize, Refusal> {
        match self.fields.limit {
            None => Ok(usual),
            Some(0) => Err(invalid("limit is 1 or more")),
            Some(limit) => Ok(usize::try_from(limit).unwrap_or(LIMIT).min(LIMIT)),
        }
    }

    /// Where to go on in a list that is ordered by a number.
    fn place(&self) -> Result<Option<i64>, Refusal> {
        let text = match &self.fields.after {
            None => return Ok(None),
            Some(serde_json::Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
        };
        text.parse().map(Some).map_err(|_| invalid("after is what next was"))
    }

    fn create(&self) -> Result<Ask, Refusal> {
        let by = self.caller.user()?;
        let kind =
            self.fields.kind.unwrap_or(if self.fields.user_id.is_some() { RoomKind::Direct } else { RoomKind::Public });
        if kind == RoomKind::Direct {
            let other = self.user()?;
            if other == *by {
                return Err(invalid("a direct room is of two users"));
            }
            return Ok(Ask::Change(direct_room(by, &other), Change::Direct { other }));
        }
        let room = self.fields.room.as_deref().map_or_else(|| Ok(random_room()), new_room)?;
        if self.fields.members.len() > MEMBERS {
            return Err(invalid("a room begins with at most 1,000 members"));
        }
        let members = self.fields.members.iter().map(|member| Name::parse(member)).collect::<Result<_, _>>()?;
        let title = self.title()?.unwrap_or_default();
        Ok(Ask::Change(room, Change::Create { kind, title, members }))
    }

    fn title(&self) -> Result<Option<Box<str>>, Refusal> {
        let Some(title) = &self.fields.title else { return Ok(None) };
        plain(title, TITLE, "title")?;
        Ok(Some(title.as_str().into()))
    }

    fn update(&self) -> Result<Ask, Refusal> {
        const DAY: u64 = 24 * 3600 * 1000;
        let slow_mode_ms = self.fields.slow_mode;
        if slow_mode_ms.is_some_and(|ms| ms > DAY) {
            return Err(invalid("slowMode is at most a day"));
        }
        self.change(Change::Update { title: self.title()?, slow_mode_ms })
    }

    fn join(&self) -> Result<Ask, Refusal> {
        let room = self.room()?;
        let create = self.chat.config.create_on_join && new_room(room_id(&room)).is_ok();
        Ok(Ask::Change(room, Change::Join { create }))
    }

    fn rooms(&self) -> Result<Ask, Refusal> {
        self.caller.user()?;
        let place = |text: &str| {
            let (time, row) = text.split_once(':')?;
            Some((time.parse().ok()?, row.parse().ok()?))
        };
        let after = match &self.fields.after {
            None => None,
            Some(after) => {
                let place = after.as_str().and_then(place);
                Some(place.ok_or_else(|| invalid("after is what next was"))?)
            }
        };
        Ok(Ask::Rooms { after, limit: self.limit(50)? })
    }

    fn members(&self) -> Result<Ask, Refusal> {
        let after = self.fields.after.as_ref().and_then(serde_json::Value::as_str).unwrap_or_default();
        plain(after, Name::LONGEST, "after")?;
        Ok(Ask::Members { room: self.room()?, after: after.to_owned(), limit: self.limit(100)? })
    }

    fn ban(&self) -> Result<Ask, Refusal> {
        let reason = self.fields.reason.as_deref();
        if let Some(reason) = reason {
            plain(reason, REASON, "reason")?;
        }
        let until_ms = match self.fields.seconds {
            Some(0) => return Err(invalid("seconds is 1 or more, or missing for ever")),
            seconds => seconds.map_or(0, until),
        };
        self.change(Change::Ban { user: self.user()?, until_ms, reason: reason.map(Into::into) })
    }

    fn message(&self) -> Result<NewMessage, Refusal> {
        let room = self.room()?;
        let actor = self.caller.actor();
        let kind = self.fields.message_kind.unwrap_or_default();
        if kind == MessageKind::System && !actor.admin {
            return Err(Refusal::new(Code::Forbidden, "messages of type SYSTEM are the server's and admins'"));
        }
        let target = |id: &Option<String>| id.as_deref().map(|id| sequence_of(&room, id)).transpose();
        let id = self.fields.client_message_id.as_deref().map(Name::parse).transpose()?;
        Ok(NewMessage {
            by: actor,
            kind,
            content: self.content()?,
            id,
            reply_to: target(&self.fields.reply_to)?,
            thread: target(&self.fields.thread_id)?,
            mentions: self.mentions()?.unwrap_or_default(),
            file: self.file(kind)?,
            data: self.data()?,
            at_ms: now_ms(),
            room,
        })
    }

    /// The file that a message of an image or a file names in its data.
    fn file(&self, kind: MessageKind) -> Result<Option<Box<str>>, Refusal> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Named {
            file_id: Option<Box<str>>,
        }
        match self.fields.data.filter(|_| matches!(kind, MessageKind::Image | MessageKind::File)) {
            Some(data) if data.get().starts_with('{') => {
                let named: Named = serde_json::from_str(data.get()).map_err(|_| invalid("fileId is a text"))?;
                let unknown = || Refusal::new(Code::NotFound, "there is no such file");
                named.file_id.map(|id| if is_id(&id) { Ok(id) } else { Err(unknown()) }).transpose()
            }
            _ => Ok(None),
        }
    }

    fn content(&self) -> Result<Box<str>, Refusal> {
        let content = self.fields.content.as_deref().unwrap_or_default();
        if content.is_empty() && self.fields.data.is_none() {
            return Err(invalid("content is missing"));
        }
        if content.len() > self.chat.config.content {
            let most = self.chat.config.content;
            return Err(Refusal::new(Code::TooLarge, format!("content has at most {most} bytes")));
        }
        if content.contains('\0') {
            return Err(invalid("content holds a NUL"));
        }
        Ok(content.into())
    }

    fn data(&self) -> Result<Option<Box<RawValue>>, Refusal> {
        let Some(data) = self.fields.data else { return Ok(None) };
        let content = self.fields.content.as_deref().unwrap_or_default();
        if content.len() + data.get().len() > self.chat.config.content {
            let most = self.chat.config.content;
            return Err(Refusal::new(Code::TooLarge, format!("content and data have at most {most} bytes")));
        }
        Ok(Some(data.to_owned()))
    }

    fn mentions(&self) -> Result<Option<Vec<Name>>, Refusal> {
        let Some(mentions) = &self.fields.mentions else { return Ok(None) };
        if mentions.len() > MENTIONS {
            return Err(invalid("a message mentions at most 50 users"));
        }
        Ok(Some(mentions.iter().map(|user| Name::parse(user)).collect::<Result<_, _>>()?))
    }

    fn edit(&self) -> Result<Ask, Refusal> {
        let (content, data, mentions) = (self.content()?, self.data()?, self.mentions()?);
        let sequence = self.sequence()?;
        self.change(Change::Edit { sequence, content, data, mentions, version: self.fields.version })
    }

    fn react(&self, on: bool) -> Result<Ask, Refusal> {
        let emoji = self.fields.emoji.as_deref().unwrap_or_default();
        if emoji.is_empty() {
            return Err(invalid("emoji is missing"));
        }
        plain(emoji, EMOJI, "emoji")?;
        self.change(Change::React { sequence: self.sequence()?, emoji: emoji.into(), on })
    }

    fn mark(&self, what: What) -> Result<Ask, Refusal> {
        let user = self.caller.user()?;
        if self.fields.user_id.as_deref().is_some_and(|named| named != user.as_str()) {
            return Err(Refusal::new(Code::Forbidden, "nobody reads for another user"));
        }
        Ok(Ask::Mark(self.room()?, what, self.sequence()?))
    }

    fn history(&self) -> Result<Ask, Refusal> {
        let Fields { since, before, around, .. } = self.fields;
        let after =
            self.place()?.map(|place| u64::try_from(place).map_err(|_| invalid("after is a number of a message")));
        let extents = [
            since.map(Extent::After),
            after.transpose()?.map(Extent::After),
            before.map(Extent::Before),
            around.map(Extent::Around),
        ];
        let mut extents = extents.into_iter().flatten();
        let extent = extents.next().unwrap_or(Extent::Newest);
        if extents.next().is_some() {
            return Err(invalid("only one of since, before, after and around can be asked for"));
        }
        let room = self.room()?;
        let thread = self.fields.thread_id.as_deref().map(|id| sequence_of(&room, id)).transpose()?;
        Ok(Ask::History { room, extent, thread, limit: self.limit(50)? })
    }

    fn sync(&self) -> Result<Ask, Refusal> {
        self.caller.user()?;
        if self.fields.rooms.len() > LIMIT {
            return Err(invalid("at most 100 rooms are brought up to date at once"));
        }
        let wanted = self.fields.rooms.iter();
        let wanted = wanted.map(|(room, since)| Ok(Wanted { room: room_name(room)?, since: since.parse()? }));
        Ok(Ask::Sync { wanted: wanted.collect::<Result<_, Refusal>>()?, limit: self.limit(50)? })
    }

    fn presence(&self) -> Result<Ask, Refusal> {
        self.caller.user()?;
        if self.fields.users.len() > LIMIT {
            return Err(invalid("the presence of at most 100 users can be asked for at once"));
        }
        let users = self.fields.users.iter().map(|user| Name::parse(user));
        Ok(Ask::Presence(users.collect::<Result<_, _>>()?))
    }
}

/// A time from now, in ms since 1970.
fn until(seconds: u64) -> u64 {
    now_ms().saturating_add(Duration::from_secs(seconds.min(100 * 365 * 24 * 3600)).as_millis() as u64)
}

/// A text of one line.
fn plain(text: &str, most: usize, what: &str) -> Result<(), Refusal> {
    if text.len() > most {
        return Err(invalid(format!("{what} has at most {most} bytes")));
    }
    if text.chars().any(char::is_control) {
        return Err(invalid(format!("{what} has no control characters")));
    }
    Ok(())
}

fn invalid(sentence: impl Into<String>) -> Refusal {
    Refusal::new(Code::InvalidField, sentence)
}

/// What serde says, without where.
fn short(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.split(" at line ").next().unwrap_or(&text).to_owned()
}

/// A number, or a number as a text.
fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        Number(u64),
        Text(String),
    }
    match Option::<Either>::deserialize(deserializer)? {
        None => Ok(None),
        Some(Either::Number(number)) => Ok(Some(number)),
        Some(Either::Text(text)) => text.parse().map(Some).map_err(serde::de::Error::custom),
    }
}

/// A list, or one as a text with commas.
fn list<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        List(Vec<String>),
        Text(String),
    }
    Ok(match Either::deserialize(deserializer)? {
        Either::List(list) => list,
        Either::Text(text) => text.split(',').filter(|part| !part.is_empty()).map(Into::into).collect(),
    })
}
