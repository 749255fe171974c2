//! What one connection has still to be sent: nothing, almost always.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use bytes::{Buf, Bytes};
use tokio::io::{Interest, Ready};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::ids::{ClientId, Position};
use crate::lock;
use crate::message::Wire;
use crate::room::ReaderKey;
use crate::shard::{Command, ShardHandle};
use crate::stats::Wrote;

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
    wire: AtomicU8,
    socket: OnceLock<TcpStream>,
    /// Rewrites bytes of the wire before the upgrade.
    translate: OnceLock<Translate>,
    /// What cannot be queued ends the connection, see [`Outbox::insist`].
    insists: AtomicBool,
    shard: ShardHandle,
    queue: Mutex<Queue>,
    wake: Notify,
    /// A reader of this connection was dropped, and its shard may not know yet.
    leaving: AtomicBool,
}

/// Bounds of outboxes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutboxLimits {
    /// Bytes queued for one connection before it counts as slow; default 1 MiB.
    pub bytes: usize,
    /// Bytes queued for all connections together; default 256 MiB. Each shard has an equal part. What is shed when it is
    /// spent, in this order: nothing more is queued for whoever has something queued, as if its own bound were reached;
    /// past five quarters of it, the connections with the longest queues end, until it is half free.
    pub total: usize,
}

impl Default for OutboxLimits {
    fn default() -> Self {
        Self { bytes: 1 << 20, total: 256 << 20 }
    }
}

/// Rewrites queued bytes of one wire as bytes of another.
pub type Translate = fn(Bytes) -> Bytes;

#[derive(Debug, Default)]
struct Queue {
    chunks: VecDeque<Bytes>,
    bytes: usize,
    /// The socket takes nothing more for now; without a socket: nobody waits for bytes.
    stuck: bool,
    /// A flush by the shard is on its way.
    scheduled: bool,
    /// What is queued is the last.
    sealed: bool,
    /// Something of what was queued was taken.
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
    /// The time that [`Seat::remind`](crate::Seat::remind) was given is over, or somebody wants it looked at again
    /// whether the session may go on ([`Hub::remind`](crate::Hub::remind)).
    Due,
    /// The server is about to stop.
    Shutdown,
    /// Something could not be queued that must not be lost, or the server needs the memory of what is queued: the
    /// connection is to end.
    Overflow,
    /// The user may not read a room any more, and this reader is not written to: leave it.
    Expelled(ReaderKey),
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
    /// The socket took so many bytes at once; the rest, if there is any, is queued.
    Written(usize),
    /// To be written later, behind so many bytes.
    Queued(usize),
    /// It was volatile, and would have had to wait.
    Dropped,
    /// Of no more interest, because the connection has ended.
    Gone,
    /// The queue is full.
    Refused,
}

impl Sent {
    /// What is volatile is never refused.
    fn unless(self, volatile: bool) -> Self {
        if volatile && self == Self::Refused { Self::Dropped } else { self }
    }
}

impl Outbox {
    /// An outbox that writes to a socket (`Some`), or keeps its bytes for a session that takes them (`None`).
    pub fn new(number: u64, client: ClientId, wire: Wire, socket: Option<TcpStream>, shard: ShardHandle) -> Self {
        Self {
            number,
            client,
            wire: AtomicU8::new(wire.0),
            socket: socket.map(OnceLock::from).unwrap_or_default(),
            translate: OnceLock::new(),
            insists: AtomicBool::new(false),
            shard,
            queue: Mutex::default(),
            wake: Notify::new(),
            leaving: AtomicBool::new(false),
        }
    }

    /// How many bytes may wait in it.
    pub fn capacity(&self) -> usize {
        self.shard.outbox_bytes()
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
        Wire(self.wire.load(Ordering::Acquire))
    }

    /// From now on, what cannot be queued is not dropped: the session is told [`Notice::Overflow`], and ends.
    pub fn insist(&self) {
        self.insists.store(true, Ordering::Relaxed);
    }

    /// Changes once what the connection's bytes are and which socket takes them. What is queued, and what others have
    /// encoded for the wire before, is rewritten. A further call changes nothing.
    pub fn upgrade(&self, socket: Option<TcpStream>, wire: Wire, translate: Translate) {
        let mut queue = self.lock();
        if self.translate.set(translate).is_err() {
            return;
        }
        if let Some(socket) = socket {
            // A connection that has a socket is not upgraded.
            let _ = self.socket.set(socket);
        }
        self.wire.store(wire.0, Ordering::Release);
        queue.bytes = 0;
        queue.stuck = false;
        for chunk in std::mem::take(&mut queue.chunks) {
            queue.push(translate(chunk));
        }
    }

    /// Bytes of a wire as bytes of the connection's wire.
    fn in_my_wire<'a>(&self, wire: Wire, bytes: &'a Bytes) -> Cow<'a, Bytes> {
        match self.translate.get() {
            Some(translate) if wire != self.wire() => Cow::Owned(translate(bytes.clone())),
            _ => Cow::Borrowed(bytes),
        }
    }

    /// The socket to read from, if there is one.
    pub fn socket(&self) -> Option<&TcpStream> {
        self.socket.get()
    }

    /// Gives the socket back: for a connection that turns out to be part of another.
    pub fn into_socket(mut self) -> Option<TcpStream> {
        self.socket.take()
    }

    /// Where it is served.
    pub fn shard(&self) -> &ShardHandle {
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

    /// Queues bytes of a wire that may be refused: returns false, and queues nothing, past the bound.
    pub fn offer(self: &Arc<Self>, wire: Wire, bytes: &Bytes) -> bool {
        let schedule = {
            let mut queue = self.lock();
            // Under the lock: the connection may have been upgraded since they were encoded.
            let bytes = self.in_my_wire(wire, bytes).into_owned();
            if queue.is_closed() || self.is_full(&queue, bytes.len()) {
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

    /// Sends bytes of a wire behind everything that was published before this call: a shard that has something to do
    /// does it first. What does not fit is dropped, or ends the connection ([`Outbox::insist`]).
    pub fn send(self: &Arc<Self>, wire: Wire, bytes: Bytes) {
        if let Some(bytes) = self.shard.send_behind(self, wire, bytes) {
            let (sent, _) = self.queue(wire, &bytes, false);
            if sent == Sent::Refused {
                if self.overflow() {
                    self.shard.counters().overflowed();
                }
                return;
            }
            let schedule = self.schedule(&mut self.lock());
            if schedule {
                self.shard.send(Command::Flush(Arc::clone(self)));
            }
        }
    }

    /// Something could not be queued that is kept nowhere else; whether the connection ends for it.
    pub(crate) fn overflow(&self) -> bool {
        let ends = self.insists.load(Ordering::Relaxed);
        if ends {
            self.notify(Notice::Overflow);
        }
        ends
    }

    fn schedule(&self, queue: &mut Queue) -> bool {
        if self.socket.get().is_none() {
            self.wake.notify_one();
            return false;
        }
        !std::mem::replace(&mut queue.scheduled, true)
    }

    /// Writes a chunk at once if nothing is queued before it; queues what the socket does not take. A volatile chunk is
    /// dropped when it would have to wait, and never refused: nobody is to fall behind or go for it.
    pub(crate) fn write(&self, wire: Wire, chunk: &Bytes, volatile: bool) -> Sent {
        let mut queue = self.lock();
        if let Some(sent) = queue.passes(volatile) {
            return sent;
        }
        let chunk = self.in_my_wire(wire, chunk);
        let Some(socket) = self.socket.get().filter(|_| queue.bytes == 0) else {
            return self.enqueue(&mut queue, chunk.into_owned()).unless(volatile);
        };
        match socket.try_write(&chunk) {
            Ok(written) if written == chunk.len() => Sent::Written(written),
            Ok(written) => {
                queue.stuck = true;
                self.enqueue(&mut queue, chunk.slice(written..));
                Sent::Written(written)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                queue.stuck = true;
                self.enqueue(&mut queue, chunk.into_owned())
            }
            Err(_) => {
                queue.end(Ended::Broken);
                self.wake.notify_one();
                Sent::Gone
            }
        }
    }

    /// Queues a chunk within the bound and says whether the caller should flush: it is the first one.
    pub(crate) fn queue(&self, wire: Wire, chunk: &Bytes, volatile: bool) -> (Sent, bool) {
        let mut queue = self.lock();
        if let Some(sent) = queue.passes(volatile) {
            return (sent, false);
        }
        let chunk = self.in_my_wire(wire, chunk).into_owned();
        let first = queue.bytes == 0 && self.socket.get().is_some();
        if first {
            queue.push(chunk);
            return (Sent::Queued(0), true);
        }
        (self.enqueue(&mut queue, chunk).unless(volatile), false)
    }

    /// A chunk that alone exceeds the bound is taken when nothing is queued before it: it could never be sent else.
    fn enqueue(&self, queue: &mut Queue, chunk: Bytes) -> Sent {
        if queue.bytes > 0 && self.is_full(queue, chunk.len()) {
            return Sent::Refused;
        }
        if queue.bytes == 0 || self.socket.get().is_none() {
            // The session does not know yet that it has to wait for the socket.
            self.wake.notify_one();
        }
        let before = queue.bytes;
        queue.push(chunk);
        Sent::Queued(before)
    }

    /// Writes as much of the queue as the socket takes; while [`Outbox::is_blocked`] afterwards, the session waits until
    /// the socket is writable and calls this again. Without a socket there is nothing to do.
    pub fn flush(&self) {
        let wrote = self.write_out();
        self.shard.counters().wrote(wrote);
    }

    /// The same; the caller counts what was written.
    pub(crate) fn write_out(&self) -> Wrote {
        let mut wrote = Wrote::default();
        let Some(socket) = self.socket.get() else { return wrote };
        let mut queue = self.lock();
        queue.scheduled = false;
        queue.stuck = false;
        while !queue.chunks.is_empty() {
            let taken = match queue.chunks.len() {
                1 => socket.try_write(&queue.chunks[0]),
                many => {
                    let mut slices = [IoSlice::new(&[]); 64];
                    for (slice, chunk) in slices.iter_mut().zip(&queue.chunks) {
                        *slice = IoSlice::new(chunk);
                    }
                    socket.try_write_vectored(&slices[..many.min(64)])
                }
            };
            match taken {
                Ok(written) => {
                    wrote.calls += 1;
                    wrote.bytes += written as u64;
                    queue.advance(written);
                }
                // No wake: a session that flushes whenever it is woken would wake itself for ever.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    queue.stuck = true;
                    return wrote;
                }
                Err(_) => {
                    queue.end(Ended::Broken);
                    self.wake.notify_one();
                    return wrote;
                }
            }
        }
        // An idle connection owns no buffers.
        queue.chunks = VecDeque::new();
        wrote
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
        queue.moved |= queue.bytes > 0;
        queue.bytes = 0;
        std::mem::take(&mut queue.chunks)
    }

    /// Says whether whoever takes the bytes waits for them: volatile messages are dropped while nobody does.
    pub fn await_bytes(&self, waits: bool) {
        self.lock().stuck = !waits;
    }

    /// Whether something is queued that the socket did not take.
    pub fn is_blocked(&self) -> bool {
        self.lock().bytes > 0
    }

    /// Whether something of what was queued was taken, by the socket or by [`Outbox::take`], since this was last asked.
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
        match self.socket.get() {
            Some(socket) => socket.ready(interest).await,
            None => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Whether so many bytes more would exceed the connection's bound, or what all of the shard may hold.
    fn is_full(&self, queue: &Queue, more: usize) -> bool {
        queue.bytes + more > self.capacity() || queue.bytes > 0 && self.shard.outboxes() > self.shard.outboxes_most()
    }

    /// Bytes queued that nothing will take but the end of the connection; none if that is under way.
    pub(crate) fn held(&self) -> Option<usize> {
        let queue = self.lock();
        (!queue.is_closed()).then_some(queue.bytes)
    }

    /// Whoever looks into the queue accounts for what it changes there.
    fn lock(&self) -> Locked<'_> {
        let queue = lock(&self.queue);
        Locked { before: queue.bytes, queue, shard: &self.shard }
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        // What nobody took is held no more.
        self.lock().end(Ended::Closed);
    }
}

/// The queue, whose bytes are part of what its shard holds.
struct Locked<'a> {
    queue: MutexGuard<'a, Queue>,
    before: usize,
    shard: &'a ShardHandle,
}

impl Deref for Locked<'_> {
    type Target = Queue;

    fn deref(&self) -> &Queue {
        &self.queue
    }
}

impl DerefMut for Locked<'_> {
    fn deref_mut(&mut self) -> &mut Queue {
        &mut self.queue
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        self.shard.hold(self.before, self.queue.bytes);
    }
}

impl Queue {
    fn is_closed(&self) -> bool {
        self.sealed || self.ended.is_some()
    }

    /// What becomes of a chunk that is not even tried.
    fn passes(&self, volatile: bool) -> Option<Sent> {
        match self.is_closed() {
            true => Some(Sent::Gone),
            false => (volatile && self.stuck).then_some(Sent::Dropped),
        }
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
