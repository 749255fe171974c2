//! WebSocket framing (RFC 6455 §5), the client's side.

pub(crate) const CONTINUATION: u8 = 0;
pub(crate) const TEXT: u8 = 1;
pub(crate) const CLOSE: u8 = 8;
pub(crate) const PING: u8 = 9;
pub(crate) const PONG: u8 = 10;

/// The key of RFC 6455 §1.3 for every handshake, so that the right answer is a constant.
pub(crate) const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
/// The answer to [`KEY`].
pub(crate) const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

// A constant: the server has to unmask whatever it is, and a mask protects proxies only.
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// A frame of the server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Frame<'a> {
    first: u8,
    pub(crate) payload: &'a [u8],
}

impl<'a> Frame<'a> {
    /// The frame at the front of `bytes`, and its length; `None` until it is whole.
    #[inline]
    pub(crate) fn split(bytes: &'a [u8]) -> Option<(Frame<'a>, usize)> {
        let [first, second, ..] = *bytes else { return None };
        let (head, length) = match second & 127 {
            126 => (4, usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?))),
            127 => (10, u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?) as usize),
            short => (2, usize::from(short)),
        };
        let payload = bytes.get(head..)?.get(..length)?;
        Some((Frame { first, payload }, head + length))
    }

    #[inline]
    pub(crate) fn opcode(&self) -> u8 {
        self.first & 15
    }

    /// Whether the payload is deflated (RFC 7692 §6: RSV1 on a message's first frame).
    #[inline]
    pub(crate) fn deflated(&self) -> bool {
        self.first & 0x40 != 0
    }
}

/// Appends one whole, masked message.
pub(crate) fn encode(out: &mut Vec<u8>, opcode: u8, payload: &[u8]) {
    out.push(0x80 | opcode);
    match payload.len() {
        length @ 0..126 => out.push(0x80 | length as u8),
        length @ 126..65536 => {
            out.push(0x80 | 126);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            out.push(0x80 | 127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&MASK);
    let start = out.len();
    out.extend_from_slice(payload);
    for chunk in out[start..].chunks_mut(4) {
        for (byte, mask) in chunk.iter_mut().zip(MASK) {
            *byte ^= mask;
        }
    }
}

#[cfg(test)]
mod tests;
