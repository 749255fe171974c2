//! What can be read of rooms.

use denrei_hub::{Name, RoomName};
use serde::Serialize;

use super::profile::{Seen, seen};
use super::rows::{self, MEMBER, MESSAGE, ROOM, access, known};
use super::{Actor, Member, Message, Refused, Room, room_id};
use crate::sql::{Fault, Portion, Row, Rows, Transaction, Value};

/// A page ends before the message whose content and data would take it past this.
const PAGE_BYTES: usize = 1 << 20;

/// Which messages to read. Numbers are messages'.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Extent {
    /// The newest.
    Newest,
    /// Those that follow one, oldest first.
    After(u64),
    /// Those before one, the nearest.
    Before(u64),
    /// Half before one, and it, and what follows.
    Around(u64),
}

/// A part of a list, and where to go on: none at its end.
pub type Part<T, P> = (Vec<T>, Option<P>);

/// A place in a user's list of rooms: a time and a row.
pub type Recent = (u64, i64);

/// Some messages of a room, or of a thread in it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Page {
    /// In the order of their numbers.
    pub messages: Vec<Message>,
    /// The life of the room's log.
    pub epoch: Box<str>,
    /// Where the log stood.
    pub seq: u64,
    /// The last message's number.
    pub sequence: u64,
    /// Whether there are older ones.
    pub has_before: bool,
    /// Whether there are newer ones.
    pub has_after: bool,
}

/// Somebody who is kept out.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Ban {
    /// The user.
    pub user_id: Box<str>,
    /// Who did it.
    pub by: Box<str>,
    /// In ms since 1970.
    pub at: u64,
    /// In ms since 1970; none for ever.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<u64>,
    /// For people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Box<str>>,
}

/// Who has got a message.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Receipts {
    /// Those who have read it.
    pub read: Vec<Receipt>,
    /// Those where it has arrived.
    pub delivered: Vec<Receipt>,
}

/// One of them.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Receipt {
    /// The user.
    pub user_id: Box<str>,
    /// When the mark came to where it is, in ms since 1970.
    pub at: u64,
}

/// What somebody may do in a room that they may read.
pub(crate) fn may_read(
    transaction: &Transaction<'_>,
    log: &RoomName,
    by: &Actor,
    now_ms: u64,
) -> Result<Result<rows::Access, Refused>, Fault> {
    let found = access(transaction, log, by, now_ms)?;
    Ok(found.and_then(|access| access.read().map(|()| access)))
}

pub(crate) fn room(transaction: &Transaction<'_>, log: &RoomName, by: &Actor) -> Result<Option<Room>, Fault> {
    let sql = format!("{ROOM} WHERE rooms.name = $2");
    let found = transaction.first(&sql, &[Value::Text(by.id()), Value::Text(log.as_str())], rows::room)?;
    let Some(mut room) = found else { return Ok(None) };
    add_last(transaction, std::slice::from_mut(&mut room))?;
    Ok(Some(room))
}

/// A user's rooms, those with the latest message first; behind a place. With their last messages.
pub(crate) fn rooms(
    transaction: &Transaction<'_>,
    by: &Actor,
    after: Option<Recent>,
    limit: usize,
) -> Result<Part<Room, Recent>, Fault> {
    let (mut found, next) = latest(transaction, by, after, limit)?;
    add_last(transaction, &mut found)?;
    Ok((found, next))
}

/// The same without.
pub(super) fn latest(
    transaction: &Transaction<'_>,
    by: &Actor,
    after: Option<Recent>,
    limit: usize,
) -> Result<Part<Room, Recent>, Fault> {
    let (time, row) = after.unwrap_or((u64::MAX, i64::MAX));
    let sql = format!(
        "{ROOM} WHERE m.role IS NOT NULL AND (c.active_at_ms < $2 OR (c.active_at_ms = $2 AND c.room_id < $3))
         ORDER BY c.active_at_ms DESC, c.room_id DESC LIMIT $4"
    );
    let values = [Value::Text(by.id()), Value::number(time), Value::Integer(row), Value::number(limit as u64)];
    let found = all(transaction, &sql, &values, rows::room)?;
    let next = found.last().filter(|_| found.len() == limit).map(|last| (last.active_at, last.row));
    Ok((found, next))
}

/// Public rooms in the order in which they were made.
pub(crate) fn directory(
    transaction: &Transaction<'_>,
    by: &Actor,
    after: i64,
    limit: usize,
) -> Result<Part<Room, i64>, Fault> {
    let sql = format!("{ROOM} WHERE c.kind = 'public' AND c.room_id > $2 ORDER BY c.room_id LIMIT $3");
    let values = [Value::Text(by.id()), Value::Integer(after), Value::number(limit as u64)];
    let found = all(transaction, &sql, &values, rows::room)?;
    let next = found.last().filter(|_| found.len() == limit).map(|last| last.row);
    Ok((found, next))
}

fn add_last(transaction: &Transaction<'_>, found: &mut [Room]) -> Result<(), Fault> {
    let sql = format!("SELECT {MESSAGE} FROM chat_messages WHERE room_id = $1 AND sequence = $2");
    let many: Vec<_> = found.iter().map(|room| [Value::Integer(room.row), Value::number(room.sequence)]).collect();
    let last = transaction.first_many(&sql, &many, |at, row| rows::message(row, &found[at].id))?;
    for (room, last) in found.iter_mut().zip(last) {
        room.last_message = last.map(Box::new);
    }
    Ok(())
}

pub(crate) fn members(
    transaction: &Transaction<'_>,
    access: rows::Access,
    after: &str,
    limit: usize,
) -> Result<Vec<Member>, Fault> {
    let sql =
        format!("SELECT {MEMBER} FROM chat_members WHERE room_id = $1 AND user_name > $2 ORDER BY user_name LIMIT $3");
    let values = [Value::Integer(access.row), Value::Text(after), Value::number(limit as u64)];
    let found = all(transaction, &sql, &values, rows::member)?;
    Ok(match access.role {
        Some(_) => found,
        None => found.into_iter().map(Member::without_marks).collect(),
    })
}

pub(crate) fn bans(transaction: &Transaction<'_>, room: i64, now_ms: u64) -> Result<Vec<Ban>, Fault> {
    let sql = "SELECT user_name, banned_by, banned_at_ms, until_ms, reason FROM chat_bans
               WHERE room_id = $1 AND (until_ms > $2 OR until_ms = 0) ORDER BY banned_at_ms DESC, user_name LIMIT 1000";
    all(transaction, sql, &[Value::Integer(room), Value::number(now_ms)], |row| {
        let until = row.number(3)?;
        Ok(Ban {
            user_id: row.text(0)?.into(),
            by: row.text(1)?.into(),
            at: row.number(2)?,
            until: (until > 0).then_some(until),
            reason: row.maybe(4)?.map(Into::into),
        })
    })
}

/// Messages of a room; of a thread, where one is named.
pub(crate) fn history(
    transaction: &Transaction<'_>,
    log: &RoomName,
    row: i64,
    extent: Extent,
    thread: Option<u64>,
    limit: usize,
) -> Result<Page, Fault> {
    let sql = "SELECT c.sequence, rooms.head, (SELECT value FROM meta WHERE key = 'epoch')
               FROM chat_rooms AS c JOIN rooms ON rooms.id = c.room_id WHERE c.room_id = $1";
    let state = transaction
        .first(sql, &[Value::Integer(row)], |row| Ok((row.number(0)?, row.number(1)?, row.text(2)?.into())))?;
    let (sequence, seq, epoch) = state.ok_or_else(|| Fault::Operation("the room has gone".into()))?;
    let read = |from: Direction, limit: usize| read(transaction, log, row, thread, from, limit);
    let mut messages = match extent {
        Extent::Newest => read(Direction::Before(u64::MAX), limit)?,
        Extent::Before(before) => read(Direction::Before(before), limit)?,
        Extent::After(after) => read(Direction::After(after), limit)?,
        Extent::Around(middle) => {
            let mut before = read(Direction::Before(middle), limit / 2)?;
            before.extend(read(Direction::After(middle.saturating_sub(1)), limit - before.len())?);
            before
        }
    };
    rows::react(transaction, row, thread, &mut messages)?;
    let beyond = |from: Direction| self::read(transaction, log, row, thread, from, 1).map(|found| !found.is_empty());
    let (has_before, has_after) = match (messages.first(), messages.last(), extent) {
        (Some(first), Some(last), _) => {
            (beyond(Direction::Before(first.sequence))?, beyond(Direction::After(last.sequence))?)
        }
        (.., Extent::Newest) => (false, false),
        (.., Extent::Before(before) | Extent::Around(before)) => {
            (false, beyond(Direction::After(before.saturating_sub(1)))?)
        }
        (.., Extent::After(after)) => (beyond(Direction::Before(after.saturating_add(1)))?, false),
    };
    Ok(Page { messages, epoch, seq, sequence, has_before, has_after })
}

#[derive(Clone, Copy)]
enum Direction {
    /// The nearest before a number.
    Before(u64),
    After(u64),
}

fn read(
    transaction: &Transaction<'_>,
    log: &RoomName,
    room: i64,
    thread: Option<u64>,
    from: Direction,
    limit: usize,
) -> Result<Vec<Message>, Fault> {
    let (compare, number, order) = match from {
        Direction::Before(number) => ("<", number, "sequence DESC"),
        Direction::After(number) => (">", number, "sequence"),
    };
    // Answers in a thread are the room's messages too.
    let within = if thread.is_some() { "thread = $3" } else { "CAST($3 AS BIGINT) = 0" };
    let sql = format!(
        "SELECT {MESSAGE} FROM chat_messages WHERE room_id = $1 AND sequence {compare} $2 AND {within}
         ORDER BY {order} LIMIT $4"
    );
    let values =
        [Value::Integer(room), Value::number(number), Value::number(thread.unwrap_or(0)), Value::number(limit as u64)];
    let mut messages = Vec::new();
    let mut bytes = 0;
    let size = "LENGTH(content) + COALESCE(LENGTH(data), 0)";
    let portion = Portion { order, size, most: PAGE_BYTES };
    transaction.each_within(portion, &sql, &values, |row| {
        let message = rows::message(row, room_id(log))?;
        bytes += message.bytes();
        if bytes > PAGE_BYTES && !messages.is_empty() {
            return Ok(Rows::Enough);
        }
        messages.push(message);
        Ok(Rows::More)
    })?;
    if matches!(from, Direction::Before(_)) {
        messages.reverse();
    }
    Ok(messages)
}

/// Who has got a message; at most so many of each. In a room with too many members, of whom it would look at each, nobody.
pub(crate) fn receipts(
    transaction: &Transaction<'_>,
    row: i64,
    sequence: u64,
    limit: usize,
) -> Result<Receipts, Fault> {
    const MEMBERS: u64 = 1000;
    let sql = "SELECT members FROM chat_rooms WHERE room_id = $1";
    let members = transaction.first(sql, &[Value::Integer(row)], |row| row.number(0))?;
    if members.is_none_or(|members| members > MEMBERS) {
        return Ok(Receipts::default());
    }
    let who = |column: &str| {
        let sql = format!(
            "SELECT user_name, {column}_at_ms FROM chat_members WHERE room_id = $1 AND {column}_sequence >= $2
             ORDER BY user_name LIMIT $3"
        );
        all(transaction, &sql, &[Value::Integer(row), Value::number(sequence), Value::number(limit as u64)], |row| {
            Ok(Receipt { user_id: row.text(0)?.into(), at: row.number(1)? })
        })
    };
    Ok(Receipts { read: who("read")?, delivered: who("delivered")? })
}

/// Users who are told of a user's presence: the user's contacts, and those in rooms that they share and that are not too
/// large.
pub(crate) fn observers(
    transaction: &Transaction<'_>,
    user: &Name,
    largest: u64,
    limit: usize,
) -> Result<Vec<Name>, Fault> {
    let sql = "SELECT contact FROM contacts WHERE user_name = $1
               UNION
               SELECT o.user_name FROM chat_members AS m JOIN chat_rooms AS c ON c.room_id = m.room_id
               JOIN chat_members AS o ON o.room_id = m.room_id
               WHERE m.user_name = $1 AND c.members <= $2 AND o.user_name <> $1
               LIMIT $3";
    let values = [Value::Text(user.as_str()), Value::number(largest), Value::number(limit as u64)];
    all(transaction, sql, &values, |row| name(row.text(0)?))
}

pub(crate) fn contacts(transaction: &Transaction<'_>, user: &Name) -> Result<Vec<Box<str>>, Fault> {
    let sql = "SELECT contact FROM contacts WHERE user_name = $1 ORDER BY contact";
    all(transaction, sql, &[Value::Text(user.as_str())], |row| Ok(row.text(0)?.into()))
}

/// Which of these users a user may know the presence of: those who have them as a contact, and those who share a room.
pub(crate) fn known_to(
    transaction: &Transaction<'_>,
    user: &Name,
    others: &[Name],
    largest: u64,
) -> Result<Vec<(Name, Seen)>, Fault> {
    let sql = "SELECT COALESCE((SELECT seen_at_ms FROM presence WHERE user_name = $1), 0),
                   COALESCE((SELECT invisible FROM presence WHERE user_name = $1), 0)
               FROM meta WHERE key = 'epoch' AND ($1 = $2
                   OR EXISTS (SELECT contact FROM contacts WHERE user_name = $1 AND contact = $2)
                   OR EXISTS (SELECT m.room_id FROM chat_members AS m JOIN chat_rooms AS c ON c.room_id = m.room_id
                              JOIN chat_members AS o ON o.room_id = m.room_id
                              WHERE m.user_name = $2 AND o.user_name = $1 AND c.members <= $3))";
    let me = user.as_str();
    let many = others.iter().map(|other| [Value::Text(other.as_str()), Value::Text(me), Value::number(largest)]);
    let many: Vec<_> = many.collect();
    let found = transaction.first_many(sql, &many, |_, row| seen(row))?;
    Ok(others.iter().cloned().zip(found).filter_map(|(other, seen)| Some((other, seen?))).collect())
}

/// What was kept of users' presence.
pub(crate) fn presence(transaction: &Transaction<'_>, users: &[Name]) -> Result<Vec<Seen>, Fault> {
    let sql = "SELECT seen_at_ms, invisible FROM presence WHERE user_name = $1";
    let many: Vec<_> = users.iter().map(|user| [Value::Text(user.as_str())]).collect();
    let found = transaction.first_many(sql, &many, |_, row| seen(row))?;
    Ok(found.into_iter().map(Option::unwrap_or_default).collect())
}

fn name(text: &str) -> Result<Name, Fault> {
    known(text, |text| Name::parse(text).ok())
}

fn all<T>(
    transaction: &Transaction<'_>,
    sql: &str,
    values: &[Value<'_>],
    read: impl Fn(&Row<'_>) -> Result<T, Fault>,
) -> Result<Vec<T>, Fault> {
    let mut all = Vec::new();
    transaction.each(sql, values, |row| {
        all.push(read(row)?);
        Ok(Rows::More)
    })?;
    Ok(all)
}
