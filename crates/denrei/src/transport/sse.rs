//! Server-sent events: one or several rooms as a stream (seed §4.2).

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use denrei_hub::{Cursor, Dialect, Epoch, Outbox, Position, RoomName, ShardHandle, Wire};
use denrei_proto::codes::Code;
use denrei_proto::native::Answer;
use denrei_proto::sse::{self, Carriage, Format};
use tokio::net::TcpStream;

use crate::app::{App, Open, client_id};
use crate::auth::Standing;
use crate::chat::Caller;
use crate::facts::Facts;
use crate::identity::Identity;
use crate::link::{self, Link, Woke};
use crate::metrics::{Ending, Transport};
use crate::policy::{Action, Decision};
use crate::rates::Asking;
use crate::refusal::Refusal;
use crate::session::{Attention, Owed, Session};
use crate::wires;

pub(crate) mod marks;
use marks::Marks;

/// A stream that was agreed on.
pub(crate) struct Opening {
    identity: Identity,
    rooms: Vec<RoomName>,
    /// Where the client was; none for a room means from now on.
    since: Vec<Option<Position>>,
    format: Format,
}

/// Agrees on a stream: `/sse?room=R&room=R2&format=envelope`, from the position in the header `Last-Event-ID`, or in
/// the query as `last_event_id` or `lastEventId`. A browser that reconnects sends the header, which is newer.
pub(crate) fn open(app: &App, facts: &Facts<'_>, identity: Identity) -> Result<Opening, Refusal> {
    let mut rooms: Vec<RoomName> = Vec::new();
    for room in facts.parameters("room") {
        let room = RoomName::parse(&room)?;
        if !rooms.contains(&room) {
            rooms.push(room);
        }
    }
    if rooms.is_empty() {
        rooms.push(RoomName::parse("all")?);
    }
    if rooms.len() > Marks::MOST {
        let sentence = format!("a stream has at most {} rooms", Marks::MOST);
        return Err(Refusal::new(Code::TooManyRooms, sentence));
    }
    for room in &rooms {
        // What has to be looked up is, when the room is joined.
        if let Decision::Now(decision) = app.check(Caller { identity: &identity, connection: None }, Action::Read(room))
        {
            decision?;
        }
    }
    let header = facts.one("last-event-id").map(Into::into);
    let query = || facts.parameter("last_event_id").or_else(|| facts.parameter("lastEventId"));
    let last = header.or_else(query).filter(|id| !id.is_empty());
    let since = match last {
        Some(id) => marks::parse(&id, &rooms)?,
        None => vec![None; rooms.len()],
    };
    let format = match facts.parameter("format").as_deref() {
        None | Some("payload") => Format::Payload,
        Some("envelope") => Format::Envelope,
        Some(_) => return Err(Refusal::new(Code::InvalidField, "format is payload or envelope")),
    };
    Ok(Opening { identity, rooms, since, format })
}

/// The headers of a stream, as in the seed (§4.2).
pub(crate) const HEADERS: [(&str, &str); 3] =
    [("content-type", "text/event-stream"), ("cache-control", "no-cache"), ("x-accel-buffering", "no")];

/// Serves a TCP socket: sends the head with `cors`, then everything, as chunks.
pub(crate) fn serve_socket(
    open: Open,
    socket: TcpStream,
    shard: &ShardHandle,
    opening: Opening,
    cors: &[(&'static str, String)],
) -> impl Future<Output = ()> + use<> {
    let head = head(cors);
    let wire = match opening.format {
        // The frames of a stream of one room are the same for all its readers.
        Format::Payload if opening.rooms.len() == 1 => wires::SSE,
        Format::Envelope if opening.rooms.len() == 1 => wires::SSE_ENVELOPE,
        _ => {
            let (outbox, link) = chunked(&open, socket, shard, &opening, head);
            return run(open, outbox, link, opening);
        }
    };
    let outbox = open.app().hub.outbox(client_id(), wire, Some(socket), shard);
    outbox.push(head);
    run(open, outbox, Link::Socket, opening)
}

/// Serves a TLS stream in the same way.
pub(crate) fn serve_tls<S: link::Stream + 'static>(
    open: Open,
    stream: S,
    shard: &ShardHandle,
    opening: Opening,
    cors: &[(&'static str, String)],
) -> impl Future<Output = ()> + use<S> {
    let (outbox, link) = chunked(&open, stream, shard, &opening, head(cors));
    run(open, outbox, link, opening)
}

/// A stream on which the session lays records out as chunks, behind the head.
fn chunked(
    open: &Open,
    stream: impl link::Stream + 'static,
    shard: &ShardHandle,
    opening: &Opening,
    head: Bytes,
) -> (Arc<Outbox>, Link) {
    let outbox = open.app().hub.outbox(client_id(), record_wire(opening.format), None, shard);
    (outbox, Link::foreign(stream, Vec::new(), opening.marks(Carriage::Chunked).compose(head)))
}

/// Serves a body that someone else carries.
pub(crate) fn serve_stream(
    open: Open,
    stream: impl link::Stream + 'static,
    opening: Opening,
) -> impl Future<Output = ()> {
    let hub = &open.app().hub;
    let outbox = hub.outbox(client_id(), record_wire(opening.format), None, hub.shard());
    let link = Link::foreign(stream, Vec::new(), opening.marks(Carriage::Body).compose(Bytes::new()));
    run(open, outbox, link, opening)
}

impl Opening {
    fn marks(&self, carriage: Carriage) -> Marks {
        Marks::new(self.rooms.clone(), self.since.clone(), carriage)
    }
}

fn record_wire(format: Format) -> Wire {
    match format {
        Format::Payload => wires::RECORD,
        Format::Envelope => wires::RECORD_ENVELOPE,
    }
}

fn head(cors: &[(&'static str, String)]) -> Bytes {
    let mut head = String::from("HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n");
    let headers = HEADERS.into_iter().chain(cors.iter().map(|(name, value)| (*name, value.as_str())));
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    head.into()
}

fn run(open: Open, outbox: Arc<Outbox>, link: Link, opening: Opening) -> impl Future<Output = ()> + use<> {
    let keep_alive = open.app().config.sse.keep_alive;
    let session = Session::new(open, outbox, Transport::Sse, opening.identity, keep_alive);
    let stream = Stream { session, link, rooms: opening.rooms, missing: 0, arrived: Vec::new(), stalled: false };
    Box::new(stream).run(opening.since)
}

struct Stream {
    session: Session,
    link: Link,
    rooms: Vec<RoomName>,
    /// Rooms whose replay has not arrived yet, before `connected`.
    missing: usize,
    /// Rooms that are ready to go live, and where.
    arrived: Vec<(RoomName, Position)>,
    /// At the last heartbeat the client had taken nothing since the one before.
    stalled: bool,
}

impl Stream {
    async fn run(mut self: Box<Self>, since: Vec<Option<Position>>) {
        if Box::pin(self.begin(since)).await {
            let end = loop {
                if let Err(end) = self.turn().await {
                    break end;
                }
            };
            self.session.app.note_closing(&self.session.outbox, None, reason(end.kind()));
            self.session.ending = why(end.kind());
        } else {
            self.session.ending = Ending::Unauthorized;
        }
        let Self { session, mut link, .. } = *self;
        let end = async {
            link.drain(&session.outbox).await?;
            link.finish(&session.outbox).await;
            io::Result::Ok(())
        };
        // Whether it ended well or not, it ends.
        let _ = Box::pin(tokio::time::timeout(Duration::from_secs(5), end)).await;
    }

    /// Joins the rooms and begins to replay what the client missed. `connected` follows when that is done: it carries
    /// the position, which must not be ahead of what was sent.
    async fn begin(&mut self, since: Vec<Option<Position>>) -> bool {
        for (room, since) in self.rooms.clone().into_iter().zip(since) {
            self.session.asks("join");
            let joined = match self.session.pass(Asking::Join) {
                Ok(()) => self.session.join(&room, true).await,
                Err(refusal) => Err(refusal),
            };
            let place = match joined {
                Ok(reader) => reader.place().clone(),
                Err(refusal) => {
                    self.emit(None, "error", refusal.body().as_bytes());
                    self.end();
                    return false;
                }
            };
            if self.session.replay(&room, since) {
                self.missing += 1;
            } else {
                self.arrived.push((room, place));
            }
        }
        if self.missing == 0 {
            self.connected();
        }
        true
    }

    fn connected(&mut self) {
        let retry = format!("retry: {}\n\n", self.session.app.config.sse.retry.as_millis());
        self.push(None, retry.as_bytes());
        let arrived = std::mem::take(&mut self.arrived);
        // Nobody resumes in a room without a log: its place is no part of an id.
        let mut marks: Vec<_> = arrived.iter().filter(|(_, place)| place.epoch != Epoch::none()).collect();
        let last = marks.pop();
        for mark in marks {
            self.push(Some(mark), b"");
        }
        let data = serde_json::json!({ "clientId": &**self.session.outbox.client() }).to_string();
        self.emit(last, "connected", data.as_bytes());
        for (room, place) in &arrived {
            self.session.follow(room, Some(place.clone()));
        }
    }

    async fn turn(&mut self) -> io::Result<()> {
        match self.session.attend() {
            Some(Attention::Heartbeat) => self.heartbeat()?,
            Some(Attention::Due) => self.look_again()?,
            Some(Attention::Shutdown) => {
                self.goodbye();
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
            // What is queued cannot be told: the memory is what is wanted. The client resumes.
            Some(Attention::Overflow) => {
                self.session.outbox.end();
                return Err(io::ErrorKind::OutOfMemory.into());
            }
            None => {}
        }
        if self.session.rooms() < self.rooms.len() {
            return self.expelled();
        }
        if self.session.is_behind()
            && let Some(cursor) = Box::pin(self.session.page(encode)).await
        {
            self.arrive(&cursor);
        }
        // What a client sends on a stream means nothing; that it closes does.
        if self.session.wait(&mut self.link, true).await? == Woke::Readable {
            match self.link.read(&self.session.outbox, |_| ()) {
                Ok(Some(())) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Ok(None) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The client's token may be over, or be so soon.
    fn look_again(&mut self) -> io::Result<()> {
        match self.session.standing(&self.session.identity) {
            Standing::Good(_) => Ok(()),
            Standing::Expiring(expires_at, _) => {
                let data = serde_json::json!({ "expiresAt": expires_at }).to_string();
                self.emit(None, "expiring", data.as_bytes());
                Ok(())
            }
            Standing::Over(refusal) => {
                self.emit(None, "error", refusal.body().as_bytes());
                self.end();
                Err(io::ErrorKind::PermissionDenied.into())
            }
        }
    }

    /// The client may not read one of its rooms any more: the stream that it asked for is none.
    fn expelled(&mut self) -> io::Result<()> {
        let refusal = Refusal::new(Code::Forbidden, "a room of this stream may not be read any more");
        self.emit(None, "error", refusal.body().as_bytes());
        self.end();
        Err(io::ErrorKind::PermissionDenied.into())
    }

    /// A client that takes nothing for two heartbeats is gone, or wants the server to keep what it is owed for ever.
    fn heartbeat(&mut self) -> io::Result<()> {
        let outbox = &self.session.outbox;
        let stalled = !outbox.has_moved() && outbox.is_blocked();
        if std::mem::replace(&mut self.stalled, stalled) && stalled {
            outbox.end();
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.push(None, sse::KEEP_ALIVE);
        Ok(())
    }

    /// A log has been paged to its end: the reader goes live, or waits for the others before `connected`.
    fn arrive(&mut self, cursor: &Cursor) {
        if self.missing == 0 {
            return cursor.live();
        }
        self.missing -= 1;
        self.arrived.push((cursor.room().clone(), cursor.place().clone()));
        if self.missing == 0 {
            self.connected();
        }
    }

    fn goodbye(&mut self) {
        let delay = self.session.app.reconnect_delay_ms(self.session.outbox.number());
        let data = serde_json::json!({ "message": Answer::SHUTDOWN, "reconnectDelay": delay }).to_string();
        self.push(None, format!("retry: {delay}\n").as_bytes());
        self.emit(None, "server:shutdown", data.as_bytes());
        self.end();
    }

    /// Queues the end of the body: as chunks, an empty one.
    fn end(&self) {
        self.session.outbox.seal(lay(self.session.outbox.wire(), None, b""));
    }

    fn emit(&self, mark: Option<&(RoomName, Position)>, name: &str, data: &[u8]) {
        self.push(mark, &sse::fields(None, name, data, Carriage::Body));
    }

    /// Queues bytes of the stream behind which it stands at `mark`.
    fn push(&self, mark: Option<&(RoomName, Position)>, body: &[u8]) {
        let mark = mark.map(|(room, place)| (room, place));
        self.session.outbox.push(lay(self.session.outbox.wire(), mark, body));
    }
}

/// Why a stream ends, for who investigates.
fn reason(end: io::ErrorKind) -> &'static str {
    match end {
        io::ErrorKind::ConnectionAborted => "server_stops",
        io::ErrorKind::PermissionDenied => "not_allowed_any_more",
        io::ErrorKind::TimedOut => "takes_nothing",
        io::ErrorKind::OutOfMemory => "too_slow_for_the_memory",
        _ => "peer_gone",
    }
}

fn why(end: io::ErrorKind) -> Ending {
    match end {
        // A stream says goodbye by closing.
        io::ErrorKind::UnexpectedEof => Ending::Client,
        io::ErrorKind::ConnectionAborted => Ending::Shutdown,
        io::ErrorKind::PermissionDenied => Ending::Unauthorized,
        io::ErrorKind::TimedOut => Ending::Silent,
        _ => Ending::Gone,
    }
}

/// What is owed to a reader that pages the log.
fn encode(app: &App, wire: Wire, _: Dialect, owed: Owed<'_>) -> Bytes {
    match owed {
        Owed::Message(message) => app.hub.frame(message, wire, Dialect::default()),
        Owed::Gap(room, from, to) => {
            let data = serde_json::json!({
                "room": room.as_str(), "from": from, "to": to.seq.0, "epoch": to.epoch.as_str()
            });
            let body = sse::fields(None, "gap", data.to_string().as_bytes(), Carriage::Body);
            // The gap is behind the client when it has been told.
            lay(wire, Some((room, to)), &body)
        }
    }
}

/// Lays bytes of the stream into the form that the wire's outbox holds.
fn lay(wire: Wire, mark: Option<(&RoomName, &Position)>, body: &[u8]) -> Bytes {
    if wire == wires::RECORD || wire == wires::RECORD_ENVELOPE {
        return marks::record(mark, body);
    }
    let mut text = mark.map(|(_, place)| format!("id: {place}\n").into_bytes()).unwrap_or_default();
    text.extend_from_slice(body);
    sse::carry(&text, Carriage::Chunked).into()
}
