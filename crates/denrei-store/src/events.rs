//! The rows of events: a room's log.

use std::sync::Arc;

use bytes::Bytes;
use denrei_hub::{Draft, Epoch, Extent, Message, Name, Page, Position, Retained, RoomName, Seq};

use crate::chat;
use crate::migrations::{epoch, understood};
use crate::rooms::{self, Aged};
use crate::sql::{Fault, Portion, Row, Rows, Transaction, Value};

/// A page ends before the message that would take its payloads past this.
const PAGE_BYTES: usize = 1 << 20;

/// An event that has its number and is to be stored under it.
#[derive(Debug)]
pub(crate) struct Numbered {
    pub(crate) room: i64,
    pub(crate) seq: Seq,
    pub(crate) draft: Draft,
}

impl Numbered {
    fn values(&self) -> [Value<'_>; 8] {
        let Self { room, seq, draft } = self;
        [
            Value::Integer(*room),
            Value::number(seq.0),
            Value::Text(draft.event.as_str()),
            Value::Maybe(draft.from.as_deref()),
            Value::Text(scope(draft)),
            Value::Maybe(draft.id.as_ref().map(Name::as_str)),
            Value::number(draft.timestamp),
            Value::Bytes(&draft.payload),
        ]
    }
}

/// Stores events; says how many: not those whose number or client id is taken.
pub(crate) fn insert(transaction: &Transaction<'_>, events: &[Numbered]) -> Result<usize, Fault> {
    let into = "events (room_id, seq, event, from_client, user_name, client_id, sent_at_ms, payload)";
    let many: Vec<_> = events.iter().map(Numbered::values).collect();
    transaction.insert_many(into, &many)
}

/// The messages that were stored earlier under the client ids of drafts, which have one; each with its room's id.
pub(crate) fn earlier(
    transaction: &Transaction<'_>,
    epoch: &Epoch,
    drafts: &[(i64, &Draft)],
) -> Result<Vec<Option<Message>>, Fault> {
    let sql = "SELECT seq, event, from_client, user_name, sent_at_ms, payload FROM events
               WHERE room_id = $1 AND user_name = $2 AND client_id = $3";
    let many = drafts.iter().map(|&(room, draft)| {
        let id = draft.id.as_ref().map(Name::as_str);
        [Value::Integer(room), Value::Text(scope(draft)), Value::Maybe(id)]
    });
    let many: Vec<_> = many.collect();
    transaction.first_many(sql, &many, |at, row| message(row, &drafts[at].1.room, epoch))
}

/// Reads a page of a room's log. It holds as many messages as the extent says and their payloads at most
/// [`PAGE_BYTES`], but at least one message if there is one.
pub(crate) fn page(transaction: &Transaction<'_>, name: &RoomName, extent: Extent) -> Result<Page, Fault> {
    let sql = "SELECT id, head, COALESCE((SELECT seq FROM events WHERE room_id = id ORDER BY seq LIMIT 1), head + 1),
                      (SELECT value FROM meta WHERE key = 'epoch')
               FROM rooms WHERE name = $1";
    let room = transaction.first(sql, &[Value::Text(name.as_str())], |row| {
        let epoch = understood("epoch", row.text(3)?, |text| Epoch::parse(text).ok())?;
        Ok((row.integer(0)?, Seq(row.number(1)?), Seq(row.number(2)?), epoch))
    })?;
    let Some((room, head, first, epoch)) = room else {
        return Ok(Page { epoch: epoch(transaction)?, messages: Vec::new(), head: Seq::ZERO, first: Seq::ZERO.next() });
    };
    let (sql, order, after, limit) = match extent {
        Extent::After(after, limit) => (
            "SELECT seq, event, from_client, user_name, sent_at_ms, payload FROM events
             WHERE room_id = $1 AND seq > $2 ORDER BY seq LIMIT $3",
            "seq",
            after,
            limit,
        ),
        Extent::Newest(limit) => (
            "SELECT seq, event, from_client, user_name, sent_at_ms, payload FROM events
             WHERE room_id = $1 AND seq > $2 ORDER BY seq DESC LIMIT $3",
            "seq DESC",
            Seq::ZERO,
            limit,
        ),
    };
    let mut messages = Vec::new();
    let mut bytes = 0;
    let portion = Portion { order, size: "LENGTH(payload)", most: PAGE_BYTES };
    let values = [Value::Integer(room), Value::number(after.0), Value::number(limit as u64)];
    transaction.each_within(portion, sql, &values, |row| {
        let message = message(row, name, &epoch)?;
        bytes += message.payload.len();
        if bytes > PAGE_BYTES && !messages.is_empty() {
            return Ok(Rows::Enough);
        }
        messages.push(Arc::new(message));
        Ok(Rows::More)
    })?;
    if matches!(extent, Extent::Newest(_)) {
        messages.reverse();
    }
    Ok(Page { epoch, messages, head, first })
}

/// Where each room stands.
pub(crate) fn heads(transaction: &Transaction<'_>, names: &[RoomName]) -> Result<Vec<Position>, Fault> {
    let epoch = epoch(transaction)?;
    let heads = rooms::heads(transaction, names)?.into_iter();
    Ok(heads.map(|head| Position { epoch: epoch.clone(), seq: head.unwrap_or(Seq::ZERO) }).collect())
}

/// What one step of trimming did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Trimmed {
    /// Events let go of.
    pub(crate) events: u64,
    /// The next step begins after this room; none when all rooms have been seen.
    pub(crate) next: Option<i64>,
}

/// Lets go of the oldest events of rooms, as far as they are older than a time; looks at a bounded number
/// of rooms, events and bytes.
///
/// What goes is the beginning of a log: an old event behind a younger one stays, so that what is kept has no holes.
pub(crate) fn trim(
    transaction: &Transaction<'_>,
    rooms: &Retained,
    before_ms: u64,
    after: i64,
) -> Result<Trimmed, Fault> {
    const ROOMS: usize = 256;
    const EVENTS: u64 = 1000;
    const BYTES: u64 = 8 << 20;
    let Aged { rooms, next } = rooms::aged(transaction, rooms, before_ms, after, ROOMS)?;
    let mut events = 0;
    let mut bytes = 0;
    for &room in &rooms {
        let mut last = None;
        let sql = "SELECT seq, sent_at_ms, LENGTH(payload) FROM events WHERE room_id = $1 ORDER BY seq LIMIT $2";
        transaction.each(sql, &[Value::Integer(room), Value::number(EVENTS - events)], |row| {
            if row.number(1)? >= before_ms || bytes >= BYTES {
                return Ok(Rows::Enough);
            }
            last = Some(row.integer(0)?);
            events += 1;
            bytes += row.number(2)?;
            Ok(Rows::More)
        })?;
        if let Some(last) = last {
            let sql = "DELETE FROM events WHERE room_id = $1 AND seq <= $2";
            transaction.execute(sql, &[Value::Integer(room), Value::Integer(last)])?;
            chat::forget(transaction, room, last)?;
        }
        if events >= EVENTS || bytes >= BYTES {
            // This room may have more.
            return Ok(Trimmed { events, next: Some(room - 1) });
        }
    }
    Ok(Trimmed { events, next })
}

/// Whose client ids a draft's id is one of: anonymous senders share a scope, and no name is empty.
fn scope(draft: &Draft) -> &str {
    draft.user.as_ref().map_or("", Name::as_str)
}

fn message(row: &Row<'_>, room: &RoomName, epoch: &Epoch) -> Result<Message, Fault> {
    let user = match row.text(3)? {
        "" => None,
        user => Some(name(user)?),
    };
    let draft = Draft {
        from: row.maybe(2)?.map(Into::into),
        user,
        ..Draft::new(room.clone(), name(row.text(1)?)?, Bytes::copy_from_slice(row.bytes(5)?), row.number(4)?)
    };
    Ok(Message::stored(draft, Position { epoch: epoch.clone(), seq: Seq(row.number(0)?) }))
}

fn name(text: &str) -> Result<Name, Fault> {
    Name::parse(text).map_err(|error| Fault::Operation(format!("the stored name {text:?}: {error}").into()))
}
