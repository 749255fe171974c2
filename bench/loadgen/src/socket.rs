//! Non-blocking TCP sockets and the epoll set that watches them.

use std::{net::SocketAddrV4, os::fd::OwnedFd, time::Duration};

use rustix::{
    buffer::spare_capacity,
    event::{
        Timespec,
        epoll::{self, CreateFlags, EventData, EventFlags},
    },
    io::{Errno, Result},
    net::{self, AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, sockopt},
};

pub(crate) use rustix::event::epoll::Event;

/// What closing a socket does.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Closing {
    /// The usual exchange of FINs.
    Politely,
    /// A reset, which leaves no port in TIME_WAIT: a generator of handshakes would run out of ports.
    ByReset,
}

/// Starts to connect.
pub(crate) fn connect(address: SocketAddrV4, closing: Closing) -> Result<OwnedFd> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
    sockopt::set_tcp_nodelay(&socket, true)?;
    if closing == Closing::ByReset {
        sockopt::set_socket_linger(&socket, Some(Duration::ZERO))?;
    }
    match net::connect(&socket, &address) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
        Err(error) => Err(error),
    }
}

/// Keeps the system from taking much of what nobody reads.
pub(crate) fn narrow(socket: &OwnedFd) -> Result<()> {
    sockopt::set_socket_recv_buffer_size(socket, 4096)
}

/// Bytes sent, 0 when the socket is full.
pub(crate) fn send(socket: &OwnedFd, bytes: &[u8]) -> Result<usize> {
    match net::send(socket, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
        Err(Errno::WOULDBLOCK) => Ok(0),
        other => other,
    }
}

/// Bytes received, 0 at the end of the stream, `None` when there is nothing yet.
pub(crate) fn receive(socket: &OwnedFd, buffer: &mut [u8]) -> Result<Option<usize>> {
    match net::recv(socket, buffer, RecvFlags::DONTWAIT) {
        Ok((_, count)) => Ok(Some(count)),
        Err(Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(error),
    }
}

/// An edge-triggered epoll set.
pub(crate) struct Epoll(OwnedFd);

impl Epoll {
    pub(crate) fn new() -> Result<Epoll> {
        epoll::create(CreateFlags::CLOEXEC).map(Epoll)
    }

    pub(crate) fn add(&self, socket: &OwnedFd, key: u64) -> Result<()> {
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        epoll::add(&self.0, socket, EventData::new_u64(key), flags)
    }

    /// Fills `events`, up to its capacity, with what is ready now.
    pub(crate) fn look(&self, events: &mut Vec<Event>) {
        const AT_ONCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };
        events.clear();
        // The only error of a valid call is an interruption by a signal: nothing is ready, then.
        let _ = epoll::wait(&self.0, spare_capacity(events), Some(&AT_ONCE));
    }
}

/// What an event says.
pub(crate) struct Readiness {
    pub(crate) writable: bool,
    pub(crate) readable: bool,
    pub(crate) failed: bool,
    /// The peer has sent its last byte: read until the end, no further edge may come.
    pub(crate) ended: bool,
}

impl From<&Event> for Readiness {
    fn from(event: &Event) -> Self {
        let flags = event.flags;
        let failed = flags.intersects(EventFlags::ERR | EventFlags::HUP);
        let ended = failed || flags.intersects(EventFlags::RDHUP);
        Readiness {
            writable: flags.intersects(EventFlags::OUT),
            readable: ended || flags.intersects(EventFlags::IN),
            failed,
            ended,
        }
    }
}
