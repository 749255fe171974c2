//! Packets of Socket.IO as text, with attachments behind it.

use denrei_proto::engineio::{Body, Packet, Packets, Version};
use denrei_proto::socketio::{Decoder, Parser};

use crate::packets;

/// See [`packets::head`]; then messages as in a v4 payload, such as `452-["a",…]`, a separator, `bAQID`.
pub fn run(data: &[u8]) {
    let Some((version, limits, messages)) = packets::head(data) else { return };
    let mut decoder = Decoder::new(Parser::Json, version, limits);
    for message in Packets::new(Version::V4, Body::Text(messages), usize::MAX).map_while(Result::ok) {
        let collected = decoder.is_collecting();
        let read = match &message {
            Packet::Text(text) => decoder.text(text),
            Packet::Binary(data) => decoder.binary(data),
            _ => continue,
        };
        match read {
            Ok(None) => {}
            Ok(Some(packet)) => {
                assert!(!decoder.is_collecting(), "a packet in the middle of another");
                assert_eq!(collected, matches!(message, Packet::Binary(_)), "what completes a packet");
                packets::hold(&packet, version, &limits);
            }
            Err(error) => {
                assert!(!decoder.is_collecting(), "{error}, and memory is held");
                assert!(error.to_string().len() < 100);
            }
        }
    }
}
