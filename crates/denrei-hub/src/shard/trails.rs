//! What a shard does for messages whose time somebody wants to know: a span for each, over when the turn is.

use std::sync::Arc;
use std::time::SystemTime;

use super::Shard;
use crate::message::Message;
use crate::span::{Handed, Span, deliver};

/// Readers who fell behind in this turn, and messages that were dropped in it.
pub(super) struct Before(u64, u64);

impl Shard {
    /// What there was before a run, if anybody is told of spans and something in it is followed.
    pub(super) fn before(&self, run: &[Arc<Message>]) -> Option<Before> {
        let followed = self.spans.is_some() && run.iter().any(|message| message.trail.is_some());
        followed.then_some(Before(self.tally.fallen, self.tally.dropped))
    }

    /// Begins the spans of a run that was handed to so many readers.
    pub(super) fn handed(&mut self, run: &[Arc<Message>], readers: usize, Before(fallen, dropped): Before) {
        for (at, message) in run.iter().enumerate() {
            let handed = Handed {
                messages: run.len(),
                readers,
                given: self.tally.given(at),
                fallen: self.tally.fallen - fallen,
                dropped: self.tally.dropped - dropped,
            };
            self.followed.extend(deliver(message, self.handle.number(), handed));
        }
    }

    /// Everything of a turn has gone to the sockets, or waits for them.
    pub(super) fn end_spans(&mut self) {
        if self.followed.is_empty() {
            return;
        }
        let now = SystemTime::now();
        for span in self.followed.drain(..) {
            if let Some(spans) = &self.spans {
                spans.ended(Span { ended: now, ..span });
            }
        }
    }
}
