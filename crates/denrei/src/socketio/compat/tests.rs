//! Messages as @socket.io/redis-adapter 8.3.0 and @socket.io/redis-emitter 5.1.0 write them.

use std::time::Duration;

use bytes::Bytes;
use denrei_hub::Channel;
use proptest::prelude::*;

use super::classic::Classic;
use super::format::{Asker, Format, Inquiry, Part, Said};
use super::sharded::Sharded;
use super::{Subscriptions, words};
use crate::socketio::cluster::{Deed, Question};
use crate::socketio::emit::{Flags, Packet, Targets};
use crate::socketio::{Args, ToArgs};

const ATTACHMENTS: u32 = 10;

fn unhex(text: &str) -> Bytes {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex")).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn plain(name: &str) -> Channel {
    Channel::Plain(name.into())
}

fn packet(event: &str, args: &impl ToArgs) -> Packet {
    Packet::new(event, args).expect("a packet")
}

fn targets(rooms: Option<&[&str]>, except: &[&str]) -> Targets {
    let shared = |names: &[&str]| names.iter().map(|name| (*name).into()).collect();
    Targets { rooms: rooms.map(shared), except: shared(except) }
}

fn classic() -> Format {
    Format::Classic(Classic::new("socket.io", "/", false).called("AbCdEf"))
}

/// Another server, which may answer who asks alone.
fn other(specific: bool) -> Format {
    Format::Classic(Classic::new("socket.io", "/", specific))
}

fn sharded(namespace: &str) -> Format {
    Format::Sharded(Sharded::new("socket.io", namespace, Subscriptions::Dynamic))
}

fn heard(format: &Format, channel: &Channel, bytes: impl Into<Bytes>) -> Said {
    format.read(channel, &bytes.into(), ATTACHMENTS, |_| true).expect("it can be read")
}

const VOLATILE: &str = "93a641624364456683a47479706502a46461746192a568656c6c6f81a16101a36e7370a12f83a5726f6f6d7390a66578\
    6365707491a5726f6f6d32a5666c61677381a8766f6c6174696c65c3";
const BINARY: &str = "93a641624364456683a47479706502a46461746192a362696ec40401020304a36e7370a12f83a5726f6f6d7391a172a66578\
    6365707490a5666c61677380";
const WITH_ACK: &str = "85a3756964a6416243644566a9726571756573744964a66768496a4b6ca47479706507a67061636b657483a47479706502a464\
    61746192a17101a36e7370a12fa46f70747383a5726f6f6d7390a665786365707490a5666c61677381a774696d656f7574cd03e8";
const ACK: &str = "83a47479706509a9726571756573744964a66768496a4b6ca67061636b6574a26f6b";
const EMITTED: &str = "93a7656d697474657283a47479706502a46461746192a568656c6c6fa5776f726c64a36e7370a12f83a5726f6f6d7391a5726f6f6d\
    31a5666c61677380a665786365707490";

#[test]
fn what_is_said_is_what_node_says() {
    let classic = classic();
    let volatile = Flags { volatile: true, ..Flags::default() };
    let hello = packet("hello", &serde_json::json!({"a": 1}));
    let letter = classic.tell(&Deed::Emit(targets(None, &["room2"]), hello, volatile)).expect("a letter");
    assert_eq!((letter.channel, hex(&letter.bytes)), (plain("socket.io#/#"), VOLATILE.into()));

    let bin = packet("bin", &Bytes::from_static(&[1, 2, 3, 4]));
    let letter = classic.tell(&Deed::Emit(targets(Some(&["r"]), &[]), bin, Flags::default())).expect("a letter");
    assert_eq!((letter.channel, hex(&letter.bytes)), (plain("socket.io#/#r#"), BINARY.into()));

    let question = Question::Emit(targets(None, &[]), packet("q", &1), Flags::default());
    let letter = classic.ask("ghIjKl", &question, Duration::from_secs(1));
    assert_eq!((letter.channel, hex(&letter.bytes)), (plain("socket.io-request#/#"), WITH_ACK.into()));

    let asker = Asker { uid: Some("other".into()), request: "ghIjKl".into() };
    let letter = classic.answer(&asker, &Part::Client(Args::encode(&"ok").expect("args"))).expect("a letter");
    assert_eq!((letter.channel, hex(&letter.bytes)), (plain("socket.io-response#/#"), ACK.into()));
    let specific = other(true);
    let letter = specific.answer(&asker, &Part::Clients(2)).expect("a letter");
    assert_eq!(letter.channel, plain("socket.io-response#/#other#"));
    assert_eq!(letter.bytes, r#"{"type":8,"requestId":"ghIjKl","clientCount":2}"#);
    let letter = specific.answer(&asker, &Part::ServerSide(Args::default())).expect("a letter");
    assert_eq!(letter.channel, plain("socket.io-response#/#"), "Node has these on the common channel only");

    let requests = [
        (
            classic.tell(&Deed::Join(targets(Some(&["a", "a"]), &["b"]), vec!["x".into()])),
            r#"{"uid":"AbCdEf","type":2,"opts":{"rooms":["a"],"except":["b"]},"rooms":["x"]}"#,
        ),
        (
            classic.tell(&Deed::Disconnect(targets(None, &[]), true)),
            r#"{"uid":"AbCdEf","type":4,"opts":{"rooms":[],"except":[]},"close":true}"#,
        ),
        (
            classic.tell(&Deed::ServerSide(packet("e", &(1, "two")))),
            r#"{"uid":"AbCdEf","type":6,"data":["e",1,"two"]}"#,
        ),
        (
            Some(classic.ask("r", &Question::Fetch(targets(None, &[])), Duration::from_secs(1))),
            r#"{"uid":"AbCdEf","requestId":"r","type":5,"opts":{"rooms":[],"except":[]}}"#,
        ),
        (
            Some(classic.ask("r", &Question::ServerSide(packet("e", &())), Duration::from_secs(1))),
            r#"{"uid":"AbCdEf","requestId":"r","type":6,"data":["e"]}"#,
        ),
    ];
    for (letter, expected) in requests {
        assert_eq!(letter.expect("a letter").bytes, expected);
    }
    let nobody = targets(Some(&[]), &[]);
    assert!(classic.tell(&Deed::Disconnect(nobody.clone(), true)).is_none(), "Node would take it for everybody");
    assert!(classic.tell(&Deed::Emit(nobody, packet("e", &()), Flags::default())).is_none());
}

#[test]
fn what_node_says_is_understood() {
    let other = other(false);
    let said = heard(&other, &plain("socket.io#/#"), unhex(VOLATILE));
    let Said::Do(Deed::Emit(targets, packet, flags)) = said else { panic!("{said:?}") };
    assert!(targets.rooms.is_none() && flags.volatile);
    assert_eq!((&*targets.except[0], packet.event.as_str()), ("room2", "hello"));
    assert_eq!(packet.args.json(), r#"[{"a":1}]"#);

    let said = heard(&other, &plain("socket.io#/#r#"), unhex(BINARY));
    let Said::Do(Deed::Emit(_, packet, _)) = said else { panic!("{said:?}") };
    assert_eq!(packet.args.decode::<Bytes>().expect("bytes"), [1, 2, 3, 4][..]);

    let said = heard(&other, &plain("socket.io#/#room1#"), unhex(EMITTED));
    let Said::Do(Deed::Emit(targets, ..)) = said else { panic!("{said:?}") };
    assert_eq!(&*targets.rooms.expect("rooms")[0], "room1");

    let said = heard(&other, &plain("socket.io-request#/#"), unhex(WITH_ACK));
    let Said::Ask { asker, inquiry: Inquiry::Question(Question::Emit(..), patience) } = said else {
        panic!("{said:?}")
    };
    assert_eq!((asker.uid.as_deref(), &*asker.request), (Some("AbCdEf"), "ghIjKl"));
    assert_eq!(patience, Some(Duration::from_secs(1)));

    let said = heard(&other, &plain("socket.io-response#/#"), unhex(ACK));
    let Said::Answer { request, part: Part::Client(args) } = said else { panic!("{said:?}") };
    assert_eq!((&*request, &args.json()[..]), ("ghIjKl", &b"[\"ok\"]"[..]));

    for own in [VOLATILE, BINARY] {
        assert!(matches!(heard(&classic(), &plain("socket.io#/#"), unhex(own)), Said::Nothing), "its own");
    }
    assert!(matches!(heard(&classic(), &plain("socket.io-request#/#"), unhex(WITH_ACK)), Said::Nothing), "its own");
    let absent = other.read(&plain("socket.io#/#r#"), &unhex(BINARY), ATTACHMENTS, |_| false);
    assert!(matches!(absent, Ok(Said::Nothing)), "nobody is in the room");
}

#[test]
fn old_emitters_are_understood() {
    let classic = classic();
    // Numbers as floats, the fifth type, a numeric room, no except, no flags, no namespace.
    let old = [
        &[0x93, 0xA1, b'e', 0x82, 0xA4][..],
        b"type",
        &[0xCB, 0x40, 0x14, 0, 0, 0, 0, 0, 0, 0xA4],
        b"data",
        &[0x92, 0xA1, b'x', 0xC7, 2, 0, 7, 8, 0x81, 0xA5],
        b"rooms",
        &[0x91, 0xCD, 1, 0],
    ];
    let said = heard(&classic, &plain("socket.io#/#256#"), old.concat());
    let Said::Do(Deed::Emit(targets, packet, _)) = said else { panic!("{said:?}") };
    assert_eq!(&*targets.rooms.expect("rooms")[0], "256");
    assert_eq!(packet.args.decode::<Bytes>().expect("bytes"), [7, 8][..]);
    // Nil rooms are none, which is everybody.
    let nil = [&[0x93, 0xA1, b'e', 0x81, 0xA4][..], b"data", &[0x91, 0xA1, b'x', 0x81, 0xA5], b"rooms", &[0xC0]];
    let said = heard(&classic, &plain("socket.io#/#"), nil.concat());
    let Said::Do(Deed::Emit(targets, ..)) = said else { panic!("{said:?}") };
    assert!(targets.rooms.is_none());

    let request =
        |text: &'static str| heard(&classic, &plain("socket.io-request#/#"), Bytes::from_static(text.as_bytes()));
    let said = request(r#"{"type":2,"opts":{"rooms":["a"],"except":[]},"rooms":["b"]}"#);
    let Said::Do(Deed::Join(_, rooms)) = said else { panic!("{said:?}") };
    assert_eq!(rooms, ["b"]);
    let said = request(r#"{"uid":"u","type":4,"sid":"S","close":true,"requestId":"r"}"#);
    let Said::DoOne { deed: Deed::Disconnect(targets, true), socket, asker } = said else { panic!("{said:?}") };
    assert_eq!((&*targets.rooms.expect("rooms")[0], &*socket, &*asker.request), ("S", "S", "r"));
    assert!(matches!(request(r#"{"uid":"u","type":99}"#), Said::Nothing));
}

#[test]
fn what_makes_no_sense_is_refused() {
    let classic = classic();
    let refused = |channel: &str, text: &str| {
        let bytes = Bytes::copy_from_slice(text.as_bytes());
        classic.read(&plain(channel), &bytes, ATTACHMENTS, |_| true).is_err()
    };
    for text in ["", "{", "[]", "\u{1}", "{\"type\":5,\"requestId\":\"r\"}", "{\"type\":5,\"opts\":{}}"] {
        assert!(refused("socket.io-request#/#", text), "{text}");
    }
    let everybody = r#"{"type":4,"opts":{"rooms":"not a list"},"close":true}"#;
    assert!(refused("socket.io-request#/#", everybody), "it would be everybody");
    let strange = r#"{"type":4,"opts":{"rooms":[{}]},"close":true}"#;
    let said = heard(&classic, &plain("socket.io-request#/#"), Bytes::from(strange));
    let Said::Do(Deed::Disconnect(targets, _)) = said else { panic!("{said:?}") };
    assert!(words::is_nobody(&targets));
    // Deeper than anything that a client takes.
    let deep = [vec![0x93, 0xA1, b'e'], vec![0x91; 200]].concat();
    assert!(classic.read(&plain("socket.io#/#"), &deep.into(), ATTACHMENTS, |_| true).is_err());
    let reserved = unhex(EMITTED);
    let reserved = [&reserved[..26], b"\xAAdisconnect", &reserved[32..]].concat();
    assert!(classic.read(&plain("socket.io#/#"), &reserved.into(), ATTACHMENTS, |_| true).is_err());
}

#[test]
fn the_sharded_adapter_is_spoken_as_well() {
    let (ours, theirs) = (sharded("/n"), sharded("/n"));
    let named = |name: &str| Channel::Sharded(name.into());
    let emit = |rooms: &[&str]| Deed::Emit(targets(Some(rooms), &[]), packet("e", &1), Flags::default());
    let letter = ours.tell(&emit(&["room"])).expect("a letter");
    assert_eq!(letter.channel, named("socket.io#/n#room#"));
    let text = std::str::from_utf8(&letter.bytes).expect("JSON");
    let body = r#"{"type":3,"data":{"packet":{"type":2,"data":["e",1],"nsp":"/n"},"opts":{"rooms":["room"],"except":[],"flags":{}}},"uid":""#;
    assert!(text.starts_with(body), "{text}");
    assert!(matches!(heard(&theirs, &letter.channel, letter.bytes.clone()), Said::Do(Deed::Emit(..))));
    assert!(matches!(heard(&ours, &letter.channel, letter.bytes), Said::Nothing), "its own");
    for rooms in [&["12345678901234567890"][..], &["a", "b"]] {
        assert_eq!(ours.tell(&emit(rooms)).expect("a letter").channel, named("socket.io#/n#"));
    }
    let letter = ours.ask("r", &Question::ServerSide(packet("e", &())), Duration::from_secs(1));
    let said = heard(&theirs, &letter.channel, letter.bytes);
    let Said::Ask { asker, inquiry: Inquiry::Question(Question::ServerSide(_), None) } = said else {
        panic!("{said:?}")
    };
    let answer = theirs.answer(&asker, &Part::ServerSide(Args::encode(&Bytes::from_static(&[1])).expect("args")));
    let letter = answer.expect("a letter");
    assert_ne!(letter.bytes[0], b'{', "binary makes it MessagePack");
    let said = heard(&ours, &letter.channel, letter.bytes);
    let Said::Answer { request, part: Part::ServerSide(args) } = said else { panic!("{said:?}") };
    assert_eq!((&*request, args.decode::<Bytes>().expect("bytes")), ("r", Bytes::from_static(&[1])));
}

proptest! {
    #[test]
    fn nothing_that_is_said_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200), which in 0..4_usize) {
        let channel = ["socket.io#/#", "socket.io#/#r#", "socket.io-request#/#", "socket.io-response#/#"][which];
        let _ = classic().read(&plain(channel), &bytes.clone().into(), ATTACHMENTS, |_| true);
        let _ = sharded("/").read(&Channel::Sharded("socket.io#/#".into()), &bytes.into(), ATTACHMENTS, |_| true);
    }

    #[test]
    fn nothing_in_a_message_that_is_nearly_right_panics(at in 0..80_usize, byte in any::<u8>(), which in 0..5_usize) {
        let mut bytes = unhex([VOLATILE, BINARY, WITH_ACK, ACK, EMITTED][which]).to_vec();
        if let Some(place) = bytes.get_mut(at) {
            *place = byte;
        }
        for channel in ["socket.io#/#", "socket.io-request#/#", "socket.io-response#/#"] {
            let _ = other(false).read(&plain(channel), &bytes.clone().into(), ATTACHMENTS, |_| true);
        }
    }
}
