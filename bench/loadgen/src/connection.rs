//! One connection.

use std::os::fd::OwnedFd;

use rustix::io::Result;

use crate::{clock::Nanos, ledger::Track, socket};

/// One connection of the fleet.
pub(crate) struct Connection {
    /// Its slot in the fleet.
    pub(crate) id: usize,
    pub(crate) role: Role,
    pub(crate) state: State,
    /// Its number among those of its role.
    pub(crate) number: usize,
    pub(crate) room: usize,
    pub(crate) born: Nanos,
    /// What the ledger knows of it; here, because every delivery looks at it.
    pub(crate) track: Track,
    /// Where its next long poll goes on.
    pub(crate) place: Place,
    /// Whether it reads no more, and is no part of what is counted.
    pub(crate) stopped: bool,
    /// Whether a POST awaits its answer.
    pub(crate) posting: bool,
    /// Packets of Socket.IO that go into the next POST.
    pub(crate) unposted: Vec<u8>,
    /// What was received and is no whole frame or response yet.
    pub(crate) unread: Vec<u8>,
    unsent: Vec<u8>,
    socket: Option<OwnedFd>,
}

/// On which side of the server it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Role {
    Subscriber,
    Publisher,
}

/// How far it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum State {
    /// The socket is not connected yet.
    Dialing,
    /// The request is out, the response's head is not in.
    Head,
    /// Engine.IO's first packet is due.
    Greeting,
    /// The answer of Socket.IO's namespace is due.
    Entering,
    /// The join is out; so many messages are due before it counts as ready.
    Joining {
        acks_due: u32,
    },
    Ready,
    Dead,
}

/// How a long poll tells the server what it has.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) enum Place {
    #[default]
    Start,
    /// In the path.
    Cursor(String),
    /// As conditions on the last answer's validators.
    Validators { modified: String, tag: String },
    /// In the path, after Engine.IO's: the session keeps the place.
    Session(String),
}

impl Connection {
    /// A connection that is being dialled, or dead when there is no socket.
    pub(crate) fn new(id: usize, role: Role, number: usize, room: usize, born: Nanos, socket: Option<OwnedFd>) -> Self {
        Connection {
            id,
            role,
            state: if socket.is_some() { State::Dialing } else { State::Dead },
            number,
            room,
            born,
            track: Track::default(),
            place: Place::Start,
            stopped: false,
            posting: false,
            unposted: Vec::new(),
            unread: Vec::new(),
            unsent: Vec::new(),
            socket,
        }
    }

    /// Sends, and keeps what the socket does not take.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> Result<()> {
        let Some(socket) = &self.socket else { return Ok(()) };
        let sent = if self.unsent.is_empty() { socket::send(socket, bytes)? } else { 0 };
        self.unsent.extend_from_slice(&bytes[sent..]);
        Ok(())
    }

    /// Sends what was kept.
    pub(crate) fn flush(&mut self) -> Result<()> {
        let Some(socket) = &self.socket else { return Ok(()) };
        while !self.unsent.is_empty() {
            let sent = socket::send(socket, &self.unsent)?;
            if sent == 0 {
                return Ok(());
            }
            self.unsent.drain(..sent);
        }
        Ok(())
    }

    /// As [`socket::receive`]; a dead connection has nothing.
    #[inline]
    pub(crate) fn receive(&self, buffer: &mut [u8]) -> Result<Option<usize>> {
        self.socket.as_ref().map_or(Ok(None), |socket| socket::receive(socket, buffer))
    }

    /// Reads nothing from now on, and lets the system take little.
    pub(crate) fn stop(&mut self) -> Result<()> {
        self.stopped = true;
        self.socket.as_ref().map_or(Ok(()), socket::narrow)
    }

    pub(crate) fn close(&mut self) {
        self.state = State::Dead;
        self.socket = None;
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.state == State::Dead
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.state == State::Ready
    }
}
