//! A stream whose first bytes were read already, and which peers cannot keep by being slow.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use crate::link::with_scratch;

/// Gives the bytes that were read first, then the stream's.
pub(crate) struct Rewind<S> {
    prefix: Vec<u8>,
    used: usize,
    stream: S,
    /// How long the peer may take nothing of an answer.
    patience: Duration,
    /// Runs while the peer takes nothing, and while it is still listened to in the end.
    timer: Option<Pin<Box<Sleep>>>,
    closing: bool,
}

/// How long a peer is listened to after the last byte.
const LINGER: Duration = Duration::from_secs(2);

impl<S> Rewind<S> {
    pub(crate) fn new(prefix: Vec<u8>, stream: S, patience: Duration) -> Self {
        Self { prefix, used: 0, stream, patience, timer: None, closing: false }
    }

    fn bounded(&mut self, cx: &mut Context<'_>, wrote: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if wrote.is_ready() {
            self.timer = None;
            return wrote;
        }
        let patience = self.patience;
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
        timer.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }

    /// The stream, and what of the first bytes was not given.
    pub(crate) fn into_parts(self) -> (S, Vec<u8>) {
        (self.stream, self.prefix[self.used..].to_vec())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Rewind<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let rest = &self.prefix[self.used..];
        if rest.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buf);
        }
        let give = rest.len().min(buf.remaining());
        buf.put_slice(&rest[..give]);
        self.used += give;
        if self.used == self.prefix.len() {
            self.prefix = Vec::new();
            self.used = 0;
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Rewind<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.bounded(cx, wrote)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.bounded(cx, wrote)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    /// Ends the answers, and drops for a while what the peer still sends: a close with bytes unread would reset the
    /// connection, and destroy an answer that the peer has not read yet.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if !this.closing {
            ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
            this.closing = true;
            this.timer = Some(Box::pin(tokio::time::sleep(LINGER)));
        }
        loop {
            if this.timer.as_mut().is_none_or(|timer| timer.as_mut().poll(cx).is_ready()) {
                return Poll::Ready(Ok(()));
            }
            let ended = with_scratch(|scratch| {
                let mut dropped = ReadBuf::new(scratch);
                let read = Pin::new(&mut this.stream).poll_read(cx, &mut dropped);
                read.map(|read| read.is_err() || dropped.filled().is_empty())
            });
            if ready!(ended) {
                return Poll::Ready(Ok(()));
            }
        }
    }
}
