//! Who should receive which message, and who has.

use crate::{clock::Nanos, connection::Connection, histogram::Histogram, marker, tally::Tally, websocket::Frame};

/// The books of a fan-out: every message published, every delivery of it.
pub(crate) struct Ledger {
    /// Messages that all their readers have, or that were written off.
    pub(crate) done: u64,
    pub(crate) last_delivery: Nanos,
    pub(crate) counts: Counts,
    pub(crate) latency: Histogram,
    /// Deliveries that did not carry the number after the one before, on their connection.
    pub(crate) gaps: u64,
    /// Frames without a marker, or with a number that was never published.
    pub(crate) other: u64,
    readers: Vec<u32>,
    sent_at: Vec<Nanos>,
    received: Vec<u32>,
}

/// What begins anew with the measurement.
#[derive(Default)]
pub(crate) struct Counts {
    pub(crate) deliveries: u64,
    pub(crate) deflated: u64,
}

/// What the ledger remembers of one connection.
#[derive(Clone, Copy, Default)]
pub(crate) struct Track {
    /// Where the last frame had its marker; the next one has it there too, nearly always.
    marker_at: usize,
    /// Compressed frames so far.
    ordinal: u64,
    /// The number due next, once there was one.
    next: Option<u64>,
}

impl Ledger {
    pub(crate) fn new(rooms: usize) -> Ledger {
        Ledger {
            done: 0,
            last_delivery: 0,
            counts: Counts::default(),
            latency: Histogram::new(),
            gaps: 0,
            other: 0,
            readers: vec![0; rooms],
            sent_at: Vec::new(),
            received: Vec::new(),
        }
    }

    pub(crate) fn expect_reader(&mut self, room: usize) {
        self.readers[room] += 1;
    }

    /// Messages published so far, which is the number of the next one.
    pub(crate) fn published(&self) -> u64 {
        self.sent_at.len() as u64
    }

    pub(crate) fn publish(&mut self, at: Nanos) {
        self.sent_at.push(at);
        self.received.push(0);
    }

    /// Messages from `first` on that readers still miss are written off; returns the deliveries missing.
    pub(crate) fn write_off(&mut self, first: u64) -> u64 {
        let mut lost = 0;
        for number in first as usize..self.sent_at.len() {
            let expected = self.readers[number % self.readers.len()];
            if self.received[number] < expected {
                lost += u64::from(expected - self.received[number]);
                // One more than expected, so that a late delivery does not complete it a second time.
                self.received[number] = expected + 1;
                self.done += 1;
            }
        }
        lost
    }

    #[inline]
    fn delivered(&mut self, on: &mut Connection, number: u64, at: Nanos) {
        let rooms = self.readers.len();
        if on.track.next.is_some_and(|next| next != number) {
            self.gaps += 1;
        }
        on.track.next = Some(number + rooms as u64);
        let index = number as usize;
        let Some(received) = self.received.get_mut(index) else {
            self.other += 1;
            return;
        };
        *received += 1;
        if *received == self.readers[index % rooms] {
            self.done += 1;
        }
        self.counts.deliveries += 1;
        self.last_delivery = at;
        self.latency.add(at.saturating_sub(self.sent_at[index]));
    }

    fn number_in(on: &mut Connection, payload: &[u8]) -> Option<u64> {
        marker::number_at(payload, on.track.marker_at).or_else(|| {
            let (at, number) = marker::find(payload)?;
            on.track.marker_at = at;
            Some(number)
        })
    }
}

impl Tally for Ledger {
    #[inline]
    fn frame(&mut self, on: &mut Connection, frame: &Frame<'_>, at: Nanos) {
        if frame.deflated() {
            // Not inflated, which would cost the generator more than the server paid: told apart by order.
            let number = on.track.ordinal * self.readers.len() as u64 + on.room as u64;
            on.track.ordinal += 1;
            self.counts.deflated += 1;
            return self.delivered(on, number, at);
        }
        match Self::number_in(on, frame.payload) {
            Some(number) => self.delivered(on, number, at),
            None => self.other += 1,
        }
    }

    fn stretch(&mut self, on: &mut Connection, bytes: &[u8], at: Nanos) -> usize {
        marker::scan(bytes, |number| self.delivered(on, number, at))
    }
}

#[cfg(test)]
mod tests;
