//! What the writer can be asked to do. Each operation is one unit: it takes place as a whole or not at all.

use std::sync::Arc;

use denrei_hub::{Appended, Done, Draft, Epoch, LogError, Retained, RoomName};
use tokio::sync::oneshot;

use crate::chat::{Changing, Marking, NewMessage, Profiling, Sending};
use crate::events::{self, Trimmed};
use crate::files::Filing;
use crate::group::{Group, Place};
use crate::migrations;
use crate::sql::Fault;

/// Something to do within a transaction that it may share with others.
pub(crate) enum Operation {
    /// Number a draft and keep it.
    Append(Append),
    /// Take one step of trimming rooms.
    Trim(Trim),
    /// Begin a new epoch.
    ChangeEpoch(Answer<Epoch>),
    /// Write something that means nothing.
    Touch(Answer<()>),
    /// A message of a chat room.
    Send(Box<Sending>),
    /// A change of a chat room or its messages.
    Change(Box<Changing>),
    /// Marks of what members of chat rooms have read.
    Mark(Marking),
    /// What is kept of users.
    Profile(Profiling),
    /// What is known of files.
    File(Box<Filing>),
    /// Whatever a test wants.
    #[cfg(test)]
    Test(Work, Answer<()>),
}

#[cfg(test)]
type Work = Box<dyn FnMut(&mut Group<'_>) -> Result<(), Fault> + Send>;

impl Operation {
    /// About how much memory it holds.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Append(append) => append.draft.payload.len() + 256,
            Self::Send(sending) => sending.bytes(),
            Self::Change(changing) => changing.bytes(),
            Self::Mark(marking) => marking.bytes(),
            Self::Profile(profiling) => profiling.bytes(),
            Self::File(filing) => filing.bytes(),
            _ => 256,
        }
    }

    /// The draft that it appends.
    pub(crate) fn draft(&self) -> Option<&Draft> {
        match self {
            Self::Append(append) => Some(&append.draft),
            Self::Send(sending) => Some(&sending.draft),
            _ => None,
        }
    }

    /// The message that it sends to a chat room.
    pub(crate) fn chat_message(&self) -> Option<&NewMessage> {
        match self {
            Self::Send(sending) => Some(&sending.message),
            _ => None,
        }
    }

    /// The rooms that it writes to.
    pub(crate) fn rooms(&self) -> impl Iterator<Item = &RoomName> {
        let (one, many) = match self {
            Self::Change(changing) => (Some(&changing.room), None),
            Self::Mark(marking) => (None, Some(&marking.rooms)),
            _ => (self.draft().map(|draft| &draft.room), None),
        };
        one.into_iter().chain(many.into_iter().flatten())
    }

    /// Whether it makes these rooms when they are not there; else it is refused, or fails.
    pub(crate) fn makes_rooms(&self) -> bool {
        match self {
            Self::Append(_) => true,
            Self::Change(changing) => changing.makes_room(),
            _ => false,
        }
    }

    /// Whether no event of any room may be numbered meanwhile.
    pub(crate) fn excludes_all(&self) -> bool {
        matches!(self, Self::ChangeEpoch(_))
    }

    /// Does it. May be called again, in another transaction, when the first one was rolled back.
    pub(crate) fn apply(&mut self, group: &mut Group<'_>) -> Result<(), Fault> {
        if self.draft().is_none() {
            // It may look at what is there, and change it.
            group.write()?;
            group.forget();
        }
        match self {
            Self::Append(append) => append.apply(group),
            Self::Trim(Trim { rooms, before_ms, after, answer }) => {
                answer.value = Some(events::trim(&group.transaction, rooms, *before_ms, *after)?);
                Ok(())
            }
            Self::ChangeEpoch(answer) => {
                let epoch = Epoch::random();
                migrations::set_epoch(&group.transaction, &epoch)?;
                group.epoch = Some(epoch.clone());
                answer.value = Some(epoch);
                Ok(())
            }
            Self::Touch(answer) => {
                answer.value = Some(());
                migrations::touch(&group.transaction)
            }
            Self::Send(sending) => sending.apply(group),
            Self::Change(changing) => changing.apply(group),
            Self::Mark(marking) => marking.apply(group),
            Self::Profile(profiling) => profiling.apply(group),
            Self::File(filing) => filing.apply(group),
            #[cfg(test)]
            Self::Test(work, answer) => {
                answer.value = Some(());
                work(group)
            }
        }
    }

    /// Tells who asked how it ended: what was done is on the disk, or nothing was done.
    pub(crate) fn settle(self, outcome: Result<(), LogError>) {
        match self {
            Self::Append(append) => append.settle(outcome),
            Self::Trim(trim) => trim.answer.settle(outcome),
            Self::ChangeEpoch(answer) => answer.settle(outcome),
            Self::Touch(answer) => answer.settle(outcome),
            Self::Send(sending) => sending.settle(outcome),
            Self::Change(changing) => changing.settle(outcome),
            Self::Mark(marking) => marking.settle(outcome),
            Self::Profile(profiling) => profiling.settle(outcome),
            Self::File(filing) => filing.settle(outcome),
            #[cfg(test)]
            Self::Test(_, answer) => answer.settle(outcome),
        }
    }
}

/// Number a draft and keep it.
pub(crate) struct Append {
    draft: Draft,
    done: Done,
    place: Option<Place>,
}

impl Append {
    pub(crate) fn new(draft: Draft, done: Done) -> Self {
        Self { draft, done, place: None }
    }

    fn apply(&mut self, group: &mut Group<'_>) -> Result<(), Fault> {
        self.place = Some(group.append(&self.draft)?);
        Ok(())
    }

    fn settle(self, outcome: Result<(), LogError>) {
        let appended = outcome.and_then(|()| match self.place {
            Some(Place::Given(position)) => {
                Ok(Appended { message: Arc::new(self.draft.assigned(position)), duplicate: false })
            }
            Some(Place::Taken(message)) => Ok(Appended { message, duplicate: true }),
            None => Err(unanswered()),
        });
        (self.done)(appended);
    }
}

/// Take one step of trimming rooms.
pub(crate) struct Trim {
    pub(crate) rooms: Retained,
    pub(crate) before_ms: u64,
    pub(crate) after: i64,
    pub(crate) answer: Answer<Trimmed>,
}

/// What an operation found, for someone who waits for it.
pub(crate) struct Answer<T> {
    value: Option<T>,
    tell: oneshot::Sender<Result<T, LogError>>,
}

impl<T> Answer<T> {
    pub(crate) fn new(tell: oneshot::Sender<Result<T, LogError>>) -> Self {
        Self { value: None, tell }
    }

    pub(crate) fn give(&mut self, value: T) {
        self.value = Some(value);
    }

    pub(crate) fn settle(self, outcome: Result<(), LogError>) {
        // Who asked may have gone.
        let _ = self.tell.send(outcome.and_then(|()| self.value.ok_or_else(unanswered)));
    }
}

pub(crate) fn unanswered() -> LogError {
    LogError::Unavailable("the operation was not done".into())
}
