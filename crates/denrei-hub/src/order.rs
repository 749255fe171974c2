//! The order of one room on one node: what may pass, what was seen, what is missing. Pure: no lock, clock or task.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::ids::{Position, Seq};
use crate::message::Message;

/// Lets the messages of a room pass in the order of their numbers, whatever order they arrive in.
///
/// A message may come twice (from its own append and from the bus), early (before the one in front of it), or not at
/// all (buses lose messages). What comes early is held, up to a bound; past the bound the latest is dropped, because
/// all of it can be read from the log.
#[derive(Debug, Default)]
pub struct Order {
    place: Option<Position>,
    held: BTreeMap<Seq, Arc<Message>>,
}

/// What to do with a message that arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is the next one: deliver it, then all that [`Order::release`] gives.
    Deliver,
    /// It was delivered before: drop it.
    Seen,
    /// Something before it is missing, or the place of the room is not known yet: it is kept for later.
    Held,
    /// The same, and too much is held already: the latest was dropped and must be read from the log.
    Dropped,
    /// It belongs to another life of the log: only the log can tell which is the present one.
    Stranger,
}

impl Order {
    /// How many early messages are held.
    pub const HELD: usize = 1024;

    /// The last delivered message; none until [`Order::jump`] was called once.
    pub fn place(&self) -> Option<&Position> {
        self.place.as_ref()
    }

    /// Goes to a place that was read from the log: what is up to it counts as delivered, and what is held beyond it
    /// can be released.
    pub fn jump(&mut self, place: Position) {
        self.held.retain(|&seq, message| seq > place.seq && message.epoch == place.epoch);
        self.place = Some(place);
    }

    /// Judges a message that arrived.
    pub fn accept(&mut self, message: &Arc<Message>) -> Verdict {
        match &mut self.place {
            Some(place) if place.epoch != message.epoch => Verdict::Stranger,
            Some(place) if message.seq <= place.seq => Verdict::Seen,
            Some(place) if message.seq == place.seq.next() => {
                place.seq = message.seq;
                Verdict::Deliver
            }
            _ => {
                self.held.insert(message.seq, Arc::clone(message));
                if self.held.len() <= Self::HELD {
                    return Verdict::Held;
                }
                self.held.pop_last();
                Verdict::Dropped
            }
        }
    }

    /// The next held message, if it is its turn.
    pub fn release(&mut self) -> Option<Arc<Message>> {
        let place = self.place.as_mut()?;
        while let Some(first) = self.held.first_entry() {
            if *first.key() <= place.seq {
                first.remove();
            } else if *first.key() == place.seq.next() {
                place.seq = *first.key();
                return Some(first.remove());
            } else {
                return None;
            }
        }
        None
    }

    /// Whether something is held that waits for what is missing.
    pub fn is_waiting(&self) -> bool {
        !self.held.is_empty()
    }
}
