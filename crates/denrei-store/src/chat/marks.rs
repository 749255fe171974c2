//! How far members have read. Marks of many members are moved together.

use std::collections::{BTreeMap, BTreeSet};

use denrei_hub::{LogError, Name, RoomName};
use serde::Serialize;

use super::rows::{known, unread};
use super::{Refused, RoomKind, room_id};
use crate::group::Group;
use crate::sql::{Fault, Value};

/// A member has got as far as a message.
#[derive(Clone, Debug)]
pub struct Mark {
    /// The log of the room.
    pub room: RoomName,
    /// The member.
    pub user: Name,
    /// Got how.
    pub what: What,
    /// The message's number; one beyond the last means the last.
    pub sequence: u64,
    /// When, in ms since 1970.
    pub at_ms: u64,
}

/// What has become of messages at a member's.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum What {
    /// They have arrived.
    Delivered,
    /// They have been read, which ends what the member had marked as unread.
    Read,
}

/// Where a mark is now.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Marked {
    /// The room.
    pub room_id: Box<str>,
    /// The mark: the last message that has been read, or has arrived.
    pub sequence: u64,
    /// The last message's number.
    pub last: u64,
    /// Messages that have not been read.
    pub unread: u64,
    /// How many of these mention the member.
    pub mentions: u64,
    /// Whether it is elsewhere than before.
    #[serde(skip)]
    pub moved: bool,
    /// How many members the room has.
    #[serde(skip)]
    pub members: u64,
}

/// What became of each mark, in their order.
pub type Marks = Vec<Result<Marked, Refused>>;

/// Marks on their way.
pub(crate) struct Marking {
    marks: Vec<Mark>,
    pub(crate) rooms: BTreeSet<RoomName>,
    outcome: Marks,
    told: Box<dyn FnOnce(Result<Marks, LogError>) + Send>,
}

/// A room, as far as marks have to do with it.
#[derive(Clone, Copy)]
struct Room {
    id: i64,
    kind: RoomKind,
    /// The last message's number.
    last: u64,
    members: u64,
}

impl Room {
    fn row(&self) -> Value<'static> {
        Value::Integer(self.id)
    }
}

impl Marking {
    pub(crate) fn new(marks: Vec<Mark>, told: Box<dyn FnOnce(Result<Marks, LogError>) + Send>) -> Self {
        let rooms = marks.iter().map(|mark| mark.room.clone()).collect();
        Self { marks, rooms, outcome: Vec::new(), told }
    }

    /// About how much memory it holds.
    pub(crate) fn bytes(&self) -> usize {
        self.marks.len() * 256
    }

    pub(crate) fn apply(&mut self, group: &mut Group<'_>) -> Result<(), Fault> {
        let rooms = self.find_rooms(group)?;
        let transaction = &group.transaction;
        let mut moved = vec![false; self.marks.len()];
        for what in [What::Delivered, What::Read] {
            // A mark never goes back.
            let sql = match what {
                What::Read => {
                    "UPDATE chat_members SET read_sequence = CASE WHEN read_sequence < $1 THEN CAST($1 AS BIGINT)
                         ELSE read_sequence END, read_at_ms = $2, unread_from = 0
                     WHERE room_id = $3 AND user_name = $4 AND (read_sequence < $1 OR unread_from > 0)"
                }
                What::Delivered => {
                    "UPDATE chat_members SET delivered_sequence = CAST($1 AS BIGINT), delivered_at_ms = $2
                     WHERE room_id = $3 AND user_name = $4 AND delivered_sequence < $1"
                }
            };
            // What was read has arrived.
            let fits = |mark: &Mark| what == What::Delivered || mark.what == What::Read;
            let mut at = Vec::new();
            let mut many = Vec::new();
            for (index, (mark, room)) in self.marks.iter().zip(&rooms).enumerate() {
                if let Some(room) = room.as_ref().filter(|_| fits(mark)) {
                    // Nor beyond the last message.
                    let sequence = Value::number(mark.sequence.min(room.last));
                    many.push([sequence, Value::number(mark.at_ms), room.row(), Value::Text(mark.user.as_str())]);
                    at.push(index);
                }
            }
            for (index, changed) in at.into_iter().zip(transaction.execute_many(sql, &many)?) {
                moved[index] |= changed > 0 && self.marks[index].what == what;
            }
        }
        let sql = "SELECT m.read_sequence, m.delivered_sequence, m.unread_from,
                       (SELECT COUNT(*) FROM chat_mentions AS t WHERE t.room_id = m.room_id
                            AND t.user_name = m.user_name AND t.sequence > m.read_sequence)
                   FROM chat_members AS m WHERE m.room_id = $1 AND m.user_name = $2";
        let members = self.marks.iter().zip(&rooms).enumerate();
        let members: Vec<_> = members.filter_map(|(at, (mark, room))| Some((at, mark, room.as_ref()?))).collect();
        let many: Vec<_> =
            members.iter().map(|(_, mark, room)| [room.row(), Value::Text(mark.user.as_str())]).collect();
        let now = transaction.first_many(sql, &many, |index, row| {
            let (at, mark, room) = members[index];
            let (read, delivered) = (row.number(0)?, row.number(1)?);
            Ok(Marked {
                room_id: room_id(&mark.room).into(),
                sequence: if mark.what == What::Read { read } else { delivered },
                last: room.last,
                unread: unread(room.last, read, row.number(2)?),
                mentions: row.number(3)?,
                moved: moved[at],
                members: room.members,
            })
        })?;
        let mut outcome: Marks = self.marks.iter().map(|_| Err(Refused::NoRoom)).collect();
        for ((at, _, room), marked) in members.into_iter().zip(now) {
            // Which other rooms there are is not for who is in none of them.
            let outside = if room.kind == RoomKind::Public { Refused::NotMember } else { Refused::NoRoom };
            outcome[at] = marked.ok_or(outside);
        }
        self.outcome = outcome;
        Ok(())
    }

    /// The rooms of the marks, where they are there.
    fn find_rooms(&self, group: &mut Group<'_>) -> Result<Vec<Option<Room>>, Fault> {
        let mut rows = Vec::with_capacity(self.rooms.len());
        for name in &self.rooms {
            rows.extend(group.room(name)?.map(|row| (name, row)));
        }
        let sql = "SELECT kind, sequence, members FROM chat_rooms WHERE room_id = $1";
        let many: Vec<_> = rows.iter().map(|(_, row)| [Value::Integer(*row)]).collect();
        let found = group.transaction.first_many(sql, &many, |at, row| {
            let kind = known(row.text(0)?, RoomKind::parse)?;
            Ok(Room { id: rows[at].1, kind, last: row.number(1)?, members: row.number(2)? })
        })?;
        let names = rows.iter().map(|(name, _)| *name);
        let found: BTreeMap<_, _> = names.zip(found).filter_map(|(name, room)| Some((name, room?))).collect();
        Ok(self.marks.iter().map(|mark| found.get(&mark.room).copied()).collect())
    }

    pub(crate) fn settle(self, outcome: Result<(), LogError>) {
        (self.told)(outcome.map(|()| self.outcome));
    }
}
