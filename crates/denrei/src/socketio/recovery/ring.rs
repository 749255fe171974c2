//! The newest emits, from which clients are told what they have missed.

use std::collections::VecDeque;
use std::sync::Arc;

use denrei_hub::{Message, Position, Seq, Window};
use tokio::time::Instant;

/// The newest emits of a log, without holes, within a window.
pub(super) struct Ring {
    /// Of the last emit; none until that is known.
    head: Option<Position>,
    emits: VecDeque<(Instant, Arc<Message>)>,
    bytes: usize,
    window: Window,
}

impl Ring {
    pub(super) fn new(window: Window, head: Option<Position>) -> Self {
        Self { head, emits: VecDeque::new(), bytes: 0, window }
    }

    pub(super) fn window(&self) -> Window {
        self.window
    }

    pub(super) fn head(&self) -> Option<&Position> {
        self.head.as_ref()
    }

    /// Goes on at another place: what was before it is not kept any more.
    pub(super) fn jump(&mut self, place: Position) {
        *self = Self::new(self.window, Some(place));
    }

    /// Keeps the emit that follows.
    pub(super) fn push(&mut self, message: Arc<Message>) {
        let now = Instant::now();
        self.head = Some(message.position());
        self.bytes += message.weight();
        self.emits.push_back((now, message));
        let Window { events, age, bytes } = self.window;
        while let Some((at, oldest)) = self.emits.front()
            && (self.emits.len() > events || self.bytes > bytes || now.duration_since(*at) > age)
        {
            self.bytes -= oldest.weight();
            self.emits.pop_front();
        }
    }

    /// What follows a place, up to a number; none when not all of it is here.
    pub(super) fn between(&self, after: &Position, upto: Seq) -> Option<Vec<Arc<Message>>> {
        let head = self.head.as_ref().filter(|head| head.epoch == after.epoch && after.seq <= head.seq)?;
        let first = self.emits.front().map_or(head.seq.next(), |(_, first)| first.seq);
        let skip = usize::try_from(after.seq.next().0.checked_sub(first.0)?).ok()?;
        let emits = self.emits.range(skip..).map(|(_, message)| message);
        Some(emits.take_while(|message| message.seq <= upto).cloned().collect())
    }
}
