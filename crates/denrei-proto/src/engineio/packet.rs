//! One packet, as it stands in a WebSocket message.

use std::borrow::Cow;

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use thiserror::Error;

/// Which revision of the protocol a client speaks: the `EIO` of its query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// `EIO=3`: Socket.IO 2 clients. The client pings, payloads tell lengths.
    V3,
    /// `EIO=4`: everyone else. The server pings, payloads have separators.
    V4,
}

/// How a client wants its packets written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    /// A binary message is the packet itself; polling carries it as base64.
    V4,
    /// A binary message begins with the packet's type, also in a binary payload.
    V3,
    /// A v3 client that asked with `b64` for text only, also in WebSocket messages.
    V3Base64,
}

impl Wire {
    /// The revision of the protocol.
    pub fn version(self) -> Version {
        match self {
            Wire::V4 => Version::V4,
            Wire::V3 | Wire::V3Base64 => Version::V3,
        }
    }
}

/// What one engine says to the other.
///
/// What follows the type of a close, upgrade or noop packet is ignored, as Node does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet<'a> {
    /// `0`: the handshake, from the server only. See [`Handshake`](super::Handshake).
    Open(&'a str),
    /// `1`
    Close,
    /// `2`, with data `probe` on a WebSocket that wants to replace polling.
    Ping(&'a str),
    /// `3`
    Pong(&'a str),
    /// `4`: a message to or from Socket.IO.
    Text(&'a str),
    /// A binary message. It is owned where it came as base64.
    Binary(Cow<'a, [u8]>),
    /// `5`: the probe becomes the transport.
    Upgrade,
    /// `6`: ends a poll that has nothing to say.
    Noop,
}

/// Why a packet or a payload could not be read. The session closes with `parse error`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Invalid {
    /// A message or a part of a payload has no bytes.
    #[error("packet is empty")]
    Empty,
    /// The first byte is none of `0` to `6` and not `b`.
    #[error("packet has no known type")]
    UnknownType,
    /// After `b` comes something else than base64.
    #[error("packet is not valid base64")]
    Base64,
    /// The body of a POST is not text.
    #[error("payload is not valid UTF-8")]
    Utf8,
    /// A v3 length is no number, or does not fit what follows.
    #[error("packet length in the payload is wrong")]
    Length,
    /// More packets than the limit.
    #[error("payload exceeds the limit of {limit} packets")]
    TooManyPackets {
        /// In packets.
        limit: usize,
    },
}

impl<'a> Packet<'a> {
    /// Reads a WebSocket text message, or a text part of a payload.
    ///
    /// # Errors
    ///
    /// See [`Invalid`].
    pub fn decode_text(text: &'a str, version: Version) -> Result<Self, Invalid> {
        let Some(&kind) = text.as_bytes().first() else { return Err(Invalid::Empty) };
        if !kind.is_ascii() {
            return Err(Invalid::UnknownType);
        }
        let data = &text[1..];
        Ok(match kind {
            b'0' => Packet::Open(data),
            b'1' => Packet::Close,
            b'2' => Packet::Ping(data),
            b'3' => Packet::Pong(data),
            b'4' => Packet::Text(data),
            b'5' => Packet::Upgrade,
            b'6' => Packet::Noop,
            b'b' => Packet::Binary(Cow::Owned(unbase64(data, version)?)),
            _ => return Err(Invalid::UnknownType),
        })
    }

    /// Reads a WebSocket binary message.
    ///
    /// # Errors
    ///
    /// In v3 the first byte is the type, of which only a message makes sense in binary.
    pub fn decode_binary(bytes: &'a [u8], version: Version) -> Result<Self, Invalid> {
        match (version, bytes) {
            (Version::V4, data) | (Version::V3, [MESSAGE, data @ ..]) => Ok(Packet::Binary(Cow::Borrowed(data))),
            (Version::V3, []) => Err(Invalid::Empty),
            (Version::V3, _) => Err(Invalid::UnknownType),
        }
    }

    /// Appends a text packet as it stands in a WebSocket message; a binary one as it is on a v4 connection.
    pub fn write_to(&self, out: &mut Vec<u8>) {
        let (kind, data) = match self {
            Packet::Open(data) => (b'0', *data),
            Packet::Close => (b'1', ""),
            Packet::Ping(data) => (b'2', *data),
            Packet::Pong(data) => (b'3', *data),
            Packet::Text(data) => (b'4', *data),
            Packet::Upgrade => (b'5', ""),
            Packet::Noop => (b'6', ""),
            Packet::Binary(data) => return out.extend_from_slice(data),
        };
        out.push(kind);
        out.extend_from_slice(data.as_bytes());
    }

    /// Says whether it is a binary message.
    pub fn is_binary(&self) -> bool {
        matches!(self, Packet::Binary(_))
    }
}

/// The type of a message where it is a byte instead of a character, before v3's binary data.
pub(super) const MESSAGE: u8 = 4;

/// Appends `b` and base64, with v3's type between them.
pub(super) fn write_base64(data: &[u8], version: Version, out: &mut Vec<u8>) {
    out.extend_from_slice(if version == Version::V3 { b"b4" } else { b"b" });
    let start = out.len();
    out.resize(start + base64_len(data.len()), 0);
    // The space is exactly what standard base64 with padding takes.
    let written = BASE64.encode_slice(data, &mut out[start..]).unwrap_or_default();
    out.truncate(start + written);
}

/// Bytes of standard base64 with padding.
pub(super) fn base64_len(len: usize) -> usize {
    len.div_ceil(3) * 4
}

fn unbase64(text: &str, version: Version) -> Result<Vec<u8>, Invalid> {
    let text = match version {
        Version::V4 => text,
        Version::V3 => text.strip_prefix('4').ok_or(Invalid::UnknownType)?,
    };
    BASE64.decode(text).map_err(|_| Invalid::Base64)
}

/// Some clients leave the padding away; Node does not mind.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);
