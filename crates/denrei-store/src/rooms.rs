//! The rows of rooms: their ids and their counters.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use denrei_hub::{Retained, RoomName, Seq};

use crate::sql::{Fault, Rows, Transaction, Value};

/// The counters that a transaction has taken: each is read once, and written once, when it is saved.
#[derive(Debug, Default)]
pub(crate) struct Counters(HashMap<RoomName, Counter>);

/// A room's id and the last number given in it.
#[derive(Debug)]
pub(crate) struct Counter {
    pub(crate) room: i64,
    pub(crate) head: Seq,
    saved: Seq,
}

impl Counters {
    /// The counter of a room, which is made if it is new. From here on no other transaction can number its events.
    pub(crate) fn take(&mut self, transaction: &Transaction<'_>, name: &RoomName) -> Result<&mut Counter, Fault> {
        match self.0.entry(name.clone()) {
            Entry::Occupied(entry) => Ok(entry.into_mut()),
            Entry::Vacant(entry) => {
                let (room, head) = match lock(transaction, name)? {
                    Some(known) => known,
                    None => (create(transaction, name)?, Seq::ZERO),
                };
                Ok(entry.insert(Counter { room, head, saved: head }))
            }
        }
    }

    /// Writes those that moved.
    pub(crate) fn save(&mut self, transaction: &Transaction<'_>) -> Result<(), Fault> {
        for counter in self.0.values_mut().filter(|counter| counter.head > counter.saved) {
            let values = [Value::number(counter.head.0), Value::Integer(counter.room)];
            transaction.execute("UPDATE rooms SET head = $1 WHERE id = $2", &values)?;
            counter.saved = counter.head;
        }
        Ok(())
    }

    /// Forgets all, after a rollback.
    pub(crate) fn forget(&mut self) {
        self.0.clear();
    }
}

/// A room's id and head, as a query sees them.
pub(crate) fn find(transaction: &Transaction<'_>, name: &RoomName) -> Result<Option<(i64, Seq)>, Fault> {
    let sql = "SELECT id, head FROM rooms WHERE name = $1";
    transaction.first(sql, &[Value::Text(name.as_str())], |row| Ok((row.integer(0)?, Seq(row.number(1)?))))
}

/// Ids of rooms, ascending, after one of them; looks at a bounded number of rooms, and says after which to go on, or none
/// when all have been seen.
pub(crate) fn retained(
    transaction: &Transaction<'_>,
    which: &Retained,
    after: i64,
    most: usize,
) -> Result<(Vec<i64>, Option<i64>), Fault> {
    let mut looked = 0;
    let mut last = None;
    let mut ids = Vec::new();
    let mut look = |id: i64, wanted: bool| {
        looked += 1;
        last = Some(id);
        ids.extend(wanted.then_some(id));
        Ok(Rows::More)
    };
    let (after, limit) = (Value::Integer(after), Value::number(most as u64));
    match which {
        Retained::Class(class) => {
            let sql = "SELECT id FROM rooms WHERE class = $1 AND id > $2 ORDER BY id LIMIT $3";
            transaction.each(sql, &[Value::Text(class), after, limit], |row| look(row.integer(0)?, true))?;
        }
        Retained::Others(known) => {
            let sql = "SELECT id, class FROM rooms WHERE id > $1 ORDER BY id LIMIT $2";
            transaction.each(sql, &[after, limit], |row| {
                let class = row.text(1)?;
                look(row.integer(0)?, known.iter().all(|known| **known != *class))
            })?;
        }
    }
    Ok((ids, last.filter(|_| looked == most)))
}

/// As [`find`], but the row is locked until the transaction ends, where a database has several writers.
fn lock(transaction: &Transaction<'_>, name: &RoomName) -> Result<Option<(i64, Seq)>, Fault> {
    let sql = "UPDATE rooms SET head = head WHERE name = $1 RETURNING id, head";
    transaction.first(sql, &[Value::Text(name.as_str())], |row| Ok((row.integer(0)?, Seq(row.number(1)?))))
}

fn create(transaction: &Transaction<'_>, name: &RoomName) -> Result<i64, Fault> {
    let sql = "UPDATE counters SET value = value + 1 WHERE name = 'room' RETURNING value";
    let room = transaction.first(sql, &[], |row| row.integer(0))?;
    let room = room.ok_or_else(|| Fault::Operation("the counter of rooms is missing".into()))?;
    let class = name.as_str().split_once(':').map_or("", |(class, _)| class);
    let values = [Value::Integer(room), Value::Text(name.as_str()), Value::Text(class)];
    transaction.execute("INSERT INTO rooms (id, name, class, head) VALUES ($1, $2, $3, 0)", &values)?;
    Ok(room)
}
