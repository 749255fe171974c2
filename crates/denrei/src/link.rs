//! How a session's bytes travel: a TCP socket that its outbox writes to, or a stream that the session writes itself.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::net::Shutdown;
use std::pin::Pin;
use std::task::{Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use denrei_hub::Outbox;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, Interest, ReadBuf};
use tokio::time::Instant;

/// A byte stream that is not a plain TCP socket: TLS, an HTTP/2 stream, a body.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// The session's side of its connection.
pub(crate) enum Link {
    /// The outbox owns the socket; reads go into a buffer that the thread's sessions share.
    Socket,
    /// Nothing carries them: whoever comes for them takes what the outbox has queued.
    Visits,
    /// The session owns the stream and writes what its outbox has queued.
    Foreign(Box<Foreign>),
}

pub(crate) struct Foreign {
    stream: Box<dyn Stream>,
    /// Read and not yet eaten.
    buffer: Vec<u8>,
    /// Taken from the outbox and not yet written.
    chunks: VecDeque<Bytes>,
    /// Since when the peer takes nothing of them.
    stalled: Option<Instant>,
    /// Puts the final bytes together from what was queued.
    compose: Compose,
}

/// See [`Foreign`].
pub(crate) type Compose = Box<dyn FnMut(Bytes) -> Bytes + Send>;

/// Bytes read in one go.
const READ: usize = 64 * 1024;
/// A foreign stream that takes nothing for so long is broken.
const STALLED: Duration = Duration::from_secs(60);

thread_local! {
    /// An idle connection owns no buffer: every read of a thread goes through this one.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ].into_boxed_slice());
}

/// Lends the thread's read buffer.
pub(crate) fn with_scratch<R>(read: impl FnOnce(&mut [u8]) -> R) -> R {
    SCRATCH.with_borrow_mut(|scratch| read(scratch))
}

/// What ended a wait.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Woke {
    /// There is something to read.
    Readable,
    /// The session was told something, or could write on.
    Told,
}

impl Link {
    /// `early` was read of the stream before.
    pub(crate) fn foreign(stream: impl Stream + 'static, early: Vec<u8>, compose: Compose) -> Self {
        Self::Foreign(Box::new(Foreign {
            stream: Box::new(stream),
            buffer: early,
            chunks: VecDeque::new(),
            stalled: None,
            compose,
        }))
    }

    /// Has bytes go out before everything that any outbox has queued: a stream that changes its outbox has them still.
    pub(crate) fn begin_with(&mut self, bytes: Bytes) {
        if let Self::Foreign(foreign) = self
            && !bytes.is_empty()
        {
            foreign.chunks.push_back(bytes);
        }
    }

    /// Writes what is queued, then waits for something to do. A peer that does not take what is queued, or that the
    /// session does not want to read, is not read: TCP tells it to slow down. Cancel safe.
    ///
    /// # Errors
    /// The connection is broken.
    pub(crate) async fn wait(&mut self, outbox: &Outbox, reading: bool) -> io::Result<Woke> {
        match self {
            Self::Socket => wait_socket(outbox, reading).await,
            Self::Visits => {
                outbox.woken().await;
                Ok(Woke::Told)
            }
            Self::Foreign(foreign) => Box::pin(foreign.wait(outbox, reading)).await,
        }
    }

    /// Reads what has arrived and gives it to `eat`. `None` at the end of the stream.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when nothing has arrived after all; else the connection is broken.
    pub(crate) fn read<R>(&mut self, outbox: &Outbox, eat: impl FnOnce(&mut [u8]) -> R) -> io::Result<Option<R>> {
        match self {
            Self::Socket => with_scratch(|scratch| {
                let socket = outbox.socket().ok_or(io::ErrorKind::Unsupported)?;
                let read = socket.try_read(scratch)?;
                Ok((read > 0).then(|| eat(&mut scratch[..read])))
            }),
            Self::Visits => Err(io::ErrorKind::WouldBlock.into()),
            Self::Foreign(foreign) => {
                let mut arrived = std::mem::take(&mut foreign.buffer);
                Ok((!arrived.is_empty()).then(|| eat(&mut arrived)))
            }
        }
    }

    /// Writes what is queued to its end, or until the peer takes no more for too long.
    pub(crate) async fn drain(&mut self, outbox: &Outbox) -> io::Result<()> {
        match self {
            Self::Socket => {
                outbox.flush();
                while outbox.is_blocked() {
                    outbox.ready(Interest::WRITABLE).await?;
                    outbox.flush();
                }
                Ok(())
            }
            Self::Visits => Ok(()),
            Self::Foreign(foreign) => {
                while foreign.write(outbox).await? {}
                Ok(())
            }
        }
    }

    /// Says that nothing follows; the peer may have gone already.
    pub(crate) async fn finish(&mut self, outbox: &Outbox) {
        let _ = match self {
            Self::Socket => outbox.socket().map_or(Ok(()), |socket| SockRef::from(socket).shutdown(Shutdown::Write)),
            Self::Visits => Ok(()),
            Self::Foreign(foreign) => foreign.stream.shutdown().await,
        };
    }
}

async fn wait_socket(outbox: &Outbox, reading: bool) -> io::Result<Woke> {
    if outbox.ended().is_some() {
        return Err(io::ErrorKind::BrokenPipe.into());
    }
    let was_blocked = outbox.is_blocked();
    outbox.flush();
    if was_blocked && !outbox.is_blocked() {
        // What was queued may have kept the session from something.
        return Ok(Woke::Told);
    }
    let (interest, woke) = match (outbox.is_blocked(), reading) {
        (true, _) => (Interest::WRITABLE, Woke::Told),
        (false, true) => (Interest::READABLE, Woke::Readable),
        (false, false) => {
            outbox.woken().await;
            return Ok(Woke::Told);
        }
    };
    tokio::select! {
        ready = outbox.ready(interest) => ready.map(|_| woke),
        () = outbox.woken() => Ok(Woke::Told),
    }
}

impl Foreign {
    async fn wait(&mut self, outbox: &Outbox, reading: bool) -> io::Result<Woke> {
        tokio::select! {
            biased;
            wrote = self.write(outbox) => if wrote? {
                // What was queued had kept the session from something. And it comes to its notices however fast the
                // queue fills again.
                return Ok(Woke::Told);
            },
            // A peer that takes nothing does not keep the session from what it is told: that it is to end, for example.
            () = outbox.woken() => return Ok(Woke::Told),
        }
        if !self.buffer.is_empty() {
            return Ok(Woke::Readable);
        }
        tokio::select! {
            () = outbox.woken() => Ok(Woke::Told),
            read = self.read(), if reading => read.map(|()| Woke::Readable),
        }
    }

    async fn read(&mut self) -> io::Result<()> {
        // Into the buffer that the thread's sessions share, here too: while nothing comes there is none.
        poll_fn(|cx| {
            with_scratch(|scratch| {
                let mut arrived = ReadBuf::new(scratch);
                ready!(Pin::new(&mut self.stream).poll_read(cx, &mut arrived))?;
                self.buffer.extend_from_slice(arrived.filled());
                Poll::Ready(if self.buffer.is_empty() { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) })
            })
        })
        .await
    }

    /// Writes what is queued now; whether there was something. Cancel safe: what is partly written stays.
    async fn write(&mut self, outbox: &Outbox) -> io::Result<bool> {
        if self.chunks.is_empty() {
            self.chunks = outbox.take().into_iter().map(&mut self.compose).collect();
        }
        let some = !self.chunks.is_empty();
        while let Some(chunk) = self.chunks.front_mut() {
            let write = self.stream.write_buf(chunk);
            let end = *self.stalled.get_or_insert_with(Instant::now) + STALLED;
            tokio::time::timeout_at(end, write).await.map_err(|_| io::ErrorKind::TimedOut)??;
            self.stalled = None;
            if chunk.is_empty() {
                self.chunks.pop_front();
            }
        }
        // Always: the flush of what was written before may have been cancelled.
        self.stream.flush().await?;
        Ok(some)
    }
}
