//! The native protocol over a WebSocket: the opening, and the one loop of a session.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use denrei_hub::{Dialect, Name, Outbox, RoomName, ShardHandle, Wire};
use denrei_proto::codes::close;
use denrei_proto::native::{Answer, Data, Syntax};
use denrei_proto::ws::{self, Decoder, Event, HandshakeError, Negotiated, UpgradeRequest, Violation};
use tokio::net::TcpStream;

use crate::app::{App, Open, client_id, now_ms};
use crate::auth::Standing;
use crate::dispatch::{self, UnderWay, Waiting, dispatch, encoded};
use crate::facts::Facts;
use crate::identity::Identity;
use crate::link::{Link, Woke};
use crate::metrics::{Ending, Transport};
use crate::session::{Attention, Owed, Session};
use crate::wires;

/// A WebSocket that was agreed on and waits for its 101 to be sent.
pub(crate) struct Opening {
    identity: Identity,
    deflate: Option<Negotiated>,
    key: String,
    subprotocol: Option<String>,
    extensions: Option<String>,
    /// Whether somebody else sends the 101.
    pub(crate) announced: bool,
}

/// Agrees on a WebSocket.
pub(crate) fn open(app: &App, facts: &Facts<'_>, identity: Identity) -> Result<Opening, HandshakeError> {
    let mut request = UpgradeRequest::new(facts.method, facts.minor_version);
    for (name, value) in &facts.headers {
        request.header(name, value);
    }
    let key = request.check()?;
    let mut supported = Syntax::ALL.map(Syntax::subprotocol).to_vec();
    supported.extend(app.config.websocket.subprotocols.iter().map(String::as_str));
    let subprotocol = ws::choose_subprotocol(facts.all("sec-websocket-protocol"), &supported);
    let offers = facts.all("sec-websocket-extensions");
    let agreed = app.config.websocket.deflate.as_ref().and_then(|deflate| ws::negotiate(offers, deflate));
    let (deflate, extensions) = agreed.unzip();
    let subprotocol = subprotocol.map(str::to_owned);
    Ok(Opening { identity, deflate, key: key.to_owned(), subprotocol, extensions, announced: false })
}

impl Opening {
    /// The headers of the 101 that tell what was agreed on.
    pub(crate) fn headers(&self) -> impl Iterator<Item = (&'static str, String)> {
        let agreed = [
            ("sec-websocket-accept", Some(ws::accept_key(&self.key))),
            ("sec-websocket-protocol", self.subprotocol.clone()),
            ("sec-websocket-extensions", self.extensions.clone()),
        ];
        agreed.into_iter().filter_map(|(name, value)| Some((name, value?)))
    }

    fn response(&self) -> Vec<u8> {
        let mut response = Vec::with_capacity(256);
        ws::write_response(&mut response, &self.key, self.subprotocol.as_deref(), self.extensions.as_deref());
        response
    }

    /// What the client asked for; clients that ask for nothing that is known speak JSON.
    fn syntax(&self) -> Syntax {
        let chosen = self.subprotocol.as_deref();
        Syntax::ALL.into_iter().find(|syntax| chosen == Some(syntax.subprotocol())).unwrap_or(Syntax::Json)
    }

    /// The frames that this client gets.
    fn wire(&self, app: &App) -> Wire {
        let window = app.config.websocket.deflate.map_or(15, |deflate| deflate.server_max_window_bits);
        // A client with a smaller window than ours reads plain frames: they are shared too.
        let deflated = self.deflate.as_ref().is_some_and(|agreed| agreed.accepts_shared(window, usize::MAX));
        match (self.syntax(), deflated) {
            (Syntax::Protobuf, true) => wires::PROTOBUF_DEFLATED,
            (Syntax::Protobuf, false) => wires::PROTOBUF,
            (_, true) => wires::JSON_DEFLATED,
            (_, false) => wires::JSON,
        }
    }
}

/// Serves a TCP socket: sends the 101, then everything. `early` is what the client sent behind its request.
///
/// Not an async function, which would keep its arguments beside what it makes of them: see [`Connection::run`].
pub(crate) fn serve_socket(
    open: Open,
    socket: TcpStream,
    shard: &ShardHandle,
    opening: Opening,
    early: Vec<u8>,
) -> impl Future<Output = ()> + use<> {
    let wire = opening.wire(open.app());
    let outbox = open.app().hub.outbox(client_id(), wire, Some(socket), shard);
    let before = if opening.announced { Vec::new() } else { opening.response() };
    Connection::new(open, outbox, Link::Socket, opening, before, early).run()
}

/// Serves another stream in the same way.
pub(crate) fn serve_stream(
    open: Open,
    link: Link,
    shard: &ShardHandle,
    opening: Opening,
) -> impl Future<Output = ()> + use<> {
    let wire = opening.wire(open.app());
    let outbox = open.app().hub.outbox(client_id(), wire, None, shard);
    let before = if opening.announced { Vec::new() } else { opening.response() };
    Connection::new(open, outbox, link, opening, before, Vec::new()).run()
}

/// What a connection's loop owns.
struct Connection {
    session: Session,
    decoder: Decoder,
    under_way: UnderWay,
    link: Link,
    /// Bytes that arrived and were not decoded, because a request before them has to wait.
    early: Vec<u8>,
    /// The peer has shown a sign of life since the last heartbeat.
    heard: bool,
    /// The last heartbeat found a message unfinished.
    unfinished: bool,
}

impl Connection {
    /// `before` goes out before the welcome, in one write with it.
    fn new(
        open: Open,
        outbox: Arc<Outbox>,
        link: Link,
        opening: Opening,
        mut before: Vec<u8>,
        early: Vec<u8>,
    ) -> Box<Self> {
        let Opening { identity, deflate, .. } = opening;
        let config = &open.app().config;
        let limits = open.app().limits();
        let limits = ws::Limits { message: limits.message, frame: limits.message, fragments: limits.fragments };
        let heartbeat = config.websocket.heartbeat;
        let welcome = Answer::Welcome {
            client: outbox.client(),
            user: identity.user.as_ref().map(Name::as_str),
            heartbeat_ms: u64::try_from(heartbeat.as_millis()).unwrap_or(u64::MAX),
            timestamp: now_ms(),
        };
        before.extend_from_slice(&encoded(&outbox, &welcome));
        outbox.push(before.into());
        Box::new(Self {
            session: Session::new(open, outbox, Transport::WebSocket, identity, heartbeat),
            decoder: Decoder::new(limits, deflate),
            under_way: UnderWay::default(),
            link,
            early,
            heard: true,
            unfinished: false,
        })
    }
}

/// What decoding came upon.
enum Stop {
    /// A request has to wait; what follows it was put aside.
    Wait(Waiting),
    /// Nothing follows.
    End(End),
}

/// Why the loop ends.
enum End {
    /// The client closes, or broke the protocol: send this close frame and close (RFC 6455 §5.5.1 and §7.1.7).
    Answer(u16, String),
    /// The server closes: send this close frame and wait for the client's.
    Close(u16, String),
    /// The peer is gone.
    Gone,
}

impl End {
    fn why(&self) -> Ending {
        match self {
            // The peer's own code comes back to it without a reason.
            Self::Answer(_, reason) if reason.is_empty() => Ending::Client,
            Self::Answer(1009, _) => Ending::TooLarge,
            Self::Answer(..) => Ending::Protocol,
            Self::Close(close::SILENT, _) => Ending::Silent,
            Self::Close(close::UNFINISHED, _) => Ending::Unfinished,
            Self::Close(close::UNAUTHORIZED, _) => Ending::Unauthorized,
            Self::Close(close::ABUSE, _) => Ending::Abuse,
            Self::Close(close::SERVICE_RESTART, _) => Ending::Shutdown,
            Self::Close(..) => Ending::Application,
            Self::Gone => Ending::Gone,
        }
    }
}

impl Connection {
    /// Boxed, and with every long wait boxed that is not *the* wait: a future is as large as its largest part, and an
    /// idle connection costs what its future costs.
    async fn run(mut self: Box<Self>) {
        // Every native client hears what goes to all, from the welcome on.
        let all = RoomName::parse("all").expect("a word is a name");
        if Box::pin(self.session.join(&all, false)).await.is_ok() {
            self.session.follow(&all, None);
        }
        let end = loop {
            if let Err(end) = self.turn().await {
                break end;
            }
        };
        let client = self.session.outbox.client().clone();
        let (code, by) = match &end {
            End::Answer(code, _) => (Some(*code), "by_client"),
            End::Close(code, _) => (Some(*code), "by_server"),
            End::Gone => (None, "peer_gone"),
        };
        self.session.app.note_closing(&self.session.outbox, code, by);
        self.session.ending = end.why();
        match end {
            End::Answer(code, reason) => {
                tracing::debug!(connection = %client, code, %reason, "closed");
                Box::pin(self.close(code, reason, Handshake::Done)).await;
            }
            End::Close(code, reason) => {
                tracing::debug!(connection = %client, code, %reason, "closing");
                Box::pin(self.close(code, reason, Handshake::Open)).await;
            }
            End::Gone => {}
        }
    }

    /// One round of the loop. What can wake it: bytes from the peer, room in its socket, a notice (behind, heartbeat,
    /// shutdown), a publish that was answered, the end of a pause in reading a log.
    async fn turn(&mut self) -> Result<(), End> {
        match self.session.attend() {
            Some(Attention::Shutdown) => {
                let end = self.say_goodbye();
                // What the client has asked before is answered before the close.
                Box::pin(self.under_way.clone().settled()).await;
                return Err(end);
            }
            Some(Attention::Heartbeat) => self.heartbeat()?,
            Some(Attention::Due) => self.look_again()?,
            // Native clients never insist, for they are told of what a room has lost: it is the memory.
            Some(Attention::Overflow) => {
                let reason = "the client reads too slowly, and the server needs the memory";
                return Err(End::Close(close::TRY_AGAIN_LATER, reason.into()));
            }
            None => {}
        }
        self.session.outbox.flush();
        if !self.early.is_empty() && self.may_read() && !self.session.outbox.is_blocked() {
            relieved(&self.session.app).await;
            let mut early = std::mem::take(&mut self.early);
            let stop = self.decode(&mut early);
            return self.after(stop).await;
        }
        if self.session.is_behind()
            && let Some(cursor) = Box::pin(self.session.page(encode)).await
        {
            cursor.live();
        }
        // What was put aside comes before what follows it on the wire.
        let reading = self.may_read() && self.early.is_empty();
        match self.session.wait(&mut self.link, reading).await {
            Ok(Woke::Told) => Ok(()),
            Ok(Woke::Readable) => {
                relieved(&self.session.app).await;
                let stop = self.read()?;
                self.after(stop).await
            }
            Err(_) => Err(End::Gone),
        }
    }

    /// A peer that has too much under way is not read further.
    fn may_read(&self) -> bool {
        self.under_way.count() < self.session.app.limits().publishes
    }

    fn read(&mut self) -> Result<Option<Stop>, End> {
        let mut link = std::mem::replace(&mut self.link, Link::Socket);
        let outbox = Arc::clone(&self.session.outbox);
        let read = link.read(&outbox, |arrived| self.decode(arrived));
        self.link = link;
        match read {
            Ok(Some(stop)) => Ok(stop),
            Ok(None) => Err(End::Gone),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(_) => Err(End::Gone),
        }
    }

    async fn after(&mut self, stop: Option<Stop>) -> Result<(), End> {
        match stop {
            None | Some(Stop::Wait(Waiting::Room)) => {}
            Some(Stop::End(end)) => return Err(end),
            Some(Stop::Wait(Waiting::Join { reference, room, since, echo })) => {
                // What came before the join is answered before it: its room may take a while.
                self.session.outbox.flush();
                // Boxed: an idle session does not carry the room for this.
                Box::pin(dispatch::join(&mut self.session, reference.as_deref(), &room, since, echo)).await;
            }
            Some(Stop::Wait(Waiting::Decision { reference, drafted, decision })) => {
                self.session.outbox.flush();
                Box::pin(dispatch::decide(&self.session, &self.under_way, reference, *drafted, decision)).await;
            }
            Some(Stop::Wait(Waiting::Call { reference, call, decision })) => {
                self.session.outbox.flush();
                Box::pin(dispatch::answer(&self.session, &self.under_way, reference, *call, decision)).await;
            }
        }
        Ok(())
    }

    /// Takes in what arrived; what has to wait, and what follows it, is put aside.
    fn decode(&mut self, arrived: &mut [u8]) -> Option<Stop> {
        self.heard = true;
        self.session.outbox.hold();
        let mut rest = arrived;
        loop {
            let (used, stop) = match self.decoder.decode(rest) {
                Ok((_, None)) => return None,
                Ok((used, Some(event))) => {
                    if matches!(event, Event::Text(_) | Event::Binary(_)) {
                        self.unfinished = false;
                    }
                    (used, on_event(&mut self.session, &self.under_way, event))
                }
                Err(violation) => return Some(violated(violation)),
            };
            rest = &mut rest[used..];
            if stop.is_some() {
                self.early.extend_from_slice(rest);
                return stop;
            }
        }
    }

    /// The client's token may be over, or be so soon.
    fn look_again(&self) -> Result<(), End> {
        match self.session.standing(&self.session.identity) {
            Standing::Good(_) => Ok(()),
            Standing::Expiring(expires_at, _) => {
                let outbox = &self.session.outbox;
                outbox.push(encoded(outbox, &Answer::Expiring { expires_at }));
                Ok(())
            }
            Standing::Over(refusal) => {
                let outbox = &self.session.outbox;
                outbox.push(dispatch::refused(outbox, None, &refusal));
                Err(End::Close(close::UNAUTHORIZED, refusal.sentence))
            }
        }
    }

    fn heartbeat(&mut self) -> Result<(), End> {
        // Who does not take what is queued is not read: that it takes some of it is its sign of life.
        let outbox = &self.session.outbox;
        let taking = outbox.has_moved() && outbox.is_blocked();
        if !std::mem::replace(&mut self.heard, false) && !taking {
            return Err(End::Close(close::SILENT, "no sign of life since the last heartbeat".into()));
        }
        let unfinished = self.decoder.is_mid_message();
        if std::mem::replace(&mut self.unfinished, unfinished) && unfinished {
            return Err(End::Close(close::UNFINISHED, "a message was left unfinished for too long".into()));
        }
        let positions = self.session.positions();
        if !positions.is_empty() {
            let rooms: Vec<_> = positions.iter().map(|(room, position)| (room.as_str(), &**position)).collect();
            let outbox = &self.session.outbox;
            outbox.push(encoded(outbox, &Answer::Positions { rooms: &rooms }));
        }
        self.session.outbox.push(ws::ping(b""));
        Ok(())
    }

    fn say_goodbye(&self) -> End {
        let outbox = &self.session.outbox;
        let reconnect_delay_ms = self.session.app.reconnect_delay_ms(outbox.number());
        outbox.push(encoded(outbox, &Answer::Shutdown { reconnect_delay_ms }));
        outbox.flush();
        End::Close(close::SERVICE_RESTART, Answer::SHUTDOWN.into())
    }

    /// Says why, finishes the closing handshake and lets the connection go (RFC 6455 §7.1.1).
    async fn close(self, code: u16, reason: String, handshake: Handshake) {
        const PATIENCE: Duration = Duration::from_secs(5);
        let outbox = Arc::clone(&self.session.outbox);
        outbox.seal(ws::close(code, &reason));
        let Self { session, mut decoder, mut link, .. } = self;
        let farewell = async {
            link.drain(&outbox).await?;
            if handshake == Handshake::Open {
                await_close(&mut link, &outbox, &mut decoder).await?;
            }
            link.finish(&outbox).await;
            // Until the peer closes too: a close with bytes unread would reset the connection, and destroy what the
            // peer has not read yet.
            while receive(&mut link, &outbox, |_| ()).await?.is_some() {}
            io::Result::Ok(())
        };
        // Whether it ended well or not, it ends.
        let _ = tokio::time::timeout(PATIENCE, farewell).await;
        drop(session);
    }
}

/// Waits while the shards have too much to do: nothing is taken in meanwhile.
async fn relieved(app: &App) {
    if app.hub.is_pressed() {
        Box::pin(app.hub.relieved()).await;
    }
}

/// How far the closing handshake is.
#[derive(PartialEq)]
enum Handshake {
    /// The peer has still to answer.
    Open,
    /// The peer has closed, or is not listened to any more.
    Done,
}

async fn await_close(link: &mut Link, outbox: &Outbox, decoder: &mut Decoder) -> io::Result<()> {
    loop {
        let closed = receive(link, outbox, |mut rest| {
            loop {
                match decoder.decode(rest) {
                    Ok((_, None)) => return false,
                    Ok((_, Some(Event::Close(_)))) | Err(_) => return true,
                    Ok((used, Some(_))) => rest = &mut rest[used..],
                }
            }
        });
        if closed.await?.unwrap_or(true) {
            return Ok(());
        }
    }
}

/// Waits for bytes and gives them to `eat`; none at the end of the stream.
async fn receive<R>(link: &mut Link, outbox: &Outbox, mut eat: impl FnMut(&mut [u8]) -> R) -> io::Result<Option<R>> {
    loop {
        if link.wait(outbox, true).await? == Woke::Readable {
            match link.read(outbox, &mut eat) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return read,
            }
        }
    }
}

/// Acts on one event; the peer's close is answered with its own code (RFC 6455 §5.5.1).
fn on_event(session: &mut Session, under_way: &UnderWay, event: Event<'_>) -> Option<Stop> {
    match event {
        Event::Text(text) => hear(session, under_way, Data::Text(text)),
        Event::Binary(bytes) => hear(session, under_way, Data::Binary(bytes)),
        Event::Ping(payload) => {
            session.outbox.push(ws::pong(payload));
            None
        }
        Event::Pong(_) => None,
        Event::Close(frame) => {
            let code = frame.map_or(close::NORMAL, |frame| frame.code);
            Some(Stop::End(End::Answer(code, String::new())))
        }
    }
}

fn hear(session: &mut Session, under_way: &UnderWay, data: Data<'_>) -> Option<Stop> {
    let syntax = wires::syntax(session.outbox.wire());
    let waiting = syntax.read(data, |reference, request| dispatch(session, under_way, reference, request));
    if session.is_abused() {
        return Some(Stop::End(End::Close(close::ABUSE, "Rate limit exceeded".into())));
    }
    waiting.map(Stop::Wait)
}

fn violated(violation: Violation) -> Stop {
    Stop::End(End::Answer(violation.close_code(), violation.to_string()))
}

/// What is owed to a reader that pages the log.
fn encode(app: &App, wire: Wire, _: Dialect, owed: Owed<'_>) -> bytes::Bytes {
    match owed {
        Owed::Message(message) => app.hub.frame(message, wire, Dialect::default()),
        Owed::Gap(room, from, to) => {
            let (to, epoch) = (to.seq.0, to.epoch.as_str());
            Answer::Gap { room: room.as_str(), from, to, epoch }.encode(wires::syntax(wire))
        }
    }
}

#[cfg(test)]
mod tests;
