//! How messages are written in Redis, and what the script answers.

use std::sync::Arc;

use bytes::Bytes;
use denrei_hub::{ClientId, Draft, Epoch, Message, Name, Page, Position, RoomName, Seq};
use redis::Value;
use serde::{Deserialize, Serialize};

/// The version that begins each entry; a node that does not know it reads nothing wrong.
const VERSION: u8 = 1;

/// What is kept of a message; the rest is where it is kept.
#[derive(Serialize, Deserialize)]
struct Entry {
    event: Name,
    payload: Bytes,
    from: Option<ClientId>,
    user: Option<Name>,
    timestamp: u64,
}

/// Writes a draft.
pub(super) fn write(draft: &Draft) -> Result<Vec<u8>, rmp_serde::encode::Error> {
    let mut bytes = Vec::with_capacity(draft.payload.len() + 128);
    bytes.push(VERSION);
    let entry = Entry {
        event: draft.event.clone(),
        payload: draft.payload.clone(),
        from: draft.from.clone(),
        user: draft.user.clone(),
        timestamp: draft.timestamp,
    };
    rmp_serde::encode::write(&mut bytes, &entry)?;
    Ok(bytes)
}

/// Reads a message.
pub(super) fn read(room: &RoomName, position: Position, bytes: &[u8]) -> Option<Arc<Message>> {
    let (&VERSION, rest) = bytes.split_first()? else { return None };
    let entry: Entry = rmp_serde::from_slice(rest).ok()?;
    let draft = Draft {
        from: entry.from,
        user: entry.user,
        ..Draft::new(room.clone(), entry.event, entry.payload, entry.timestamp)
    };
    Some(Arc::new(Message::stored(draft, position)))
}

/// The user and the client's id as one text: unlike that of any other user and id.
pub(super) fn key(draft: &Draft) -> String {
    match (&draft.id, &draft.user) {
        (None, _) => String::new(),
        (Some(id), None) => format!("-{id}"),
        (Some(id), Some(user)) => format!("{}:{user}{id}", user.as_str().len()),
    }
}

/// Where a room stands.
pub(super) fn head(answer: Value) -> Option<Position> {
    let Value::Array(answer) = answer else { return None };
    let [epoch, head, ..] = &answer[..] else { return None };
    Some(Position { epoch: self::epoch(epoch)?, seq: seq(head)? })
}

/// A page: its epoch, head and first number, the messages, and the number of the first of them.
pub(super) fn page(room: &RoomName, answer: Value) -> Option<Page> {
    let Value::Array(answer) = answer else { return None };
    let [epoch, head, first, entries @ .., from] = &answer[..] else { return None };
    let (epoch, head, first, from) = (self::epoch(epoch)?, seq(head)?, seq(first)?, seq(from)?);
    let messages = (from.0..).zip(entries).map(|(number, entry)| {
        let Value::BulkString(bytes) = entry else { return None };
        read(room, Position { epoch: epoch.clone(), seq: Seq(number) }, bytes)
    });
    let messages = messages.collect::<Option<_>>()?;
    Some(Page { epoch, messages, head, first })
}

pub(super) fn epoch(value: &Value) -> Option<Epoch> {
    let Value::BulkString(bytes) = value else { return None };
    Epoch::parse(std::str::from_utf8(bytes).ok()?).ok()
}

pub(super) fn seq(value: &Value) -> Option<Seq> {
    let Value::Int(number) = value else { return None };
    u64::try_from(*number).ok().map(Seq).filter(|&seq| seq <= Seq::LAST)
}
