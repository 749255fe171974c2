//! The life of a session. What Node does was seen with engine.io 6.6.11; where we differ it is said.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;

use crate::engineio::{
    Answer, Body, Config, Message, Output, Outputs, Packet, ProbeRefused, Reason, Rejection, Session, Transport,
    Version, Wire, record,
};

type Doing = Output<'static, u32>;

const PING: Doing = Output::Queue(Packet::Ping(""));
const PONG: Doing = Output::Queue(Packet::Pong(""));

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn config(version: Version) -> Config {
    Config { version, ping_interval: ms(300), ping_timeout: ms(200), upgrade_timeout: ms(1000), ..Config::default() }
}

fn polling() -> Session<u32> {
    Session::new(config(Version::V4), Transport::Polling, ms(0))
}

fn websocket() -> Session<u32> {
    Session::new(config(Version::V4), Transport::WebSocket, ms(0))
}

/// All outputs; messages are leaked to be kept.
fn all(outputs: Outputs<'_, '_, u32>) -> Vec<Doing> {
    outputs.map(own).collect()
}

fn own(output: Output<'_, u32>) -> Doing {
    match output {
        Output::Message(Message::Text(text)) => Output::Message(Message::Text(text.to_owned().leak())),
        Output::Message(Message::Binary(data)) => Output::Message(Message::Binary(data.into_owned().into())),
        Output::Queue(packet) => Output::Queue(packet),
        Output::Answer(request, answer) => Output::Answer(request, answer),
        Output::Probed => Output::Probed,
        Output::Upgraded => Output::Upgraded,
        Output::CloseProbe => Output::CloseProbe,
        Output::Closed(reason) => Output::Closed(reason),
    }
}

fn text(text: &'static str) -> Doing {
    Output::Message(Message::Text(text))
}

fn post(session: &mut Session<u32>, now: u64, body: &str) -> Vec<Doing> {
    assert_eq!(all(session.post(ms(now), 99)), []);
    all(session.body(ms(now), Body::Text(body.as_bytes())))
}

#[test]
fn a_poll_waits_for_what_is_queued() {
    let mut session = polling();
    assert_eq!(all(session.flush(ms(1))), []);
    assert_eq!(all(session.get(ms(1), 1)), []);
    assert_eq!(all(session.flush(ms(2))), [Output::Answer(1, Answer::Queued)]);
    assert_eq!(all(session.flush(ms(3))), []);
}

#[test]
fn a_post_brings_messages_and_is_answered_behind_them() {
    let mut session = polling();
    let outputs = post(&mut session, 1, "4a\x1ebAQ==\x1e6\x1e4b");
    let one = Output::Message(Message::Binary(vec![1].into()));
    assert_eq!(outputs, [text("a"), one, text("b"), Output::Answer(99, Answer::Received)]);
}

#[test]
fn two_gets_end_both() {
    let mut session = polling();
    assert_eq!(all(session.get(ms(1), 1)), []);
    let outputs = all(session.get(ms(2), 2));
    let closed = Output::Closed(Reason::TransportError);
    assert_eq!(outputs, [Output::Answer(2, Answer::Bad), Output::Answer(1, Answer::Close), closed]);
    assert_eq!(Answer::Close.respond(Wire::V4, []).body, b"1");
    let refused = Output::Answer(3, Answer::Refused(Rejection::UnknownSession));
    assert_eq!(all(session.get(ms(3), 3)), [refused]);
    assert_eq!(session.deadline(), None);
}

#[test]
fn two_posts_end_both() {
    let mut session = polling();
    assert_eq!(all(session.get(ms(1), 1)), []);
    assert_eq!(all(session.post(ms(1), 2)), []);
    let outputs = all(session.post(ms(2), 3));
    let answers = [(3, Answer::Bad), (1, Answer::Close), (2, Answer::Bad)];
    let mut expected: Vec<_> = answers.map(|(request, answer)| Output::Answer(request, answer)).into();
    expected.push(Output::Closed(Reason::TransportError));
    assert_eq!(outputs, expected);
    // Its body comes too late.
    assert_eq!(all(session.body(ms(3), Body::Text(b"4a"))), []);
}

#[test]
fn an_aborted_request_ends_the_session_and_an_answered_one_does_not() {
    let mut session = polling();
    assert_eq!(all(session.get(ms(1), 1)), []);
    assert_eq!(all(session.flush(ms(1))), [Output::Answer(1, Answer::Queued)]);
    assert_eq!(all(session.get(ms(2), 2)), []);
    assert_eq!(all(session.aborted(ms(3), |&get| get == 1)), []);
    assert_eq!(all(session.aborted(ms(3), |&get| get == 2)), [Output::Closed(Reason::TransportError)]);

    let mut session = polling();
    assert_eq!(all(session.get(ms(1), 1)), []);
    assert_eq!(all(session.post(ms(1), 2)), []);
    let closed = Output::Closed(Reason::TransportError);
    assert_eq!(all(session.aborted(ms(3), |&post| post == 2)), [Output::Answer(1, Answer::Close), closed]);
}

#[test]
fn a_client_that_closes_gets_a_noop() {
    let mut session = polling();
    assert_eq!(all(session.get(ms(1), 1)), []);
    let outputs = post(&mut session, 2, "4a\x1e1\x1e4b");
    let noop = Output::Answer(1, Answer::Noop);
    let taken = Output::Answer(99, Answer::Received);
    assert_eq!(outputs, [text("a"), noop, taken, Output::Closed(Reason::TransportClose)]);
    assert_eq!(Answer::Noop.respond(Wire::V4, []).body, b"6");
}

#[test]
fn what_is_no_packet_ends_the_session() {
    // Node answers 200 here; its own suite wants 400.
    for body in ["abc", "", "4a\x1e", "7"] {
        let mut session = polling();
        let outputs = post(&mut session, 1, body);
        let end = [Output::Answer(99, Answer::Bad), Output::Closed(Reason::ParseError)];
        assert!(outputs.ends_with(&end), "{body}: {outputs:?}");
    }
    for packet in ["", "7", "b!"] {
        assert_eq!(all(websocket().text(ms(1), packet)), [Output::Closed(Reason::ParseError)]);
    }
}

#[test]
fn a_body_that_is_too_big_leaves_the_session_alone() {
    let mut session = polling();
    assert_eq!(all(session.post(ms(1), 1)), []);
    assert_eq!(all(session.too_big(ms(1))), [Output::Answer(1, Answer::TooBig)]);
    assert_eq!(post(&mut session, 2, "4a"), [text("a"), Output::Answer(99, Answer::Received)]);
}

#[test]
fn a_binary_body_is_a_matter_of_v3() {
    let mut session = polling();
    assert_eq!(all(session.post(ms(1), 1)), []);
    let outputs = all(session.body(ms(1), Body::Binary(&[1, 2, 255, 4, 7])));
    assert_eq!(outputs, [Output::Answer(1, Answer::Bad), Output::Closed(Reason::TransportError)]);

    let mut session: Session<u32> = Session::new(config(Version::V3), Transport::Polling, ms(0));
    assert_eq!(all(session.post(ms(1), 1)), []);
    let outputs = all(session.body(ms(1), Body::Binary(&[1, 2, 255, 4, 7])));
    let seven = Output::Message(Message::Binary(vec![7].into()));
    assert_eq!(outputs, [seven, Output::Answer(1, Answer::Received)]);
}

#[test]
fn closing_in_the_middle_of_a_payload_leaves_the_rest_unread() {
    let mut session = polling();
    assert_eq!(all(session.get(ms(1), 1)), []);
    assert_eq!(all(session.post(ms(1), 2)), []);
    let mut outputs = session.body(ms(1), Body::Text(b"4bad\x1e4b\x1e4c"));
    assert_eq!(outputs.next().map(own), Some(text("bad")));
    outputs.close();
    let expected =
        [Output::Answer(1, Answer::Close), Output::Answer(2, Answer::Received), Output::Closed(Reason::ForcedClose)];
    assert_eq!(all(outputs), expected);
}

#[test]
fn a_client_that_polls_hears_of_the_end_with_its_next_get() {
    let mut session = polling();
    assert_eq!(all(session.close(ms(5))), []);
    assert!(session.is_ending() && !session.is_closed());
    assert_eq!(session.deadline(), Some(ms(30_005)));
    assert_eq!(post(&mut session, 6, "4a"), [Output::Answer(99, Answer::Received)]);
    assert_eq!(all(session.tick(ms(600))), []);
    let closed = Output::Closed(Reason::ForcedClose);
    assert_eq!(all(session.get(ms(700), 1)), [Output::Answer(1, Answer::Close), closed]);
    let queued = record(&Packet::Text("bye"));
    assert_eq!(Answer::Close.respond(Wire::V4, [&queued[..]]).body, b"4bye\x1e1");

    let mut session = polling();
    assert_eq!(all(session.close(ms(5))), []);
    assert_eq!(all(session.tick(ms(30_005))), [Output::Closed(Reason::ForcedClose)]);
    assert_eq!(all(websocket().close(ms(5))), [Output::Closed(Reason::ForcedClose)]);
}

#[test]
fn a_silent_client_is_closed_exactly_one_interval_and_one_timeout_after_the_opening() {
    let mut session = websocket();
    assert_eq!(session.deadline(), Some(ms(300)));
    assert_eq!(all(session.tick(ms(299))), []);
    // The timer was late.
    assert_eq!(all(session.tick(ms(317))), [PING]);
    assert_eq!(session.deadline(), Some(ms(500)));
    assert_eq!(all(session.tick(ms(499))), []);
    assert_eq!(all(session.tick(ms(500))), [Output::Closed(Reason::PingTimeout)]);
}

#[test]
fn a_server_that_slept_gives_its_clients_the_whole_timeout() {
    let mut session = websocket();
    assert_eq!(all(session.tick(ms(5000))), [PING]);
    assert_eq!(session.deadline(), Some(ms(5200)));
}

#[test]
fn a_pong_makes_the_next_ping_and_anything_else_gives_time_once() {
    let mut session = websocket();
    assert_eq!(all(session.tick(ms(300))), [PING]);
    assert_eq!(all(session.text(ms(400), "4a")), [text("a")]);
    assert_eq!(session.deadline(), Some(ms(600)));
    assert_eq!(all(session.text(ms(500), "4a")), [text("a")]);
    assert_eq!(session.deadline(), Some(ms(600)));
    assert_eq!(all(session.text(ms(550), "3")), []);
    assert_eq!(session.deadline(), Some(ms(850)));
    // One that nobody asked for changes nothing.
    assert_eq!(all(session.text(ms(600), "3")), []);
    assert_eq!(session.deadline(), Some(ms(850)));
    assert_eq!(all(session.tick(ms(850))), [PING]);
    assert_eq!(all(session.text(ms(1000), "6")), []);
    assert_eq!(all(session.tick(ms(1200))), [Output::Closed(Reason::PingTimeout)]);
}

#[test]
fn a_v3_client_pings() {
    let mut session: Session<u32> = Session::new(config(Version::V3), Transport::WebSocket, ms(0));
    assert_eq!(session.deadline(), Some(ms(500)));
    assert_eq!(all(session.text(ms(100), "2")), [PONG]);
    assert_eq!(all(session.text(ms(400), "4a")), [text("a")]);
    assert_eq!(session.deadline(), Some(ms(600)));
    assert_eq!(all(session.tick(ms(600))), [Output::Closed(Reason::PingTimeout)]);

    let mut session: Session<u32> = Session::new(config(Version::V3), Transport::WebSocket, ms(0));
    assert_eq!(all(session.text(ms(1), "3")), [Output::Closed(Reason::TransportError)]);
}

#[test]
fn packets_that_must_not_come_by_an_established_websocket_end_it() {
    for (packet, reason) in [
        // Node ignores it, and its client dies by ping timeout.
        ("1", Reason::TransportClose),
        ("2", Reason::TransportError),
        ("2probe", Reason::TransportError),
    ] {
        assert_eq!(all(websocket().text(ms(1), packet)), [Output::Closed(reason)], "{packet}");
    }
    for packet in ["0", "5", "6", "3"] {
        assert_eq!(all(websocket().text(ms(1), packet)), [], "{packet}");
    }
    assert_eq!(all(websocket().websocket_closed(ms(1))), [Output::Closed(Reason::TransportClose)]);
    assert_eq!(all(websocket().websocket_failed(ms(1))), [Output::Closed(Reason::TransportError)]);
}

#[test]
fn a_probe_becomes_the_websocket() {
    let mut session = polling();
    assert_eq!(all(session.get(ms(10), 1)), []);
    assert_eq!(session.probe(ms(10)), Ok(()));
    assert_eq!(session.probe(ms(11)), Err(ProbeRefused));
    assert_eq!(session.deadline(), Some(ms(300)));
    assert_eq!(all(session.probe_text(ms(20), "2probe")), [Output::Probed]);
    assert_eq!(session.deadline(), Some(ms(120)));
    assert_eq!(all(session.tick(ms(120))), [Output::Answer(1, Answer::Queued)]);
    // The client polls again before it hears of it.
    assert_eq!(session.deadline(), Some(ms(300)));
    assert_eq!(all(session.get(ms(130), 2)), []);
    assert_eq!(session.deadline(), Some(ms(220)));
    assert_eq!(all(session.tick(ms(220))), [Output::Answer(2, Answer::Queued)]);
    assert_eq!(post(&mut session, 230, "4last"), [text("last"), Output::Answer(99, Answer::Received)]);
    assert_eq!(all(session.probe_text(ms(240), "5")), [Output::Upgraded]);
    assert_eq!(session.transport(), Transport::WebSocket);
    assert_eq!(all(session.text(ms(250), "4a")), [text("a")]);
    assert_eq!(all(session.get(ms(260), 3)), [Output::Answer(3, Answer::Refused(Rejection::BadRequest))]);
    assert_eq!(all(session.post(ms(260), 4)), [Output::Answer(4, Answer::Refused(Rejection::BadRequest))]);
    assert_eq!(session.probe(ms(270)), Err(ProbeRefused));
    // The heartbeat is the session's.
    assert_eq!(all(session.tick(ms(300))), [PING]);
}

#[test]
fn what_is_queued_stays_for_the_websocket_when_a_client_upgrades_while_it_polls() {
    let mut session = polling();
    assert_eq!(all(session.get(ms(1), 1)), []);
    session.probe(ms(1)).unwrap();
    assert_eq!(all(session.probe_text(ms(2), "5")), [Output::Answer(1, Answer::Noop), Output::Upgraded]);
    assert!(!Answer::Noop.takes_queue());
}

#[test]
fn whatever_goes_wrong_with_a_probe_ends_only_the_probe() {
    for packet in ["", "2", "2prob", "3", "4a", "1", "x", "6", "0"] {
        let mut session = polling();
        session.probe(ms(1)).unwrap();
        assert_eq!(all(session.probe_text(ms(2), packet)), [Output::CloseProbe], "{packet}");
        assert_eq!(all(session.probe_text(ms(2), "5")), []);
        assert_eq!(session.probe(ms(3)), Ok(()));
        assert_eq!(all(session.probe_binary(ms(4))), [Output::CloseProbe]);
        assert_eq!(session.probe(ms(5)), Ok(()));
        session.probe_closed();
        assert_eq!(session.probe(ms(6)), Ok(()));
        assert_eq!(all(session.probe_text(ms(7), "2probe")), [Output::Probed]);
        assert_eq!(post(&mut session, 8, "4a"), [text("a"), Output::Answer(99, Answer::Received)]);
    }
    let config = Config { ping_interval: ms(5000), ..config(Version::V4) };
    let mut session: Session<u32> = Session::new(config, Transport::Polling, ms(0));
    session.probe(ms(1)).unwrap();
    assert_eq!(session.deadline(), Some(ms(1001)));
    assert_eq!(all(session.tick(ms(1001))), [Output::CloseProbe]);
    assert_eq!(session.deadline(), Some(ms(5000)));
}

#[test]
fn an_upgrade_completes_a_close() {
    let mut session = polling();
    session.probe(ms(1)).unwrap();
    assert_eq!(all(session.close(ms(2))), []);
    assert_eq!(all(session.probe_text(ms(3), "5")), [Output::Upgraded, Output::Closed(Reason::ForcedClose)]);
}

#[test]
fn upgrades_can_be_off() {
    let config = Config { allow_upgrades: false, ..config(Version::V4) };
    let mut session: Session<u32> = Session::new(config, Transport::Polling, ms(0));
    assert_eq!(session.probe(ms(1)), Err(ProbeRefused));
}

#[test]
fn answers_are_nodes_responses() {
    let hello = record(&Packet::Text("hello"));
    let queued = || [&hello[..], &hello[..]];
    let queued_answer = Answer::Queued.respond(Wire::V4, queued());
    assert_eq!(queued_answer.body, b"4hello\x1e4hello");
    assert_eq!((queued_answer.status, queued_answer.content_type), (200, "text/plain; charset=UTF-8"));
    assert_eq!(Answer::Queued.respond(Wire::V4, []).body, b"6");
    assert_eq!(Answer::Noop.respond(Wire::V4, queued()).body, b"6");
    assert_eq!(Answer::Noop.respond(Wire::V3, queued()).body, b"1:6");
    assert_eq!(Answer::Close.respond(Wire::V3, queued()).body, b"6:4hello6:4hello1:1");
    let received = Answer::Received.respond(Wire::V4, []);
    assert_eq!((received.status, received.content_type, &received.body[..]), (200, "text/html", &b"ok"[..]));
    assert_eq!(Answer::TooBig.respond(Wire::V4, []).status, 413);
    let bad = Answer::Bad.respond(Wire::V4, []);
    assert_eq!((bad.status, &bad.body[..]), (400, &b""[..]));
    let refused = Answer::Refused(Rejection::BadRequest).respond(Wire::V4, []);
    assert_eq!((refused.status, refused.content_type), (400, "application/json"));
    assert_eq!(refused.body, br#"{"code":3,"message":"Bad request"}"#);
}

#[derive(Clone, Debug)]
enum Event {
    Get,
    Post,
    Body(String),
    BinaryBody,
    TooBig,
    Abort(u8),
    Flush,
    Text(String),
    Binary,
    WebSocketGone(bool),
    Probe,
    ProbeText(String),
    ProbeBinary,
    ProbeClosed,
    Tick,
    TickAtDeadline,
    Close,
}

fn event() -> impl Strategy<Value = Event> {
    let packet = || "(2|2probe|3|4a|4a|5|6|1|0|x|b!|)";
    prop_oneof![
        3 => Just(Event::Get),
        3 => Just(Event::Post),
        3 => "(4a|4b|3|6|2|1|x|bAQ==)(\x1e(4a|4a|4a|3|1|))?".prop_map(Event::Body),
        1 => Just(Event::BinaryBody),
        1 => Just(Event::TooBig),
        1 => any::<u8>().prop_map(Event::Abort),
        3 => Just(Event::Flush),
        3 => packet().prop_map(Event::Text),
        1 => Just(Event::Binary),
        1 => any::<bool>().prop_map(Event::WebSocketGone),
        3 => Just(Event::Probe),
        3 => packet().prop_map(Event::ProbeText),
        1 => Just(Event::ProbeBinary),
        1 => Just(Event::ProbeClosed),
        3 => Just(Event::Tick),
        3 => Just(Event::TickAtDeadline),
        1 => Just(Event::Close),
    ]
}

/// What must hold whatever happens.
#[derive(Default)]
struct Law {
    /// Requests that went in, and how often they came out.
    requests: BTreeMap<u32, u32>,
    closed: bool,
    probing: bool,
    upgraded: bool,
    aborted: Vec<u32>,
}

impl Law {
    fn see(&mut self, output: &Output<'_, u32>) {
        match output {
            Output::Answer(request, answer) => {
                let times = self.requests.get_mut(request).expect("only what went in comes out");
                *times += 1;
                assert_eq!(*times, 1, "a request is answered once");
                assert!(!self.closed || matches!(answer, Answer::Refused(Rejection::UnknownSession)));
                return;
            }
            Output::Message(_) | Output::Queue(_) => {}
            Output::Probed => assert!(self.probing),
            Output::CloseProbe => assert!(std::mem::take(&mut self.probing)),
            Output::Upgraded => {
                assert!(std::mem::take(&mut self.probing) && !self.upgraded);
                self.upgraded = true;
            }
            Output::Closed(_) => {
                assert!(!self.closed);
                self.closed = true;
                self.probing = false;
                return;
            }
        }
        assert!(!self.closed, "nothing comes after the close");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_request_is_answered_once_and_nothing_follows_the_close(
        events in vec((event(), 0..150u64, any::<bool>()), 0..40),
        v3 in any::<bool>(),
        by_websocket in any::<bool>(),
    ) {
        let version = if v3 { Version::V3 } else { Version::V4 };
        let transport = if by_websocket { Transport::WebSocket } else { Transport::Polling };
        let mut session = Session::new(config(version), transport, ms(0));
        let mut law = Law::default();
        let (mut now, mut next) = (ms(0), 0u32);
        for (event, later, whole) in events {
            now += ms(later);
            if let Event::Probe | Event::ProbeClosed = event {
                // Who speaks of the probe has done what was to be done: it may be closed, or the session's WebSocket.
                for output in session.tick(now) {
                    law.see(&output);
                }
            }
            let mut request = || {
                next += 1;
                law.requests.insert(next, 0);
                next
            };
            let body;
            let outputs = match &event {
                Event::Get => { let get = request(); session.get(now, get) }
                Event::Post => { let post = request(); session.post(now, post) }
                Event::Body(text) => {
                    body = if v3 { text.split('\x1e').map(|packet| format!("{}:{packet}", packet.len())).collect() } else { text.clone() };
                    session.body(now, Body::Text(body.as_bytes()))
                }
                Event::BinaryBody => session.body(now, Body::Binary(&[1, 2, 255, 4, 1])),
                Event::TooBig => session.too_big(now),
                Event::Abort(which) => {
                    let which = u32::from(*which) % (next + 1);
                    if law.requests.get(&which) == Some(&0) {
                        law.aborted.push(which);
                    }
                    session.aborted(now, |&request| request == which)
                }
                Event::Flush => session.flush(now),
                Event::Text(text) => session.text(now, text),
                Event::Binary => session.binary(now, &[4]),
                Event::WebSocketGone(true) => session.websocket_closed(now),
                Event::WebSocketGone(false) => session.websocket_failed(now),
                Event::Probe => {
                    if session.probe(now).is_ok() {
                        prop_assert!(!law.probing && !law.upgraded && !law.closed && !by_websocket);
                        law.probing = true;
                    }
                    continue;
                }
                Event::ProbeText(text) => session.probe_text(now, text),
                Event::ProbeBinary => session.probe_binary(now),
                Event::ProbeClosed => {
                    session.probe_closed();
                    law.probing = false;
                    continue;
                }
                Event::Tick => session.tick(now),
                Event::TickAtDeadline => {
                    if let Some(deadline) = session.deadline() {
                        now = now.max(deadline);
                    }
                    session.tick(now)
                }
                Event::Close => session.close(now),
            };
            // A driver that stops in the middle of a payload gets the rest with the next outputs.
            let most = if whole { usize::MAX } else { 1 };
            for output in outputs.take(most) {
                law.see(&output);
            }
            if let Event::TickAtDeadline = event {
                for output in session.tick(now) {
                    law.see(&output);
                }
                prop_assert!(session.deadline().is_none_or(|deadline| deadline > now), "a tick moves the deadline");
            }
        }
        // However it went, the client's silence ends it, and every request is answered by then.
        let mut ticks = 0;
        loop {
            for output in session.tick(now) {
                law.see(&output);
            }
            let Some(deadline) = session.deadline() else { break };
            now = now.max(deadline);
            ticks += 1;
            prop_assert!(ticks < 1000);
        }
        prop_assert!(law.closed && session.is_closed());
        for (request, times) in &law.requests {
            let aborted = law.aborted.contains(request);
            // The answer of an aborted one may have been under way.
            prop_assert!(*times == 1 || aborted, "request {} was answered {} times", request, times);
        }
    }
}
