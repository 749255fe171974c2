//! The rows of rooms: their ids and their counters.

use std::collections::{BTreeSet, HashMap};

use denrei_hub::{Epoch, Retained, RoomName, Seq};

use crate::migrations;
use crate::sql::{Fault, Row, Rows, Transaction, Value};

/// The counters that a transaction has taken: each is read once, and written once, when it is saved. None for a room that
/// was not there.
#[derive(Debug, Default)]
pub(crate) struct Counters(HashMap<RoomName, Option<Counter>>);

/// The rooms that operations write to.
#[derive(Debug, Default)]
pub(crate) struct Needed<'n> {
    pub(crate) all: BTreeSet<&'n RoomName>,
    /// Those of them that are made when they are not there.
    pub(crate) made: BTreeSet<&'n RoomName>,
}

/// A room's id and the last number given in it.
#[derive(Debug)]
pub(crate) struct Counter {
    pub(crate) room: i64,
    pub(crate) head: Seq,
    saved: Seq,
}

/// A room's row, and the epoch at the time that it was locked.
struct Locked {
    room: i64,
    head: Seq,
    epoch: Epoch,
}

impl Counters {
    /// Takes the counters of those rooms that are there; says at which epoch, if any is. From here on no other transaction
    /// can number their events. Every transaction locks rooms in the order of their names, so that no two wait for each
    /// other.
    pub(crate) fn take_known(
        &mut self,
        transaction: &Transaction<'_>,
        names: &BTreeSet<&RoomName>,
    ) -> Result<Option<Epoch>, Fault> {
        let many: Vec<_> = names.iter().map(|name| [Value::Text(name.as_str())]).collect();
        let found = transaction.lock_many(LOCK, &many, |_, row| locked(row))?;
        let mut at = None;
        for (&name, found) in names.iter().zip(found) {
            let counter = found.map(|Locked { room, head, epoch }| {
                at = Some(epoch);
                Counter { room, head, saved: head }
            });
            self.0.insert(name.clone(), counter);
        }
        Ok(at)
    }

    /// As [`Counters::take_known`], and makes those before that are to be made.
    pub(crate) fn take_or_make(
        &mut self,
        transaction: &Transaction<'_>,
        needed: &Needed<'_>,
    ) -> Result<Option<Epoch>, Fault> {
        if !needed.made.is_empty() {
            make(transaction, &needed.made)?;
        }
        self.take_known(transaction, &needed.all)
    }

    /// Whether all of these rooms were there when they were taken.
    pub(crate) fn has_all(&self, names: &BTreeSet<&RoomName>) -> bool {
        names.iter().all(|&name| matches!(self.0.get(name), Some(Some(_))))
    }

    /// The counter of one room, if it is there. Who needs several takes them together, before anything else.
    pub(crate) fn find(
        &mut self,
        transaction: &Transaction<'_>,
        name: &RoomName,
    ) -> Result<Option<&mut Counter>, Fault> {
        if !self.0.contains_key(name) {
            self.take_known(transaction, &BTreeSet::from([name]))?;
        }
        Ok(self.0.get_mut(name).and_then(Option::as_mut))
    }

    /// The same, and makes it.
    pub(crate) fn take(&mut self, transaction: &Transaction<'_>, name: &RoomName) -> Result<&mut Counter, Fault> {
        if self.find(transaction, name)?.is_none() {
            let names = BTreeSet::from([name]);
            self.take_or_make(transaction, &Needed { all: names.clone(), made: names })?;
        }
        let counter = self.0.get_mut(name).and_then(Option::as_mut);
        counter.ok_or_else(|| Fault::Operation(format!("{name:?} has no counter").into()))
    }

    /// Writes those that moved.
    pub(crate) fn save(&mut self, transaction: &Transaction<'_>) -> Result<(), Fault> {
        transaction.execute_many(SAVE, &self.moved())?;
        self.0.values_mut().flatten().for_each(|counter| counter.saved = counter.head);
        Ok(())
    }

    /// Writes those that moved, and commits.
    pub(crate) fn commit(&self, transaction: Transaction<'_>) -> Result<(), Fault> {
        transaction.commit_after(SAVE, &self.moved())
    }

    fn moved(&self) -> Vec<[Value<'static>; 2]> {
        let moved = self.0.values().flatten().filter(|counter| counter.head > counter.saved);
        moved.map(|counter| [Value::number(counter.head.0), Value::Integer(counter.room)]).collect()
    }

    /// Forgets all, after a rollback.
    pub(crate) fn forget(&mut self) {
        self.0.clear();
    }
}

/// Where each room stands, as a query sees it; none for those that are not there.
pub(crate) fn heads(transaction: &Transaction<'_>, names: &[RoomName]) -> Result<Vec<Option<Seq>>, Fault> {
    // A server is not handed more at once than it takes in its stride.
    const TOGETHER: usize = 1000;
    let mut heads = Vec::with_capacity(names.len());
    for names in names.chunks(TOGETHER) {
        let many: Vec<_> = names.iter().map(|name| [Value::Text(name.as_str())]).collect();
        heads.extend(transaction.first_many("SELECT head FROM rooms WHERE name = $1", &many, |_, row| row.number(0))?);
    }
    Ok(heads.into_iter().map(|head| head.map(Seq)).collect())
}

/// Rooms of which something may have to go.
pub(crate) struct Aged {
    /// Those whose oldest event is older than asked for, by their ids, which ascend.
    pub(crate) rooms: Vec<i64>,
    /// After which to go on; none when all rooms have been seen.
    pub(crate) next: Option<i64>,
}

/// Looks at a bounded number of rooms, those that follow an id.
pub(crate) fn aged(
    transaction: &Transaction<'_>,
    which: &Retained,
    before_ms: u64,
    after: i64,
    most: usize,
) -> Result<Aged, Fault> {
    let mut looked = 0;
    let mut last = None;
    let mut rooms = Vec::new();
    let mut look = |row: &Row<'_>, wanted: bool| {
        let id = row.integer(0)?;
        looked += 1;
        last = Some(id);
        rooms.extend((wanted && row.number(1)? < before_ms).then_some(id));
        Ok(Rows::More)
    };
    // The oldest is the first; of a room that keeps nothing it is later than anything.
    let never = Value::number(u64::MAX);
    let (after, limit) = (Value::Integer(after), Value::number(most as u64));
    match which {
        Retained::Class(class) => {
            let sql = "SELECT id, COALESCE((SELECT sent_at_ms FROM events WHERE room_id = id ORDER BY seq LIMIT 1), $1)
                       FROM rooms WHERE class = $2 AND id > $3 ORDER BY id LIMIT $4";
            transaction.each(sql, &[never, Value::Text(class), after, limit], |row| look(row, true))?;
        }
        Retained::Others(known) => {
            let sql =
                "SELECT id, COALESCE((SELECT sent_at_ms FROM events WHERE room_id = id ORDER BY seq LIMIT 1), $1),
                              class
                       FROM rooms WHERE id > $2 ORDER BY id LIMIT $3";
            transaction.each(sql, &[never, after, limit], |row| {
                let class = row.text(2)?;
                look(row, known.iter().all(|known| **known != *class))
            })?;
        }
    }
    Ok(Aged { rooms, next: last.filter(|_| looked == most) })
}

/// Makes those rooms that are not there.
fn make(transaction: &Transaction<'_>, names: &BTreeSet<&RoomName>) -> Result<(), Fault> {
    // Before any room is locked: who has this row waits for rooms, but nobody who has rooms waits for it. And nobody else
    // makes a room meanwhile.
    let sql = "UPDATE counters SET value = value + $1 WHERE name = 'room' RETURNING value";
    let count = names.len() as u64;
    let last = transaction.first(sql, &[Value::number(count)], |row| row.number(0))?;
    let last = last.ok_or_else(|| Fault::Operation("the counter of rooms is missing".into()))?;
    // A room that is there keeps its id, and the one that was meant for it is nobody's.
    let many = (last - count + 1..).zip(names).map(|(id, name)| {
        let class = name.as_str().split_once(':').map_or("", |(class, _)| class);
        [Value::number(id), Value::Text(name.as_str()), Value::Text(class), Value::Integer(0)]
    });
    transaction.insert_many("rooms (id, name, class, head)", &many.collect::<Vec<_>>()).map(drop)
}

const SAVE: &str = "UPDATE rooms SET head = $1 WHERE id = $2";

const LOCK: &str = "SELECT id, head, (SELECT value FROM meta WHERE key = 'epoch') FROM rooms WHERE name = $1";

fn locked(row: &Row<'_>) -> Result<Locked, Fault> {
    let epoch = migrations::understood("epoch", row.text(2)?, |text| Epoch::parse(text).ok())?;
    Ok(Locked { room: row.integer(0)?, head: Seq(row.number(1)?), epoch })
}
