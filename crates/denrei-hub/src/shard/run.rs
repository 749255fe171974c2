//! What a run of messages is to each reader: a chunk that is shared, or what is left of it.

use std::sync::Arc;

use bytes::Bytes;

use super::{Entry, State};
use crate::ids::{Position, Seq};
use crate::message::{Dialect, Encoders, Kind, Message, Wire};
use crate::outbox::{Notice, Outbox, Sent};
use crate::stats::Tally;

/// Consecutive messages of one room, on their way to its readers.
pub(super) struct Run<'a> {
    encoders: &'a Encoders,
    pub(super) messages: &'a [Arc<Message>],
    /// The place just before the first; none when the room keeps no log.
    pub(super) before: Option<Position>,
    direct: bool,
    volatile: bool,
    /// Signals never come back to who gave them.
    pub(super) signals: bool,
    senders: Senders<'a>,
}

/// The joined chunk per wire and dialect, made when the first reader of these needs it.
#[derive(Default)]
pub(super) struct Chunks(Vec<(Wire, Dialect, Bytes)>);

impl Chunks {
    fn get(&mut self, wire: Wire, dialect: Dialect, make: impl FnOnce() -> Bytes) -> &Bytes {
        let known = self.0.iter().position(|(w, d, _)| (*w, *d) == (wire, dialect));
        let at = known.unwrap_or_else(|| {
            self.0.push((wire, dialect, make()));
            self.0.len() - 1
        });
        &self.0[at].2
    }
}

impl<'a> Run<'a> {
    pub(super) fn new(
        encoders: &'a Encoders,
        messages: &'a [Arc<Message>],
        before: Option<Position>,
        direct: bool,
    ) -> Self {
        let volatile = messages.iter().any(|message| message.is_volatile());
        let signals = messages.iter().all(|message| message.kind == Kind::Signal);
        Self { encoders, messages, before, direct, volatile, signals, senders: Senders::of(messages) }
    }

    /// Hands the messages to a connection that is no reader.
    pub(super) fn hand(
        &self,
        outbox: &Arc<Outbox>,
        dialect: Dialect,
        chunks: &mut Chunks,
        tally: &mut Tally,
        dirty: &mut Vec<Arc<Outbox>>,
    ) {
        let wire = outbox.wire();
        let chunk = chunks.get(wire, dialect, || self.encoders.joined(self.messages, wire, dialect));
        let sent = self.send(outbox, wire, chunk, dirty);
        tally.sent(sent, None, self.messages.len());
        if sent == Sent::Refused {
            self.lose(outbox, self.messages.len(), tally);
        }
    }

    fn send(&self, outbox: &Arc<Outbox>, wire: Wire, chunk: &Bytes, dirty: &mut Vec<Arc<Outbox>>) -> Sent {
        if self.direct {
            return outbox.write(wire, chunk, self.volatile);
        }
        let (sent, first) = outbox.queue(wire, chunk, self.volatile);
        if first {
            dirty.push(Arc::clone(outbox));
        }
        sent
    }

    /// Returns what became of how many bytes; none when there was nothing for it.
    pub(super) fn write_to(
        &self,
        entry: &mut Entry,
        chunks: &mut Chunks,
        tally: &mut Tally,
        dirty: &mut Vec<Arc<Outbox>>,
    ) -> Option<(Sent, usize)> {
        let seen = match entry.state {
            State::Live(seen) => seen,
            State::Behind if self.signals => Seq::ZERO,
            State::Behind | State::New => return None,
        };
        let wire = entry.outbox.wire();
        let own = !self.echoes(entry) && self.senders.include(entry);
        let fresh = self.before.as_ref().is_none_or(|before| before.seq >= seen);
        if fresh && !own {
            let chunk = chunks.get(wire, entry.dialect, || self.encoders.joined(self.messages, wire, entry.dialect));
            let sent = self.send(&entry.outbox, wire, chunk, dirty);
            tally.sent(sent, None, self.messages.len());
            if sent == Sent::Refused {
                self.overflow(entry, self.messages.len(), tally);
            }
            return Some((sent, chunk.len()));
        }
        let which = self.wanted(entry, seen);
        if which.is_empty() {
            return None;
        }
        let rest: Vec<_> = which.iter().map(|at| Arc::clone(&self.messages[*at])).collect();
        let chunk = self.encoders.joined(&rest, wire, entry.dialect);
        let sent = self.send(&entry.outbox, wire, &chunk, dirty);
        tally.sent(sent, Some(&which), which.len());
        if sent == Sent::Refused {
            self.overflow(entry, which.len(), tally);
        }
        Some((sent, chunk.len()))
    }

    /// Which messages the reader does not have, and has not sent itself.
    fn wanted(&self, entry: &Entry, seen: Seq) -> Vec<usize> {
        let wanted = |(at, message): (usize, &Arc<Message>)| {
            let fresh = self.before.is_none() || message.seq > seen;
            (fresh && (self.echoes(entry) || !is_own(entry, message))).then_some(at)
        };
        self.messages.iter().enumerate().filter_map(wanted).collect()
    }

    /// Whether a reader gets what it has sent itself.
    pub(super) fn echoes(&self, entry: &Entry) -> bool {
        entry.echo && !self.signals
    }

    /// The policy for a full outbox: what is kept in a log is read from there later; what is not is dropped, or ends the
    /// connection if it insists.
    fn overflow(&self, entry: &mut Entry, messages: usize, tally: &mut Tally) {
        let (Some(before), State::Live(seen)) = (&self.before, entry.state) else {
            return self.lose(&entry.outbox, messages, tally);
        };
        entry.state = State::Behind;
        tally.fell(1);
        let seq = before.seq.max(seen);
        entry.outbox.notify(Notice::Behind(entry.key, Position { epoch: before.epoch.clone(), seq }));
    }

    fn lose(&self, outbox: &Outbox, messages: usize, tally: &mut Tally) {
        match outbox.overflow() {
            true => tally.overflows += 1,
            false => tally.dropped += messages as u64,
        }
    }
}

/// Who sent the messages of a run: by the connection, or by the client where the connection is not known. That is so
/// for messages of other nodes, and for those that were read from the log before their append was answered here.
struct Senders<'a> {
    connections: Vec<u64>,
    clients: Vec<&'a str>,
}

impl<'a> Senders<'a> {
    fn of(run: &'a [Arc<Message>]) -> Self {
        let (known, unknown): (Vec<_>, Vec<_>) = run.iter().partition(|message| message.origin != 0);
        let mut connections: Vec<_> = known.into_iter().map(|message| message.origin).collect();
        let mut clients: Vec<_> = unknown.into_iter().filter_map(|message| message.from.as_deref()).collect();
        connections.sort_unstable();
        connections.dedup();
        clients.sort_unstable();
        clients.dedup();
        Self { connections, clients }
    }

    fn include(&self, entry: &Entry) -> bool {
        self.connections.binary_search(&entry.connection).is_ok()
            || !self.clients.is_empty() && self.clients.binary_search(&&**entry.outbox.client()).is_ok()
    }
}

pub(super) fn is_own(entry: &Entry, message: &Message) -> bool {
    match message.origin {
        0 => message.from.as_ref() == Some(entry.outbox.client()),
        origin => origin == entry.connection,
    }
}
