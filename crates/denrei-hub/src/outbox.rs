//! What one connection has still to be sent: nothing, almost always.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Buf, Bytes};
use tokio::io::{Interest, Ready};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::ids::{ClientId, Position};
use crate::message::Wire;
use crate::room::ReaderKey;
use crate::shard::{Command, ShardHandle};

/// The sending half of a connection, shared by its session, which reads, and its shard, which writes.
///
/// On a TCP socket bytes go straight to the kernel; only what the kernel does not take is queued, in order, and the
/// session is woken to write on when the socket has room. Other transports have no socket here: their bytes queue and
/// the session takes them. The queue is bounded: see [`Outbox::offer`] for what happens past the bound. All bytes of
/// a connection pass through here, and only its session closes it.
#[derive(Debug)]
pub struct Outbox {
    number: u64,
    client: ClientId,
    wire: Wire,
    limits: OutboxLimits,
    socket: Option<TcpStream>,
    shard: ShardHandle,
    queue: Mutex<Queue>,
    wake: Notify,
    /// A reader of this connection was dropped, and its shard may not know yet.
    leaving: AtomicBool,
}

/// Bounds of an outbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutboxLimits {
    /// Bytes queued for one connection before it counts as slow; default 1 MiB.
    pub bytes: usize,
}

impl Default for OutboxLimits {
    fn default() -> Self {
        Self { bytes: 1 << 20 }
    }
}

#[derive(Debug, Default)]
struct Queue {
    chunks: VecDeque<Bytes>,
    bytes: usize,
    /// A flush by the shard is on its way.
    scheduled: bool,
    /// What is queued is the last.
    sealed: bool,
    /// The socket has taken something of what was queued.
    moved: bool,
    ended: Option<Ended>,
    notices: Vec<Notice>,
}

/// Something that a session is to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// A reader is no longer, or not yet, written to: page the log from this place.
    Behind(ReaderKey, Position),
    /// Time for a sign of life.
    Heartbeat,
    /// The server is about to stop.
    Shutdown,
}

/// Why a connection takes no more bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The session closed it.
    Closed,
    /// Writing failed: the peer is gone.
    Broken,
}

/// What became of bytes that were offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sent {
    /// Written, queued, or of no more interest because the connection has ended.
    Taken,
    /// The queue is full.
    Refused,
}

impl Outbox {
    /// An outbox that writes to a socket (`Some`), or keeps its bytes for a session that takes them (`None`).
    pub fn new(
        number: u64,
        client: ClientId,
        wire: Wire,
        limits: OutboxLimits,
        socket: Option<TcpStream>,
        shard: ShardHandle,
    ) -> Self {
        Self {
            number,
            client,
            wire,
            limits,
            socket,
            shard,
            queue: Mutex::default(),
            wake: Notify::new(),
            leaving: AtomicBool::new(false),
        }
    }

    /// The connection's number on this node, never 0.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The connection's id as clients see it.
    pub fn client(&self) -> &ClientId {
        &self.client
    }

    /// Which frames of a message it gets.
    pub fn wire(&self) -> Wire {
        self.wire
    }

    /// The socket to read from, if there is one.
    pub fn socket(&self) -> Option<&TcpStream> {
        self.socket.as_ref()
    }

    pub(crate) fn shard(&self) -> &ShardHandle {
        &self.shard
    }

    pub(crate) fn leaves(&self) {
        self.leaving.store(true, Ordering::Relaxed);
    }

    /// Waits until nothing more comes to readers of this connection that were dropped.
    pub(crate) async fn settled(&self) {
        if self.leaving.load(Ordering::Relaxed) {
            self.shard.settled().await;
            self.leaving.store(false, Ordering::Relaxed);
        }
    }

    /// Queues bytes without a bound, to be flushed by the caller. For the session's own answers: a session reads no
    /// further while [`Outbox::is_blocked`], so that what it answers stays bounded by what it has read.
    pub fn push(&self, bytes: Bytes) {
        self.lock().push(bytes);
    }

    /// Queues an answer from outside of the session's task, and has the shard flush it. Bounded by how many requests
    /// a session may have under way.
    pub fn answer(self: &Arc<Self>, bytes: Bytes) {
        let schedule = {
            let mut queue = self.lock();
            queue.push(bytes);
            self.schedule(&mut queue)
        };
        if schedule {
            self.shard.send(Command::Flush(Arc::clone(self)));
        }
    }

    /// Queues bytes that may be refused: returns false, and queues nothing, past the bound.
    pub fn offer(self: &Arc<Self>, bytes: Bytes) -> bool {
        let schedule = {
            let mut queue = self.lock();
            if queue.is_closed() || queue.bytes + bytes.len() > self.limits.bytes {
                return false;
            }
            queue.push(bytes);
            self.schedule(&mut queue)
        };
        if schedule {
            self.shard.send(Command::Flush(Arc::clone(self)));
        }
        true
    }

    fn schedule(&self, queue: &mut Queue) -> bool {
        if self.socket.is_none() {
            self.wake.notify_one();
            return false;
        }
        !std::mem::replace(&mut queue.scheduled, true)
    }

    /// Writes a chunk at once if nothing is queued before it; queues what the socket does not take.
    pub(crate) fn write(&self, chunk: &Bytes) -> Sent {
        let mut queue = self.lock();
        if queue.is_closed() {
            return Sent::Taken;
        }
        let Some(socket) = self.socket.as_ref().filter(|_| queue.bytes == 0) else {
            return self.enqueue(&mut queue, chunk.clone());
        };
        match socket.try_write(chunk) {
            Ok(written) if written == chunk.len() => Sent::Taken,
            Ok(written) => self.enqueue(&mut queue, chunk.slice(written..)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.enqueue(&mut queue, chunk.clone()),
            Err(_) => {
                queue.end(Ended::Broken);
                self.wake.notify_one();
                Sent::Taken
            }
        }
    }

    /// Queues a chunk within the bound and says whether the caller should flush: it is the first one.
    pub(crate) fn queue(&self, chunk: &Bytes) -> (Sent, bool) {
        let mut queue = self.lock();
        if queue.is_closed() {
            return (Sent::Taken, false);
        }
        let first = queue.bytes == 0 && self.socket.is_some();
        if first {
            queue.push(chunk.clone());
            return (Sent::Taken, true);
        }
        (self.enqueue(&mut queue, chunk.clone()), false)
    }

    /// A chunk that alone exceeds the bound is taken when nothing is queued before it: it could never be sent else.
    fn enqueue(&self, queue: &mut Queue, chunk: Bytes) -> Sent {
        if queue.bytes > 0 && queue.bytes + chunk.len() > self.limits.bytes {
            return Sent::Refused;
        }
        if queue.bytes == 0 || self.socket.is_none() {
            // The session does not know yet that it has to wait for the socket.
            self.wake.notify_one();
        }
        queue.push(chunk);
        Sent::Taken
    }

    /// Writes as much of the queue as the socket takes; while [`Outbox::is_blocked`] afterwards, the session waits until
    /// the socket is writable and calls this again. Without a socket there is nothing to do.
    pub fn flush(&self) {
        let Some(socket) = &self.socket else { return };
        let mut queue = self.lock();
        queue.scheduled = false;
        while !queue.chunks.is_empty() {
            let wrote = match queue.chunks.len() {
                1 => socket.try_write(&queue.chunks[0]),
                many => {
                    let mut slices = [IoSlice::new(&[]); 64];
                    for (slice, chunk) in slices.iter_mut().zip(&queue.chunks) {
                        *slice = IoSlice::new(chunk);
                    }
                    socket.try_write_vectored(&slices[..many.min(64)])
                }
            };
            match wrote {
                Ok(written) => queue.advance(written),
                // No wake: a session that flushes whenever it is woken would wake itself for ever.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => {
                    queue.end(Ended::Broken);
                    self.wake.notify_one();
                    return;
                }
            }
        }
        // An idle connection owns no buffers.
        queue.chunks = VecDeque::new();
    }

    /// Wakes the session if there is something that it must wait with for the socket.
    pub(crate) fn remind(&self) {
        if self.is_blocked() {
            self.wake.notify_one();
        }
    }

    /// Takes everything that is queued, for transports that write by themselves.
    pub fn take(&self) -> VecDeque<Bytes> {
        let mut queue = self.lock();
        queue.scheduled = false;
        queue.bytes = 0;
        std::mem::take(&mut queue.chunks)
    }

    /// Whether something is queued that the socket did not take.
    pub fn is_blocked(&self) -> bool {
        self.lock().bytes > 0
    }

    /// Whether the socket has taken something of what was queued since this was last asked.
    pub fn has_moved(&self) -> bool {
        std::mem::replace(&mut self.lock().moved, false)
    }

    /// Bytes queued.
    pub fn queued(&self) -> usize {
        self.lock().bytes
    }

    /// Why the connection takes no more bytes, if so.
    pub fn ended(&self) -> Option<Ended> {
        self.lock().ended
    }

    /// Queues the last bytes, to be flushed by the caller: what comes after a close frame, or after the end of a body,
    /// would break the protocol, and the shard goes on delivering until the session has left its rooms.
    pub fn seal(&self, last: Bytes) {
        let mut queue = self.lock();
        queue.push(last);
        queue.sealed = true;
    }

    /// Takes no more bytes from now on, and drops what is queued.
    pub fn end(&self) {
        self.lock().end(Ended::Closed);
    }

    /// Tells the session something.
    pub fn notify(&self, notice: Notice) {
        let mut queue = self.lock();
        if queue.ended.is_none() && !queue.notices.contains(&notice) {
            queue.notices.push(notice);
            self.wake.notify_one();
        }
    }

    /// Has the session look up from what it waits for.
    pub fn wake(&self) {
        self.wake.notify_one();
    }

    /// The session promises to flush soon: until then, answers need not be flushed by anyone else.
    pub fn hold(&self) {
        self.lock().scheduled = true;
    }

    /// Takes what the session was told since the last call.
    pub fn notices(&self) -> Vec<Notice> {
        std::mem::take(&mut self.lock().notices)
    }

    /// Waits until there may be a notice, or something to write or take. Cancel safe.
    pub async fn woken(&self) {
        self.wake.notified().await;
    }

    /// Waits until the socket is ready for one of the interests. Cancel safe.
    ///
    /// # Errors
    /// Those of the socket; [`io::ErrorKind::Unsupported`] without one.
    pub async fn ready(&self, interest: Interest) -> io::Result<Ready> {
        match &self.socket {
            Some(socket) => socket.ready(interest).await,
            None => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        // No code that runs under this lock leaves the queue half changed when it panics.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn is_closed(&self) -> bool {
        self.sealed || self.ended.is_some()
    }

    fn push(&mut self, bytes: Bytes) {
        if !self.is_closed() && !bytes.is_empty() {
            self.bytes += bytes.len();
            self.chunks.push_back(bytes);
        }
    }

    fn advance(&mut self, mut written: usize) {
        self.moved = true;
        self.bytes -= written;
        while let Some(front) = self.chunks.front_mut() {
            if front.len() > written {
                front.advance(written);
                return;
            }
            written -= front.len();
            self.chunks.pop_front();
        }
    }

    fn end(&mut self, how: Ended) {
        self.ended.get_or_insert(how);
        self.chunks = VecDeque::new();
        self.bytes = 0;
    }
}
