//! How a reader that is not written to live gets what it misses: by paging the log at its own pace.

use std::sync::Arc;

use crate::hub::Hub;
use crate::ids::{ClientId, Epoch, Position, Seq};
use crate::log::{Extent, LogError};
use crate::message::Message;
use crate::outbox::Outbox;
use crate::room::{ReaderKey, Room};
use crate::shard::Command;
use crate::stats::add;
use crate::trace::{Outcome, Record, Step, several};

/// A reader's way through the log, from the place it has seen up to the head, where it goes live.
///
/// It is made by [`crate::Reader::cursor`]. Its owner calls [`Cursor::next`] as fast as it can send, and drops the
/// cursor at [`Found::Head`]; if messages were delivered in the meantime, a [`crate::Notice::Behind`] follows and the
/// next cursor begins there.
pub struct Cursor {
    pub(crate) hub: Hub,
    pub(crate) room: Arc<Room>,
    pub(crate) key: ReaderKey,
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) place: Position,
    /// What this connection sent itself after this place is left out; before it, it is a replay, which leaves nothing
    /// out.
    pub(crate) own: Option<(ClientId, Position)>,
}

/// What a cursor found.
#[derive(Debug)]
pub enum Found {
    /// The next messages; possibly none, when all of them are to be left out.
    Messages(Vec<Arc<Message>>),
    /// Messages that are no longer kept: numbers `from` to `to`, inclusive, in `epoch`. `from` is 0 when the reader's
    /// place belongs to another epoch.
    Gap {
        /// The first lost number.
        from: Seq,
        /// The last lost number.
        to: Seq,
        /// The epoch that the numbers belong to.
        epoch: Epoch,
    },
    /// Nothing more to read for now: call [`Cursor::live`].
    Head,
}

impl Cursor {
    /// Messages per page.
    const PAGE: usize = 64;

    /// The reader that it reads for.
    pub fn reader(&self) -> ReaderKey {
        self.key
    }

    /// Where it stands.
    pub fn place(&self) -> &Position {
        &self.place
    }

    /// The room it reads.
    pub fn room(&self) -> &crate::RoomName {
        &self.room.name
    }

    /// Reads on. Cancel safe: the place moves only when something is returned.
    ///
    /// # Errors
    /// Those of the log; the same call may succeed later.
    pub async fn next(&mut self) -> Result<Found, LogError> {
        let found = self.find().await?;
        self.note(&found);
        Ok(found)
    }

    async fn find(&mut self) -> Result<Found, LogError> {
        let Some(log) = &self.room.log else { return Ok(Found::Head) };
        let page = match self.room.recent(&self.place, Self::PAGE) {
            Some(page) => page,
            None => log.read(&self.room.name, Extent::After(self.place.seq, Self::PAGE)).await?,
        };
        if page.epoch != self.place.epoch || self.place.seq > page.head {
            // A number from the future is as strange as one of another epoch: the log was set back.
            let seq = page.begin_anew();
            return Ok(self.skip(Seq::ZERO, Position { epoch: page.epoch, seq }));
        }
        if page.first > self.place.seq.next() {
            let from = self.place.seq.next();
            return Ok(self.skip(from, Position { epoch: page.epoch, seq: Seq(page.first.0 - 1) }));
        }
        let Some(last) = page.messages.last() else { return Ok(self.arrive().await) };
        self.place.seq = last.seq;
        let wanted = |message: &Arc<Message>| !self.sent(message);
        let messages: Vec<_> = page.messages.into_iter().filter(wanted).collect();
        messages.iter().for_each(|message| self.hub.gave(message.event.as_str()));
        Ok(Found::Messages(messages))
    }

    fn skip(&mut self, from: Seq, to: Position) -> Found {
        add(&self.hub.0.counters.gaps, 1);
        self.place = to.clone();
        Found::Gap { from, to: to.seq, epoch: to.epoch }
    }

    fn sent(&self, message: &Message) -> bool {
        self.own.as_ref().is_some_and(|(client, since)| {
            let later = message.epoch != since.epoch || message.seq > since.seq;
            later && message.from.as_ref() == Some(client)
        })
    }

    async fn arrive(&self) -> Found {
        let place = self.room.lock().order.place().cloned();
        if place.is_none_or(|place| place.epoch == self.place.epoch) {
            return Found::Head;
        }
        // The log began another life and the room has not noticed, or the other way round. A reader that went live now
        // would be told at once that it is behind, and would read the log in circles.
        self.hub.doubt(&self.room);
        tokio::time::sleep(Hub::PATIENCE).await;
        Found::Messages(Vec::new())
    }

    /// Has the reader written to from this place on. At [`Found::Head`] this is the end of the cursor; should
    /// messages have been delivered in the meantime, a [`crate::Notice::Behind`] follows.
    pub fn live(&self) {
        if self.hub.tracer().is_on() {
            self.hub.tracer().note(self.record(Outcome::Live).place(&self.place));
        }
        self.outbox.shard().send(Command::Live { reader: self.key, place: self.place.clone() });
    }

    fn note(&self, found: &Found) {
        if !self.hub.tracer().is_on() {
            return;
        }
        let record = match found {
            Found::Messages(messages) => {
                let messages: Vec<_> = messages.iter().map(|message| &**message).collect();
                several(self.record(Outcome::Read), &messages)
            }
            Found::Gap { from, to, epoch } => {
                let place = Position { epoch: epoch.clone(), seq: *from };
                Record { to: Some(*to), ..self.record(Outcome::Gap).place(&place) }
            }
            Found::Head => return,
        };
        self.hub.tracer().note(record);
    }

    fn record(&self, outcome: Outcome) -> Record {
        Record::new(Step::Page, outcome).room(&self.room.name).of(&self.outbox)
    }
}
