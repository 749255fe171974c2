//! From a socket to a connection that is ready.

use std::time::Duration;

use super::Fleet;
use crate::{
    clock::{nanos, now},
    connection::{Connection, Role, State},
    options::Wire,
    socket, socketio,
    tally::Tally,
    template::Values,
    websocket,
};

impl<T: Tally> Fleet<T> {
    /// Opens `count` connections, `at_once` at a time, and ends those that are not ready in time.
    pub(crate) fn open(&mut self, role: Role, count: usize, at_once: usize, limit: Duration) {
        // A server that refuses this many will not take the rest.
        const PATIENCE: u64 = 100;
        let first = self.connections.len();
        let end = now() + nanos(limit);
        let mut dialed = 0;
        while (dialed < count || self.opening > 0) && now() < end && self.failures.count < PATIENCE {
            while dialed < count && self.opening < at_once {
                self.dial(None, role, dialed);
                dialed += 1;
            }
            self.turn(100_000_000);
        }
        for id in first..self.connections.len() {
            let state = self.connections[id].state;
            if !matches!(state, State::Ready | State::Dead) {
                self.fail(id, format!("not ready in time: {state:?}"));
            }
        }
    }

    /// Starts a connection, in the slot of a dead one or in a new one; returns its slot.
    pub(crate) fn dial(&mut self, slot: Option<usize>, role: Role, number: usize) -> usize {
        let id = slot.unwrap_or(self.connections.len());
        let socket = match socket::connect(self.target.address, self.target.closing) {
            Ok(socket) => Some(socket),
            Err(error) => {
                self.failures.note(format!("connect: {error}"));
                None
            }
        };
        if let Some(socket) = &socket {
            self.opening += 1;
            self.epoll.add(socket, id as u64).expect("a fresh socket and a live epoll set");
        }
        let room = number % self.target.rooms;
        let connection = Connection::new(id, role, number, room, now(), socket);
        if slot.is_some() {
            self.connections[id] = connection;
        } else {
            self.connections.push(connection);
        }
        id
    }

    pub(super) fn writable(&mut self, id: usize, failed: bool) {
        match self.connections[id].state {
            State::Dead => {}
            State::Dialing if failed => self.fail(id, "connect: refused".into()),
            State::Dialing => self.dialed(id),
            _ => self.flush(id),
        }
    }

    fn dialed(&mut self, id: usize) {
        let connection = &mut self.connections[id];
        connection.state = State::Head;
        match self.target.door(connection.role).wire {
            Wire::Ws | Wire::Sse | Wire::Sio => self.get(id),
            Wire::SioPoll => {
                connection.state = State::Greeting;
                self.get(id);
            }
            Wire::Lp => {
                self.set_ready(id);
                self.get(id);
            }
            Wire::Http => self.set_ready(id),
        }
    }

    pub(super) fn get(&mut self, id: usize) {
        let request = self.target.get(&self.connections[id]);
        self.send(id, &request);
    }

    /// Sends the messages that make a subscriber or publisher of an open connection.
    pub(super) fn join(&mut self, id: usize) {
        let connection = &mut self.connections[id];
        let door = self.target.door(connection.role);
        connection.state = State::Joining { acks_due: door.join_acks };
        let values = Values { room: connection.room, i: connection.number, ..Values::default() };
        let joins: Vec<String> = door.joins.iter().map(|join| join.text(values)).collect();
        let no_acks = door.join_acks == 0;
        self.say(id, &joins);
        if no_acks && !self.connections[id].is_dead() {
            self.set_ready(id);
        }
    }

    /// Sends messages in one write; by polling, when it is this side's turn.
    pub(super) fn say(&mut self, id: usize, messages: &[impl AsRef<[u8]>]) {
        let connection = &mut self.connections[id];
        if self.target.door(connection.role).wire == Wire::SioPoll {
            return messages.iter().for_each(|message| socketio::append(&mut connection.unposted, message.as_ref()));
        }
        let mut frames = Vec::new();
        for message in messages {
            websocket::encode(&mut frames, websocket::TEXT, message.as_ref());
        }
        if !frames.is_empty() {
            self.send(id, &frames);
        }
    }

    pub(super) fn set_ready(&mut self, id: usize) {
        self.connections[id].state = State::Ready;
        self.opening -= 1;
        self.ready += 1;
    }
}
