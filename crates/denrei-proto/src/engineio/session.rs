//! One session of an engine: what is answered when, and when it ends.
//!
//! The session decides and owns no packet. The connection's outbox keeps what is to be sent: as WebSocket frames, or as
//! [records](super::Record) while the client polls. Requests are tokens `R` of the driver's choice, such as the sender
//! that answers them; each goes in once and comes out once in an [`Output::Answer`], except for one that its client
//! aborted, which is dropped.
//!
//! | state | a GET | a POST | a probe's `5` | [`close`](Session::close) | ends by |
//! |---|---|---|---|---|---|
//! | open, polling | waits; a second one ends both | one at a time; a second one ends both | to WebSocket | to closing, or ends if a GET waits | heartbeat, aborted request, packets |
//! | open, WebSocket | refused, code 3 | refused, code 3 | refused to begin with | ends | heartbeat, its WebSocket, packets |
//! | closing (polling) | told to close, ends | taken, ignored | to WebSocket, ends | – | 30 s without a GET |
//! | closed | refused, code 1 | refused, code 1 | refused to begin with | – | – |
//!
//! A driver is this loop:
//!
//! 1. Give the session what has happened, with the time, and do its [`Outputs`] one after another until there are none.
//! 2. If the outbox holds something: on [`Transport::WebSocket`] write it, else [`flush`](Session::flush) and do those
//!    outputs too.
//! 3. Wait for the next thing to happen, at most until [`deadline`](Session::deadline), where
//!    [`tick`](Session::tick) is what happens.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::time::Duration;

use thiserror::Error;

use super::{Answer, Body, Packet, Packets, Rejection, Transport, Version};

/// How a session behaves. `Default` is Node's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// What the client speaks. Default v4.
    pub version: Version,
    /// From the opening, and from each pong, to the next ping. Default 25 s.
    pub ping_interval: Duration,
    /// How long a pong may take. Default 20 s. A v3 client pings itself, and has this and the interval for it.
    pub ping_timeout: Duration,
    /// How long a probe may take to become the transport. Default 10 s.
    pub upgrade_timeout: Duration,
    /// Whether a WebSocket may replace polling. Default true.
    pub allow_upgrades: bool,
    /// Packets in the body of one POST. Default 16,384.
    pub payload_packets: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            version: Version::V4,
            ping_interval: Duration::from_secs(25),
            ping_timeout: Duration::from_secs(20),
            upgrade_timeout: Duration::from_secs(10),
            allow_upgrades: true,
            payload_packets: 16_384,
        }
    }
}

/// Something to do, in the order in which it comes.
#[derive(Debug, PartialEq, Eq)]
pub enum Output<'a, R> {
    /// A message for Socket.IO. If it cannot be understood, [`Outputs::close`].
    Message(Message<'a>),
    /// A ping or pong for the outbox, behind what is there.
    Queue(Packet<'static>),
    /// Answers a request; see [`Answer::respond`].
    Answer(R, Answer),
    /// Send `3probe` on the probe.
    Probed,
    /// The probe is the WebSocket from now on. What the outbox holds as records goes out first, as frames.
    Upgraded,
    /// Close the probe. The session goes on.
    CloseProbe,
    /// The session is over: write what can still be written, close its WebSocket and its probe, forget its id. Nothing
    /// comes after it but refusals of requests that come too late.
    Closed(Reason),
}

/// What a client says to Socket.IO.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// The text behind the `4`.
    Text(&'a str),
    /// Binary data.
    Binary(Cow<'a, [u8]>),
}

/// Why a session ended, in Node's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// A request was aborted, overlapped another, or a packet came that must not: `transport error`.
    TransportError,
    /// The client closed: `transport close`.
    TransportClose,
    /// The client was silent: `ping timeout`.
    PingTimeout,
    /// The application closed: `forced close`.
    ForcedClose,
    /// What came was no packet: `parse error`.
    ParseError,
}

impl Reason {
    /// As Node's handlers see it.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::TransportError => "transport error",
            Reason::TransportClose => "transport close",
            Reason::PingTimeout => "ping timeout",
            Reason::ForcedClose => "forced close",
            Reason::ParseError => "parse error",
        }
    }
}

/// A WebSocket may not become the session's: it has one already, or another one is trying. Close it; the session goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("session has a WebSocket, or another one that is trying")]
pub struct ProbeRefused;

/// The state of one session. Time is a duration since any moment that stays the same.
#[derive(Debug)]
pub struct Session<R> {
    config: Config,
    transport: Transport,
    state: State,
    heartbeat: Heartbeat,
    /// The GET that waits.
    get: Option<R>,
    post: Option<Post<R>>,
    probe: Option<Probe>,
    /// What is to be done before anything else.
    outputs: VecDeque<Output<'static, R>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    /// The application has closed, and the client hears of it with its next GET.
    Closing {
        until: Duration,
    },
    Closed,
}

/// Deadlines are counted from when things were due, not from when a timer woke: the official suite sleeps exactly one
/// interval and one timeout.
#[derive(Clone, Copy, Debug)]
enum Heartbeat {
    /// v4: the next ping.
    Ping { at: Duration },
    /// v4: a ping was sent.
    Pong { until: Duration, refreshed: bool },
    /// v3: the client's next ping.
    Client { until: Duration },
}

#[derive(Debug)]
struct Post<R> {
    request: R,
    /// What is left of it to be answered is only that it was taken.
    read: bool,
}

#[derive(Clone, Copy, Debug)]
struct Probe {
    until: Duration,
    /// Since it was heard of: when to end a poll that waits, so that the client can stop polling.
    noop_at: Option<Duration>,
}

/// How often a poll is ended while a probe is under way. Once is not enough: the client may poll again before it hears
/// of it (socketioxide #479, #487, #497).
const NOOP_INTERVAL: Duration = Duration::from_millis(100);

/// How long a client that polls has to come for the close packet.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(30);

impl<R> Session<R> {
    /// A session that has just been opened. The open packet is the first in its outbox; on
    /// [`Transport::Polling`] the GET that opened it is its first [`get`](Session::get).
    pub fn new(config: Config, transport: Transport, now: Duration) -> Self {
        let heartbeat = match config.version {
            Version::V4 => Heartbeat::Ping { at: now + config.ping_interval },
            Version::V3 => Heartbeat::Client { until: now + config.ping_interval + config.ping_timeout },
        };
        let outputs = VecDeque::new();
        Self { config, transport, state: State::Open, heartbeat, get: None, post: None, probe: None, outputs }
    }

    /// What the client speaks.
    pub fn version(&self) -> Version {
        self.config.version
    }

    /// How packets travel now.
    pub fn transport(&self) -> Transport {
        self.transport
    }

    /// Says whether a GET waits.
    pub fn is_polled(&self) -> bool {
        self.get.is_some()
    }

    /// Says whether nothing can be sent or received any more, though the client may not know it yet.
    pub fn is_ending(&self) -> bool {
        self.state != State::Open
    }

    /// Says whether [`Output::Closed`] has come, or comes with the next outputs.
    pub fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    /// When [`tick`](Session::tick) is wanted next; `None` when never.
    pub fn deadline(&self) -> Option<Duration> {
        let session = match self.state {
            State::Closed => return None,
            State::Closing { until } => until,
            State::Open => match self.heartbeat {
                Heartbeat::Ping { at } => at,
                Heartbeat::Pong { until, .. } | Heartbeat::Client { until } => until,
            },
        };
        let Some(probe) = self.probe else { return Some(session) };
        let noop = probe.noop_at.filter(|_| self.get.is_some());
        Some(session.min(probe.until).min(noop.unwrap_or(probe.until)))
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Duration) -> Outputs<'_, 'static, R> {
        match self.state {
            State::Open => self.beat(now),
            State::Closing { until } if now >= until => self.end(Reason::ForcedClose, Answer::Close),
            State::Closing { .. } | State::Closed => {}
        }
        if let Some(probe) = &mut self.probe {
            if now >= probe.until {
                self.probe = None;
                self.outputs.push_back(Output::CloseProbe);
            } else if probe.noop_at.is_some_and(|at| now >= at)
                && let Some(get) = self.get.take()
            {
                probe.noop_at = Some(now + NOOP_INTERVAL);
                self.outputs.push_back(Output::Answer(get, Answer::Queued));
            }
        }
        self.outputs(now)
    }

    /// What the client says is not read at the moment: its silence is not its own. It is pinged on, or it would believe
    /// us gone.
    pub fn excuse(&mut self, now: Duration) {
        let interval = self.config.ping_interval;
        self.heartbeat = match self.heartbeat {
            Heartbeat::Ping { at } => Heartbeat::Ping { at },
            Heartbeat::Pong { .. } => Heartbeat::Ping { at: now + interval },
            Heartbeat::Client { .. } => Heartbeat::Client { until: now + interval + self.config.ping_timeout },
        };
    }

    /// A GET has come.
    pub fn get(&mut self, now: Duration, request: R) -> Outputs<'_, 'static, R> {
        match (self.state, self.transport) {
            (State::Closed, _) => self.answer(request, Answer::Refused(Rejection::UnknownSession)),
            (_, Transport::WebSocket) => self.answer(request, Answer::Refused(Rejection::BadRequest)),
            (State::Open | State::Closing { .. }, _) if self.get.is_some() => {
                self.answer(request, Answer::Bad);
                self.end(Reason::TransportError, Answer::Close);
            }
            (State::Open, _) => self.get = Some(request),
            (State::Closing { .. }, _) => {
                self.get = Some(request);
                self.end(Reason::ForcedClose, Answer::Close);
            }
        }
        self.outputs(now)
    }

    /// A POST has come; its body follows with [`body`](Session::body), [`too_big`](Session::too_big) or
    /// [`aborted`](Session::aborted).
    pub fn post(&mut self, now: Duration, request: R) -> Outputs<'_, 'static, R> {
        if self.state == State::Closed {
            self.answer(request, Answer::Refused(Rejection::UnknownSession));
        } else if self.transport == Transport::WebSocket {
            self.answer(request, Answer::Refused(Rejection::BadRequest));
        } else if self.post.is_some() {
            self.answer(request, Answer::Bad);
            self.end(Reason::TransportError, Answer::Close);
        } else {
            self.post = Some(Post { request, read: false });
        }
        self.outputs(now)
    }

    /// The body of the POST is here. Without a POST it is ignored: that one has been answered.
    pub fn body<'a>(&mut self, now: Duration, body: Body<'a>) -> Outputs<'_, 'a, R> {
        let Some(post) = self.post.as_mut().filter(|post| !post.read) else { return self.outputs(now) };
        if matches!(body, Body::Binary(_)) && self.config.version == Version::V4 {
            self.end(Reason::TransportError, Answer::Close);
            return self.outputs(now);
        }
        post.read = true;
        let packets = Packets::new(self.config.version, body, self.config.payload_packets);
        Outputs { session: self, now, source: Source::Payload(packets) }
    }

    /// The body of the POST exceeds the limit: Node answers and goes on.
    pub fn too_big(&mut self, now: Duration) -> Outputs<'_, 'static, R> {
        if let Some(post) = self.post.take_if(|post| !post.read) {
            self.answer(post.request, Answer::TooBig);
        }
        self.outputs(now)
    }

    /// Clients have gone away from requests: `gone` says of a request that is not answered yet whether its did.
    pub fn aborted(&mut self, now: Duration, gone: impl Fn(&R) -> bool) -> Outputs<'_, 'static, R> {
        let get = self.get.take_if(|get| gone(get));
        let post = self.post.take_if(|post| gone(&post.request));
        if get.is_some() || post.is_some() {
            self.end(Reason::TransportError, Answer::Close);
        }
        self.outputs(now)
    }

    /// Something waits in the outbox: ends the poll that waits for it, if one does.
    pub fn flush(&mut self, now: Duration) -> Outputs<'_, 'static, R> {
        if let Some(get) = self.get.take() {
            self.answer(get, Answer::Queued);
        }
        self.outputs(now)
    }

    /// A text message has come by the session's WebSocket.
    pub fn text<'a>(&mut self, now: Duration, text: &'a str) -> Outputs<'_, 'a, R> {
        let packet = Packet::decode_text(text, self.config.version);
        self.websocket(now, packet.ok())
    }

    /// A binary message has come by the session's WebSocket.
    pub fn binary<'a>(&mut self, now: Duration, data: &'a [u8]) -> Outputs<'_, 'a, R> {
        let packet = Packet::decode_binary(data, self.config.version);
        self.websocket(now, packet.ok())
    }

    /// The session's WebSocket was closed by the client.
    pub fn websocket_closed(&mut self, now: Duration) -> Outputs<'_, 'static, R> {
        self.websocket_lost(now, Reason::TransportClose)
    }

    /// The session's WebSocket failed, or its client broke RFC 6455 or a limit.
    pub fn websocket_failed(&mut self, now: Duration) -> Outputs<'_, 'static, R> {
        self.websocket_lost(now, Reason::TransportError)
    }

    /// A WebSocket has come with the session's id.
    ///
    /// # Errors
    ///
    /// Close that WebSocket.
    pub fn probe(&mut self, now: Duration) -> Result<(), ProbeRefused> {
        let free = self.transport == Transport::Polling && self.probe.is_none() && self.config.allow_upgrades;
        if !free || self.state == State::Closed {
            return Err(ProbeRefused);
        }
        self.probe = Some(Probe { until: now + self.config.upgrade_timeout, noop_at: None });
        Ok(())
    }

    /// A text message has come by the probe.
    pub fn probe_text(&mut self, now: Duration, text: &str) -> Outputs<'_, 'static, R> {
        let Some(probe) = &mut self.probe else { return self.outputs(now) };
        match Packet::decode_text(text, self.config.version) {
            Ok(Packet::Ping("probe")) => {
                probe.noop_at = Some(now + NOOP_INTERVAL);
                self.outputs.push_back(Output::Probed);
            }
            Ok(Packet::Upgrade) => self.upgrade(now),
            _ => self.probe_is_wrong(),
        }
        self.outputs(now)
    }

    /// A binary message has come by the probe, where none belongs.
    pub fn probe_binary(&mut self, now: Duration) -> Outputs<'_, 'static, R> {
        if self.probe.is_some() {
            self.probe_is_wrong();
        }
        self.outputs(now)
    }

    /// The probe was closed, or failed. The session goes on. Said when all that is to be done is done, or the probe may
    /// have become the session's WebSocket.
    pub fn probe_closed(&mut self) {
        self.probe = None;
    }

    /// The application closes. A client that polls is told with its next GET, within 30 s.
    pub fn close(&mut self, now: Duration) -> Outputs<'_, 'static, R> {
        if self.state == State::Open {
            if self.transport == Transport::WebSocket || self.get.is_some() {
                self.end(Reason::ForcedClose, Answer::Close);
            } else {
                self.state = State::Closing { until: now + CLOSE_TIMEOUT };
            }
        }
        self.outputs(now)
    }

    fn outputs(&mut self, now: Duration) -> Outputs<'_, 'static, R> {
        Outputs { session: self, now, source: Source::Nothing }
    }

    fn answer(&mut self, request: R, answer: Answer) {
        self.outputs.push_back(Output::Answer(request, answer));
    }

    fn beat(&mut self, now: Duration) {
        match self.heartbeat {
            Heartbeat::Ping { at } if now >= at => {
                // A client is not to pay for a server that slept: then it has the whole time from now on.
                let timeout = self.config.ping_timeout;
                let from = if now - at > timeout / 2 { now } else { at };
                self.heartbeat = Heartbeat::Pong { until: from + timeout, refreshed: false };
                self.outputs.push_back(Output::Queue(Packet::Ping("")));
            }
            Heartbeat::Pong { until, .. } | Heartbeat::Client { until } if now >= until => {
                self.end(Reason::PingTimeout, Answer::Close);
            }
            Heartbeat::Ping { .. } | Heartbeat::Pong { .. } | Heartbeat::Client { .. } => {}
        }
    }

    /// A client that sends something while its pong is awaited has the whole time again, once (engine.io 6.6.10, #5450).
    fn heard(&mut self, now: Duration) {
        if let Heartbeat::Pong { until, refreshed: refreshed @ false } = &mut self.heartbeat {
            *until = now + self.config.ping_timeout;
            *refreshed = true;
        }
    }

    fn websocket<'a>(&mut self, now: Duration, packet: Option<Packet<'a>>) -> Outputs<'_, 'a, R> {
        let mut source = Source::Nothing;
        if self.transport == Transport::WebSocket {
            match packet {
                Some(packet) => source = self.packet(now, packet).map_or(Source::Nothing, Source::Message),
                None => self.end(Reason::ParseError, Answer::Close),
            }
        }
        Outputs { session: self, now, source }
    }

    fn websocket_lost(&mut self, now: Duration, reason: Reason) -> Outputs<'_, 'static, R> {
        if self.transport == Transport::WebSocket {
            self.end(reason, Answer::Close);
        }
        self.outputs(now)
    }

    /// Takes a packet by whatever transport, and gives back what is a message.
    fn packet<'a>(&mut self, now: Duration, packet: Packet<'a>) -> Option<Message<'a>> {
        if self.state != State::Open {
            return None;
        }
        let version = self.config.version;
        if !matches!(packet, Packet::Pong(_)) {
            self.heard(now);
        }
        match (packet, version) {
            (Packet::Text(text), _) => return Some(Message::Text(text)),
            (Packet::Binary(data), _) => return Some(Message::Binary(data)),
            (Packet::Close, _) => {
                // The client has said its last word, so there is nothing to tell its poll.
                self.end(Reason::TransportClose, Answer::Noop);
            }
            (Packet::Pong(_), Version::V4) => {
                if let Heartbeat::Pong { .. } = self.heartbeat {
                    self.heartbeat = Heartbeat::Ping { at: now + self.config.ping_interval };
                }
            }
            (Packet::Ping(_), Version::V3) => {
                let until = now + self.config.ping_interval + self.config.ping_timeout;
                self.heartbeat = Heartbeat::Client { until };
                self.outputs.push_back(Output::Queue(Packet::Pong("")));
            }
            // The heartbeat goes one way.
            (Packet::Ping(_), Version::V4) | (Packet::Pong(_), Version::V3) => {
                self.end(Reason::TransportError, Answer::Close);
            }
            (Packet::Open(_) | Packet::Upgrade | Packet::Noop, _) => {}
        }
        None
    }

    fn upgrade(&mut self, now: Duration) {
        self.probe = None;
        self.transport = Transport::WebSocket;
        // The client has stopped polling. If it did not, what is queued goes by the WebSocket none the less.
        if let Some(get) = self.get.take() {
            self.answer(get, Answer::Noop);
        }
        self.outputs.push_back(Output::Upgraded);
        self.heard(now);
        if let State::Closing { .. } = self.state {
            self.end(Reason::ForcedClose, Answer::Close);
        }
    }

    fn probe_is_wrong(&mut self) {
        self.probe = None;
        self.outputs.push_back(Output::CloseProbe);
    }

    /// Answers what waits for an answer, the GET with `last`, and closes.
    fn end(&mut self, reason: Reason, last: Answer) {
        if self.state == State::Closed {
            return;
        }
        self.state = State::Closed;
        self.probe = None;
        if let Some(get) = self.get.take() {
            self.answer(get, last);
        }
        if let Some(Post { request, read }) = self.post.take() {
            self.answer(request, if read && reason != Reason::ParseError { Answer::Received } else { Answer::Bad });
        }
        self.outputs.push_back(Output::Closed(reason));
    }
}

/// What is to be done, one thing after another. Packets of a payload are read as they are asked for, so that closing
/// on one of them leaves those behind it unread.
///
/// Dropped early it forgets the messages of the payload that were not taken, and nothing else: what is left to do comes
/// with the next outputs.
#[derive(Debug)]
#[must_use = "what is not done keeps a client waiting"]
pub struct Outputs<'s, 'a, R> {
    session: &'s mut Session<R>,
    now: Duration,
    source: Source<'a>,
}

#[derive(Debug)]
enum Source<'a> {
    Nothing,
    Message(Message<'a>),
    Payload(Packets<'a>),
}

impl<R> Outputs<'_, '_, R> {
    /// Closes the session in the middle of it: Socket.IO did not understand the message that has just come.
    pub fn close(&mut self) {
        drop(self.session.close(self.now));
    }
}

impl<'a, R> Outputs<'_, 'a, R> {
    /// Goes on with what came, until there is a message or nothing left.
    fn message(&mut self) -> Option<Message<'a>> {
        match std::mem::replace(&mut self.source, Source::Nothing) {
            Source::Nothing => None,
            Source::Message(message) => Some(message),
            Source::Payload(mut packets) => {
                let packet = if self.session.state == State::Open { packets.next() } else { None };
                match packet {
                    None => {
                        if let Some(post) = self.session.post.take() {
                            self.session.answer(post.request, Answer::Received);
                        }
                        None
                    }
                    Some(Err(_)) => {
                        self.session.end(Reason::ParseError, Answer::Close);
                        None
                    }
                    Some(Ok(packet)) => {
                        self.source = Source::Payload(packets);
                        self.session.packet(self.now, packet)
                    }
                }
            }
        }
    }
}

impl<'a, R> Iterator for Outputs<'_, 'a, R> {
    type Item = Output<'a, R>;

    fn next(&mut self) -> Option<Output<'a, R>> {
        loop {
            if let Some(output) = self.session.outputs.pop_front() {
                return Some(output);
            }
            if let Source::Nothing = self.source {
                // Sessions are idle most of the time, and many.
                self.session.outputs = VecDeque::new();
                return None;
            }
            if let Some(message) = self.message() {
                return Some(Output::Message(message));
            }
        }
    }
}

impl<R> Drop for Outputs<'_, '_, R> {
    fn drop(&mut self) {
        while let Source::Payload(_) = self.source {
            self.message();
        }
    }
}
