//! A WebSocket of a Socket.IO client: the session's own, or one that wants to become it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use denrei_hub::{Outbox, ShardHandle};
use denrei_proto::codes::close as ws_codes;
use denrei_proto::engineio;
use denrei_proto::ws::{self, Decoder, Event, Limits, Negotiated, Opcode, Violation};
use tokio::net::TcpStream;

use crate::app::{App, client_id};
use crate::link::{Link, Woke};
use crate::wires::{self, Form};

/// A WebSocket and what was read of it.
pub(crate) struct Channel {
    link: Link,
    /// While it is a probe, its own; then the session's.
    outbox: Arc<Outbox>,
    decoder: Decoder,
    /// Bytes that arrived and were not decoded yet.
    early: Vec<u8>,
    deflates: bool,
}

/// How a WebSocket came.
pub(crate) enum Arrival {
    /// A TCP socket, and bytes that were read behind the request.
    Socket(TcpStream, Vec<u8>),
    /// A stream of hyper's.
    Stream(Link),
}

/// Why nothing more is heard.
pub(crate) enum Lost {
    /// The peer closes: answer with this code.
    Closed(u16),
    /// It broke the protocol.
    Violation(Violation),
    /// The connection is broken.
    Broken,
}

impl Channel {
    /// A WebSocket that was agreed on; `before` goes out at once.
    pub(crate) fn new(
        app: &App,
        arrival: Arrival,
        deflate: Option<Negotiated>,
        before: Vec<u8>,
        shard: &ShardHandle,
    ) -> Self {
        let config = &app.config;
        let most = config.socketio.max_payload;
        let limits = Limits { message: most, frame: most, fragments: app.limits().fragments };
        let window = config.websocket.deflate.map_or(15, |deflate| deflate.server_max_window_bits);
        let (mut link, socket, early) = match arrival {
            Arrival::Socket(socket, early) => (Link::Socket, Some(socket), early),
            Arrival::Stream(link) => (link, None, Vec::new()),
        };
        let outbox = app.hub.outbox(client_id(), wires::JSON, socket, shard);
        match link {
            Link::Socket => {
                outbox.push(before.into());
                outbox.flush();
            }
            _ => link.begin_with(before.into()),
        }
        let deflates = deflate.is_some_and(|agreed| agreed.accepts_shared(window, usize::MAX));
        Self { link, outbox, decoder: Decoder::new(limits, deflate), early, deflates }
    }

    /// What the session's bytes are when they go this way.
    pub(crate) fn form(&self, wire: engineio::Wire) -> Form {
        if self.deflates && wire == engineio::Wire::V4 { Form::Deflated } else { Form::Frames(wire) }
    }

    /// The link, and what is not decoded yet.
    pub(crate) fn parts(&mut self) -> (&mut Link, &mut Vec<u8>) {
        (&mut self.link, &mut self.early)
    }

    /// Says something on a probe.
    pub(crate) fn say(&self, text: &str) {
        self.outbox.push(ws::frame(Opcode::Text, text.as_bytes()));
        self.outbox.flush();
    }

    /// The probe becomes the session's channel: gives up its socket.
    pub(crate) fn become_main(&mut self, outbox: &Arc<Outbox>) -> Option<TcpStream> {
        let own = std::mem::replace(&mut self.outbox, Arc::clone(outbox));
        Arc::into_inner(own).and_then(Outbox::into_socket)
    }

    /// Waits until there is something to read. Cancel safe.
    pub(crate) async fn readable(&mut self) -> io::Result<()> {
        if !self.early.is_empty() {
            return Ok(());
        }
        while self.link.wait(&self.outbox, true).await? != Woke::Readable {}
        Ok(())
    }

    /// Reads what has arrived and hands every message to `hear`, which says whether to go on; pings are answered. What
    /// comes behind the message it stops at waits for the next call.
    pub(crate) fn read(&mut self, mut hear: impl FnMut(Event<'_>) -> bool) -> Result<(), Lost> {
        let Self { link, outbox, decoder, early, .. } = self;
        if !early.is_empty() {
            let mut rest = std::mem::take(early);
            return decode(decoder, outbox, early, &mut rest, &mut hear);
        }
        match link.read(outbox, |arrived| decode(decoder, outbox, early, arrived, &mut hear)) {
            Ok(Some(decoded)) => decoded,
            Ok(None) => Err(Lost::Broken),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(_) => Err(Lost::Broken),
        }
    }

    /// Whether bytes wait to be decoded.
    pub(crate) fn has_early(&self) -> bool {
        !self.early.is_empty()
    }

    /// Sends the last frame and lets go, in a task of its own that ends soon.
    pub(crate) fn close(self, code: u16) {
        tokio::spawn(self.farewell(code));
    }

    /// Sends the last frame and lets go. Whether it ends well or not, it ends soon.
    pub(crate) async fn farewell(mut self, code: u16) {
        self.outbox.seal(ws::close(code, ""));
        let farewell = async {
            self.link.drain(&self.outbox).await?;
            self.link.finish(&self.outbox).await;
            // Until the peer closes too: a close with bytes unread would destroy what it has not read yet.
            loop {
                self.link.wait(&self.outbox, true).await?;
                match self.link.read(&self.outbox, |_| ()) {
                    Ok(None) => return io::Result::Ok(()),
                    Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
                    Ok(Some(())) | Err(_) => {}
                }
            }
        };
        let _ = tokio::time::timeout(Duration::from_secs(2), farewell).await;
        self.outbox.end();
    }
}

fn decode(
    decoder: &mut Decoder,
    outbox: &Outbox,
    early: &mut Vec<u8>,
    mut rest: &mut [u8],
    hear: &mut impl FnMut(Event<'_>) -> bool,
) -> Result<(), Lost> {
    loop {
        let (used, go_on) = match decoder.decode(rest) {
            Ok((_, None)) => return Ok(()),
            Ok((used, Some(Event::Ping(payload)))) => {
                outbox.push(ws::pong(payload));
                (used, true)
            }
            Ok((used, Some(Event::Pong(_)))) => (used, true),
            Ok((_, Some(Event::Close(frame)))) => {
                return Err(Lost::Closed(frame.map_or(ws_codes::NORMAL, |frame| frame.code)));
            }
            Ok((used, Some(event))) => (used, hear(event)),
            Err(violation) => return Err(Lost::Violation(violation)),
        };
        rest = &mut rest[used..];
        if !go_on {
            early.extend_from_slice(rest);
            return Ok(());
        }
    }
}

/// Rewrites what waited for a poll as frames, for [`Outbox::upgrade`].
pub(crate) fn translate(wire: engineio::Wire) -> denrei_hub::Translate {
    fn to(wire: engineio::Wire, chunk: &Bytes) -> Bytes {
        engineio::frames(wire, [&chunk[..]])
    }
    match wire {
        engineio::Wire::V4 => |chunk| to(engineio::Wire::V4, &chunk),
        engineio::Wire::V3 => |chunk| to(engineio::Wire::V3, &chunk),
        engineio::Wire::V3Base64 => |chunk| to(engineio::Wire::V3Base64, &chunk),
    }
}
