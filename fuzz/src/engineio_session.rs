//! An Engine.IO session to which anything happens at any time.

use std::collections::BTreeMap;
use std::time::Duration;

use denrei_proto::engineio::{
    Answer, Body, Config, Output, Outputs, Packet, ProbeRefused, Rejection, Session, Transport, Version,
};

/// The first line is the version (`3`, else 4), the transport (`w` for a WebSocket, else polling) and anything else for
/// a server without upgrades. Then an event per line: a letter, and what it is about.
///
/// | line | event | line | event |
/// |---|---|---|---|
/// | `g` | a GET | `t…`, `T…` | text, or binary, by the WebSocket |
/// | `p` | a POST | `w`, `W` | the WebSocket was closed, has failed |
/// | `b…`, `B…` | a body of text, or binary | `o` | a WebSocket wants to be the probe |
/// | `x` | a body that is too big | `u…`, `U` | text, or binary, by the probe |
/// | `a1` | the client of request 1 has gone | `c` | the probe was closed |
/// | `f` | there is something to send | `z` | the application closes |
/// | `+20` | 20 ms pass | `e` | it closes on the next message |
/// | `.`, `!` | a tick, one at the deadline | `i` | the driver does one output of the next event, and stops |
pub fn run(data: &[u8]) {
    let mut lines = data.split(|&byte| byte == b'\n');
    let head = lines.next().unwrap_or_default();
    let version = if head.first() == Some(&b'3') { Version::V3 } else { Version::V4 };
    let transport = if head.get(1) == Some(&b'w') { Transport::WebSocket } else { Transport::Polling };
    let mut world = World::new(version, transport, head.len() <= 2);
    for line in lines.take(MOST) {
        if let Some((&letter, about)) = line.split_first() {
            world.event(letter, about);
        }
    }
    world.silence();
}

/// Events of one input.
const MOST: usize = 200;

const INTERVAL: Duration = Duration::from_millis(300);
const TIMEOUT: Duration = Duration::from_millis(200);
/// Nothing is waited for longer: it is for the last GET of a session that closes.
const LONGEST: Duration = Duration::from_secs(30);

/// A session and its driver.
struct World {
    session: Session<u32>,
    version: Version,
    now: Duration,
    close_on_message: bool,
    stop_after_one: bool,
    /// There may be outputs that were not done.
    stopped: bool,
    law: Law,
}

impl World {
    fn new(version: Version, transport: Transport, allow_upgrades: bool) -> Self {
        let config = Config {
            version,
            ping_interval: INTERVAL,
            ping_timeout: TIMEOUT,
            upgrade_timeout: Duration::from_secs(1),
            allow_upgrades,
            payload_packets: 5,
        };
        let session = Session::new(config, transport, Duration::ZERO);
        let law = Law::new(allow_upgrades, transport);
        let now = Duration::ZERO;
        Self { session, version, now, close_on_message: false, stop_after_one: false, stopped: false, law }
    }

    fn event(&mut self, letter: u8, about: &[u8]) {
        if matches!(letter, b'o' | b'c') && self.stopped {
            // These have no outputs, with which the rest could come.
            let stop = std::mem::take(&mut self.stop_after_one);
            self.event(b'.', b"");
            self.stop_after_one = stop;
        }
        let Self { session, law, .. } = self;
        let mut now = self.now;
        let text = std::str::from_utf8(about).unwrap_or_default();
        let number = text
            .bytes()
            .take(5)
            .try_fold(0u64, |sum, byte| byte.is_ascii_digit().then(|| sum * 10 + u64::from(byte - b'0')));
        let number = number.unwrap_or_default();
        law.may_bring_messages = matches!(letter, b'b' | b'B' | b't' | b'T') && !session.is_ending();
        let outputs = match letter {
            b'g' => session.get(now, law.request(Kind::Get)),
            b'p' => session.post(now, law.request(Kind::Post)),
            b'b' => session.body(now, Body::Text(about)),
            b'B' => session.body(now, Body::Binary(about)),
            b'x' => session.too_big(now),
            b'a' => {
                let gone = number as u32;
                law.abort(gone);
                session.aborted(now, |&request| request == gone)
            }
            b'f' => session.flush(now),
            b't' => session.text(now, text),
            b'T' => session.binary(now, about),
            b'w' => session.websocket_closed(now),
            b'W' => session.websocket_failed(now),
            b'u' => session.probe_text(now, text),
            b'U' => session.probe_binary(now),
            b'z' => session.close(now),
            b'.' => session.tick(now),
            b'!' => {
                now = session.deadline().map_or(now, |deadline| deadline.max(now));
                self.now = now;
                session.tick(now)
            }
            b'o' => return law.probe(session.probe(now), session.is_closed()),
            b'c' => {
                law.probing = false;
                return session.probe_closed();
            }
            b'+' => return self.now += Duration::from_millis(number),
            b'e' => return self.close_on_message = true,
            b'i' => return self.stop_after_one = true,
            _ => return,
        };
        let stop = std::mem::take(&mut self.stop_after_one);
        self.law.see_all(outputs, &mut self.close_on_message, stop, now);
        self.stopped = stop;
        self.look(letter);
    }

    /// What the session says of itself fits what was seen of it.
    fn look(&self, letter: u8) {
        let Self { session, law, now, .. } = self;
        assert_eq!(session.version(), self.version);
        assert_eq!(session.deadline().is_none(), session.is_closed());
        assert!(session.is_ending() || !session.is_closed());
        if let Some(deadline) = session.deadline() {
            assert!(deadline <= *now + LONGEST, "someone is waited for until {deadline:?}");
            let ticked = matches!(letter, b'.' | b'!');
            assert!(!ticked || deadline > *now, "a tick at {now:?} leaves a deadline of {deadline:?}");
        }
        let polled = session.is_polled();
        assert!(!polled || session.transport() == Transport::Polling, "a GET waits for what goes by the WebSocket");
        if !self.stopped {
            assert_eq!(session.is_closed(), law.closed);
            assert_eq!(session.transport(), law.transport, "nobody goes back to polling");
            assert_eq!(polled, law.waits(Kind::Get), "a GET waits, or does not");
            assert!(!law.closed || !law.waits(Kind::Post), "a POST waits for a session that is over");
        }
    }

    /// However it went, a client that says nothing any more is let go, and nobody waits for an answer then.
    fn silence(mut self) {
        self.stop_after_one = false;
        for _ in 0..1000 {
            self.event(b'.', b"");
            let Some(deadline) = self.session.deadline() else { break };
            self.now = self.now.max(deadline);
        }
        assert!(self.law.closed && self.session.is_closed(), "silence does not end it");
        assert!(!self.law.waits(Kind::Get) && !self.law.waits(Kind::Post));
    }
}

/// What must hold whatever happens.
struct Law {
    /// Those that were not answered, nor aborted.
    waiting: BTreeMap<u32, Kind>,
    /// Those whose client has gone before they were answered; an answer may have been under way.
    aborted: Vec<u32>,
    next: u32,
    allow_upgrades: bool,
    transport: Transport,
    may_bring_messages: bool,
    probing: bool,
    last_ping: Option<Duration>,
    closed: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Get,
    Post,
}

impl Law {
    fn new(allow_upgrades: bool, transport: Transport) -> Self {
        Self {
            waiting: BTreeMap::new(),
            aborted: Vec::new(),
            next: 0,
            allow_upgrades,
            transport,
            may_bring_messages: false,
            probing: false,
            last_ping: None,
            closed: false,
        }
    }

    fn request(&mut self, kind: Kind) -> u32 {
        self.next += 1;
        self.waiting.insert(self.next, kind);
        self.next
    }

    fn waits(&self, kind: Kind) -> bool {
        self.waiting.values().any(|&other| other == kind)
    }

    fn abort(&mut self, request: u32) {
        if self.waiting.remove(&request).is_some() {
            self.aborted.push(request);
        }
    }

    fn probe(&mut self, result: Result<(), ProbeRefused>, closed: bool) {
        let may = self.allow_upgrades && !self.probing && !closed && self.transport == Transport::Polling;
        assert_eq!(result.is_ok(), may, "whether a probe may begin");
        self.probing |= may;
    }

    fn see_all(&mut self, mut outputs: Outputs<'_, '_, u32>, close: &mut bool, stop: bool, now: Duration) {
        while let Some(output) = outputs.next() {
            self.see(&output, now);
            if let Output::Message(_) = output
                && std::mem::take(close)
            {
                outputs.close();
                // Those behind it are not read.
                self.may_bring_messages = false;
            }
            if stop {
                return;
            }
        }
    }

    fn see(&mut self, output: &Output<'_, u32>, now: Duration) {
        match output {
            Output::Answer(request, answer) => {
                let waited = self.waiting.remove(request).is_some();
                let aborted = self.aborted.iter().position(|gone| gone == request).map(|at| self.aborted.remove(at));
                assert!(
                    waited || aborted.is_some(),
                    "request {request} is answered that was not made, or a second time"
                );
                let late = matches!(answer, Answer::Refused(Rejection::UnknownSession));
                assert!(late || !self.closed, "{answer:?} after the close");
                return;
            }
            Output::Message(_) => assert!(self.may_bring_messages, "a message out of nothing"),
            Output::Queue(Packet::Ping("")) => {
                let soon = self.last_ping.is_some_and(|last| now - last < INTERVAL);
                assert!(!soon, "two pings within an interval");
                self.last_ping = Some(now);
            }
            Output::Queue(packet) => assert_eq!(packet, &Packet::Pong(""), "only heartbeats are the session's own"),
            Output::Probed => assert!(self.probing),
            Output::CloseProbe => assert!(std::mem::take(&mut self.probing)),
            Output::Upgraded => {
                assert!(std::mem::take(&mut self.probing), "upgraded without a probe");
                let before = std::mem::replace(&mut self.transport, Transport::WebSocket);
                assert_eq!(before, Transport::Polling, "upgraded twice");
            }
            Output::Closed(_) => {
                assert!(!std::mem::replace(&mut self.closed, true), "closed twice");
                self.probing = false;
                return;
            }
        }
        assert!(!self.closed, "{output:?} after the close");
    }
}
