//! What a transaction knows of chat rooms: the rooms, members and messages that the messages of its group have to do
//! with are fetched together, and what comes of them is written together. To a server each statement is a round trip.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use denrei_hub::Name;

use super::rows::known;
use super::send::NewMessage;
use super::{MessageKind, Role, RoomKind};
use crate::sql::{Fault, Row, Transaction, Value};

#[derive(Default)]
pub(crate) struct Ledger {
    rooms: HashMap<i64, Option<Room>>,
    members: HashMap<(i64, Name), Option<Member>>,
    targets: HashMap<(i64, u64), Option<Target>>,
    messages: Vec<Entered>,
    mentions: Vec<(i64, Name, u64)>,
    /// Threads that were answered: how often, and when the last time.
    answered: BTreeMap<(i64, u64), (u64, u64)>,
    moved_rooms: BTreeSet<i64>,
    moved_members: HashSet<(i64, Name)>,
}

/// A room, as far as messages have to do with it.
pub(super) struct Room {
    pub(super) kind: RoomKind,
    pub(super) sequence: u64,
    pub(super) slow_ms: u64,
    pub(super) active_at: u64,
}

/// A member, or who is banned.
#[derive(Clone, Copy)]
pub(super) struct Member {
    pub(super) role: Role,
    pub(super) muted_until: u64,
    pub(super) sent_at: u64,
    pub(super) read: u64,
}

/// A message that another refers to.
#[derive(Clone, Copy)]
pub(super) struct Target {
    /// The thread that it belongs to; 0 for none.
    pub(super) thread: u64,
    pub(super) replies: u64,
}

/// A message that is to be written.
pub(super) struct Entered {
    pub(super) room: i64,
    pub(super) sequence: u64,
    pub(super) seq: u64,
    pub(super) kind: MessageKind,
    pub(super) user: Box<str>,
    pub(super) client: Option<Box<str>>,
    pub(super) name: Option<Box<str>>,
    pub(super) id: Option<Box<str>>,
    pub(super) sent_at: u64,
    pub(super) reply_to: u64,
    pub(super) thread: u64,
    pub(super) mentions: Option<Box<str>>,
    pub(super) data: Option<Box<str>>,
    pub(super) content: Box<str>,
}

impl Entered {
    fn values(&self) -> [Value<'_>; 19] {
        [
            Value::Integer(self.room),
            Value::number(self.sequence),
            Value::number(self.seq),
            Value::Text(self.kind.as_str()),
            Value::Text(&self.user),
            Value::Maybe(self.client.as_deref()),
            Value::Maybe(self.name.as_deref()),
            Value::Maybe(self.id.as_deref()),
            Value::number(self.sent_at),
            Value::Integer(1),
            Value::Integer(0),
            Value::Integer(0),
            Value::number(self.reply_to),
            Value::number(self.thread),
            Value::Integer(0),
            Value::Integer(0),
            Value::Maybe(self.mentions.as_deref()),
            Value::Maybe(self.data.as_deref()),
            Value::Text(&self.content),
        ]
    }
}

const ROOM: &str = "SELECT kind, sequence, slow_mode_ms, active_at_ms FROM chat_rooms WHERE room_id = $1";
const MEMBER: &str = "SELECT role, muted_until_ms, sent_at_ms, read_sequence FROM chat_members
                      WHERE room_id = $1 AND user_name = $2";
const TARGET: &str = "SELECT thread, replies FROM chat_messages WHERE room_id = $1 AND sequence = $2";

fn room(row: &Row<'_>) -> Result<Room, Fault> {
    Ok(Room {
        kind: known(row.text(0)?, RoomKind::parse)?,
        sequence: row.number(1)?,
        slow_ms: row.number(2)?,
        active_at: row.number(3)?,
    })
}

fn member(row: &Row<'_>) -> Result<Member, Fault> {
    let role = known(row.text(0)?, Role::parse)?;
    Ok(Member { role, muted_until: row.number(1)?, sent_at: row.number(2)?, read: row.number(3)? })
}

fn target(row: &Row<'_>) -> Result<Target, Fault> {
    Ok(Target { thread: row.number(0)?, replies: row.number(1)? })
}

impl Ledger {
    /// Fetches what messages to rooms, which are locked, have to do with.
    pub(crate) fn fetch(&mut self, transaction: &Transaction<'_>, wanted: &[(i64, &NewMessage)]) -> Result<(), Fault> {
        let mut rooms: Vec<_> = wanted.iter().map(|(room, _)| *room).collect();
        rooms.sort_unstable();
        rooms.dedup();
        let many: Vec<_> = rooms.iter().map(|room| [Value::Integer(*room)]).collect();
        let found = transaction.first_many(ROOM, &many, |_, row| room(row))?;
        self.rooms.extend(rooms.into_iter().zip(found));

        let people = |(room, message): &(i64, &NewMessage)| {
            let room = *room;
            let (user, mentioned) = (message.by.user.clone(), message.mentions.clone());
            user.into_iter().chain(mentioned).map(move |user| (room, user))
        };
        let people: BTreeSet<_> = wanted.iter().flat_map(people).collect();
        let many: Vec<_> =
            people.iter().map(|(room, user)| [Value::Integer(*room), Value::Text(user.as_str())]).collect();
        let found = transaction.first_many(MEMBER, &many, |_, row| member(row))?;
        self.members.extend(people.into_iter().zip(found));

        let targets = |(room, message): &(i64, &NewMessage)| {
            [message.reply_to, message.thread]
                .into_iter()
                .flatten()
                .map(|sequence| (*room, sequence))
                .collect::<Vec<_>>()
        };
        let targets: BTreeSet<_> = wanted.iter().flat_map(targets).collect();
        let many: Vec<_> =
            targets.iter().map(|(room, sequence)| [Value::Integer(*room), Value::number(*sequence)]).collect();
        let found = transaction.first_many(TARGET, &many, |_, row| target(row))?;
        self.targets.extend(targets.into_iter().zip(found));
        Ok(())
    }

    pub(super) fn room(&mut self, transaction: &Transaction<'_>, id: i64) -> Result<Option<&mut Room>, Fault> {
        let found = match self.rooms.entry(id) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(transaction.first(ROOM, &[Value::Integer(id)], room)?),
        };
        Ok(found.as_mut())
    }

    pub(super) fn member(
        &mut self,
        transaction: &Transaction<'_>,
        room: i64,
        user: &Name,
    ) -> Result<Option<&mut Member>, Fault> {
        let values = [Value::Integer(room), Value::Text(user.as_str())];
        let found = match self.members.entry((room, user.clone())) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(transaction.first(MEMBER, &values, member)?),
        };
        Ok(found.as_mut())
    }

    pub(super) fn target(
        &mut self,
        transaction: &Transaction<'_>,
        room: i64,
        sequence: u64,
    ) -> Result<Option<&mut Target>, Fault> {
        let values = [Value::Integer(room), Value::number(sequence)];
        let found = match self.targets.entry((room, sequence)) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(transaction.first(TARGET, &values, target)?),
        };
        Ok(found.as_mut())
    }

    /// Enters a message whose room and sender have moved on.
    pub(super) fn enter(&mut self, message: Entered, by: Option<&Name>, mentioned: &[Name]) {
        let (room, sequence) = (message.room, message.sequence);
        self.moved_rooms.insert(room);
        self.moved_members.extend(by.map(|by| (room, by.clone())));
        self.mentions.extend(mentioned.iter().map(|user| (room, user.clone(), sequence)));
        if message.thread > 0 {
            let answered = self.answered.entry((room, message.thread)).or_default();
            *answered = (answered.0 + 1, message.sent_at);
        }
        self.messages.push(message);
    }

    /// Writes what was entered.
    pub(crate) fn write(&mut self, transaction: &Transaction<'_>) -> Result<(), Fault> {
        if self.messages.is_empty() {
            return Ok(());
        }
        let into = "chat_messages (room_id, sequence, seq, kind, user_name, from_client, shown_name, client_id, sent_at_ms,
                    version, edited_at_ms, deleted_at_ms, reply_to, thread, replies, last_reply_at_ms, mentions, data, content)";
        let many: Vec<_> = self.messages.iter().map(Entered::values).collect();
        if transaction.insert_many(into, &many)? < many.len() {
            return Err(Fault::Operation("the number of a message is taken".into()));
        }
        let mentions = self.mentions.iter();
        let mentions: Vec<_> = mentions
            .map(|(room, user, at)| [Value::Integer(*room), Value::Text(user.as_str()), Value::number(*at)])
            .collect();
        transaction.insert_many("chat_mentions (room_id, user_name, sequence)", &mentions)?;
        let answered = self.answered.iter();
        let answered: Vec<_> = answered
            .map(|((room, root), (times, last))| {
                [Value::number(*times), Value::number(*last), Value::Integer(*room), Value::number(*root)]
            })
            .collect();
        let sql = "UPDATE chat_messages SET replies = replies + $1, last_reply_at_ms = $2
                   WHERE room_id = $3 AND sequence = $4";
        transaction.execute_many(sql, &answered)?;
        let rooms = self.moved_rooms.iter().filter_map(|id| Some((id, self.rooms.get(id)?.as_ref()?)));
        let rooms: Vec<_> = rooms
            .map(|(id, room)| [Value::number(room.sequence), Value::number(room.active_at), Value::Integer(*id)])
            .collect();
        let sql = "UPDATE chat_rooms SET sequence = $1, active_at_ms = $2 WHERE room_id = $3";
        transaction.execute_many(sql, &rooms)?;
        let members = self.moved_members.iter().filter_map(|key| Some((key, self.members.get(key)?.as_ref()?)));
        let members: Vec<_> = members
            .map(|((room, user), member)| {
                let (read, sent) = (Value::number(member.read), Value::number(member.sent_at));
                [read, sent, Value::Integer(*room), Value::Text(user.as_str())]
            })
            .collect();
        // Who writes has read what is there.
        let sql =
            "UPDATE chat_members SET read_sequence = $1, delivered_sequence = $1, unread_from = 0, sent_at_ms = $2,
                       read_at_ms = $2, delivered_at_ms = $2
                   WHERE room_id = $3 AND user_name = $4";
        transaction.execute_many(sql, &members)?;
        self.messages.clear();
        self.mentions.clear();
        self.answered.clear();
        self.moved_rooms.clear();
        self.moved_members.clear();
        Ok(())
    }

    /// Forgets what is known, because it may have changed, or because nothing of it took place.
    pub(crate) fn forget(&mut self) {
        *self = Self::default();
    }
}
