//! Chat: rooms with members, messages with numbers, and what becomes of them.
//!
//! A message, its two numbers, its client's id and the counters that it moves are one transaction with the event that
//! tells of it. So each operation here appends its events itself, and says which they were: `seq` counts a room's events,
//! `sequence` its messages.
//!
//! [`send`](send) is the one that must be fast: all that a group's messages need is fetched and written together, with
//! the [`ledger`](ledger). A [`change`](change) is rare, and says what it does in plain statements. [`queries`](queries)
//! read. Who writes anything about a room has locked its row, but for trimming, which locks none: it takes away the oldest
//! messages with their events, and who changes one of them meanwhile finds that it is not there any more.

use std::sync::Arc;

use bytes::Bytes;
use denrei_hub::span::Trail;
use denrei_hub::{ClientId, LogError, Name, RoomName};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

mod change;
pub(crate) mod ledger;
mod marks;
mod members;
mod messages;
mod profile;
mod queries;
mod rows;
mod send;
mod store;
mod sync;

pub(crate) use change::Changing;
pub use change::{Answer, Change, Changed};
pub(crate) use marks::Marking;
pub use marks::{Mark, Marked, Marks, What};
pub(crate) use messages::forget;
pub(crate) use profile::Profiling;
pub use profile::{Profile, Seen};
pub use queries::{Ban, Extent, Page, Part, Receipt, Receipts, Recent};
pub(crate) use send::Sending;
pub use send::{NewMessage, Sent};
pub use sync::{Followed, Synced, Wanted};

/// Who does something.
#[derive(Clone, Debug, Default)]
pub struct Actor {
    /// None for a guest.
    pub user: Option<Name>,
    /// What the user is called.
    pub name: Option<Box<str>>,
    /// The connection it comes by, and its number on this node.
    pub client: Option<ClientId>,
    /// See [`denrei_hub::Draft::origin`].
    pub origin: u64,
    /// May do what an owner may, in every room.
    pub admin: bool,
    /// See [`denrei_hub::Draft::trail`].
    pub trail: Option<Box<Trail>>,
}

impl Actor {
    /// The user's id as text; empty for a guest.
    pub(crate) fn id(&self) -> &str {
        self.user.as_ref().map_or("", Name::as_str)
    }

    /// By which others know them.
    fn shown_id(&self) -> &str {
        self.user.as_ref().map(Name::as_str).or(self.client.as_deref()).unwrap_or(rows::GUEST)
    }
}

/// Why something was not done. Nothing was kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// There is no such room.
    NoRoom,
    /// There is no such message, member or ban.
    Missing(&'static str),
    /// Only members may do this.
    NotMember,
    /// The user was banned.
    Banned,
    /// The user's role does not allow it.
    Forbidden(&'static str),
    /// Not before a time, in ms since 1970.
    Muted(u64),
    /// The same, because the room is in slow mode.
    Slow(u64),
    /// It is already there, or has changed since.
    Conflict(&'static str),
    /// It cannot be so.
    Invalid(&'static str),
}

/// What became of an operation: done or refused; or the store could not do it.
pub type Outcome<T> = Result<Result<T, Refused>, LogError>;

/// Told how an operation ended. It must be short.
pub type Told<T> = Box<dyn FnOnce(Outcome<T>) + Send>;

/// What a room is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RoomKind {
    /// Anybody may read and join it.
    Public,
    /// By invitation.
    Private,
    /// Of two users.
    Direct,
}

/// What a member may do.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Send.
    Member,
    /// And keep order.
    Moderator,
    /// And say who does.
    Owner,
}

/// What a message is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum MessageKind {
    /// A text.
    #[default]
    Text,
    /// An image.
    Image,
    /// Another file.
    File,
    /// The server's own word.
    System,
}

/// A room.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Room {
    /// The name of its log without its class.
    pub id: Box<str>,
    /// What it is.
    pub kind: RoomKind,
    /// For people.
    pub title: Box<str>,
    /// A user; or a guest, as in [`Message::user_id`].
    pub created_by: Box<str>,
    /// In ms since 1970.
    pub created_at: u64,
    /// How many.
    pub members: u64,
    /// The last message's number.
    pub sequence: u64,
    /// Time between two messages of one member, in ms.
    pub slow_mode: u64,
    /// The life of its log.
    pub epoch: Box<str>,
    /// The last event's number.
    pub seq: u64,
    /// Where it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_message: Option<Box<Message>>,
    /// What is the asking member's own.
    #[serde(flatten)]
    pub own: Option<Own>,
    #[serde(skip)]
    pub(crate) row: i64,
    #[serde(skip)]
    pub(crate) active_at: u64,
}

/// What a room is to a member.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Own {
    /// What the member may do.
    pub role: Role,
    /// Messages up to this number have been read.
    pub read: u64,
    /// How many have not.
    pub unread: u64,
    /// How many of these mention the member.
    pub mentions: u64,
    /// In ms since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub muted_until: Option<u64>,
    /// The other user of a direct room.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<Box<str>>,
}

/// A member.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Member {
    /// The user.
    pub user_id: Box<str>,
    /// What the user was called when it joined.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_name: Option<Box<str>>,
    /// What the member may do.
    pub role: Role,
    /// In ms since 1970.
    pub joined_at: u64,
    /// Messages up to this number have been read; for members only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read: Option<u64>,
    /// And these have arrived; for members only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivered: Option<u64>,
    /// In ms since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub muted_until: Option<u64>,
}

impl Member {
    /// The member as others may see it who are none.
    pub(crate) fn without_marks(self) -> Self {
        Self { read: None, delivered: None, ..self }
    }
}

/// A message as it is now.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Message {
    /// The room and the number.
    pub id: Box<str>,
    /// Its number among the room's messages.
    pub sequence: u64,
    /// The room.
    pub room_id: Box<str>,
    /// Who sent it; of a guest the connection, or `guest` without one.
    pub user_id: Box<str>,
    /// What the sender was called.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_name: Option<Box<str>>,
    /// Empty when it is deleted.
    pub content: Box<str>,
    /// When it was sent, in ms since 1970.
    pub timestamp: u64,
    /// Always `sent`.
    pub status: &'static str,
    /// What it is.
    #[serde(rename = "type")]
    pub kind: MessageKind,
    /// Grows with each edit.
    pub version: u64,
    /// The client's own id of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_message_id: Option<Box<str>>,
    /// The message that it answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<Box<str>>,
    /// The message whose thread it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thread_id: Option<Box<str>>,
    /// Users.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mentions: Option<Box<RawValue>>,
    /// What an application adds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<Box<RawValue>>,
    /// How members have reacted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reactions: Vec<Reaction>,
    /// Its own thread.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thread: Option<Thread>,
    /// In ms since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub edited_at: Option<u64>,
    /// In ms since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deleted_at: Option<u64>,
}

impl Message {
    /// What it holds of what people and applications say.
    pub(crate) fn bytes(&self) -> usize {
        self.content.len() + self.data.as_ref().map_or(0, |data| data.get().len())
    }
}

/// How often somebody has reacted in one way.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Reaction {
    /// In which way.
    pub emoji: Box<str>,
    /// How many users.
    pub count: u64,
    /// The first of them.
    pub user_ids: Vec<Box<str>>,
}

/// The answers to a message.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Thread {
    /// How many.
    pub replies: u64,
    /// In ms since 1970.
    pub last_reply_at: u64,
}

/// The class of the logs of chat rooms.
const CLASS: &str = "chat:";

/// A room's id: the name of its log without the class.
pub fn room_id(log: &RoomName) -> &str {
    log.as_str().strip_prefix(CLASS).unwrap_or(log.as_str())
}

/// A message's id.
pub fn message_id(room: &str, sequence: u64) -> Box<str> {
    format!("{room}-{sequence}").into()
}

macro_rules! words {
    ($($kind:ident { $($variant:ident = $word:literal),+ })+) => {
        $(impl $kind {
            /// As it is written.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word),+
                }
            }

            pub(crate) fn parse(text: &str) -> Option<Self> {
                match text {
                    $($word => Some(Self::$variant),)+
                    _ => None,
                }
            }
        })+
    };
}

words! {
    RoomKind { Public = "public", Private = "private", Direct = "direct" }
    Role { Member = "member", Moderator = "moderator", Owner = "owner" }
    MessageKind { Text = "TEXT", Image = "IMAGE", File = "FILE", System = "SYSTEM" }
}

/// A value as JSON.
pub(crate) fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("texts and numbers have a form in JSON")
}

/// An object with further fields, which are JSON too.
pub(crate) fn with_fields(mut object: Vec<u8>, fields: &str) -> Bytes {
    if !fields.is_empty() {
        object.pop();
        object.push(b',');
        object.extend_from_slice(fields.as_bytes());
        object.push(b'}');
    }
    object.into()
}

/// An event of a room's log, as the transaction that appended it knows it.
pub(crate) type Event = Arc<denrei_hub::Message>;
