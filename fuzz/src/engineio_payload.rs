//! The body of a POST to Engine.IO.

use denrei_proto::engineio::{Body, Packet, Packets, Version};

use crate::back;
use crate::engineio_packet::len;

/// The version (`3`, else 4), the kind (`b` for binary), the limit of packets (a digit, else none), then the body.
pub fn run(data: &[u8]) {
    let Some((&[version, kind, limit], bytes)) = data.split_first_chunk() else { return };
    let version = if version == b'3' { Version::V3 } else { Version::V4 };
    let body = if kind == b'b' { Body::Binary(bytes) } else { Body::Text(bytes) };
    let limit = char::from(limit).to_digit(10).map_or(usize::MAX, |limit| limit as usize);

    let mut packets = Packets::new(version, body, limit);
    let items: Vec<_> = packets.by_ref().collect();
    assert_eq!(packets.next(), None, "what has ended goes on");
    let good = items.iter().filter(|item| item.is_ok()).count();
    assert!(good <= limit, "{good} packets, where {limit} are allowed");
    assert!(good <= bytes.len() && items.len() <= good + 1, "more than one error");
    let whole = good == items.len();
    let packets: Vec<_> = items.into_iter().map_while(Result::ok).collect();
    assert_eq!(packets.len(), good, "a packet behind an error");
    assert!(packets.iter().map(len).sum::<usize>() <= bytes.len(), "packets are longer than their body");
    if whole && let (Version::V3, Body::Text(bytes)) = (version, body) {
        let parts = as_javascript(bytes);
        let parts: Vec<_> = parts.iter().map(|part| Packet::decode_text(part, version).expect("it was read")).collect();
        assert_eq!(packets, parts);
    }
    if !packets.is_empty() {
        back::come_back(&packets, version);
    }
}

/// The parts of a v3 payload that was understood, by the lengths that JavaScript's strings have.
fn as_javascript(text: &[u8]) -> Vec<String> {
    let text: Vec<u16> = std::str::from_utf8(text).expect("it was read").encode_utf16().collect();
    let (mut rest, mut parts) = (&text[..], Vec::new());
    while !rest.is_empty() {
        let colon = rest.iter().position(|&unit| unit == u16::from(b':')).expect("a part has a length");
        let len: usize = String::from_utf16_lossy(&rest[..colon]).parse().expect("a length is a number");
        let (part, behind) = rest[colon + 1..].split_at(len);
        parts.push(String::from_utf16(part).expect("nothing cuts a pair"));
        rest = behind;
    }
    parts.retain(|part| !part.is_empty());
    parts
}
