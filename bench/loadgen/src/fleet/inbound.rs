//! What servers send.

use super::Fleet;
use crate::{
    clock::Nanos,
    connection::{Place, Role, State},
    http::{self, Response},
    options::Wire,
    tally::Tally,
    websocket::{self, Frame},
};

impl<T: Tally> Fleet<T> {
    /// Handles what is whole in `bytes`; returns how much that was.
    pub(super) fn consume(&mut self, id: usize, bytes: &[u8], at: Nanos) -> usize {
        let start = if self.connections[id].state == State::Head { self.head(id, bytes) } else { 0 };
        let connection = &mut self.connections[id];
        if matches!(connection.state, State::Head | State::Dead) {
            return start;
        }
        let rest = &bytes[start..];
        start
            + match self.target.door(connection.role).wire {
                Wire::Ws | Wire::Sio => self.frames(id, rest, at),
                Wire::Sse => self.tally.stretch(connection, rest, at),
                Wire::Lp | Wire::SioPoll | Wire::Http => self.responses(id, rest, at),
            }
    }

    /// The answer to an upgrade or to the request of an event stream.
    fn head(&mut self, id: usize, bytes: &[u8]) -> usize {
        let Some((head, used)) = http::split_head(bytes) else { return 0 };
        let wire = self.target.door(self.connections[id].role).wire;
        let accepted = match wire {
            Wire::Ws | Wire::Sio => {
                http::status(&head) == 101 && http::header(&head, "sec-websocket-accept") == Some(websocket::ACCEPT)
            }
            Wire::Sse | Wire::Lp | Wire::SioPoll | Wire::Http => http::status(&head) == 200,
        };
        if !accepted {
            self.fail(id, format!("refused: {}", http::status_line(&head)));
            return bytes.len();
        }
        let extensions = http::header(&head, "sec-websocket-extensions").unwrap_or_default();
        self.deflate_negotiated += u64::from(extensions.contains("permessage-deflate"));
        match wire {
            Wire::Ws => self.join(id),
            Wire::Sio => self.connections[id].state = State::Greeting,
            Wire::Sse | Wire::Lp | Wire::SioPoll | Wire::Http => self.set_ready(id),
        }
        used
    }

    fn frames(&mut self, id: usize, bytes: &[u8], at: Nanos) -> usize {
        let mut used = 0;
        while let Some((frame, length)) = Frame::split(&bytes[used..]) {
            used += length;
            match frame.opcode() {
                // Only the first fragment of a message carries the marker.
                websocket::CONTINUATION | websocket::PONG => {}
                websocket::PING => self.send_frame(id, websocket::PONG, frame.payload),
                websocket::CLOSE => self.closed(id, frame.payload),
                _ => self.data(id, &frame, at),
            }
            if self.connections[id].is_dead() {
                return bytes.len();
            }
        }
        used
    }

    fn closed(&mut self, id: usize, payload: &[u8]) {
        let (code, reason) = payload.split_first_chunk().unwrap_or((&[0, 0], b""));
        let code = u16::from_be_bytes(*code);
        self.fail(id, format!("closed by the server: {code} {}", String::from_utf8_lossy(reason)));
    }

    #[inline]
    fn data(&mut self, id: usize, frame: &Frame<'_>, at: Nanos) {
        let wire = self.target.door(self.connections[id].role).wire;
        if (wire == Wire::Ws || self.is_message(id, frame.payload)) && self.is_for_tally(id) {
            self.tally.frame(&mut self.connections[id], frame, at);
        }
    }

    /// Whether the tally is to see a message that has come; before a connection is ready it answers the join.
    #[inline]
    pub(super) fn is_for_tally(&mut self, id: usize) -> bool {
        let connection = &mut self.connections[id];
        match connection.state {
            State::Ready => return connection.role == Role::Subscriber,
            State::Joining { acks_due: 1 } => self.set_ready(id),
            State::Joining { acks_due } => connection.state = State::Joining { acks_due: acks_due - 1 },
            State::Dialing | State::Head | State::Greeting | State::Entering | State::Dead => {}
        }
        false
    }

    fn responses(&mut self, id: usize, bytes: &[u8], at: Nanos) -> usize {
        let mut used = 0;
        while let Some((response, length)) = Response::split(&bytes[used..]) {
            used += length;
            match self.target.door(self.connections[id].role).wire {
                Wire::Lp => self.polled(id, &response, at),
                Wire::SioPoll => self.exchanged(id, &response, at),
                Wire::Ws | Wire::Sse | Wire::Sio | Wire::Http => self.posted(id, &response),
            }
            if self.connections[id].is_dead() {
                return bytes.len();
            }
        }
        used
    }

    fn polled(&mut self, id: usize, response: &Response<'_>, at: Nanos) {
        // 204, 304 and 408 are how servers say that nothing came in time.
        if !matches!(http::status(&response.head), 200 | 204 | 304 | 408) {
            return self.fail(id, format!("poll: {}", http::status_line(&response.head)));
        }
        let connection = &mut self.connections[id];
        if let Some(place) = next_place(&response.head, self.target.cursor_header.as_deref()) {
            connection.place = place;
        }
        self.tally.stretch(connection, &response.body, at);
        self.get(id);
    }

    fn posted(&mut self, id: usize, response: &Response<'_>) {
        self.connections[id].posting = false;
        if !(200..300).contains(&http::status(&response.head)) {
            self.fail(id, format!("publish: {}", http::status_line(&response.head)));
        }
    }
}

fn next_place(head: &str, cursor_header: Option<&str>) -> Option<Place> {
    if let Some(name) = cursor_header {
        return http::header(head, name).map(|cursor| Place::Cursor(cursor.into()));
    }
    let tag = http::header(head, "etag")?.into();
    let modified = http::header(head, "last-modified").unwrap_or_default().into();
    Some(Place::Validators { modified, tag })
}
