//! Sends every WebSocket message back: what Autobahn's fuzzing client talks to, see `conformance/README.md`.
//!
//! A session of denrei understands its own protocol only, so this is not one. It is made of what sessions are made of,
//! the codec and the outbox, which owns the socket and writes to it; the loop around them is a short one of its own
//! that closes as theirs does. Limits are higher than denrei's, and every message is compressed that gets smaller, so
//! that no case goes round the codec.
//!
//! Prints the URL to connect to, and ends when its standard input does.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::time::Duration;

use bytes::Bytes;
use denrei::{Config, Denrei};
use denrei_hub::{Outbox, Wire, random_token};
use denrei_proto::codes::close;
use denrei_proto::ws::{self, Decoder, DeflateConfig, Event, Limits, Negotiated, Opcode, UpgradeRequest};
use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::TcpListener;

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
        tokio::spawn(async move {
            // Whether the client went in order or not, it went.
            let _ = serve(&outbox).await;
        });
    }
}

async fn serve(outbox: &Outbox) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    let mut head = Vec::new();
    let mut echo = loop {
        match receive(outbox, &mut buffer).await? {
            [] => return Ok(()),
            arrived => head.extend_from_slice(arrived),
        }
        if let Some((echo, length)) = open(outbox, &head)? {
            head.drain(..length);
            break echo;
        }
    };
    let mut end = echo.take(outbox, &mut head);
    while end.is_none() {
        end = match receive(outbox, &mut buffer).await? {
            [] => return Ok(()),
            arrived => echo.take(outbox, arrived),
        }
    }
    match end {
        Some(End { code, reason }) => say_goodbye(outbox, &mut buffer, code, &reason).await,
        None => Ok(()),
    }
}

/// Writes what is queued, and waits for bytes; none at the end of the stream.
async fn receive<'b>(outbox: &Outbox, buffer: &'b mut [u8]) -> io::Result<&'b mut [u8]> {
    let socket = outbox.socket().ok_or(io::ErrorKind::Unsupported)?;
    loop {
        outbox.flush();
        // A peer that does not read is not read either.
        if outbox.is_blocked() {
            outbox.ready(Interest::WRITABLE).await?;
            continue;
        }
        outbox.ready(Interest::READABLE).await?;
        match socket.try_read(buffer) {
            Ok(read) => return Ok(&mut buffer[..read]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

/// As a session does it when its peer closes or breaks the protocol (RFC 6455 §7.1.1): nothing follows the close
/// frame, and the connection is let go when the peer has closed too.
async fn say_goodbye(outbox: &Outbox, buffer: &mut [u8], code: u16, reason: &str) -> io::Result<()> {
    const PATIENCE: Duration = Duration::from_secs(5);
    outbox.seal(ws::close(code, reason));
    let farewell = async {
        outbox.flush();
        while outbox.is_blocked() {
            outbox.ready(Interest::WRITABLE).await?;
            outbox.flush();
        }
        if let Some(socket) = outbox.socket() {
            SockRef::from(socket).shutdown(Shutdown::Write)?;
        }
        while !receive(outbox, buffer).await?.is_empty() {}
        Ok(())
    };
    tokio::time::timeout(PATIENCE, farewell).await?
}

/// Answers the request for a WebSocket once its head is there, and says how long the head is.
fn open(outbox: &Outbox, arrived: &[u8]) -> io::Result<Option<(Echo, usize)>> {
    let mut headers = [httparse::EMPTY_HEADER; 100];
    let mut head = httparse::Request::new(&mut headers);
    let httparse::Status::Complete(length) = head.parse(arrived).map_err(io::Error::other)? else { return Ok(None) };
    let mut request = UpgradeRequest::new(head.method.unwrap_or(""), head.version.unwrap_or(0));
    for header in &*head.headers {
        request.header(header.name, header.value);
    }
    let key = request.check().map_err(io::Error::other)?;
    let extensions = head.headers.iter().filter(|header| header.name.eq_ignore_ascii_case("sec-websocket-extensions"));
    let offers = extensions.filter_map(|header| std::str::from_utf8(header.value).ok());
    let (deflate, agreed) = ws::negotiate(offers, &DeflateConfig::default()).unzip();
    let mut response = Vec::new();
    ws::write_response(&mut response, key, None, agreed.as_deref());
    outbox.push(response.into());
    Ok(Some((Echo { decoder: Decoder::new(LIMITS, deflate), deflate }, length)))
}

struct Echo {
    decoder: Decoder,
    deflate: Option<Negotiated>,
}

/// What the close frame says.
struct End {
    code: u16,
    reason: String,
}

impl Echo {
    /// Takes in what arrived, and queues what there is to answer.
    fn take(&mut self, outbox: &Outbox, arrived: &mut [u8]) -> Option<End> {
        let mut rest = arrived;
        loop {
            let used = match self.decoder.decode(rest) {
                Ok((_, None)) => return None,
                Ok((used, Some(event))) => {
                    match event {
                        Event::Text(text) => outbox.push(frame(Opcode::Text, text.as_bytes(), self.deflate)),
                        Event::Binary(bytes) => outbox.push(frame(Opcode::Binary, bytes, self.deflate)),
                        Event::Ping(payload) => outbox.push(ws::pong(payload)),
                        Event::Pong(_) => {}
                        Event::Close(frame) => {
                            let code = frame.map_or(close::NORMAL, |frame| frame.code);
                            return Some(End { code, reason: String::new() });
                        }
                    }
                    used
                }
                Err(violation) => return Some(End { code: violation.close_code(), reason: violation.to_string() }),
            };
            rest = &mut rest[used..];
        }
    }
}

/// A message of any length, compressed if that was agreed on and makes it smaller.
fn frame(opcode: Opcode, payload: &[u8], deflate: Option<Negotiated>) -> Bytes {
    let level = DeflateConfig::default().level;
    let small = deflate.and_then(|agreed| ws::deflated(opcode, payload, level, agreed.server_max_window_bits));
    small.unwrap_or_else(|| ws::frame(opcode, payload))
}
