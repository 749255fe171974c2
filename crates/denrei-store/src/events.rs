//! The rows of events: a room's log.

use std::sync::Arc;

use bytes::Bytes;
use denrei_hub::{Draft, Epoch, Message, Name, Page, Position, Retained, RoomName, Seq, Span};

use crate::migrations::epoch;
use crate::rooms;
use crate::sql::{Fault, Row, Rows, Transaction, Value};

/// A page ends before the message that would take its payloads past this.
const PAGE_BYTES: usize = 1 << 20;

/// Stores a draft under a number; false when its client id is taken, and nothing was stored.
pub(crate) fn insert(transaction: &Transaction<'_>, room: i64, seq: Seq, draft: &Draft) -> Result<bool, Fault> {
    let sql = "INSERT INTO events (room_id, seq, event, from_client, user_name, client_id, sent_at_ms, payload)
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING";
    let values = [
        Value::Integer(room),
        Value::number(seq.0),
        Value::Text(draft.event.as_str()),
        Value::Maybe(draft.from.as_deref()),
        Value::Text(scope(draft)),
        Value::Maybe(draft.id.as_ref().map(Name::as_str)),
        Value::number(draft.timestamp),
        Value::Bytes(&draft.payload),
    ];
    Ok(transaction.execute(sql, &values)? == 1)
}

/// The message that was stored earlier under a draft's client id.
pub(crate) fn earlier(
    transaction: &Transaction<'_>,
    room: i64,
    epoch: &Epoch,
    draft: &Draft,
) -> Result<Option<Message>, Fault> {
    let Some(id) = &draft.id else { return Ok(None) };
    let sql = "SELECT seq, event, from_client, user_name, sent_at_ms, payload FROM events
               WHERE room_id = $1 AND user_name = $2 AND client_id = $3";
    let values = [Value::Integer(room), Value::Text(scope(draft)), Value::Text(id.as_str())];
    transaction.first(sql, &values, |row| message(row, &draft.room, epoch))
}

/// Reads a page of a room's log. It holds as many messages as the span says and their payloads at most
/// [`PAGE_BYTES`], but at least one message if there is one.
pub(crate) fn page(transaction: &Transaction<'_>, name: &RoomName, span: Span) -> Result<Page, Fault> {
    let epoch = epoch(transaction)?;
    let Some((room, head)) = rooms::find(transaction, name)? else {
        return Ok(Page { epoch, messages: Vec::new(), head: Seq::ZERO, first: Seq::ZERO.next() });
    };
    let first = first(transaction, room)?.unwrap_or(head.next());
    let (sql, after, limit) = match span {
        Span::After(after, limit) => (
            "SELECT seq, event, from_client, user_name, sent_at_ms, payload FROM events
             WHERE room_id = $1 AND seq > $2 ORDER BY seq LIMIT $3",
            after,
            limit,
        ),
        Span::Newest(limit) => (
            "SELECT seq, event, from_client, user_name, sent_at_ms, payload FROM events
             WHERE room_id = $1 AND seq > $2 ORDER BY seq DESC LIMIT $3",
            Seq::ZERO,
            limit,
        ),
    };
    let mut messages = Vec::new();
    let mut bytes = 0;
    let values = [Value::Integer(room), Value::number(after.0), Value::number(limit as u64)];
    transaction.each(sql, &values, |row| {
        let message = message(row, name, &epoch)?;
        bytes += message.payload.len();
        if bytes > PAGE_BYTES && !messages.is_empty() {
            return Ok(Rows::Enough);
        }
        messages.push(Arc::new(message));
        Ok(Rows::More)
    })?;
    if matches!(span, Span::Newest(_)) {
        messages.reverse();
    }
    Ok(Page { epoch, messages, head, first })
}

/// Where each room stands.
pub(crate) fn heads(transaction: &Transaction<'_>, names: &[RoomName]) -> Result<Vec<Position>, Fault> {
    let epoch = epoch(transaction)?;
    let head = |name| {
        let seq = rooms::find(transaction, name)?.map_or(Seq::ZERO, |(_, head)| head);
        Ok(Position { epoch: epoch.clone(), seq })
    };
    names.iter().map(head).collect()
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
    let (ids, next) = rooms::retained(transaction, rooms, after, ROOMS)?;
    let mut events = 0;
    let mut bytes = 0;
    for &room in &ids {
        let mut last = None;
        let sql = "SELECT seq, sent_at_ms, LENGTH(payload) FROM events WHERE room_id = $1 ORDER BY seq";
        transaction.each(sql, &[Value::Integer(room)], |row| {
            if row.number(1)? >= before_ms || events >= EVENTS || bytes >= BYTES {
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
        }
        if events >= EVENTS || bytes >= BYTES {
            // This room may have more.
            return Ok(Trimmed { events, next: Some(room - 1) });
        }
    }
    Ok(Trimmed { events, next })
}

fn first(transaction: &Transaction<'_>, room: i64) -> Result<Option<Seq>, Fault> {
    let sql = "SELECT seq FROM events WHERE room_id = $1 ORDER BY seq LIMIT 1";
    transaction.first(sql, &[Value::Integer(room)], |row| row.number(0).map(Seq))
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
        room: room.clone(),
        event: name(row.text(1)?)?,
        payload: Bytes::copy_from_slice(row.bytes(5)?),
        from: row.maybe(2)?.map(Into::into),
        user,
        id: None,
        origin: 0,
        timestamp: row.number(4)?,
    };
    Ok(Message::stored(draft, Position { epoch: epoch.clone(), seq: Seq(row.number(0)?) }))
}

fn name(text: &str) -> Result<Name, Fault> {
    Name::parse(text).map_err(|error| Fault::Operation(format!("the stored name {text:?}: {error}").into()))
}
