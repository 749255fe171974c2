//! How packets wait for a client that polls.

use bytes::Bytes;

use super::packet::{MESSAGE, write_base64};
use super::{Packet, Version, Wire};
use crate::ws::{Coding, Header, Opcode, header};

/// One packet that waits to be sent: a poll takes what has gathered in one body, and after an upgrade it goes out in
/// WebSocket frames.
///
/// In memory a record is a byte for its kind, four for its length, and the packet as it stands in a v4 WebSocket
/// message. It tells its length so that records can be joined: a Socket.IO packet with its attachments is one chunk that
/// nothing can come between, and what was published in one turn is another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record<'a> {
    /// A text packet with its type, which is UTF-8.
    Text(&'a [u8]),
    /// The data of a binary message.
    Binary(&'a [u8]),
}

const TEXT: u8 = b't';
const BINARY: u8 = b'b';

/// The bytes before a packet.
const AROUND: usize = 5;

impl<'a> Record<'a> {
    /// The packet as it stands in a v4 WebSocket message.
    pub fn packet(self) -> &'a [u8] {
        match self {
            Record::Text(packet) | Record::Binary(packet) => packet,
        }
    }

    /// Says whether it is a binary message.
    pub fn is_binary(self) -> bool {
        matches!(self, Record::Binary(_))
    }

    /// Appends the packet as one WebSocket frame.
    pub fn write_frame(self, wire: Wire, out: &mut Vec<u8>) {
        match (self, wire) {
            (Record::Text(packet), _) => write_frame(Opcode::Text, &[], packet, out),
            (Record::Binary(packet), Wire::V4) => write_frame(Opcode::Binary, &[], packet, out),
            (Record::Binary(packet), Wire::V3) => write_frame(Opcode::Binary, &[MESSAGE], packet, out),
            (Record::Binary(packet), Wire::V3Base64) => {
                let mut text = Vec::new();
                write_base64(packet, Version::V3, &mut text);
                write_frame(Opcode::Text, &[], &text, out);
            }
        }
    }
}

/// Makes a chunk of one record.
pub fn record(packet: &Packet<'_>) -> Bytes {
    let mut chunk = Vec::new();
    write_record(packet.is_binary(), &mut chunk, |out| packet.write_to(out));
    chunk.into()
}

/// Appends a record whose packet `write` appends, such as `4` and what Socket.IO says.
pub fn write_record(binary: bool, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    out.extend_from_slice(&[if binary { BINARY } else { TEXT }, 0, 0, 0, 0]);
    let start = out.len();
    write(out);
    let len = u32::try_from(out.len().saturating_sub(start)).unwrap_or(u32::MAX);
    out[start - 4..start].copy_from_slice(&len.to_be_bytes());
}

/// The records of a chunk. A chunk is made by this module; what is none ends the iteration.
pub fn records(chunk: &[u8]) -> Records<'_> {
    Records(chunk)
}

/// See [`records`].
#[derive(Clone, Debug)]
pub struct Records<'a>(&'a [u8]);

impl<'a> Iterator for Records<'a> {
    type Item = Record<'a>;

    fn next(&mut self) -> Option<Record<'a>> {
        let (&[kind, a, b, c, d], rest) = self.0.split_first_chunk::<AROUND>()?;
        let len = u32::from_be_bytes([a, b, c, d]) as usize;
        let (packet, rest) = rest.split_at_checked(len)?;
        self.0 = rest;
        Some(if kind == BINARY { Record::Binary(packet) } else { Record::Text(packet) })
    }
}

/// Turns chunks of records into WebSocket frames: on an upgrade, what waited for a poll goes out first.
pub fn frames<'a>(wire: Wire, chunks: impl IntoIterator<Item = &'a [u8]>) -> Bytes {
    let mut out = Vec::new();
    for record in chunks.into_iter().flat_map(records) {
        record.write_frame(wire, &mut out);
    }
    out.into()
}

fn write_frame(opcode: Opcode, before: &[u8], payload: &[u8], out: &mut Vec<u8>) {
    let header: Header = header(opcode, Coding::Plain, before.len() + payload.len());
    out.reserve(header.len() + before.len() + payload.len());
    out.extend_from_slice(&header);
    out.extend_from_slice(before);
    out.extend_from_slice(payload);
}

/// A message with its attachments as WebSocket frames, in one allocation: `write` appends the text after the `4`, or a
/// binary message.
///
/// `size` is a guess of what it appends.
pub fn message_frames<'a>(
    wire: Wire,
    binary: bool,
    size: usize,
    write: impl FnOnce(&mut Vec<u8>),
    attachments: impl Iterator<Item = &'a [u8]> + Clone,
) -> Bytes {
    const RESERVED: usize = 10;
    if binary && wire == Wire::V3Base64 {
        // Rare enough for a second buffer: the length of base64 is known after the message only.
        return frames(wire, [&message_records(true, size, write, attachments)[..]]);
    }
    let behind = attachments.clone().map(|data| RESERVED + 1 + data.len()).sum::<usize>();
    let mut out = Vec::with_capacity(RESERVED + 1 + size + behind);
    out.resize(RESERVED, 0);
    match (binary, wire) {
        (false, _) => out.push(b'4'),
        (true, Wire::V3) => out.push(MESSAGE),
        (true, _) => {}
    }
    write(&mut out);
    let opcode = if binary { Opcode::Binary } else { Opcode::Text };
    let header = header(opcode, Coding::Plain, out.len().saturating_sub(RESERVED));
    let start = RESERVED - header.len();
    out[start..RESERVED].copy_from_slice(&header);
    for data in attachments {
        Record::Binary(data).write_frame(wire, &mut out);
    }
    Bytes::from(out).split_off(start)
}

/// A message with its attachments as one chunk of records, in one allocation; see [`message_frames`].
pub fn message_records<'a>(
    binary: bool,
    size: usize,
    write: impl FnOnce(&mut Vec<u8>),
    attachments: impl Iterator<Item = &'a [u8]> + Clone,
) -> Bytes {
    let behind = attachments.clone().map(|data| AROUND + data.len()).sum::<usize>();
    let mut out = Vec::with_capacity(AROUND + 1 + size + behind);
    write_record(binary, &mut out, |out| {
        if !binary {
            out.push(b'4');
        }
        write(out);
    });
    for data in attachments {
        write_record(true, &mut out, |out| out.extend_from_slice(data));
    }
    out.into()
}
