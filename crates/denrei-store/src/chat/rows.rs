//! Rows as things of the domain.

use denrei_hub::RoomName;
use serde_json::value::RawValue;

use super::{Member, Message, MessageKind, Own, Reaction, Refused, Role, Room, RoomKind, Thread, message_id, room_id};
use crate::sql::{Fault, Row, Rows, Transaction, Value};

/// The columns of [`message`], content last.
pub(super) const MESSAGE: &str = "sequence, kind, user_name, from_client, shown_name, client_id, sent_at_ms, version,
     edited_at_ms, deleted_at_ms, reply_to, thread, replies, last_reply_at_ms, mentions, data, content";

/// The id of a guest who has no connection.
pub(super) const GUEST: &str = "guest";

pub(super) fn message(row: &Row<'_>, room: &str) -> Result<Message, Fault> {
    let sequence = row.number(0)?;
    let some = |column| row.number(column).map(|number| (number > 0).then_some(number));
    let user = Some(row.text(2)?).filter(|user| !user.is_empty());
    let raw = |column| {
        row.maybe(column)?
            .map(|text| RawValue::from_string(text.into()))
            .transpose()
            .map_err(|error| unreadable(&error))
    };
    let replies = row.number(12)?;
    Ok(Message {
        id: message_id(room, sequence),
        sequence,
        room_id: room.into(),
        user_id: user.or(row.maybe(3)?).unwrap_or(GUEST).into(),
        user_name: row.maybe(4)?.map(Into::into),
        content: row.text(16)?.into(),
        timestamp: row.number(6)?,
        status: "sent",
        kind: known(row.text(1)?, MessageKind::parse)?,
        version: row.number(7)?,
        client_message_id: row.maybe(5)?.map(Into::into),
        reply_to: some(10)?.map(|sequence| message_id(room, sequence)),
        thread_id: some(11)?.map(|sequence| message_id(room, sequence)),
        mentions: raw(14)?,
        data: raw(15)?,
        reactions: Vec::new(),
        thread: (replies > 0).then_some(Thread { replies, last_reply_at: row.number(13)? }),
        edited_at: some(8)?,
        deleted_at: some(9)?,
    })
}

/// A message with its reactions.
pub(super) fn one(
    transaction: &Transaction<'_>,
    room: i64,
    log: &RoomName,
    sequence: u64,
) -> Result<Option<Message>, Fault> {
    let sql = format!("SELECT {MESSAGE} FROM chat_messages WHERE room_id = $1 AND sequence = $2");
    let values = [Value::Integer(room), Value::number(sequence)];
    let found = transaction.first(&sql, &values, |row| message(row, room_id(log)))?;
    let Some(mut message) = found else { return Ok(None) };
    react(transaction, room, None, std::slice::from_mut(&mut message))?;
    Ok(Some(message))
}

/// Adds to messages, which ascend and are all of a room or of a thread in it, how members have reacted.
pub(super) fn react(
    transaction: &Transaction<'_>,
    room: i64,
    thread: Option<u64>,
    messages: &mut [Message],
) -> Result<(), Fault> {
    let (Some(first), Some(last)) = (messages.first(), messages.last()) else { return Ok(()) };
    let (first, last) = (Value::number(first.sequence), Value::number(last.sequence));
    let add = |row: &Row<'_>| {
        let sequence = row.number(0)?;
        if let Ok(at) = messages.binary_search_by_key(&sequence, |message| message.sequence) {
            let user_ids = serde_json::from_str(row.text(3)?).map_err(|error| unreadable(&error))?;
            messages[at].reactions.push(Reaction { emoji: row.text(1)?.into(), count: row.number(2)?, user_ids });
        }
        Ok(Rows::More)
    };
    match thread {
        None => {
            let sql = "SELECT sequence, emoji, total, first_users FROM chat_reaction_sums
                       WHERE room_id = $1 AND sequence >= $2 AND sequence <= $3 ORDER BY sequence, emoji";
            transaction.each(sql, &[Value::Integer(room), first, last], add)
        }
        // Between its messages there may be any number of others.
        Some(thread) => {
            let sql = "SELECT sequence, emoji, total, first_users FROM chat_reaction_sums
                       WHERE room_id = $1 AND sequence IN (SELECT sequence FROM chat_messages
                           WHERE room_id = $1 AND thread = $2 AND sequence >= $3 AND sequence <= $4)
                       ORDER BY sequence, emoji";
            transaction.each(sql, &[Value::Integer(room), Value::number(thread), first, last], add)
        }
    }
}

/// What [`room`] reads, with `user` as the user that asks; `$1` everywhere.
pub(super) const ROOM: &str =
    "SELECT rooms.id, rooms.name, rooms.head, c.kind, c.title, c.created_by, c.created_at_ms, c.members,
     c.sequence, c.slow_mode_ms, c.active_at_ms, m.role, m.read_sequence, m.unread_from, m.muted_until_ms,
     (SELECT COUNT(*) FROM chat_mentions AS t
      WHERE t.room_id = c.room_id AND t.user_name = $1 AND t.sequence > m.read_sequence),
     (SELECT o.user_name FROM chat_members AS o
      WHERE c.kind = 'direct' AND o.room_id = c.room_id AND o.user_name <> $1 LIMIT 1),
     (SELECT value FROM meta WHERE key = 'epoch')
     FROM chat_rooms AS c JOIN rooms ON rooms.id = c.room_id
     LEFT JOIN chat_members AS m ON m.room_id = c.room_id AND m.user_name = $1";

pub(super) fn room(row: &Row<'_>) -> Result<Room, Fault> {
    let name = row.text(1)?;
    let sequence = row.number(8)?;
    let own = match row.maybe(11)? {
        None => None,
        Some(role) => {
            let (read, from, muted) = (row.number(12)?, row.number(13)?, row.number(14)?);
            Some(Own {
                role: known(role, Role::parse)?,
                read,
                unread: unread(sequence, read, from),
                mentions: row.number(15)?,
                muted_until: (muted > 0).then_some(muted),
                peer: row.maybe(16)?.map(Into::into),
            })
        }
    };
    Ok(Room {
        id: name.strip_prefix(super::CLASS).unwrap_or(name).into(),
        kind: known(row.text(3)?, RoomKind::parse)?,
        title: row.text(4)?.into(),
        created_by: row.text(5)?.into(),
        created_at: row.number(6)?,
        members: row.number(7)?,
        sequence,
        slow_mode: row.number(9)?,
        epoch: row.text(17)?.into(),
        seq: row.number(2)?,
        last_message: None,
        own,
        row: row.integer(0)?,
        active_at: row.number(10)?,
    })
}

/// How many messages are unread: those behind the mark, or from where the user wants them so.
pub(super) fn unread(sequence: u64, read: u64, from: u64) -> u64 {
    let wanted = if from > 0 { (sequence + 1).saturating_sub(from) } else { 0 };
    sequence.saturating_sub(read).max(wanted)
}

/// The columns of [`member`].
pub(super) const MEMBER: &str =
    "user_name, shown_name, role, joined_at_ms, read_sequence, delivered_sequence, muted_until_ms";

pub(super) fn member(row: &Row<'_>) -> Result<Member, Fault> {
    let muted = row.number(6)?;
    Ok(Member {
        user_id: row.text(0)?.into(),
        user_name: row.maybe(1)?.map(Into::into),
        role: known(row.text(2)?, Role::parse)?,
        joined_at: row.number(3)?,
        read: Some(row.number(4)?),
        delivered: Some(row.number(5)?),
        muted_until: (muted > 0).then_some(muted),
    })
}

/// What a room lets somebody do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Access {
    pub(crate) row: i64,
    pub(crate) kind: RoomKind,
    /// None for who is no member.
    pub(crate) role: Option<Role>,
    pub(crate) banned: bool,
}

/// Looks up what a room lets somebody do. A room that is not public is not there for who has nothing to do with it.
pub(super) fn access(
    transaction: &Transaction<'_>,
    log: &RoomName,
    by: &super::Actor,
    now_ms: u64,
) -> Result<Result<Access, Refused>, Fault> {
    let sql = "SELECT c.room_id, c.kind, m.role, b.until_ms FROM rooms JOIN chat_rooms AS c ON c.room_id = rooms.id
               LEFT JOIN chat_members AS m ON m.room_id = c.room_id AND m.user_name = $1
               LEFT JOIN chat_bans AS b ON b.room_id = c.room_id AND b.user_name = $1
                    AND (b.until_ms > $2 OR b.until_ms = 0)
               WHERE rooms.name = $3";
    let values = [Value::Text(by.id()), Value::number(now_ms), Value::Text(log.as_str())];
    let found = transaction.first(sql, &values, |row| {
        let role = row.maybe(2)?.map(|role| known(role, Role::parse)).transpose()?;
        let role = if by.admin { Some(Role::Owner) } else { role };
        let kind = known(row.text(1)?, RoomKind::parse)?;
        // A left join's nothing is not a number.
        let banned = !by.admin && row.is_there(3)?;
        Ok(Access { row: row.integer(0)?, kind, role, banned })
    })?;
    let is_there = |access: &Access| access.role.is_some() || access.banned || access.kind == RoomKind::Public;
    Ok(found.filter(is_there).ok_or(Refused::NoRoom))
}

impl Access {
    /// Whether they may read.
    pub(super) fn read(&self) -> Result<(), Refused> {
        if self.banned { Err(Refused::Banned) } else { Ok(()) }
    }

    /// Whether they are a member with this role, or a higher one.
    pub(super) fn at_least(&self, role: Role) -> Result<Role, Refused> {
        match self.role {
            None => Err(self.outside()),
            Some(own) if own < role => Err(Refused::Forbidden(match role {
                Role::Owner => "only owners of the room may do this",
                Role::Moderator | Role::Member => "only moderators of the room may do this",
            })),
            Some(own) => Ok(own),
        }
    }

    /// Why who is no member may not do what members may.
    pub(super) fn outside(&self) -> Refused {
        if self.banned { Refused::Banned } else { Refused::NotMember }
    }
}

/// A word that was stored.
pub(super) fn known<T>(word: &str, parse: impl FnOnce(&str) -> Option<T>) -> Result<T, Fault> {
    parse(word).ok_or_else(|| Fault::Operation(format!("the stored word {word:?} is unknown").into()))
}

fn unreadable(error: &serde_json::Error) -> Fault {
    Fault::Operation(format!("stored JSON: {error}").into())
}
