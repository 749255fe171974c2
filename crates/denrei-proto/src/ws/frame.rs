//! One frame's header, RFC 6455 §5.2.

use super::Violation;

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Opcode {
    /// The next fragment of the open message.
    Continuation = 0x0,
    /// A text message or its first fragment.
    Text = 0x1,
    /// A binary message or its first fragment.
    Binary = 0x2,
    /// The closing handshake.
    Close = 0x8,
    /// Asks for a pong with the same payload.
    Ping = 0x9,
    /// Answers a ping, or comes unasked as a sign of life.
    Pong = 0xA,
}

impl Opcode {
    /// Says whether the frame is one that may stand between fragments (RFC 6455 §5.5).
    pub fn is_control(self) -> bool {
        matches!(self, Opcode::Close | Opcode::Ping | Opcode::Pong)
    }

    fn parse(nibble: u8) -> Option<Opcode> {
        Some(match nibble {
            0x0 => Opcode::Continuation,
            0x1 => Opcode::Text,
            0x2 => Opcode::Binary,
            0x8 => Opcode::Close,
            0x9 => Opcode::Ping,
            0xA => Opcode::Pong,
            _ => return None,
        })
    }
}

pub(super) const FIN: u8 = 0x80;
pub(super) const RSV1: u8 = 0x40;
const RSV: u8 = 0x70;
const MASKED: u8 = 0x80;

/// The most that a control frame may carry (RFC 6455 §5.5).
pub(super) const MAX_CONTROL: usize = 125;
/// The longest header: two bytes, a 64-bit length, the mask.
pub(super) const MAX_HEADER: usize = 14;

/// A client's frame header that holds by itself; whether it fits the open message is the decoder's question.
#[derive(Clone, Copy, Debug)]
pub(super) struct FrameHeader {
    pub(super) fin: bool,
    pub(super) rsv1: bool,
    pub(super) opcode: Opcode,
    pub(super) mask: [u8; 4],
    pub(super) len: u64,
}

/// Reads a header and its size from the front of `bytes`; `None` if it is not all there yet.
///
/// `extension_bits` are the reserved bits that a negotiated extension gives a meaning. What is wrong
/// is told with the first byte that shows it, not when the header is complete.
#[inline]
pub(super) fn parse(bytes: &[u8], extension_bits: u8) -> Result<Option<(FrameHeader, usize)>, Violation> {
    let Some(&first) = bytes.first() else { return Ok(None) };
    let (fin, rsv, nibble) = (first & FIN != 0, first & RSV, first & 0x0F);
    let Some(opcode) = Opcode::parse(nibble) else { return Err(Violation::ReservedOpcode(nibble)) };
    // RFC 7692 §6: the bit is set on the first fragment of a message, never on the others nor on control frames.
    let allowed = if matches!(opcode, Opcode::Text | Opcode::Binary) { extension_bits } else { 0 };
    if rsv & !allowed != 0 {
        return Err(Violation::ReservedBits(rsv >> 4));
    }
    if opcode.is_control() && !fin {
        return Err(Violation::FragmentedControl);
    }

    let Some(&second) = bytes.get(1) else { return Ok(None) };
    if second & MASKED == 0 {
        return Err(Violation::Unmasked);
    }
    let short = second & !MASKED;
    if opcode.is_control() && usize::from(short) > MAX_CONTROL {
        return Err(Violation::ControlTooLong);
    }
    let Some((len, mask_at)) = length(short, bytes.get(2..).unwrap_or_default())? else { return Ok(None) };
    let Some(&mask) = bytes.get(mask_at..).and_then(<[u8]>::first_chunk) else { return Ok(None) };
    let header = FrameHeader { fin, rsv1: rsv & RSV1 != 0, opcode, mask, len };
    Ok(Some((header, mask_at + mask.len())))
}

/// The payload length and where the mask stands; `extended` is what follows the first two bytes.
#[inline]
fn length(short: u8, extended: &[u8]) -> Result<Option<(u64, usize)>, Violation> {
    let (len, mask_at, least) = match short {
        126 => {
            let Some(&bytes) = extended.first_chunk() else { return Ok(None) };
            (u64::from(u16::from_be_bytes(bytes)), 4, 126)
        }
        127 => {
            let Some(&bytes) = extended.first_chunk() else { return Ok(None) };
            (u64::from_be_bytes(bytes), 10, 1 << 16)
        }
        _ => (u64::from(short), 2, 0),
    };
    if len >> 63 != 0 {
        return Err(Violation::LengthTopBit);
    }
    if len < least {
        return Err(Violation::NonMinimalLength(len));
    }
    Ok(Some((len, mask_at)))
}
