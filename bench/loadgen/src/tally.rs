//! The seam between the wire and what a scenario counts.

use crate::{clock::Nanos, connection::Connection, websocket::Frame};

/// What becomes of the data that ready subscribers receive.
pub(crate) trait Tally {
    /// One whole data frame of a WebSocket.
    fn frame(&mut self, on: &mut Connection, frame: &Frame<'_>, at: Nanos);

    /// A stretch of an event stream, or the body of a poll. Returns how much of it is done with; the rest is shown
    /// again, with what comes after it.
    fn stretch(&mut self, on: &mut Connection, bytes: &[u8], at: Nanos) -> usize;

    /// What to send at once on a connection that has been read, if anything.
    fn answer(&mut self, _on: &Connection) -> Option<&[u8]> {
        None
    }
}

/// Counts nothing.
pub(crate) struct Nothing;

impl Tally for Nothing {
    fn frame(&mut self, _on: &mut Connection, _frame: &Frame<'_>, _at: Nanos) {}

    fn stretch(&mut self, _on: &mut Connection, bytes: &[u8], _at: Nanos) -> usize {
        bytes.len()
    }
}
