//! Sends every WebSocket message back: what Autobahn's fuzzing client talks to, see `conformance/README.md`.
//!
//! A session of denrei understands JSON only, so this is not one. It is made of the same parts: the codec, the outbox
//! that owns the socket, and the link that reads, waits and writes; only the loop around them is its own. It accepts
//! more than denrei's defaults, and compresses whatever gets smaller, so that no case goes round a part.
//!
//! Prints the URL to connect to, and ends when its standard input does.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::Duration;

use denrei::{Config, Denrei};
use denrei_hub::{Outbox, Wire, random_token};
use denrei_proto::codes::close;
use denrei_proto::ws::{self, Decoder, DeflateConfig, Event, Limits, Negotiated, Opcode, UpgradeRequest};
use tokio::net::{TcpListener, TcpStream};

use link::{Link, Woke};

/// The server's own; it is not public.
#[path = "../src/link.rs"]
#[expect(dead_code, reason = "a link may be a stream that is not a socket, and the scratch buffer has other borrowers")]
mod link;

/// Autobahn's longest message is of 16 MiB (9.1.6); 9.3.1 cuts 4 MiB into 65,536 fragments.
const LIMITS: Limits = Limits { message: 64 << 20, frame: 64 << 20, fragments: 1 << 17 };

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    writeln!(io::stdout(), "ws://{}", listener.local_addr()?)?;
    std::thread::spawn(|| {
        // Whoever started this may die without a word.
        let _ = io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    let denrei = Denrei::new(Config::default());
    loop {
        let (socket, _) = listener.accept().await?;
        socket.set_nodelay(true)?;
        let hub = denrei.hub();
        let outbox = hub.outbox(random_token(20).into(), Wire(0), Some(socket), hub.shard());
        tokio::spawn(Echo { outbox, link: Link::Socket }.serve());
    }
}

struct Echo {
    outbox: Arc<Outbox>,
    link: Link,
}

/// The close frame to send, and nothing after it.
struct End(u16, String);

impl Echo {
    async fn serve(mut self) {
        // Whether the client went in order or not, it went.
        let _ = self.run().await;
    }

    async fn run(&mut self) -> io::Result<()> {
        let mut arrived = Vec::new();
        let (mut messages, head) = loop {
            if self.receive(|bytes| arrived.extend_from_slice(bytes)).await?.is_none() {
                return Ok(());
            }
            if let Some(opened) = open(&self.outbox, &arrived)? {
                break opened;
            }
        };
        let mut end = messages.take(&mut arrived[head..]);
        while end.is_none() {
            match self.receive(|bytes| messages.take(bytes)).await? {
                Some(next) => end = next,
                None => return Ok(()),
            }
        }
        let End(code, reason) = end.expect("the loop ends with one");
        self.close(code, &reason).await
    }

    /// Waits for bytes and gives them to `eat`; none at the end of the stream.
    async fn receive<R>(&mut self, mut eat: impl FnMut(&mut [u8]) -> R) -> io::Result<Option<R>> {
        loop {
            self.outbox.flush();
            // A peer that does not read is not read either.
            let reading = !self.outbox.is_blocked();
            if self.link.wait(&self.outbox, reading).await? == Woke::Readable {
                match self.link.read(&self.outbox, &mut eat) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    read => return read,
                }
            }
        }
    }

    /// As a session does it when the peer closes or breaks the protocol (RFC 6455 §7.1.1).
    async fn close(&mut self, code: u16, reason: &str) -> io::Result<()> {
        const PATIENCE: Duration = Duration::from_secs(5);
        self.outbox.push(ws::close(code, reason));
        let farewell = async {
            self.link.drain(&self.outbox).await?;
            self.link.finish(&self.outbox).await;
            while self.receive(|_| ()).await?.is_some() {}
            Ok(())
        };
        tokio::time::timeout(PATIENCE, farewell).await?
    }
}

/// Answers the request for a WebSocket, once its head is there, and says how long the head is.
fn open(outbox: &Arc<Outbox>, arrived: &[u8]) -> io::Result<Option<(Messages, usize)>> {
    let mut headers = [httparse::EMPTY_HEADER; 100];
    let mut head = httparse::Request::new(&mut headers);
    let httparse::Status::Complete(length) = head.parse(arrived).map_err(io::Error::other)? else { return Ok(None) };
    let mut request = UpgradeRequest::new(head.method.unwrap_or(""), head.version.unwrap_or(0));
    for header in &*head.headers {
        request.header(header.name, header.value);
    }
    let key = request.check().map_err(io::Error::other)?;
    let named = |header: &&httparse::Header<'_>| header.name.eq_ignore_ascii_case("sec-websocket-extensions");
    let offers = head.headers.iter().filter(named).filter_map(|header| std::str::from_utf8(header.value).ok());
    let (deflate, extensions) = ws::negotiate(offers, &DeflateConfig::default()).unzip();
    let mut response = Vec::new();
    ws::write_response(&mut response, key, None, extensions.as_deref());
    outbox.push(response.into());
    Ok(Some((Messages { outbox: Arc::clone(outbox), decoder: Decoder::new(LIMITS, deflate), deflate }, length)))
}

/// What comes behind the handshake.
struct Messages {
    outbox: Arc<Outbox>,
    decoder: Decoder,
    deflate: Option<Negotiated>,
}

impl Messages {
    /// Takes in what arrived, and queues the answers.
    fn take(&mut self, arrived: &mut [u8]) -> Option<End> {
        let Self { outbox, decoder, deflate } = self;
        let mut rest = arrived;
        loop {
            let used = match decoder.decode(rest) {
                Ok((_, None)) => return None,
                Ok((used, Some(event))) => {
                    match event {
                        Event::Text(text) => outbox.push(frame(Opcode::Text, text.as_bytes(), deflate.as_ref())),
                        Event::Binary(bytes) => outbox.push(frame(Opcode::Binary, bytes, deflate.as_ref())),
                        Event::Ping(payload) => outbox.push(ws::pong(payload)),
                        Event::Pong(_) => {}
                        Event::Close(peer) => return Some(End(peer.map_or(close::NORMAL, |peer| peer.code), String::new())),
                    }
                    used
                }
                Err(violation) => return Some(End(violation.close_code(), violation.to_string())),
            };
            rest = &mut rest[used..];
        }
    }
}

/// A message of any length, compressed if that was agreed on and makes it smaller.
fn frame(opcode: Opcode, payload: &[u8], deflate: Option<&Negotiated>) -> bytes::Bytes {
    let level = DeflateConfig::default().level;
    let small = deflate.and_then(|agreed| ws::deflated(opcode, payload, level, agreed.server_max_window_bits));
    small.unwrap_or_else(|| ws::frame(opcode, payload))
}
