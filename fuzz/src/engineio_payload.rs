//! The body of a POST to Engine.IO.

use denrei_proto::engineio::{Body, Packets, Version};

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
    let packets: Vec<_> = items.into_iter().map_while(Result::ok).collect();
    assert_eq!(packets.len(), good, "a packet behind an error");
    assert!(packets.iter().map(len).sum::<usize>() <= bytes.len(), "packets are longer than their body");
    if !packets.is_empty() {
        back::come_back(&packets, version);
    }
}
