//! What servers mean by what they say, whatever it looks like.

use std::time::Duration;

use bytes::Bytes;
use denrei_hub::{Channel, Listen};

use crate::socketio::Args;
use crate::socketio::cluster::{Deed, Description, Question};
use crate::socketio::compat::classic::Classic;
use crate::socketio::compat::document::Unreadable;
use crate::socketio::compat::sharded::Sharded;
use crate::socketio::emit::Targets;

/// How the servers of a namespace write to one another.
pub(super) enum Format {
    Classic(Classic),
    Sharded(Sharded),
}

impl Format {
    /// What to listen to: one, and more.
    pub(super) fn listens(&self) -> (Listen, Vec<Listen>) {
        match self {
            Self::Classic(classic) => classic.listens(),
            Self::Sharded(sharded) => sharded.listens(),
        }
    }

    /// The channel that each server listens to once: who listens is who there is.
    pub(super) fn census(&self) -> Channel {
        match self {
            Self::Classic(classic) => classic.census(),
            Self::Sharded(sharded) => sharded.census(),
        }
    }

    /// The channel of a room alone, where rooms have one that is to be listened to.
    pub(super) fn room(&self, room: &str) -> Option<Channel> {
        match self {
            Self::Classic(_) => None,
            Self::Sharded(sharded) => sharded.room(room),
        }
    }

    /// Has the others do something; none if there is nothing to do.
    pub(super) fn tell(&self, deed: &Deed) -> Option<Letter> {
        match self {
            Self::Classic(classic) => classic.tell(deed),
            Self::Sharded(sharded) => sharded.tell(deed),
        }
    }

    /// Asks them something.
    pub(super) fn ask(&self, request: &str, question: &Question, patience: Duration) -> Letter {
        match self {
            Self::Classic(classic) => classic.ask(request, question, patience),
            Self::Sharded(sharded) => sharded.ask(request, question, patience),
        }
    }

    /// Answers one of them; none if there is no way to say it.
    pub(super) fn answer(&self, asker: &Asker, answer: &Part) -> Option<Letter> {
        match self {
            Self::Classic(classic) => Some(classic.answer(asker, answer)),
            Self::Sharded(sharded) => sharded.answer(asker, answer),
        }
    }

    /// Reads what one of them says. `here` says whether a room has members here, `attachments` how many there may be.
    pub(super) fn read(
        &self,
        channel: &Channel,
        bytes: &Bytes,
        attachments: u32,
        here: impl Fn(&str) -> bool,
    ) -> Result<Said, Unreadable> {
        match self {
            Self::Classic(classic) => classic.read(channel, bytes, attachments, here),
            Self::Sharded(sharded) => sharded.read(bytes, attachments),
        }
    }
}

/// Something to be published.
pub(super) struct Letter {
    pub(super) channel: Channel,
    pub(super) bytes: Bytes,
}

/// What a server says.
#[derive(Debug)]
pub(super) enum Said {
    /// Everybody is to do this.
    Do(Deed),
    /// Whoever has this socket is to do this, and to say so.
    DoOne { deed: Deed, socket: String, asker: Asker },
    /// Everybody is asked.
    Ask { asker: Asker, inquiry: Inquiry },
    /// A part of an answer to what was asked here.
    Answer { request: String, part: Part },
    /// Nothing for this server.
    Nothing,
}

/// Who asks, and how they know the answer.
#[derive(Clone, Debug)]
pub(super) struct Asker {
    pub(super) uid: Option<String>,
    pub(super) request: String,
}

/// What servers ask.
#[derive(Debug)]
pub(super) enum Inquiry {
    /// What servers of ours ask, too. What clients are asked has its own time.
    Question(Question, Option<Duration>),
    /// Which sockets are in these rooms?
    Ids(Targets),
    /// Which rooms are there?
    Rooms,
}

/// A message of an answer. There may be several.
#[derive(Debug)]
pub(super) enum Part {
    /// Who is there.
    Sockets(Vec<Description>),
    Ids(Vec<String>),
    Rooms(Vec<String>),
    /// So many clients are asked.
    Clients(u64),
    /// One of them answers.
    Client(Args),
    /// The application answers.
    ServerSide(Args),
    /// It was done.
    Done,
}
