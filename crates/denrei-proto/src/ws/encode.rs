//! Frames from the server, RFC 6455 §5.2: never masked, never fragmented.

use std::io;
use std::ops::Deref;

use bytes::Bytes;

use super::frame::{FIN, MAX_CONTROL, Opcode, RSV1};

/// The longest header that a server writes.
const RESERVED: usize = 10;

/// Whether a payload went through permessage-deflate, which the first reserved bit tells (RFC 7692 §6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// As it is.
    Plain,
    /// Compressed, its tail cut off.
    Deflated,
}

/// A server's frame header: two, four or ten bytes, to which it dereferences.
#[derive(Clone, Copy, Debug)]
pub struct Header {
    bytes: [u8; RESERVED],
    len: u8,
}

impl Deref for Header {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

/// The header of a whole message of `len` payload bytes.
pub fn header(opcode: Opcode, coding: Coding, len: usize) -> Header {
    let mut bytes = [0; RESERVED];
    bytes[0] = FIN | opcode as u8 | if coding == Coding::Deflated { RSV1 } else { 0 };
    let len = match len {
        0..126 => {
            bytes[1] = len as u8;
            2
        }
        126..0x1_0000 => {
            bytes[1] = 126;
            bytes[2..4].copy_from_slice(&(len as u16).to_be_bytes());
            4
        }
        _ => {
            bytes[1] = 127;
            bytes[2..].copy_from_slice(&(len as u64).to_be_bytes());
            10
        }
    };
    Header { bytes, len }
}

/// A whole message in one frame. To write a payload directly behind its header, see [`FrameWriter`].
pub fn frame(opcode: Opcode, payload: &[u8]) -> Bytes {
    coded(opcode, Coding::Plain, payload)
}

pub(super) fn coded(opcode: Opcode, coding: Coding, payload: &[u8]) -> Bytes {
    let header = header(opcode, coding, payload.len());
    let mut frame = Vec::with_capacity(header.len() + payload.len());
    frame.extend_from_slice(&header);
    frame.extend_from_slice(payload);
    frame.into()
}

/// A close frame. A reason of more than 123 bytes is cut before the character that does not fit.
///
/// A code that must not stand on the wire (1005, say, for a peer that gave none) makes the frame empty.
pub fn close(code: u16, reason: &str) -> Bytes {
    if !super::is_valid_close_code(code) {
        return frame(Opcode::Close, &[]);
    }
    let reason = &reason.as_bytes()[..reason.floor_char_boundary(MAX_CONTROL - 2)];
    frame(Opcode::Close, &[&code.to_be_bytes(), reason].concat())
}

/// A ping; a payload is cut to 125 bytes.
pub fn ping(payload: &[u8]) -> Bytes {
    frame(Opcode::Ping, &payload[..payload.len().min(MAX_CONTROL)])
}

/// A pong; a payload is cut to 125 bytes.
pub fn pong(payload: &[u8]) -> Bytes {
    frame(Opcode::Pong, &payload[..payload.len().min(MAX_CONTROL)])
}

/// Builds a frame around a payload that is written in place, whose length is not known before.
///
/// ```
/// # use denrei_proto::ws::{FrameWriter, Opcode};
/// let mut writer = FrameWriter::with_capacity(64);
/// serde_json::to_writer(&mut writer, &["hello"])?;
/// assert_eq!(&writer.finish(Opcode::Text)[..], b"\x81\x09[\"hello\"]");
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug)]
pub struct FrameWriter {
    /// Room for the longest header, then the payload.
    buffer: Vec<u8>,
}

impl FrameWriter {
    /// Reserves room for the header and a payload of `capacity` bytes, which may turn out longer.
    pub fn with_capacity(capacity: usize) -> Self {
        let mut buffer = Vec::with_capacity(RESERVED.saturating_add(capacity));
        buffer.resize(RESERVED, 0);
        FrameWriter { buffer }
    }

    /// The vector to append the payload to. What stands in it already is room for the header.
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    /// What was written so far.
    pub fn payload(&self) -> &[u8] {
        self.buffer.get(RESERVED..).unwrap_or_default()
    }

    /// The frame, sharing the writer's memory.
    pub fn finish(self, opcode: Opcode) -> Bytes {
        self.finish_coded(opcode, Coding::Plain)
    }

    pub(super) fn finish_coded(mut self, opcode: Opcode, coding: Coding) -> Bytes {
        // A caller may have cut the vector short; then there is no payload.
        if self.buffer.len() < RESERVED {
            self.buffer.resize(RESERVED, 0);
        }
        let header = header(opcode, coding, self.buffer.len() - RESERVED);
        let start = RESERVED - header.len();
        self.buffer[start..RESERVED].copy_from_slice(&header);
        Bytes::from(self.buffer).split_off(start)
    }
}

impl io::Write for FrameWriter {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(data);
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
