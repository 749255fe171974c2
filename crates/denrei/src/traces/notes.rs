//! What this crate notes in traces: what is refused before the hub hears of it, and why sessions end.

use denrei_hub::{Name, Outbox, Outcome, Record, RoomName, Step};
use denrei_proto::codes::Code;

use crate::app::{App, Publish};
use crate::identity::Identity;
use crate::policy::Decision;

impl App {
    /// A publish was refused.
    pub(crate) fn note_refused(&self, identity: &Identity, publish: Publish<'_>, code: Code) {
        if self.hub.tracer().is_on()
            && let Ok(room) = RoomName::parse(publish.room)
        {
            let record = refused(identity, publish, &room);
            self.hub.tracer().note(record.because(code.as_str()));
        }
    }

    /// The same if it is refused later, when it has been looked up.
    pub(crate) fn note_decision(&self, identity: &Identity, publish: Publish<'_>, decision: Decision) -> Decision {
        if !self.hub.tracer().is_on() {
            return decision;
        }
        match (decision, RoomName::parse(publish.room)) {
            (Decision::Later(later), Ok(room)) => {
                let (record, hub) = (refused(identity, publish, &room), self.hub.clone());
                Decision::Later(Box::pin(async move {
                    let decided = later.await;
                    if let Err(refusal) = &decided {
                        hub.tracer().note(record.because(refusal.code.as_str()));
                    }
                    decided
                }))
            }
            (Decision::Now(decided), _) => {
                if let Err(refusal) = &decided {
                    self.note_refused(identity, publish, refusal.code);
                }
                Decision::Now(decided)
            }
            (decision, Err(_)) => decision,
        }
    }

    /// Somebody may not read a room.
    pub(crate) fn note_kept_out(&self, identity: &Identity, outbox: &Outbox, room: &RoomName, code: Code) {
        if self.hub.tracer().is_on() {
            let record = Record::new(Step::Reader, Outcome::Refused).room(room).of(outbox);
            self.hub.tracer().note(record.user(identity.user.as_ref()).because(code.as_str()));
        }
    }

    /// A session is about to end.
    pub(crate) fn note_closing(&self, outbox: &Outbox, code: Option<u16>, reason: &'static str) {
        if self.hub.tracer().is_on() {
            let record = Record::new(Step::Session, Outcome::Closing).of(outbox).because(reason);
            self.hub.tracer().note(Record { code, ..record });
        }
    }
}

fn refused(identity: &Identity, publish: Publish<'_>, room: &RoomName) -> Record {
    let record = Record::new(Step::Publish, Outcome::Refused).room(room).user(identity.user.as_ref());
    let record = match publish.from {
        Some(outbox) => record.of(outbox),
        None => record,
    };
    // Names that are none were refused for that.
    Record { event: Name::parse(publish.event).ok(), id: publish.id.and_then(|id| Name::parse(id).ok()), ..record }
}
