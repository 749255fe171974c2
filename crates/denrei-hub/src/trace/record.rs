//! What is noted of a message on its way: one step, and what became of it. Never what it says.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::ids::{ClientId, Name, Position, RoomName, Seq};
use crate::log::LogError;
use crate::message::{Draft, Message, Wire};
use crate::order::Verdict;
use crate::outbox::Outbox;

/// A part of the way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// Whether the user has connections here.
    User,
    /// Somebody publishes.
    Publish,
    /// The log gives a number.
    Number,
    /// From node to node.
    Bus,
    /// Whether it is the next one that this node has still to hand out.
    Order,
    /// To several rooms and connections at once.
    Scatter,
    /// To one reader.
    Deliver,
    /// One reader reads the log by itself.
    Page,
    /// A reader of a room begins and ends.
    Reader,
    /// A connection begins and ends.
    Session,
    /// To one connection, apart from rooms.
    Direct,
}

impl Step {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Publish => "publish",
            Self::Number => "number",
            Self::Bus => "bus",
            Self::Order => "order",
            Self::Scatter => "scatter",
            Self::Deliver => "deliver",
            Self::Page => "page",
            Self::Reader => "reader",
            Self::Session => "session",
            Self::Direct => "direct",
        }
    }
}

/// What became of a step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The user has connections on this node.
    Connected,
    /// The user has no connection on this node.
    Absent,
    /// A publish was let in.
    Accepted,
    /// A publish, or a join, was refused.
    Refused,
    /// It had been published before, under the same id.
    Duplicate,
    /// It has a number now, or needs none.
    Numbered,
    /// Other nodes were told.
    Told,
    /// Another node told it.
    Heard,
    /// It is the next one.
    Next,
    /// It was handed out before.
    Seen,
    /// It is early: held until what is missing has been read from the log.
    Held,
    /// It is early, and too much is held already: it will be read from the log.
    Dropped,
    /// It is of another life of the log.
    Stranger,
    /// The room goes on elsewhere: its readers read the log.
    Jumped,
    /// Nobody reads the room on this node.
    Nobody,
    /// It was sent to these.
    Reached,
    /// The socket took all of it.
    Written,
    /// It waits for the socket, or for who takes it.
    Queued,
    /// This reader was passed over, for a reason.
    Skipped,
    /// The queue is full: the reader goes on by reading the log.
    FellBehind,
    /// The queue is full, and there is no log to read it from: it is dropped, or the connection ends.
    Overflow,
    /// The reader was there when the trace began.
    There,
    /// The reader has joined, or begins to page.
    Began,
    /// It was given what it asked for.
    Read,
    /// What it asked for is no longer kept.
    Gap,
    /// The reader goes live.
    Live,
    /// The reader has left.
    Left,
    /// The user may not read the room any more.
    Expelled,
    /// The connection turns out to be a user's.
    Identified,
    /// The connection is being closed, for a reason.
    Closing,
    /// It is over.
    Ended,
}

impl Outcome {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connected => "connected",
            Self::Absent => "absent",
            Self::Accepted => "accepted",
            Self::Refused => "refused",
            Self::Duplicate => "duplicate",
            Self::Numbered => "numbered",
            Self::Told => "told",
            Self::Heard => "heard",
            Self::Next => "next",
            Self::Seen => "seen",
            Self::Held => "held",
            Self::Dropped => "dropped",
            Self::Stranger => "stranger",
            Self::Jumped => "jumped",
            Self::Nobody => "nobody",
            Self::Reached => "reached",
            Self::Written => "written",
            Self::Queued => "queued",
            Self::Skipped => "skipped",
            Self::FellBehind => "fell_behind",
            Self::Overflow => "overflow",
            Self::There => "there",
            Self::Began => "began",
            Self::Read => "read",
            Self::Gap => "gap",
            Self::Live => "live",
            Self::Left => "left",
            Self::Expelled => "expelled",
            Self::Identified => "identified",
            Self::Closing => "closing",
            Self::Ended => "ended",
        }
    }
}

/// One step of a message, a reader or a connection. What does not apply is none.
#[derive(Clone, Debug)]
pub struct Record {
    /// Its number in the trace on this node: 1, 2, 3 …; gaps are records that were dropped.
    pub number: u64,
    /// This node's clock, in ms since 1970.
    pub time: u64,
    /// The part of the way.
    pub step: Step,
    /// What became of it.
    pub outcome: Outcome,
    /// Why: one of a closed set, mostly the code of a refusal.
    pub reason: Option<&'static str>,
    /// The room.
    pub room: Option<RoomName>,
    /// The message's place in it, of several the first; or where a reader stands.
    pub place: Option<Position>,
    /// The number of the last of several messages.
    pub to: Option<Seq>,
    /// How many messages, rooms or connections.
    pub count: Option<u64>,
    /// The event's name.
    pub event: Option<Name>,
    /// The publisher's own id of the message.
    pub id: Option<Name>,
    /// The connection's id: the publisher's where it is published, the reader's where it is delivered.
    pub client: Option<ClientId>,
    /// Whose it is.
    pub user: Option<Name>,
    /// The connection's number on this node.
    pub connection: Option<u64>,
    /// What the connection's bytes are.
    pub wire: Option<Wire>,
    /// Bytes that were handed to the connection.
    pub bytes: Option<u64>,
    /// Bytes that wait in its queue before them.
    pub waiting: Option<u64>,
    /// The code of a close.
    pub code: Option<u16>,
}

impl Record {
    /// A step that was just taken.
    pub fn new(step: Step, outcome: Outcome) -> Self {
        // Shown, and never decided by.
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            number: 0,
            time: u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
            step,
            outcome,
            reason: None,
            room: None,
            place: None,
            to: None,
            count: None,
            event: None,
            id: None,
            client: None,
            user: None,
            connection: None,
            wire: None,
            bytes: None,
            waiting: None,
            code: None,
        }
    }

    /// Says why.
    #[must_use]
    pub fn because(self, reason: &'static str) -> Self {
        Self { reason: Some(reason), ..self }
    }

    /// In a room.
    #[must_use]
    pub fn room(self, room: &RoomName) -> Self {
        Self { room: Some(room.clone()), ..self }
    }

    /// At a place; one of a room without a log is none.
    #[must_use]
    pub fn place(self, place: &Position) -> Self {
        Self { place: (place.seq != Seq::ZERO || place.epoch.as_str() != "none").then(|| place.clone()), ..self }
    }

    /// Of a connection.
    #[must_use]
    pub fn of(self, outbox: &Outbox) -> Self {
        Self {
            client: Some(outbox.client().clone()),
            connection: Some(outbox.number()),
            wire: Some(outbox.wire()),
            ..self
        }
    }

    /// Of a user.
    #[must_use]
    pub fn user(self, user: Option<&Name>) -> Self {
        Self { user: user.cloned(), ..self }
    }

    /// Of so many.
    #[must_use]
    pub fn count(self, count: usize) -> Self {
        Self { count: Some(count as u64), ..self }
    }

    pub(super) fn draft(step: Step, outcome: Outcome, draft: &Draft) -> Self {
        Self {
            event: Some(draft.event.clone()),
            id: draft.id.clone(),
            client: draft.from.clone(),
            user: draft.user.clone(),
            connection: (draft.origin != 0).then_some(draft.origin),
            ..Self::new(step, outcome).room(&draft.room)
        }
    }

    /// Of a message, as its publisher's.
    pub(crate) fn message(step: Step, outcome: Outcome, message: &Message) -> Self {
        Self {
            event: Some(message.event.clone()),
            client: message.from.clone(),
            user: message.user.clone(),
            connection: (message.origin != 0).then_some(message.origin),
            ..Self::new(step, outcome).room(&message.room).place(&message.position())
        }
    }
}

impl From<Verdict> for Outcome {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Deliver => Self::Next,
            Verdict::Seen => Self::Seen,
            Verdict::Held => Self::Held,
            Verdict::Dropped => Self::Dropped,
            Verdict::Stranger => Self::Stranger,
        }
    }
}

/// Why a log refuses, without its words.
pub(crate) fn why(error: &LogError) -> &'static str {
    match error {
        LogError::Full(_) => "log_full",
        _ => "log_unavailable",
    }
}
