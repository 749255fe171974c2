//! What is known of files: rows beside the objects that hold their bytes.
//!
//! A row comes first, *pending*, and sets its user's bytes aside; then the object is made durable; only then the row says
//! *stored*. What goes is *removed* first, so that nobody finds it any more, then the object goes, then the row. So a row
//! that says stored has its object, whatever dies in between, and whatever is left has a row whose end is in the past, or
//! no row at all: [`Store::end_files`] and [`Store::known_files`] find both.

use denrei_hub::{Name, Reading, RoomName};
use serde::Serialize;

use crate::chat::Refused;
use crate::group::Group;
use crate::operation::{Answer, Operation};
use crate::sql::{Fault, Row, Rows, Transaction, Value};
use crate::store::{Store, ask};

/// A file that is to come.
#[derive(Clone, Debug)]
pub struct NewFile {
    /// Random, so that nobody guesses it.
    pub id: Box<str>,
    /// Whose it is; none for a guest.
    pub user: Option<Name>,
    /// The room whose readers may have it.
    pub room: Option<RoomName>,
    /// What its user calls it.
    pub name: Box<str>,
    /// What is set aside for it.
    pub bytes: u64,
    /// In ms since 1970.
    pub created_at: u64,
    /// By when it must have come, in ms since 1970.
    pub until: u64,
}

/// What was found out about a file when it had come.
#[derive(Clone, Debug)]
pub struct Finished {
    /// By its first bytes.
    pub kind: Box<str>,
    /// How many it has; no more than were set aside.
    pub bytes: u64,
    /// In hexadecimal; none where nobody has counted.
    pub sha256: Option<Box<str>>,
    /// Width and height of an image.
    pub size: Option<(u32, u32)>,
    /// The type of its thumbnail.
    pub thumbnail: Option<Box<str>>,
    /// When it goes unless a room claims it, in ms since 1970.
    pub unclaimed_until: u64,
}

/// A file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct File {
    /// By which it is found.
    pub id: Box<str>,
    /// What its user calls it.
    pub name: Box<str>,
    /// By its first bytes.
    #[serde(rename = "type")]
    pub kind: Box<str>,
    /// How many it has; of one that is pending, how many are set aside.
    pub bytes: u64,
    /// In hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Box<str>>,
    /// Of an image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub width: Option<u64>,
    /// Of an image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub height: Option<u64>,
    /// The room whose readers may have it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub room: Option<Box<str>>,
    /// Whose it is; none for a guest.
    #[serde(rename = "userId", skip_serializing_if = "Option::is_none")]
    pub user: Option<Box<str>>,
    /// In ms since 1970.
    #[serde(rename = "createdAt")]
    pub created_at: u64,
    /// The type of its thumbnail.
    #[serde(skip)]
    pub thumbnail: Option<Box<str>>,
    /// Whether all of it is here.
    #[serde(skip)]
    pub is_stored: bool,
}

/// Which files are taken away.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Taken {
    /// Only as long as it has not come.
    Pending,
    /// Any.
    Any,
}

impl Store {
    /// Sets a file's bytes aside; false when its user would have more than `most` then.
    pub fn begin_file(&self, file: NewFile, most: u64) -> Reading<bool> {
        self.file(move |answer| Filing::Begin(file, most, answer))
    }

    /// Says that all of a pending file has been put where its bytes come from, and that the caller makes an object of it;
    /// false when somebody else does, or did. It is the one who does that finishes it, or removes it.
    pub fn arrived_file(&self, id: &str) -> Reading<bool> {
        let id = id.into();
        self.file(move |answer| Filing::Arrived(id, answer))
    }

    /// Says that a file's object is durable; false when the file is not pending any more.
    pub fn finish_file(&self, id: &str, finished: Finished) -> Reading<bool> {
        let id = id.into();
        self.file(move |answer| Filing::Finish(id, finished, answer))
    }

    /// Hides a file for good; false when there is none. Its object is the caller's to remove, then [`Store::forget_files`].
    /// It takes place although the future was dropped.
    pub fn remove_file(&self, id: &str, which: Taken) -> Reading<bool> {
        let id = id.into();
        self.file(move |answer| Filing::Remove(id, which, answer))
    }

    /// Hides some of the files whose end has come, and names them, with those that were hidden before.
    pub fn end_files(&self, now_ms: u64) -> Reading<Vec<Box<str>>> {
        self.file(move |answer| Filing::End(now_ms, answer))
    }

    /// Forgets hidden files, whose objects are gone.
    pub fn forget_files(&self, ids: Vec<Box<str>>) -> Reading<()> {
        self.file(move |answer| Filing::Forget(ids, answer))
    }

    /// A file that is not hidden.
    pub fn find_file(&self, id: &str) -> Reading<Option<File>> {
        let id: Box<str> = id.into();
        self.readers.read(move |transaction| {
            let found = transaction.first(&format!("{FILE} WHERE id = $1"), &[Value::Text(&id)], file)?;
            Ok(found.filter(|(state, _)| *state != State::Removed).map(|(_, file)| file))
        })
    }

    /// Of which of these ids there are rows.
    pub fn known_files(&self, ids: Vec<Box<str>>) -> Reading<Vec<bool>> {
        self.readers.read(move |transaction| {
            let many: Vec<_> = ids.iter().map(|id| [Value::Text(id)]).collect();
            let found = transaction.first_many("SELECT 1 FROM files WHERE id = $1", &many, |_, _| Ok(()))?;
            Ok(found.into_iter().map(|found| found.is_some()).collect())
        })
    }

    fn file<T: Send + 'static>(&self, filing: impl FnOnce(Answer<T>) -> Filing + 'static) -> Reading<T> {
        // Handed in before anybody waits for it.
        let answer = ask(&self.desk, move |answer| Operation::File(Box::new(filing(answer))));
        Box::pin(answer)
    }
}

/// A change of files on its way.
pub(crate) enum Filing {
    Begin(NewFile, u64, Answer<bool>),
    Arrived(Box<str>, Answer<bool>),
    Finish(Box<str>, Finished, Answer<bool>),
    Remove(Box<str>, Taken, Answer<bool>),
    End(u64, Answer<Vec<Box<str>>>),
    Forget(Vec<Box<str>>, Answer<()>),
}

impl Filing {
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Begin(file, ..) => file.name.len() + 512,
            Self::Forget(ids, _) => ids.len() * 64 + 256,
            _ => 512,
        }
    }

    pub(crate) fn apply(&mut self, group: &mut Group<'_>) -> Result<(), Fault> {
        let transaction = &group.transaction;
        match self {
            Self::Begin(file, most, answer) => answer.give(begin(transaction, file, *most)?),
            Self::Arrived(id, answer) => answer.give(arrived(transaction, id)?),
            Self::Finish(id, finished, answer) => answer.give(finish(transaction, id, finished)?),
            Self::Remove(id, which, answer) => answer.give(remove(transaction, id, *which)?),
            Self::End(now, answer) => answer.give(end(transaction, *now)?),
            Self::Forget(ids, answer) => {
                ids.sort_unstable();
                let many: Vec<_> = ids.iter().map(|id| [Value::Text(id)]).collect();
                transaction.execute_many("DELETE FROM files WHERE id = $1 AND state = 'removed'", &many)?;
                answer.give(());
            }
        }
        Ok(())
    }

    pub(crate) fn settle(self, outcome: Result<(), denrei_hub::LogError>) {
        match self {
            Self::Begin(.., answer)
            | Self::Arrived(_, answer)
            | Self::Finish(.., answer)
            | Self::Remove(.., answer) => {
                answer.settle(outcome);
            }
            Self::End(_, answer) => answer.settle(outcome),
            Self::Forget(_, answer) => answer.settle(outcome),
        }
    }
}

/// Files that one step of [`Store::end_files`] names at most.
const STEP: u64 = 100;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Pending,
    Arrived,
    Stored,
    Removed,
}

const FILE: &str = "SELECT id, user_name, room, shown_name, type, bytes, sha256, width, height, thumbnail, state,
                           created_at_ms FROM files";

fn file(row: &Row<'_>) -> Result<(State, File), Fault> {
    let state = match row.text(10)? {
        "pending" => State::Pending,
        "arrived" => State::Arrived,
        "stored" => State::Stored,
        "removed" => State::Removed,
        other => return Err(Fault::Operation(format!("the stored word {other:?} is unknown").into())),
    };
    let side = |column| row.number(column).map(|side| (side > 0).then_some(side));
    let user = row.text(1)?;
    let file = File {
        id: row.text(0)?.into(),
        name: row.text(3)?.into(),
        kind: row.text(4)?.into(),
        bytes: row.number(5)?,
        sha256: row.maybe(6)?.map(Into::into),
        width: side(7)?,
        height: side(8)?,
        room: row.maybe(2)?.map(Into::into),
        user: (!user.is_empty()).then(|| user.into()),
        created_at: row.number(11)?,
        thumbnail: row.maybe(9)?.map(Into::into),
        is_stored: state == State::Stored,
    };
    Ok((state, file))
}

/// A file, locked until the transaction ends.
fn locked(transaction: &Transaction<'_>, id: &str) -> Result<Option<(State, File)>, Fault> {
    let found = transaction.lock_many(&format!("{FILE} WHERE id = $1"), &[[Value::Text(id)]], |_, row| file(row))?;
    Ok(found.into_iter().next().flatten())
}

fn begin(transaction: &Transaction<'_>, new: &NewFile, most: u64) -> Result<bool, Fault> {
    let user = new.user.as_ref().map_or("", Name::as_str);
    let weight = weight(new.bytes);
    if weight > most || !set_aside(transaction, user, weight, most)? {
        return Ok(false);
    }
    let sql = "INSERT INTO files (id, user_name, room, shown_name, type, bytes, width, height, state, created_at_ms, until_ms)
               VALUES ($1, $2, $3, $4, '', $5, 0, 0, 'pending', $6, $7)";
    transaction.execute(
        sql,
        &[
            Value::Text(&new.id),
            Value::Text(user),
            Value::Maybe(new.room.as_ref().map(Name::as_str)),
            Value::Text(&new.name),
            Value::number(new.bytes),
            Value::number(new.created_at),
            Value::number(new.until),
        ],
    )?;
    Ok(true)
}

/// What a file counts: many small ones cost as well.
fn weight(bytes: u64) -> u64 {
    bytes.max(4096)
}

/// One statement, so that whoever sets aside at the same time, on any node, is counted.
fn set_aside(transaction: &Transaction<'_>, user: &str, bytes: u64, most: u64) -> Result<bool, Fault> {
    let sql = "INSERT INTO file_users (user_name, bytes) VALUES ($1, $2)
               ON CONFLICT (user_name) DO UPDATE SET bytes = file_users.bytes + excluded.bytes
               WHERE file_users.bytes + excluded.bytes <= $3";
    Ok(transaction.execute(sql, &[Value::Text(user), Value::number(bytes), Value::number(most)])? > 0)
}

fn give_back(transaction: &Transaction<'_>, file: &File, bytes: u64) -> Result<(), Fault> {
    let user = file.user.as_deref().unwrap_or_default();
    let sql = "UPDATE file_users SET bytes = bytes - $1 WHERE user_name = $2";
    transaction.execute(sql, &[Value::number(bytes), Value::Text(user)]).map(drop)
}

fn arrived(transaction: &Transaction<'_>, id: &str) -> Result<bool, Fault> {
    let sql = "UPDATE files SET state = 'arrived' WHERE id = $1 AND state = 'pending'";
    Ok(transaction.execute(sql, &[Value::Text(id)])? > 0)
}

fn finish(transaction: &Transaction<'_>, id: &str, finished: &Finished) -> Result<bool, Fault> {
    let Some((State::Pending | State::Arrived, file)) = locked(transaction, id)? else { return Ok(false) };
    if finished.bytes > file.bytes {
        return Ok(false);
    }
    give_back(transaction, &file, weight(file.bytes) - weight(finished.bytes))?;
    let (width, height) = finished.size.unwrap_or_default();
    let until = if file.room.is_some() { 0 } else { finished.unclaimed_until };
    let sql = "UPDATE files SET type = $1, bytes = $2, sha256 = $3, width = $4, height = $5, thumbnail = $6,
                      state = 'stored', until_ms = $7 WHERE id = $8";
    transaction.execute(
        sql,
        &[
            Value::Text(&finished.kind),
            Value::number(finished.bytes),
            Value::Maybe(finished.sha256.as_deref()),
            Value::Integer(width.into()),
            Value::Integer(height.into()),
            Value::Maybe(finished.thumbnail.as_deref()),
            Value::number(until),
            Value::Text(id),
        ],
    )?;
    Ok(true)
}

fn remove(transaction: &Transaction<'_>, id: &str, which: Taken) -> Result<bool, Fault> {
    match locked(transaction, id)? {
        None | Some((State::Removed, _)) => Ok(false),
        Some((State::Stored, _)) if which == Taken::Pending => Ok(false),
        Some((_, file)) => {
            hide(transaction, &file)?;
            Ok(true)
        }
    }
}

fn hide(transaction: &Transaction<'_>, file: &File) -> Result<(), Fault> {
    give_back(transaction, file, weight(file.bytes))?;
    // Its end has come: who sweeps goes on with it, should its object outlive whoever hides it.
    let sql = "UPDATE files SET state = 'removed', bytes = 0, until_ms = 1 WHERE id = $1";
    transaction.execute(sql, &[Value::Text(&file.id)]).map(drop)
}

fn end(transaction: &Transaction<'_>, now_ms: u64) -> Result<Vec<Box<str>>, Fault> {
    let mut ids: Vec<Box<str>> = Vec::new();
    let sql = "SELECT id FROM files WHERE until_ms > 0 AND until_ms <= $1 ORDER BY until_ms, id LIMIT $2";
    transaction.each(sql, &[Value::number(now_ms), Value::number(STEP)], |row| {
        ids.push(row.text(0)?.into());
        Ok(Rows::More)
    })?;
    ids.sort_unstable();
    let many: Vec<_> = ids.iter().map(|id| [Value::Text(id)]).collect();
    // It may have been claimed since it was looked at, so it is looked at again when it is locked.
    let sql = format!("{FILE} WHERE until_ms > 0 AND id = $1");
    let found = transaction.lock_many(&sql, &many, |_, row| file(row))?;
    for (state, file) in found.iter().flatten() {
        if *state != State::Removed {
            hide(transaction, file)?;
        }
    }
    Ok(found.into_iter().flatten().map(|(_, file)| file.id).collect())
}

/// Gives a room a file that its user names in a message there.
pub(crate) fn claim(
    transaction: &Transaction<'_>,
    id: &str,
    room: &RoomName,
    user: Option<&Name>,
) -> Result<Result<File, Refused>, Fault> {
    let Some((State::Stored, found)) = locked(transaction, id)? else {
        return Ok(Err(Refused::Missing("there is no such file, or not all of it has come")));
    };
    if found.user.as_deref() != user.map(Name::as_str) {
        return Ok(Err(Refused::Forbidden("the file is another user's")));
    }
    match found.room.as_deref() {
        Some(other) if other == room.as_str() => Ok(Ok(found)),
        Some(_) => Ok(Err(Refused::Conflict("the file belongs to another room"))),
        None => {
            let sql = "UPDATE files SET room = $1, until_ms = 0 WHERE id = $2";
            transaction.execute(sql, &[Value::Text(room.as_str()), Value::Text(id)])?;
            Ok(Ok(File { room: Some(room.as_str().into()), ..found }))
        }
    }
}
