//! An event as clients see it, on every transport.

use std::io::Write;

use super::{Syntax, protobuf};

/// The fields of an event; the payload is JSON text and goes through untouched.
#[derive(Clone, Copy, Debug)]
pub struct Event<'a> {
    /// The room.
    pub room: &'a str,
    /// The event's name.
    pub event: &'a str,
    /// One JSON value as text.
    pub payload: &'a [u8],
    /// The connection it came by; none for HTTP and for the server itself.
    pub from: Option<&'a str>,
    /// Who sent it.
    pub user: Option<&'a str>,
    /// The number in the room.
    pub seq: u64,
    /// The life of the room's log.
    pub epoch: &'a str,
    /// ms since 1970.
    pub timestamp: u64,
}

impl Event<'_> {
    /// About how long it is as text, so that a buffer is made once.
    pub fn length(&self) -> usize {
        self.payload.len() + self.room.len() + self.event.len() + 256
    }

    /// Writes the event object: `{"room","event","payload","from","userId","seq","epoch","timestamp"}`.
    pub fn write_object(&self, out: &mut Vec<u8>) {
        out.push(b'{');
        self.write_fields(out);
        out.push(b'}');
    }

    /// Writes what a reader is told; in JSON the event object with a `type`.
    pub fn write_broadcast(&self, syntax: Syntax, out: &mut Vec<u8>) {
        if syntax == Syntax::Protobuf {
            return protobuf::write_broadcast(self, out);
        }
        out.extend_from_slice(br#"{"type":"broadcast","#);
        self.write_fields(out);
        out.push(b'}');
    }

    /// Writes what goes to one client or user, and belongs to no room.
    pub fn write_direct(&self, syntax: Syntax, out: &mut Vec<u8>) {
        if syntax == Syntax::Protobuf {
            return protobuf::write_direct(self, out);
        }
        out.extend_from_slice(br#"{"type":"direct","payload":"#);
        out.extend_from_slice(self.payload);
        self.write_sender(out);
        self.write_timestamp(out);
        out.push(b'}');
    }

    fn write_fields(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(br#""room":"#);
        string(out, self.room);
        out.extend_from_slice(br#","event":"#);
        string(out, self.event);
        out.extend_from_slice(br#","payload":"#);
        out.extend_from_slice(self.payload);
        self.write_sender(out);
        out.extend_from_slice(br#","seq":"#);
        number(out, self.seq);
        out.extend_from_slice(br#","epoch":"#);
        string(out, self.epoch);
        self.write_timestamp(out);
    }

    fn write_sender(&self, out: &mut Vec<u8>) {
        for (name, value) in [(br#","from":"#.as_slice(), self.from), (br#","userId":"#, self.user)] {
            out.extend_from_slice(name);
            match value {
                Some(value) => string(out, value),
                None => out.extend_from_slice(b"null"),
            }
        }
    }

    fn write_timestamp(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(br#","timestamp":"#);
        number(out, self.timestamp);
    }
}

/// Writes a JSON string.
pub(crate) fn string(out: &mut Vec<u8>, text: &str) {
    // Names hardly ever need an escape, and the check is cheaper than the writer's.
    if text.bytes().all(|byte| byte >= 0x20 && byte != b'"' && byte != b'\\') {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
    } else {
        serde_json::to_writer(&mut *out, text).expect("a string can be written to a vector");
    }
}

pub(crate) fn number(out: &mut Vec<u8>, number: u64) {
    out.write_all(itoa::Buffer::new().format(number).as_bytes()).expect("a vector takes all");
}
