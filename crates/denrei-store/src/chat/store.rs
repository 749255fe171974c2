//! What a [`Store`] does for a chat.

use denrei_hub::{LogError, Name, Reading, RoomName};

use super::queries::{self, Ban, Extent, Page, Part, Receipts, Recent};
use super::sync::{self, Synced, Wanted};
use super::{
    Actor, Change, Changed, Changing, Mark, Marking, Marks, Member, Message, NewMessage, Profile, Profiling, Refused,
    Role, Room, Seen, Sending, Sent, Told, rows,
};
use crate::operation::Operation;
use crate::sql::{Fault, Transaction};
use crate::store::Store;

/// An answer that may be a no.
type Asking<T> = Reading<Result<T, Refused>>;

impl Store {
    /// Keeps a message of a chat room; never blocks. Those of one room are told in the order of their numbers, as
    /// [`denrei_hub::Log::append`] does it, and the events that tell of them are the caller's to hand on.
    pub fn send(&self, message: NewMessage, told: Told<Sent>) {
        self.desk.submit(Operation::Send(Box::new(Sending::new(message, told))));
    }

    /// Changes a chat room or what is in it; never blocks. As with [`Store::send`], its events are the caller's to hand on.
    pub fn change(&self, room: RoomName, by: Actor, at_ms: u64, change: Change, told: Told<Changed>) {
        self.desk.submit(Operation::Change(Box::new(Changing::new(room, by, at_ms, change, told))));
    }

    /// Moves marks of what members have read, together; never blocks.
    pub fn mark(&self, marks: Vec<Mark>, told: Box<dyn FnOnce(Result<Marks, LogError>) + Send>) {
        self.desk.submit(Operation::Mark(Marking::new(marks, told)));
    }

    /// Keeps something of a user; never blocks.
    pub fn keep_profile(&self, profile: Profile, told: Told<()>) {
        self.desk.submit(Operation::Profile(Profiling::new(profile, told)));
    }

    /// Whether somebody may read a chat room.
    pub fn may_read(&self, room: &RoomName, by: &Actor, now_ms: u64) -> Asking<()> {
        self.look(room, by, now_ms, |_, _, _| Ok(()))
    }

    /// A chat room, with its last message.
    pub fn chat_room(&self, room: &RoomName, by: &Actor, now_ms: u64) -> Asking<Room> {
        let (log, who) = (room.clone(), by.clone());
        let found = self.look(room, by, now_ms, move |transaction, _, _| queries::room(transaction, &log, &who));
        Box::pin(async move { Ok(found.await?.and_then(|room| room.ok_or(Refused::NoRoom))) })
    }

    /// The rooms of a user, those with the latest message first; and where to go on.
    pub fn chat_rooms(&self, by: &Actor, after: Option<Recent>, limit: usize) -> Reading<Part<Room, Recent>> {
        let by = by.clone();
        self.readers.read(move |transaction| queries::rooms(transaction, &by, after, limit))
    }

    /// Public rooms; and where to go on.
    pub fn chat_directory(&self, by: &Actor, after: i64, limit: usize) -> Reading<Part<Room, i64>> {
        let by = by.clone();
        self.readers.read(move |transaction| queries::directory(transaction, &by, after, limit))
    }

    /// The members of a chat room behind one, by their ids.
    pub fn members(&self, room: &RoomName, by: &Actor, now_ms: u64, after: &str, limit: usize) -> Asking<Vec<Member>> {
        let after = after.to_owned();
        self.look(room, by, now_ms, move |transaction, _, access| queries::members(transaction, access, &after, limit))
    }

    /// Who is kept out of a chat room; for moderators.
    pub fn bans(&self, room: &RoomName, by: &Actor, now_ms: u64) -> Asking<Vec<Ban>> {
        let found = self.look(room, by, now_ms, move |transaction, row, access| {
            Ok(match access.at_least(Role::Moderator) {
                Ok(_) => Ok(queries::bans(transaction, row, now_ms)?),
                Err(refused) => Err(refused),
            })
        });
        Box::pin(async move { Ok(found.await?.and_then(|bans| bans)) })
    }

    /// Messages of a chat room, or of a thread in it.
    pub fn history(
        &self,
        room: &RoomName,
        by: &Actor,
        now_ms: u64,
        extent: Extent,
        thread: Option<u64>,
        limit: usize,
    ) -> Asking<Page> {
        let log = room.clone();
        self.look(room, by, now_ms, move |transaction, row, _| {
            queries::history(transaction, &log, row, extent, thread, limit)
        })
    }

    /// One message.
    pub fn chat_message(&self, room: &RoomName, by: &Actor, now_ms: u64, sequence: u64) -> Asking<Option<Message>> {
        let log = room.clone();
        self.look(room, by, now_ms, move |transaction, row, _| rows::one(transaction, row, &log, sequence))
    }

    /// Who has got a message, for members; at most a hundred of each, and nobody in rooms of more than 1,000 members.
    pub fn receipts(&self, room: &RoomName, by: &Actor, now_ms: u64, sequence: u64) -> Asking<Receipts> {
        let found = self.look(room, by, now_ms, move |transaction, row, access| {
            Ok(match access.at_least(Role::Member) {
                Ok(_) => Ok(queries::receipts(transaction, row, sequence, 100)?),
                Err(refused) => Err(refused),
            })
        });
        Box::pin(async move { Ok(found.await?.and_then(|receipts| receipts)) })
    }

    /// Brings a client up to date that was away: the user's rooms, the latest hundred and those that are named, and what
    /// followed in the latter.
    pub fn sync(&self, by: &Actor, wanted: Vec<Wanted>, limit: usize) -> Reading<Vec<Synced>> {
        let by = by.clone();
        self.readers.read(move |transaction| sync::sync(transaction, &by, &wanted, limit))
    }

    /// Who is told of a user's presence: the user's contacts, and who is in a room with them that has at most so many
    /// members.
    pub fn observers(&self, user: &Name, largest: u64, limit: usize) -> Reading<Vec<Name>> {
        let user = user.clone();
        self.readers.read(move |transaction| queries::observers(transaction, &user, largest, limit))
    }

    /// Who may see a user's presence.
    pub fn contacts(&self, user: &Name) -> Reading<Vec<Box<str>>> {
        let user = user.clone();
        self.readers.read(move |transaction| queries::contacts(transaction, &user))
    }

    /// What was kept of the presence of those among `others` whose presence a user may know.
    pub fn known_to(&self, user: &Name, others: Vec<Name>, largest: u64) -> Reading<Vec<(Name, Seen)>> {
        let user = user.clone();
        self.readers.read(move |transaction| queries::known_to(transaction, &user, &others, largest))
    }

    /// What was kept of the presence of users.
    pub fn seen(&self, users: Vec<Name>) -> Reading<Vec<Seen>> {
        self.readers.read(move |transaction| queries::presence(transaction, &users))
    }

    /// Looks at a room, if they may read it.
    fn look<T: Send + 'static>(
        &self,
        room: &RoomName,
        by: &Actor,
        now_ms: u64,
        read: impl FnOnce(&Transaction<'_>, i64, rows::Access) -> Result<T, Fault> + Send + 'static,
    ) -> Asking<T> {
        let (room, by) = (room.clone(), by.clone());
        self.readers.read(move |transaction| match queries::may_read(transaction, &room, &by, now_ms)? {
            Ok(access) => read(transaction, access.row, access).map(Ok),
            Err(refused) => Ok(Err(refused)),
        })
    }
}
