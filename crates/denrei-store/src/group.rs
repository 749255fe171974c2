//! A transaction that several operations share.
//!
//! What it costs must not grow with their number where the database is a server: rooms are locked together, events are
//! numbered in memory and written together. Most events are of rooms that are there, and under ids that are new: so
//! this is taken for granted, and the whole group done again with [`Care`] when it does not hold.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use denrei_hub::{Draft, Epoch, Message, Name, Position};

use crate::chat::ledger::Ledger;
use crate::events::{self, Numbered};
use crate::migrations;
use crate::operation::Operation;
use crate::rooms::{Counters, Needed};
use crate::sql::{Connection, Fault, Transaction};

pub(crate) struct Group<'c> {
    pub(crate) transaction: Transaction<'c>,
    /// What it knows of chat rooms.
    pub(crate) ledger: Ledger,
    /// Known when it was needed. Another node may have changed it since the last transaction; while this one has locked a
    /// room, none can.
    pub(crate) epoch: Option<Epoch>,
    pub(crate) counters: Counters,
    /// The events of this transaction; those before `written` are in the database.
    numbered: Vec<Numbered>,
    written: usize,
    ids: HashMap<Id, Holder>,
    care: &'c mut Care,
}

/// What is not taken for granted any more.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Care {
    /// Rooms may be new.
    rooms: bool,
    /// Client ids may be those of stored events.
    ids: bool,
}

impl Care {
    pub(crate) const FULL: Self = Self { rooms: true, ids: true };
}

/// What became of a draft.
pub(crate) enum Place {
    /// This is its number.
    Given(Position),
    /// This message has its client id.
    Taken(Arc<Message>),
}

/// A client id within its scope.
#[derive(PartialEq, Eq, Hash)]
struct Id {
    room: i64,
    user: Option<Name>,
    id: Name,
}

/// What has a client id.
enum Holder {
    /// The event of this transaction at an index.
    Here(usize),
    Stored(Arc<Message>),
    /// Nothing had, when it was looked up.
    Nobody,
}

impl<'c> Group<'c> {
    /// Begins a transaction for operations, and locks what they need, in the order that all transactions keep.
    pub(crate) fn begin(
        connection: &'c mut Connection,
        operations: &[Operation],
        care: &'c mut Care,
    ) -> Result<Self, Fault> {
        let transaction = Transaction::write(connection)?;
        let mut group = Self {
            transaction,
            ledger: Ledger::default(),
            epoch: None,
            counters: Counters::default(),
            numbered: Vec::new(),
            written: 0,
            ids: HashMap::new(),
            care,
        };
        if operations.iter().any(Operation::excludes_all) {
            group.transaction.lock_table("rooms")?;
        }
        group.lock_rooms(operations)?;
        if group.care.ids {
            group.look_up(&operations.iter().filter_map(Operation::draft).collect::<Vec<_>>())?;
        }
        let mut messages = Vec::new();
        for message in operations.iter().filter_map(Operation::chat_message) {
            messages.extend(group.room(&message.room)?.map(|room| (room, message)));
        }
        if !messages.is_empty() {
            group.ledger.fetch(&group.transaction, &messages)?;
        }
        Ok(group)
    }

    /// Gives a draft the next number of its room, unless something has its client id.
    pub(crate) fn append(&mut self, draft: &Draft) -> Result<Place, Fault> {
        match self.earlier(draft)? {
            Some(earlier) => Ok(Place::Taken(earlier)),
            None => self.number(draft).map(Place::Given),
        }
    }

    /// The message that has a draft's client id, as far as is known.
    pub(crate) fn earlier(&mut self, draft: &Draft) -> Result<Option<Arc<Message>>, Fault> {
        let Some(id) = self.id(draft)? else { return Ok(None) };
        if self.care.ids && !self.ids.contains_key(&id) {
            // What this transaction has appended is to be found as well.
            self.write()?;
            self.look_up(&[draft])?;
        }
        self.taken(&id)
    }

    /// The same for certain, for who does not append the draft otherwise: what this transaction has appended and does not
    /// have in mind is in the database.
    pub(crate) fn stored_earlier(&mut self, draft: &Draft) -> Result<Option<Arc<Message>>, Fault> {
        let Some(id) = self.id(draft)? else { return Ok(None) };
        if !self.ids.contains_key(&id) {
            self.look_up(&[draft])?;
        }
        self.taken(&id)
    }

    /// Gives a draft, whose client id nothing has, the next number of its room.
    pub(crate) fn give(&mut self, draft: Draft) -> Result<Arc<Message>, Fault> {
        let position = self.number(&draft)?;
        Ok(Arc::new(draft.assigned(position)))
    }

    /// A room's row, if it is there; the room is locked from here on.
    pub(crate) fn room(&mut self, name: &Name) -> Result<Option<i64>, Fault> {
        Ok(self.counters.find(&self.transaction, name)?.map(|counter| counter.room))
    }

    /// The same of a room that is made when it is not there.
    pub(crate) fn room_or_new(&mut self, name: &Name) -> Result<i64, Fault> {
        Ok(self.counters.take(&self.transaction, name)?.room)
    }

    fn number(&mut self, draft: &Draft) -> Result<Position, Fault> {
        let id = self.id(draft)?;
        let counter = self.counters.take(&self.transaction, &draft.room)?;
        counter.head = counter.head.next();
        let (room, seq) = (counter.room, counter.head);
        self.ids.extend(id.map(|id| (id, Holder::Here(self.numbered.len()))));
        self.numbered.push(Numbered { room, seq, draft: draft.clone() });
        Ok(Position { epoch: self.epoch()?, seq })
    }

    fn id(&mut self, draft: &Draft) -> Result<Option<Id>, Fault> {
        let Some(id) = draft.id.clone() else { return Ok(None) };
        Ok(Some(Id { room: self.room_or_new(&draft.room)?, user: draft.user.clone(), id }))
    }

    /// Writes what has been numbered, and the counters.
    pub(crate) fn write(&mut self) -> Result<(), Fault> {
        self.write_events()?;
        self.ledger.write(&self.transaction)?;
        self.counters.save(&self.transaction)
    }

    /// Forgets what is known of client ids and chat rooms, because these may have changed, and events may have gone.
    pub(crate) fn forget(&mut self) {
        self.ids.clear();
        self.ledger.forget();
    }

    /// Does an operation so that its failure leaves nothing behind.
    pub(crate) fn apply_alone(&mut self, apply: impl FnOnce(&mut Self) -> Result<(), Fault>) -> Result<(), Fault> {
        let (epoch, before) = (self.epoch.clone(), self.numbered.len());
        self.transaction.script("SAVEPOINT operation")?;
        let outcome = apply(self);
        match &outcome {
            Ok(()) => self.transaction.script("RELEASE operation")?,
            Err(Fault::Operation(_)) => {
                self.transaction.script("ROLLBACK TO operation; RELEASE operation")?;
                self.counters.forget();
                self.forget();
                self.numbered.truncate(before);
                self.written = before;
                self.epoch = epoch;
            }
            Err(Fault::Conflict(_) | Fault::Database(_)) => {}
        }
        outcome
    }

    /// Writes what has not been written, and commits; tells the epoch, if it was needed.
    pub(crate) fn commit(mut self) -> Result<Option<Epoch>, Fault> {
        self.write_events()?;
        self.ledger.write(&self.transaction)?;
        self.counters.commit(self.transaction)?;
        Ok(self.epoch)
    }

    fn write_events(&mut self) -> Result<(), Fault> {
        let unwritten = &self.numbered[self.written..];
        if events::insert(&self.transaction, unwritten)? < unwritten.len() {
            if self.care.ids {
                let rooms: BTreeSet<_> = unwritten.iter().map(|event| &event.draft.room).collect();
                return Err(Fault::Operation(format!("a number is taken in one of {rooms:?}").into()));
            }
            self.care.ids = true;
            return Err(Fault::Conflict("a client id is that of a stored event".into()));
        }
        self.written = self.numbered.len();
        Ok(())
    }

    fn lock_rooms(&mut self, operations: &[Operation]) -> Result<(), Fault> {
        let mut needed = Needed::default();
        for operation in operations {
            needed.all.extend(operation.rooms());
            if operation.makes_rooms() {
                needed.made.extend(operation.rooms());
            }
        }
        if needed.all.is_empty() {
            return Ok(());
        }
        if self.care.rooms {
            self.epoch = self.counters.take_or_make(&self.transaction, &needed)?;
            return Ok(());
        }
        self.epoch = self.counters.take_known(&self.transaction, &needed.all)?;
        if !self.counters.has_all(&needed.made) {
            self.care.rooms = true;
            return Err(Fault::Conflict("a room is new".into()));
        }
        Ok(())
    }

    /// Finds out what has the client ids of drafts.
    fn look_up(&mut self, drafts: &[&Draft]) -> Result<(), Fault> {
        let mut wanted = Vec::new();
        for draft in drafts.iter().filter(|draft| draft.id.is_some()) {
            // In a room that is not there nothing has an id.
            wanted.extend(self.room(&draft.room)?.map(|room| (room, *draft)));
        }
        let epoch = self.epoch()?;
        let found = events::earlier(&self.transaction, &epoch, &wanted)?;
        for ((room, draft), found) in wanted.into_iter().zip(found) {
            let Some(id) = draft.id.clone() else { continue };
            let holder = found.map_or(Holder::Nobody, |message| Holder::Stored(Arc::new(message)));
            self.ids.insert(Id { room, user: draft.user.clone(), id }, holder);
        }
        Ok(())
    }

    /// The message that has an id, as far as is known.
    fn taken(&mut self, id: &Id) -> Result<Option<Arc<Message>>, Fault> {
        match self.ids.get(id) {
            None | Some(Holder::Nobody) => Ok(None),
            Some(Holder::Stored(message)) => Ok(Some(Arc::clone(message))),
            Some(Holder::Here(at)) => {
                let Numbered { seq, draft, .. } = &self.numbered[*at];
                let (draft, seq) = (Draft { id: None, origin: 0, ..draft.clone() }, *seq);
                Ok(Some(Arc::new(Message::stored(draft, Position { epoch: self.epoch()?, seq }))))
            }
        }
    }

    fn epoch(&mut self) -> Result<Epoch, Fault> {
        if self.epoch.is_none() {
            self.epoch = Some(migrations::epoch(&self.transaction)?);
        }
        self.epoch.clone().ok_or_else(|| Fault::Operation("the database has no epoch".into()))
    }
}
