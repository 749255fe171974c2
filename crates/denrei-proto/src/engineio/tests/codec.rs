//! Packets, payloads and records. Payload bytes were made with engine.io-parser 5.2.3 and engine.io 6.6.11's parser-v3.

use proptest::collection::vec;
use proptest::prelude::*;

use crate::engineio::{
    Body, Invalid, Packet, Packets, Version, Wire, encode_payload, frames, message_frames, message_records, record,
    records,
};
use crate::ws::{Decoder, Event, Limits};

const NO_LIMIT: usize = usize::MAX;

fn binary(data: &[u8]) -> Packet<'_> {
    Packet::Binary(data.into())
}

fn read(version: Version, body: Body<'_>) -> Result<Vec<Packet<'_>>, Invalid> {
    Packets::new(version, body, NO_LIMIT).collect()
}

fn write(wire: Wire, packets: &[Packet<'_>]) -> Vec<u8> {
    let chunks: Vec<_> = packets.iter().map(record).collect();
    encode_payload(wire, chunks.iter().map(|chunk| &chunk[..])).body
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

#[test]
fn payloads_are_those_of_the_official_parsers() {
    let text = [Packet::Text("hello"), Packet::Text("€😀"), Packet::Ping("probe"), Packet::Noop];
    let mixed = [Packet::Text("utf8 — \"string\""), binary(&[1, 2, 3, 255]), Packet::Text("é")];
    let seven = [7; 123];
    let big = [binary(&seven)];
    let cases: [(Wire, &[Packet<'_>], Vec<u8>); 8] = [
        (Wire::V4, &text, "4hello\x1e4€😀\x1e2probe\x1e6".into()),
        (Wire::V3, &text, "6:4hello4:4€😀6:2probe1:6".into()),
        (Wire::V3Base64, &text, "6:4hello4:4€😀6:2probe1:6".into()),
        (Wire::V4, &mixed, "4utf8 — \"string\"\x1ebAQID/w==\x1e4é".into()),
        (Wire::V3Base64, &mixed, "16:4utf8 — \"string\"10:b4AQID/w==2:4é".into()),
        (Wire::V3, &mixed, unhex("000108ff347574663820e280942022737472696e67220105ff04010203ff0003ff34c3a9")),
        (Wire::V3, &big, [unhex("01010204ff04"), seven.to_vec()].concat()),
        (Wire::V3, &[], "0:".into()),
    ];
    for (wire, packets, bytes) in cases {
        let written = write(wire, packets);
        assert_eq!(written, bytes, "{wire:?}");
        let body = if wire == Wire::V3 && packets.iter().any(Packet::is_binary) {
            Body::Binary(&written)
        } else {
            Body::Text(&written)
        };
        assert_eq!(read(wire.version(), body).unwrap(), packets, "{wire:?}");
    }
}

#[test]
fn what_is_no_packet_is_refused() {
    for (text, invalid) in [
        ("", Invalid::Empty),
        ("abc", Invalid::UnknownType),
        ("7", Invalid::UnknownType),
        ("é", Invalid::UnknownType),
        ("b!", Invalid::Base64),
        ("4a\x1e", Invalid::Empty),
        ("\x1e4a", Invalid::Empty),
    ] {
        assert_eq!(read(Version::V4, Body::Text(text.as_bytes())), Err(invalid), "{text:?}");
    }
    assert_eq!(read(Version::V4, Body::Text(b"4\xFF")), Err(Invalid::Utf8));
    assert_eq!(read(Version::V4, Body::Binary(b"4a")), Err(Invalid::UnknownType));
    for text in
        ["4a", ":4a", "x:4a", "3:4a", "1:4a", "-1:4a", "1e0:4", "0000000001:4", "2:😀", "99999999999999999999:4"]
    {
        let read = read(Version::V3, Body::Text(text.as_bytes()));
        assert!(read.is_err(), "{text:?} gave {read:?}");
    }
    for bytes in
        [&b""[..], &[0], &[2, 1, 255, b'4'], &[0, 1, 254, b'4'], &[0, 255, b'4'], &[1, 1, 255, 2], &[1, 0, 255]]
    {
        assert!(read(Version::V3, Body::Binary(bytes)).is_err(), "{bytes:?}");
    }
}

#[test]
fn an_unterminated_v3_length_is_told_without_looking_for_its_end() {
    // socketioxide #357 and 0.17.4: decoders of v3 that never came back.
    for body in [Body::Text(&[b'1'; 1 << 20]), Body::Binary(&[1; 1 << 20])] {
        assert_eq!(read(Version::V3, body), Err(Invalid::Length));
    }
}

#[test]
fn packets_over_the_limit_are_refused_and_those_before_it_are_not() {
    for (version, body) in [(Version::V4, "6\x1e6\x1e6"), (Version::V3, "1:61:61:6"), (Version::V3, "1:61:60:")] {
        let packets: Vec<_> = Packets::new(version, Body::Text(body.as_bytes()), 2).collect();
        assert_eq!(packets, [Ok(Packet::Noop), Ok(Packet::Noop), Err(Invalid::TooManyPackets { limit: 2 })]);
    }
}

#[test]
fn a_v3_binary_message_begins_with_its_type() {
    assert_eq!(Packet::decode_binary(&[4, 1, 2], Version::V3), Ok(binary(&[1, 2])));
    assert_eq!(Packet::decode_binary(&[4, 1, 2], Version::V4), Ok(binary(&[4, 1, 2])));
    assert_eq!(Packet::decode_binary(&[2], Version::V3), Err(Invalid::UnknownType));
    assert_eq!(Packet::decode_binary(&[], Version::V3), Err(Invalid::Empty));
    assert_eq!(Packet::decode_text("b4AQI=", Version::V3), Ok(binary(&[1, 2])));
    assert_eq!(Packet::decode_text("bAQI", Version::V4), Ok(binary(&[1, 2])));
}

/// Reads WebSocket frames of a server back into packets.
fn unframe(wire: Wire, frames: &[u8]) -> Vec<Packet<'static>> {
    let mut rest = frames;
    let mut packets = Vec::new();
    while !rest.is_empty() {
        // Mask with zeros what the server did not mask, so that our decoder reads it.
        let (len, size) = match rest[1] {
            126 => (usize::from(u16::from_be_bytes([rest[2], rest[3]])), 4),
            127 => (u64::from_be_bytes(rest[2..10].try_into().unwrap()) as usize, 10),
            len => (usize::from(len), 2),
        };
        let mut frame = [&[rest[0], rest[1] | 0x80], &rest[2..size], &[0; 4], &rest[size..size + len]].concat();
        rest = &rest[size + len..];
        let mut decoder = Decoder::new(Limits::default(), None);
        let (_, event) = decoder.decode(&mut frame).unwrap();
        packets.push(match event {
            Some(Event::Text(text)) => own(Packet::decode_text(text, wire.version()).unwrap()),
            Some(Event::Binary(data)) => own(Packet::decode_binary(data, wire.version()).unwrap()),
            other => panic!("{other:?}"),
        });
    }
    packets
}

fn own(packet: Packet<'_>) -> Packet<'static> {
    match packet {
        Packet::Text(text) => Packet::Text(text.to_owned().leak()),
        Packet::Binary(data) => Packet::Binary(data.into_owned().into()),
        other => panic!("{other:?}"),
    }
}

fn packet() -> impl Strategy<Value = Packet<'static>> {
    prop_oneof![
        "[^\x1e]{0,40}".prop_map(|text| Packet::Text(text.leak())),
        vec(any::<u8>(), 0..300).prop_map(|data| Packet::Binary(data.into())),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn payloads_and_frames_give_back_what_was_put_in(packets in vec(packet(), 1..8)) {
        let chunks: Vec<_> = packets.iter().map(record).collect();
        let joined = chunks.concat();
        for wire in [Wire::V4, Wire::V3, Wire::V3Base64] {
            let apart = encode_payload(wire, chunks.iter().map(|chunk| &chunk[..]));
            prop_assert_eq!(&apart, &encode_payload(wire, [&joined[..]]));
            let body = if apart.content_type == "application/octet-stream" {
                Body::Binary(&apart.body)
            } else {
                Body::Text(&apart.body)
            };
            prop_assert_eq!(read(wire.version(), body), Ok(packets.clone()));
            prop_assert_eq!(unframe(wire, &frames(wire, [&joined[..]])), packets.clone());
        }
    }

    #[test]
    fn a_message_and_its_attachments_are_the_same_packets_in_frames_and_records(
        text in "\\PC{0,200}",
        attachments in vec(vec(any::<u8>(), 0..200), 0..3),
        binary in any::<bool>(),
    ) {
        let write = |out: &mut Vec<u8>| out.extend_from_slice(text.as_bytes());
        let attached = || attachments.iter().map(|data| &data[..]);
        let chunk = message_records(binary, 0, write, attached());
        prop_assert_eq!(records(&chunk).count(), 1 + attachments.len());
        for wire in [Wire::V4, Wire::V3, Wire::V3Base64] {
            prop_assert_eq!(message_frames(wire, binary, 7, write, attached()), frames(wire, [&chunk[..]]));
        }
    }

    #[test]
    fn any_body_is_read_to_its_end_without_a_panic(bytes in vec(any::<u8>(), 0..200), digits in "[0-9:b4-\u{ff}]{0,40}") {
        for bytes in [&bytes[..], digits.as_bytes()] {
            for version in [Version::V3, Version::V4] {
                for body in [Body::Text(bytes), Body::Binary(bytes)] {
                    let packets: Vec<_> = Packets::new(version, body, NO_LIMIT).collect();
                    prop_assert!(packets.len() <= bytes.len() + 1);
                    prop_assert!(packets.iter().rev().skip(1).all(Result::is_ok));
                }
                let _ = Packet::decode_binary(bytes, version);
            }
            prop_assert!(records(bytes).count() <= bytes.len());
        }
    }
}
