//! What a shard does while somebody investigates: the same, telling of each reader what became of it.

use std::sync::Arc;

use super::run::{Chunks, Run, is_own};
use super::{Entry, Shard, State};
use crate::Map;
use crate::ids::{RoomName, Seq};
use crate::message::Message;
use crate::outbox::{Outbox, Sent};
use crate::room::RoomKey;
use crate::trace::{Outcome, Record, Step, Tracer, several};

impl Shard {
    /// Hands a run to the readers of a room. It is written at once, so that it is known what the sockets have taken.
    pub(super) async fn write_watched(
        &mut self,
        run: &Run<'_>,
        readers: &mut [Entry],
        chunks: &mut Chunks,
        dirty: &mut Vec<Arc<Outbox>>,
    ) {
        for entry in readers {
            let state = entry.state;
            let gave = run.write_to(entry, chunks, &mut self.tally, dirty);
            run.note(self.handle.tracer(), entry, state, gave, None);
            if gave.is_some() {
                self.breathe().await;
            }
        }
    }

    /// Notes where the readers of rooms stand.
    pub(super) fn look(&self, trace: &str, rooms: &Map<RoomKey, RoomName>) {
        let tracer = self.handle.tracer();
        for (name, readers) in rooms.iter().filter_map(|(key, name)| Some((name, self.rooms.get(key)?))) {
            for entry in &readers.list {
                let record = Record::new(Step::Reader, Outcome::There).room(name).of(&entry.outbox);
                let record = record.because(match entry.state {
                    State::New => JOINING,
                    State::Live(_) => "live",
                    State::Behind => BEHIND,
                });
                let place = readers.delivered.as_ref().filter(|_| matches!(entry.state, State::Live(_)));
                tracer.found(trace, place.map_or_else(|| record.clone(), |place| record.clone().place(place)));
            }
        }
    }
}

const JOINING: &str = "joining";
const BEHIND: &str = "reads_the_log";

impl Run<'_> {
    /// Tells what became of it at one reader, which was in this state before. A scattered message
    /// reaches it in a room that need not be the message's.
    pub(super) fn note(
        &self,
        tracer: &Tracer,
        entry: &Entry,
        state: State,
        gave: Option<(Sent, usize)>,
        scattered: Option<&RoomName>,
    ) {
        let tell = |outcome, reason: Option<&'static str>, messages: &[&Message]| {
            if messages.is_empty() {
                return;
            }
            let mut record = several(Record::new(Step::Deliver, outcome).of(&entry.outbox), messages);
            if let Some(room) = scattered {
                record = record.room(room);
            }
            if let (Some((sent, bytes)), None | Some(QUEUE_FULL | VOLATILE)) = (gave, reason) {
                record.bytes = Some(bytes as u64);
                record.waiting = match sent {
                    Sent::Queued(before) => Some(before as u64),
                    Sent::Written(taken) if taken < bytes => Some(0),
                    _ => None,
                };
            }
            tracer.note(Record { reason, ..record });
        };
        let all: Vec<&Message> = self.messages.iter().map(|message| &**message).collect();
        let seen = match state {
            State::New => return tell(Outcome::Skipped, Some(JOINING), &all),
            State::Behind if !self.signals => return tell(Outcome::Skipped, Some(BEHIND), &all),
            State::Behind => Seq::ZERO,
            State::Live(seen) => seen,
        };
        let (had, fresh): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|message| self.before.is_some() && message.seq <= seen);
        let (own, rest): (Vec<_>, Vec<_>) =
            fresh.into_iter().partition(|message| !self.echoes(entry) && is_own(entry, message));
        tell(Outcome::Skipped, Some("given_before"), &had);
        tell(Outcome::Skipped, Some("own"), &own);
        match gave {
            Some((Sent::Written(taken), bytes)) if taken == bytes => tell(Outcome::Written, None, &rest),
            Some((Sent::Written(_) | Sent::Queued(_), _)) => tell(Outcome::Queued, None, &rest),
            Some((Sent::Dropped, _)) => tell(Outcome::Skipped, Some(VOLATILE), &rest),
            Some((Sent::Gone, _)) => tell(Outcome::Skipped, Some("connection_ended"), &rest),
            Some((Sent::Refused, _)) if self.before.is_some() => tell(Outcome::FellBehind, Some(QUEUE_FULL), &rest),
            Some((Sent::Refused, _)) => tell(Outcome::Overflow, Some(QUEUE_FULL), &rest),
            None => {}
        }
    }

    /// Tells that a reader is excepted, or has been given it in another room.
    pub(super) fn note_excepted(&self, tracer: &Tracer, outbox: &Outbox, room: &RoomName) {
        let all: Vec<&Message> = self.messages.iter().map(|message| &**message).collect();
        let record = several(Record::new(Step::Deliver, Outcome::Skipped).of(outbox), &all);
        tracer.note(record.room(room).because("excepted"));
    }
}

const QUEUE_FULL: &str = "queue_full";
const VOLATILE: &str = "volatile";
