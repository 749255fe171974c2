//! Packets of Socket.IO 5 in Engine.IO 4, as much as a client of the namespace `/` needs.

use memchr::memmem;

/// Asks to join the namespace `/`.
pub(crate) const CONNECT: &[u8] = b"40";
pub(crate) const PONG: &[u8] = b"3";

/// Between the packets of one body (engine.io-protocol v4, "Packet encoding").
const SEPARATOR: u8 = 0x1e;

/// What the server says with a packet.
#[derive(PartialEq, Eq, Debug)]
pub(crate) enum Packet<'a> {
    /// Engine.IO is open, and this is the session.
    Open { sid: &'a str },
    /// To be answered with [`PONG`].
    Ping,
    /// Nothing.
    Noop,
    /// The namespace is joined.
    Connected,
    /// An event or the answer to one.
    Message,
    /// What ends the session or the namespace, and what no client here has asked for.
    Other,
}

impl<'a> Packet<'a> {
    #[inline]
    pub(crate) fn of(bytes: &'a [u8]) -> Packet<'a> {
        match bytes {
            [b'4', b'2' | b'3', ..] => Packet::Message,
            [b'0', handshake @ ..] => sid(handshake).map_or(Packet::Other, |sid| Packet::Open { sid }),
            b"2" => Packet::Ping,
            b"6" => Packet::Noop,
            [b'4', b'0', ..] => Packet::Connected,
            _ => Packet::Other,
        }
    }
}

/// The packets of a body.
pub(crate) fn packets(body: &[u8]) -> impl Iterator<Item = &[u8]> {
    body.split(|b| *b == SEPARATOR).filter(|packet| !packet.is_empty())
}

/// Appends a packet to a body.
pub(crate) fn append(body: &mut Vec<u8>, packet: &[u8]) {
    if !body.is_empty() {
        body.push(SEPARATOR);
    }
    body.extend_from_slice(packet);
}

fn sid(handshake: &[u8]) -> Option<&str> {
    const KEY: &[u8] = b"\"sid\":\"";
    let start = memmem::find(handshake, KEY)? + KEY.len();
    let length = memchr::memchr(b'"', &handshake[start..])?;
    std::str::from_utf8(&handshake[start..start + length]).ok()
}

#[cfg(test)]
mod tests;
