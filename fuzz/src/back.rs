//! Reading back what the server writes, as a client would.

use denrei_proto::engineio::{
    Answer, Body, Packet, Packets, Payload, Version, Wire, encode_payload, frames, record, records,
};
use denrei_proto::ws::{Decoder, Event, Limits, testing::masked};

/// The ways in which packets are written for a client.
pub(crate) fn wires(version: Version) -> &'static [Wire] {
    match version {
        Version::V4 => &[Wire::V4],
        Version::V3 => &[Wire::V3, Wire::V3Base64],
    }
}

/// A message of a WebSocket.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Message {
    Text(String),
    Binary(Vec<u8>),
}

/// The messages in the frames of a server.
pub(crate) fn messages(frames: &[u8]) -> Vec<Message> {
    let (mut rest, mut messages) = (frames, Vec::new());
    while let [first, second, behind @ ..] = rest {
        let (len, behind) = match second {
            126 => {
                let (len, behind) = behind.split_first_chunk().expect("a length of two bytes");
                (usize::from(u16::from_be_bytes(*len)), behind)
            }
            127 => {
                let (len, behind) = behind.split_first_chunk().expect("a length of eight bytes");
                (u64::from_be_bytes(*len) as usize, behind)
            }
            len => (usize::from(*len), behind),
        };
        let (payload, behind) = behind.split_at(len);
        rest = behind;
        let mut frame = masked(*first, [0; 4], payload);
        let limits = Limits { message: usize::MAX, frame: usize::MAX, fragments: 1 };
        let mut decoder = Decoder::new(limits, None);
        messages.push(match decoder.decode(&mut frame) {
            Ok((_, Some(Event::Text(text)))) => Message::Text(text.into()),
            Ok((_, Some(Event::Binary(data)))) => Message::Binary(data.into()),
            other => panic!("the server wrote a frame that is {other:?}"),
        });
    }
    assert!(rest.is_empty(), "the server wrote half a frame");
    messages
}

/// Writes packets for every wire, and reads them back.
pub(crate) fn come_back(packets: &[Packet<'_>], version: Version) {
    let chunks: Vec<_> = packets.iter().map(record).collect();
    let joined = chunks.concat();
    assert_eq!(records(&joined).count(), packets.len());
    for &wire in wires(version) {
        let framed = frames(wire, [&joined[..]]);
        let messages = messages(&framed);
        assert_eq!(messages.len(), packets.len());
        for (message, packet) in messages.iter().zip(packets) {
            let read = match message {
                Message::Text(text) => Packet::decode_text(text, version),
                Message::Binary(data) => Packet::decode_binary(data, version),
            };
            assert_eq!(read.as_ref(), Ok(packet), "{wire:?}, frames");
        }

        // The protocol forbids the separator, and Socket.IO never writes it.
        if version == Version::V4 && packets.iter().any(has_separator) {
            continue;
        }
        let payload = encode_payload(wire, chunks.iter().map(|chunk| &chunk[..]));
        assert_eq!(payload, encode_payload(wire, [&joined[..]]), "however records are joined");
        assert_eq!(read(&payload, version), packets, "{wire:?}, payload");
        let queued = Answer::Queued.respond(wire, [&joined[..]]);
        assert_eq!((queued.body, queued.content_type), (payload.body, payload.content_type));
        let last = Answer::Close.respond(wire, [&joined[..]]);
        let last = Payload { body: last.body, content_type: last.content_type };
        assert_eq!(read(&last, version).split_last(), Some((&Packet::Close, packets)));
    }
}

fn read(payload: &Payload, version: Version) -> Vec<Packet<'_>> {
    let body = if payload.content_type == "application/octet-stream" {
        Body::Binary(&payload.body)
    } else {
        Body::Text(&payload.body)
    };
    Packets::new(version, body, usize::MAX).collect::<Result<_, _>>().expect("the server wrote it")
}

fn has_separator(packet: &Packet<'_>) -> bool {
    match packet {
        Packet::Open(data) | Packet::Ping(data) | Packet::Pong(data) | Packet::Text(data) => data.contains('\x1e'),
        Packet::Close | Packet::Binary(_) | Packet::Upgrade | Packet::Noop => false,
    }
}
