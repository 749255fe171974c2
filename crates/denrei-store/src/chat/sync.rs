//! What a client that was away has to be told.

use std::sync::Arc;

use denrei_hub::{Position, RoomName, Seq};

use super::queries::{self, Extent, Page};
use super::{Actor, Room, room_id, rows};
use crate::events;
use crate::sql::{Fault, Transaction, Value};

/// A room that a client wants brought up to date.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The log of the room.
    pub room: RoomName,
    /// Where the client stands.
    pub since: Position,
}

/// A room as a client that was away needs it.
#[derive(Clone, Debug)]
pub struct Synced {
    /// The room, without its last message.
    pub room: Room,
    /// What followed the client's place; none when it gave none.
    pub since: Option<Followed>,
}

/// What followed a place in a room's log.
#[derive(Clone, Debug)]
pub enum Followed {
    /// All of it.
    Events(Vec<Arc<denrei_hub::Message>>),
    /// More than that, or the place is none: the newest page instead.
    Page(Page),
    /// The same, and there was no room for a page: it is to be asked for.
    TooMuch,
}

/// Contents, data and payloads for all rooms together: a room that finds less than this is answered as it is, those that
/// follow get no more. So an answer has a page more than this at most.
const BYTES: usize = 4 << 20;

/// Brings a client up to date: the user's rooms, the latest hundred and those that are named, and what followed in the
/// latter.
pub(crate) fn sync(
    transaction: &Transaction<'_>,
    by: &Actor,
    wanted: &[Wanted],
    limit: usize,
) -> Result<Vec<Synced>, Fault> {
    let (mut rooms, _) = queries::latest(transaction, by, None, 100)?;
    rooms.extend(others(transaction, by, wanted, &rooms)?);
    let mut left = BYTES;
    let mut synced = Vec::with_capacity(rooms.len());
    for room in rooms {
        let wanted = wanted.iter().find(|wanted| *room_id(&wanted.room) == *room.id);
        let since = wanted.map(|wanted| follow(transaction, wanted, &room, limit, left)).transpose()?;
        left = left.saturating_sub(match &since {
            None | Some(Followed::TooMuch) => 0,
            Some(Followed::Events(events)) => events.iter().map(|event| event.payload.len()).sum(),
            Some(Followed::Page(page)) => page.messages.iter().map(super::Message::bytes).sum(),
        });
        synced.push(Synced { room, since });
    }
    Ok(synced)
}

/// The user's rooms that are named and not known yet.
fn others(transaction: &Transaction<'_>, by: &Actor, wanted: &[Wanted], known: &[Room]) -> Result<Vec<Room>, Fault> {
    let is_known = |wanted: &&Wanted| known.iter().any(|room| *room.id == *room_id(&wanted.room));
    let missing = wanted.iter().filter(|wanted| !is_known(wanted));
    let missing: Vec<_> = missing.map(|wanted| [Value::Text(by.id()), Value::Text(wanted.room.as_str())]).collect();
    let sql = format!("{} WHERE rooms.name = $2 AND m.role IS NOT NULL", rows::ROOM);
    let found = transaction.first_many(&sql, &missing, |_, row| rows::room(row))?;
    Ok(found.into_iter().flatten().collect())
}

fn follow(
    transaction: &Transaction<'_>,
    Wanted { room: log, since }: &Wanted,
    room: &Room,
    limit: usize,
    left: usize,
) -> Result<Followed, Fault> {
    let missed = room.seq.checked_sub(since.seq.0).filter(|_| *since.epoch.as_str() == *room.epoch);
    if missed == Some(0) {
        return Ok(Followed::Events(Vec::new()));
    }
    if left == 0 {
        return Ok(Followed::TooMuch);
    }
    if missed.is_some_and(|missed| missed <= limit as u64)
        && let Some(events) = all_after(transaction, log, since.seq, room.seq)?
    {
        return Ok(Followed::Events(events));
    }
    Ok(Followed::Page(queries::history(transaction, log, room.row, Extent::Newest, None, limit)?))
}

/// All that followed a place, unless some of it is not kept any more or it is too large for a page.
fn all_after(
    transaction: &Transaction<'_>,
    log: &RoomName,
    after: Seq,
    head: u64,
) -> Result<Option<Vec<Arc<denrei_hub::Message>>>, Fault> {
    let page = events::page(transaction, log, denrei_hub::Extent::After(after, (head - after.0) as usize))?;
    let is_whole = page.messages.len() as u64 == head - after.0 && page.first <= after.next();
    Ok(is_whole.then_some(page.messages))
}
