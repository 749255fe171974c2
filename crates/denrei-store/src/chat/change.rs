//! Whatever changes a room or its messages, but for new messages.

use bytes::Bytes;
use denrei_hub::{Draft, LogError, Name, RoomName};
use serde::Serialize;
use serde_json::value::RawValue;

use super::rows::{self, Access};
use super::{Actor, Event, Member, Message, Refused, Role, Room, RoomKind, Told};
use crate::group::Group;
use crate::sql::{Fault, Value};

/// What somebody wants to change in a room. Messages are named by their numbers, times are in ms since 1970.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the fields are what they are called")]
pub enum Change {
    /// Make the room.
    Create { kind: RoomKind, title: Box<str>, members: Vec<Name> },
    /// Make the room of two users, unless it is there.
    Direct { other: Name },
    /// Change what the room is.
    Update { title: Option<Box<str>>, slow_mode_ms: Option<u64> },
    /// Become a member; makes a missing public room, if wanted.
    Join { create: bool },
    /// Be a member no more.
    Leave,
    /// Make somebody a member.
    Invite { user: Name },
    /// Say what a member may do.
    SetRole { user: Name, role: Role },
    /// Let a member send nothing until a time; 0 ends it.
    Mute { user: Name, until_ms: u64 },
    /// Send a member away.
    Kick { user: Name },
    /// And keep them away until a time; 0 is for ever.
    Ban { user: Name, until_ms: u64, reason: Option<Box<str>> },
    /// Let them come back.
    Unban { user: Name },
    /// Say something else; data and mentions that are not given stay.
    Edit {
        sequence: u64,
        content: Box<str>,
        data: Option<Box<RawValue>>,
        mentions: Option<Vec<Name>>,
        version: Option<u64>,
    },
    /// Take a message back.
    Delete { sequence: u64 },
    /// React to a message, or no more.
    React { sequence: u64, emoji: Box<str>, on: bool },
    /// Want it unread from a message on.
    MarkUnread { sequence: u64 },
}

/// What a change has led to.
#[derive(Clone, Debug)]
pub struct Changed {
    /// What to tell who asked.
    pub answer: Answer,
    /// The events that tell of it, which are in the log.
    pub events: Vec<Event>,
    /// Users who are members now.
    pub added: Vec<Name>,
    /// A user who is none any more, and why; is to be shown out.
    pub removed: Option<(Name, &'static str)>,
}

/// What a change says to who asked for it.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum Answer {
    /// The room as it is now.
    Room(Box<Room>),
    /// The member.
    Member(Member),
    /// The message.
    Message(Box<Message>),
    /// What is unread now.
    Mark(super::Marked),
    /// That it was done.
    Done {},
}

/// A change on its way.
pub(crate) struct Changing {
    pub(crate) room: RoomName,
    by: Actor,
    at_ms: u64,
    change: Change,
    outcome: Option<Result<Changed, Refused>>,
    told: Told<Changed>,
}

impl Changing {
    pub(crate) fn new(room: RoomName, by: Actor, at_ms: u64, change: Change, told: Told<Changed>) -> Self {
        Self { room, by, at_ms, change, outcome: None, told }
    }

    /// About how much memory it holds.
    pub(crate) fn bytes(&self) -> usize {
        match &self.change {
            Change::Edit { content, data, .. } => {
                content.len() + data.as_ref().map_or(0, |data| data.get().len()) + 512
            }
            Change::Create { members, .. } => members.len() * 64 + 512,
            _ => 512,
        }
    }

    /// Whether it makes the room when it is not there.
    pub(crate) fn makes_room(&self) -> bool {
        match &self.change {
            Change::Create { .. } | Change::Direct { .. } => self.by.user.is_some(),
            Change::Join { create } => *create,
            _ => false,
        }
    }

    /// Makes the change in a transaction that has the room locked, and knows nothing of chat rooms.
    pub(crate) fn apply(&mut self, group: &mut Group<'_>) -> Result<(), Fault> {
        let room = if self.makes_room() { Some(group.room_or_new(&self.room)?) } else { group.room(&self.room)? };
        let Some(room) = room else {
            self.outcome = Some(Err(Refused::NoRoom));
            return Ok(());
        };
        let changed = Changed { answer: Answer::Done {}, events: Vec::new(), added: Vec::new(), removed: None };
        let mut work = Work { group, room, log: &self.room, by: &self.by, now: self.at_ms, changed };
        let outcome = match work.apply(&self.change) {
            Ok(answer) => Ok(Changed { answer, ..work.changed }),
            Err(No::Refused(refused)) => Err(refused),
            Err(No::Fault(fault)) => return Err(fault),
        };
        self.outcome = Some(outcome);
        Ok(())
    }

    pub(crate) fn settle(self, outcome: Result<(), LogError>) {
        (self.told)(outcome.and_then(|()| self.outcome.ok_or_else(crate::operation::unanswered)));
    }
}

/// Why a change is not made. Nothing has been written when it is refused.
pub(super) enum No {
    Refused(Refused),
    Fault(Fault),
}

impl From<Fault> for No {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<Refused> for No {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

/// A change that is being made.
pub(super) struct Work<'w, 'c> {
    pub(super) group: &'w mut Group<'c>,
    pub(super) room: i64,
    pub(super) log: &'w RoomName,
    pub(super) by: &'w Actor,
    pub(super) now: u64,
    pub(super) changed: Changed,
}

impl Work<'_, '_> {
    fn apply(&mut self, change: &Change) -> Result<Answer, No> {
        match change {
            Change::Create { kind, title, members } => self.create(*kind, title, members),
            Change::Direct { other } => self.direct(other),
            Change::Update { title, slow_mode_ms } => self.update(title.as_deref(), *slow_mode_ms),
            Change::Join { create } => self.join(*create),
            Change::Leave => self.leave(),
            Change::Invite { user } => self.invite(user),
            Change::SetRole { user, role } => self.set_role(user, *role),
            Change::Mute { user, until_ms } => self.mute(user, *until_ms),
            Change::Kick { user } => self.kick(user),
            Change::Ban { user, until_ms, reason } => self.ban(user, *until_ms, reason.as_deref()),
            Change::Unban { user } => self.unban(user),
            Change::Edit { sequence, content, data, mentions, version } => {
                self.edit(*sequence, content, data.as_deref(), mentions.as_deref(), *version)
            }
            Change::Delete { sequence } => self.delete(*sequence),
            Change::React { sequence, emoji, on } => self.react(*sequence, emoji, *on),
            Change::MarkUnread { sequence } => self.mark_unread(*sequence),
        }
    }

    /// What the room lets them do who want the change.
    pub(super) fn access(&self) -> Result<Access, No> {
        Ok(rows::access(&self.group.transaction, self.log, self.by, self.now)??)
    }

    /// The same, for what members do.
    pub(super) fn at_least(&self, role: Role) -> Result<Access, No> {
        let access = self.access()?;
        access.at_least(role)?;
        Ok(access)
    }

    pub(super) fn user(&self) -> Result<&Name, No> {
        Ok(self.by.user.as_ref().ok_or(Refused::NotMember)?)
    }

    pub(super) fn execute(&self, sql: &str, values: &[Value<'_>]) -> Result<usize, Fault> {
        self.group.transaction.execute(sql, values)
    }

    /// Appends an event that tells of the change.
    pub(super) fn tell(&mut self, event: &str, payload: impl Into<Bytes>) -> Result<u64, Fault> {
        let draft = Draft {
            from: self.by.client.clone(),
            user: self.by.user.clone(),
            origin: self.by.origin,
            trail: self.by.trail.clone(),
            ..Draft::new(self.log.clone(), Name::parse(event).expect("a word is a name"), payload.into(), self.now)
        };
        let event = self.group.give(draft)?;
        let seq = event.seq.0;
        self.changed.events.push(event);
        Ok(seq)
    }

    /// The room as it is now.
    pub(super) fn now_is(&mut self) -> Result<Room, No> {
        // With the numbers of the events that were appended.
        self.group.write()?;
        let sql = format!("{} WHERE c.room_id = $2", rows::ROOM);
        let values = [Value::Text(self.by.id()), Value::Integer(self.room)];
        Ok(self.group.transaction.first(&sql, &values, rows::room)?.ok_or(Refused::NoRoom)?)
    }

    pub(super) fn member(&self, user: &Name) -> Result<Member, No> {
        let sql = format!("SELECT {} FROM chat_members WHERE room_id = $1 AND user_name = $2", rows::MEMBER);
        let values = [Value::Integer(self.room), Value::Text(user.as_str())];
        let member = self.group.transaction.first(&sql, &values, rows::member)?;
        Ok(member.ok_or(Refused::Missing("the user is no member of the room"))?)
    }
}
