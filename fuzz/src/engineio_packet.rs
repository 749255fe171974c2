//! One packet of Engine.IO, in a WebSocket message.

use std::borrow::Cow;

use denrei_proto::engineio::{Packet, Version};

use crate::back;

/// The input is the message.
pub fn run(data: &[u8]) {
    for version in [Version::V3, Version::V4] {
        if let Ok(text) = std::str::from_utf8(data)
            && let Ok(packet) = Packet::decode_text(text, version)
        {
            assert!(len(&packet) < text.len(), "a packet is longer than its message");
            back::come_back(&[packet], version);
        }
        if let Ok(packet) = Packet::decode_binary(data, version) {
            assert!(matches!(packet, Packet::Binary(Cow::Borrowed(_))), "binary is not copied");
            back::come_back(&[packet], version);
        }
    }
}

/// Bytes of what a packet carries.
pub(crate) fn len(packet: &Packet<'_>) -> usize {
    match packet {
        Packet::Open(data) | Packet::Ping(data) | Packet::Pong(data) | Packet::Text(data) => data.len(),
        Packet::Binary(data) => data.len(),
        Packet::Close | Packet::Upgrade | Packet::Noop => 0,
    }
}
