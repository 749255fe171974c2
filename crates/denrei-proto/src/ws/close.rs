//! The payload of a close frame, RFC 6455 §5.5.1 and §7.4.

use super::Violation;

/// Why the peer closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CloseFrame<'a> {
    /// A code for which [`is_valid_close_code`] holds.
    pub code: u16,
    /// At most 123 bytes, often empty.
    pub reason: &'a str,
}

/// Says whether a close code may stand on the wire.
///
/// RFC 6455 §7.4.1 and IANA's registry: 1004 has no meaning yet; 1005, 1006 and 1015 tell an
/// application what was *not* received; 1016 to 2999 are for later versions of the protocol.
pub fn is_valid_close_code(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

pub(super) fn parse(payload: &[u8]) -> Result<Option<CloseFrame<'_>>, Violation> {
    let Some((&code, reason)) = payload.split_first_chunk() else {
        return if payload.is_empty() { Ok(None) } else { Err(Violation::CloseOfOneByte) };
    };
    let code = u16::from_be_bytes(code);
    if !is_valid_close_code(code) {
        return Err(Violation::InvalidCloseCode(code));
    }
    let reason = simdutf8::basic::from_utf8(reason).map_err(|_| Violation::InvalidUtf8)?;
    Ok(Some(CloseFrame { code, reason }))
}
