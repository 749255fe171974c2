//! All connections, and the loop that drives them.

mod inbound;
mod opening;
mod socketio;

use std::mem;

use rustix::io::Errno;

use crate::{
    clock::{Nanos, now},
    connection::{Connection, Role},
    socket::{Epoll, Event, Readiness},
    tally::Tally,
    target::Target,
    websocket,
};

/// Connections to one target, and what they tell a tally.
pub(crate) struct Fleet<T> {
    pub(crate) target: Target,
    pub(crate) tally: T,
    pub(crate) connections: Vec<Connection>,
    pub(crate) ready: usize,
    pub(crate) traffic: Traffic,
    pub(crate) failures: Failures,
    pub(crate) deflate_negotiated: u64,
    opening: usize,
    epoll: Epoll,
    pace: Pace,
    events: Vec<Event>,
    buffer: Vec<u8>,
    frame: Vec<u8>,
}

/// What begins anew with the measurement.
#[derive(Default)]
pub(crate) struct Traffic {
    pub(crate) bytes: u64,
    pub(crate) reads: u64,
    /// Time in which there were events to handle.
    pub(crate) busy: Nanos,
}

/// What went wrong.
#[derive(Default)]
pub(crate) struct Failures {
    pub(crate) count: u64,
    pub(crate) last: String,
}

/// How often the loop looks for events.
struct Pace {
    gap: Nanos,
    looked: Nanos,
}

impl<T: Tally> Fleet<T> {
    /// A fleet without connections that looks for events every `gap` at most.
    ///
    /// # Errors
    ///
    /// When the system has no epoll set left.
    pub(crate) fn new(target: Target, tally: T, gap: Nanos) -> rustix::io::Result<Fleet<T>> {
        Ok(Fleet {
            target,
            tally,
            connections: Vec::new(),
            ready: 0,
            traffic: Traffic::default(),
            failures: Failures::default(),
            deflate_negotiated: 0,
            opening: 0,
            epoll: Epoll::new()?,
            pace: Pace { gap, looked: 0 },
            events: Vec::with_capacity(512),
            buffer: vec![0; 1 << 18],
            frame: Vec::new(),
        })
    }

    /// One round of events, or `patience` without any.
    pub(crate) fn turn(&mut self, patience: Nanos) {
        let mut events = mem::take(&mut self.events);
        let start = self.pace.await_events(&self.epoll, &mut events, patience);
        for event in &events {
            self.handle(event.data.u64() as usize, &Readiness::from(event));
        }
        if !events.is_empty() {
            self.traffic.busy += now() - start;
        }
        self.events = events;
    }

    pub(crate) fn turn_until(&mut self, end: Nanos) {
        const STEP: Nanos = 20_000_000;
        while now() < end {
            self.turn(STEP);
        }
    }

    pub(crate) fn send(&mut self, id: usize, bytes: &[u8]) {
        if let Err(error) = self.connections[id].send(bytes) {
            self.fail(id, format!("send: {error}"));
        }
    }

    /// So many subscribers read no more; returns how many there were.
    pub(crate) fn stop(&mut self, count: usize) -> rustix::io::Result<usize> {
        let of_role = |connection: &&mut Connection| connection.role == Role::Subscriber && connection.is_ready();
        let mut stopped = 0;
        for connection in self.connections.iter_mut().filter(of_role).take(count) {
            connection.stop()?;
            stopped += 1;
        }
        Ok(stopped)
    }

    /// Ends a connection, without calling it a failure.
    pub(crate) fn close(&mut self, id: usize) {
        let connection = &mut self.connections[id];
        if connection.is_ready() {
            self.ready -= 1;
        } else if !connection.is_dead() {
            self.opening -= 1;
        }
        connection.close();
    }

    pub(crate) fn ready_of(&self, role: Role) -> impl Iterator<Item = &Connection> {
        self.connections
            .iter()
            .filter(move |connection| connection.role == role && connection.is_ready() && !connection.stopped)
    }

    fn fail(&mut self, id: usize, why: String) {
        if !self.connections[id].is_dead() {
            self.close(id);
            self.failures.note(why);
        }
    }

    fn send_frame(&mut self, id: usize, opcode: u8, payload: &[u8]) {
        let mut frame = mem::take(&mut self.frame);
        frame.clear();
        websocket::encode(&mut frame, opcode, payload);
        self.send(id, &frame);
        self.frame = frame;
    }

    fn handle(&mut self, id: usize, readiness: &Readiness) {
        if self.connections[id].stopped {
            return;
        }
        if readiness.writable {
            self.writable(id, readiness.failed);
        }
        if readiness.readable && !self.connections[id].is_dead() {
            self.read(id, readiness.ended);
            self.answer(id);
        }
    }

    fn answer(&mut self, id: usize) {
        let connection = &mut self.connections[id];
        let Some(bytes) = self.tally.answer(connection) else { return };
        if let Err(error) = connection.send(bytes) {
            self.fail(id, format!("send: {error}"));
        }
    }

    fn flush(&mut self, id: usize) {
        if let Err(error) = self.connections[id].flush() {
            self.fail(id, format!("send: {error}"));
        }
    }

    /// Reads until the socket is empty; a read that does not fill the buffer has emptied it.
    fn read(&mut self, id: usize, ended: bool) {
        let mut buffer = mem::take(&mut self.buffer);
        loop {
            let connection = &self.connections[id];
            let kept = connection.unread.len();
            if buffer.len() < kept + (1 << 16) {
                buffer.resize(kept + (1 << 18), 0);
            }
            buffer[..kept].copy_from_slice(&connection.unread);
            let count = match connection.receive(&mut buffer[kept..]) {
                Ok(Some(0)) | Err(Errno::CONNRESET) => {
                    self.fail(id, "closed by the server".into());
                    break;
                }
                Ok(Some(count)) => count,
                Ok(None) => break,
                Err(error) => {
                    self.fail(id, format!("receive: {error}"));
                    break;
                }
            };
            self.traffic.reads += 1;
            self.traffic.bytes += count as u64;
            let filled = kept + count;
            let used = self.consume(id, &buffer[..filled], now());
            let unread = &mut self.connections[id].unread;
            unread.clear();
            unread.extend_from_slice(&buffer[used..filled]);
            if filled < buffer.len() && !ended {
                break;
            }
        }
        self.buffer = buffer;
    }
}

impl Pace {
    /// Spins until there are events or `patience` is over; returns the time.
    ///
    /// It never sleeps: a sleeping receiver makes the server pay for waking it up (an interrupt to the other core,
    /// about 1 µs per delivery), which clients on other machines do not.
    fn await_events(&mut self, epoll: &Epoll, events: &mut Vec<Event>, patience: Nanos) -> Nanos {
        let mut time = now();
        let end = time + patience;
        loop {
            if time >= self.looked + self.gap {
                epoll.look(events);
                self.looked = time;
                if !events.is_empty() || time >= end {
                    return time;
                }
            }
            for _ in 0..16 {
                std::hint::spin_loop();
            }
            time = now();
        }
    }
}

impl Failures {
    pub(crate) fn note(&mut self, why: String) {
        self.count += 1;
        self.last = why;
    }
}
