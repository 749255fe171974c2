//! What a shard does for messages whose time somebody wants to know: a span for each, over when the turn is.

use std::sync::Arc;
use std::time::SystemTime;

use super::{Readers, Shard};
use crate::message::Message;
use crate::span::{self, Handed};

impl Shard {
    /// What was handed out before a run, if anything in it is followed and anybody is told.
    pub(super) fn before(&self, run: &[Arc<Message>]) -> Option<Handed> {
        let followed = run.iter().any(|message| message.trail.is_some());
        (followed && self.spans.is_some()).then(|| self.tally.handed())
    }

    /// Begins the spans of a run that was handed to these readers.
    pub(super) fn handed(&mut self, run: &[Arc<Message>], readers: &Readers, before: Handed) {
        let handed = Handed { readers: readers.list.len() as u64, ..self.tally.handed() - before };
        let number = self.handle.number();
        self.followed.extend(run.iter().filter_map(|message| span::deliver(message, number, run.len(), handed)));
    }

    /// Everything of a turn has gone to the sockets, or waits for them.
    pub(super) fn end_spans(&mut self) {
        if self.followed.is_empty() {
            return;
        }
        let now = SystemTime::now();
        for span in self.followed.drain(..) {
            if let Some(spans) = &self.spans {
                spans.ended(span::Span { ended: now, ..span });
            }
        }
    }
}
