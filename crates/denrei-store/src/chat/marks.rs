//! How far members have read. Marks of many members are moved together.

use std::collections::BTreeSet;

use denrei_hub::{LogError, Name, RoomName};
use serde::Serialize;

use super::rows::unread;
use super::{Refused, room_id};
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
    /// The message's number.
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
        let mut rows = Vec::with_capacity(self.marks.len());
        for mark in &self.marks {
            rows.push(group.room(&mark.room)?);
        }
        let transaction = &group.transaction;
        let place = |(mark, room): (&Mark, &i64)| {
            let mark = [Value::number(mark.sequence), Value::number(mark.at_ms)];
            (mark, Value::Integer(*room))
        };
        let mut moved = vec![false; self.marks.len()];
        for what in [What::Delivered, What::Read] {
            // A mark never goes back, nor beyond the last message.
            let sql = match what {
                What::Read => {
                    "UPDATE chat_members SET read_sequence = CASE WHEN read_sequence < $1 THEN CAST($1 AS BIGINT)
                         ELSE read_sequence END, read_at_ms = $2, unread_from = 0
                     WHERE room_id = $3 AND user_name = $4 AND (read_sequence < $1 OR unread_from > 0)
                         AND $1 <= (SELECT sequence FROM chat_rooms WHERE chat_rooms.room_id = $3)"
                }
                What::Delivered => {
                    "UPDATE chat_members SET delivered_sequence = CAST($1 AS BIGINT), delivered_at_ms = $2
                     WHERE room_id = $3 AND user_name = $4 AND delivered_sequence < $1
                         AND $1 <= (SELECT sequence FROM chat_rooms WHERE chat_rooms.room_id = $3)"
                }
            };
            // What was read has arrived.
            let fits = |mark: &Mark| what == What::Delivered || mark.what == What::Read;
            let mut at = Vec::new();
            let mut many = Vec::new();
            for (index, (mark, room)) in self.marks.iter().zip(&rows).enumerate() {
                if fits(mark) {
                    let ([sequence, time], room) = place((mark, room));
                    many.push([sequence, time, room, Value::Text(mark.user.as_str())]);
                    at.push(index);
                }
            }
            for (index, changed) in at.into_iter().zip(transaction.execute_many(sql, &many)?) {
                moved[index] |= changed > 0 && self.marks[index].what == what;
            }
        }
        let sql = "SELECT m.read_sequence, m.delivered_sequence, m.unread_from, c.sequence, c.members,
                       (SELECT COUNT(*) FROM chat_mentions AS t WHERE t.room_id = m.room_id
                            AND t.user_name = m.user_name AND t.sequence > m.read_sequence)
                   FROM chat_members AS m JOIN chat_rooms AS c ON c.room_id = m.room_id
                   WHERE m.room_id = $1 AND m.user_name = $2";
        let many = self.marks.iter().zip(&rows);
        let many: Vec<_> = many.map(|(mark, room)| [Value::Integer(*room), Value::Text(mark.user.as_str())]).collect();
        let now = transaction.first_many(sql, &many, |at, row| {
            let mark = &self.marks[at];
            let (read, delivered) = (row.number(0)?, row.number(1)?);
            let last = row.number(3)?;
            if mark.sequence > last {
                return Ok(Err(Refused::Missing("there is no such message")));
            }
            Ok(Ok(Marked {
                room_id: room_id(&mark.room).into(),
                sequence: if mark.what == What::Read { read } else { delivered },
                last,
                unread: unread(last, read, row.number(2)?),
                mentions: row.number(5)?,
                moved: moved[at],
                members: row.number(4)?,
            }))
        })?;
        self.outcome = now.into_iter().map(|marked| marked.unwrap_or(Err(Refused::NotMember))).collect();
        Ok(())
    }

    pub(crate) fn settle(self, outcome: Result<(), LogError>) {
        (self.told)(outcome.map(|()| self.outcome));
    }
}
