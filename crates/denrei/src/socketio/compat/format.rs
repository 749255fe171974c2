//! What servers mean by what they say, whatever it looks like.

use std::time::Duration;

use bytes::Bytes;
use denrei_hub::{Channel, Listen};

use crate::socketio::Args;
use crate::socketio::cluster::{Deed, Description, Question};
use crate::socketio::compat::document::Unreadable;
use crate::socketio::emit::Targets;

/// How the servers of a namespace write to one another.
pub(super) trait Format: Send + Sync + 'static {
    /// What to listen to: one, and more.
    fn listens(&self) -> (Listen, Vec<Listen>);

    /// The channel that each server listens to once: who listens is who there is.
    fn census(&self) -> Channel;

    /// The channel of a room alone, where rooms have one that is to be listened to.
    fn room(&self, room: &str) -> Option<Channel>;

    /// Has the others do something; none if there is nothing to do.
    fn tell(&self, deed: &Deed) -> Option<Letter>;

    /// Asks them something.
    fn ask(&self, request: &str, question: &Question, patience: Duration) -> Letter;

    /// Answers one of them; none if there is no way to say it.
    fn answer(&self, asker: &Asker, answer: &Part) -> Option<Letter>;

    /// Reads what one of them says. `here` says whether a room has members here, `attachments` how many there may be.
    fn read(
        &self,
        channel: &Channel,
        bytes: &Bytes,
        attachments: u32,
        here: &dyn Fn(&str) -> bool,
    ) -> Result<Said, Unreadable>;
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
