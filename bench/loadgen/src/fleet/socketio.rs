//! The conversation with a server of Socket.IO, which is the same by WebSocket and by polling.

use super::Fleet;
use crate::{
    clock::Nanos,
    connection::{Place, State},
    http::{self, Response},
    socketio::{self, Packet},
    tally::Tally,
};

impl<T: Tally> Fleet<T> {
    /// Takes its part in the conversation; whether the packet is a message of the application.
    #[inline]
    pub(super) fn is_message(&mut self, id: usize, packet: &[u8]) -> bool {
        let connection = &mut self.connections[id];
        match (connection.state, Packet::of(packet)) {
            (State::Joining { .. } | State::Ready, Packet::Message) => return true,
            (State::Greeting, Packet::Open { sid }) => {
                connection.place = Place::Session(sid.into());
                connection.state = State::Entering;
                self.say(id, &[socketio::CONNECT]);
            }
            (State::Entering, Packet::Connected) => self.join(id),
            (_, Packet::Ping) => self.say(id, &[socketio::PONG]),
            (_, Packet::Noop) => {}
            (state, _) => self.fail(
                id,
                format!("{state:?}, but the server said {}", String::from_utf8_lossy(&packet[..packet.len().min(80)])),
            ),
        }
        false
    }

    /// The answer to a poll or to a POST; the next request follows.
    pub(super) fn exchanged(&mut self, id: usize, response: &Response<'_>, at: Nanos) {
        if http::status(&response.head) != 200 {
            return self.fail(id, format!("polling: {}", http::status_line(&response.head)));
        }
        // The body of the answer to a POST holds no packets.
        if !std::mem::take(&mut self.connections[id].posting) {
            for packet in socketio::packets(&response.body) {
                if self.is_message(id, packet) && self.is_for_tally(id) {
                    self.tally.stretch(&mut self.connections[id], packet, at);
                }
            }
        }
        self.take_turn(id);
    }

    /// Sends what is to be said, or polls.
    fn take_turn(&mut self, id: usize) {
        let connection = &mut self.connections[id];
        if connection.is_dead() {
            return;
        }
        if connection.unposted.is_empty() {
            return self.get(id);
        }
        connection.posting = true;
        let packets = std::mem::take(&mut connection.unposted);
        let request = self.target.packets(&self.connections[id], &packets);
        self.send(id, &request);
    }
}
