//! Packets to msgpack.

use bytes::Bytes;

use crate::socketio::args::Args;
use crate::socketio::outgoing::{Outgoing, What};
use crate::socketio::scan::{self, Container, PLACEHOLDER, containers, index};

/// Appends a packet, its keys in the order in which Node has them.
pub(in crate::socketio) fn encode(packet: &Outgoing<'_>, out: &mut Vec<u8>) {
    let (kind, has_data, id) = match packet.what {
        What::Connect { .. } => (0, true, None),
        What::ConnectV3 => (0, false, None),
        What::Disconnect => (1, false, None),
        What::Event { id, .. } => (2, true, id),
        What::Ack { id, .. } => (3, true, Some(id)),
        What::ConnectError { .. } | What::ErrorV3 { .. } => (4, true, None),
    };
    head(&MAP, 2 + usize::from(has_data) + usize::from(id.is_some()), out);
    text("type", out);
    out.push(kind);
    if has_data {
        text("data", out);
    }
    match packet.what {
        What::ConnectV3 | What::Disconnect => {}
        What::Connect { .. } | What::ConnectError { .. } | What::ErrorV3 { .. } => {
            Transcoder::new(&packet.object(), &[]).value(out);
        }
        What::Event { name, args, offset, .. } => {
            let transcoder = Transcoder::new(args.text(), args.attachments());
            head(&ARRAY, 1 + transcoder.members() + usize::from(offset.is_some()), out);
            text(name, out);
            transcoder.members_only().value(out);
            if let Some(offset) = offset {
                text(offset, out);
            }
        }
        What::Ack { args, .. } => Transcoder::new(args.text(), args.attachments()).value(out),
    }
    if let Some(id) = id {
        text("id", out);
        unsigned(id, out);
    }
    text("nsp", out);
    text(packet.namespace, out);
}

/// Appends the first of these arguments alone.
pub(in crate::socketio) fn document(args: &Args, out: &mut Vec<u8>) {
    Transcoder::new(args.text(), args.attachments()).members_only().value(out);
}

/// JSON to msgpack. Arrays and maps tell their length first, so the JSON is walked once for those.
struct Transcoder<'a> {
    json: &'a str,
    attachments: &'a [Bytes],
    /// In the order of their beginnings.
    containers: Vec<Container<'a>>,
    at: usize,
}

impl<'a> Transcoder<'a> {
    fn new(json: &'a str, attachments: &'a [Bytes]) -> Self {
        let mut all = Vec::new();
        containers(json, PLACEHOLDER, |container| all.push(container));
        all.sort_unstable_by_key(|container| container.start);
        Self { json, attachments, containers: all, at: 0 }
    }

    /// How many members the outermost array has.
    fn members(&self) -> usize {
        self.containers.first().map_or(0, |outermost| outermost.members as usize)
    }

    /// Goes on behind the head of the outermost array.
    fn members_only(self) -> Self {
        Self { at: 1, ..self }
    }

    /// Writes all that is left. What closes an array or an object has no form in msgpack.
    fn value(self, out: &mut Vec<u8>) {
        let bytes = self.json.as_bytes();
        let mut containers = self.containers.iter().peekable();
        let mut at = self.at;
        while let Some(&byte) = bytes.get(at) {
            let start = at;
            at += 1;
            match byte {
                b'{' | b'[' => {
                    while containers.next_if(|container| container.start < start).is_some() {}
                    // The walk told every one of them.
                    let Some(container) = containers.next() else { return };
                    if let Some(data) = attachment(container, self.attachments) {
                        head(&BINARY, data.len(), out);
                        out.extend_from_slice(data);
                        at = container.end;
                    } else {
                        head(if byte == b'{' { &MAP } else { &ARRAY }, container.members as usize, out);
                    }
                }
                b'"' => {
                    at = scan::string_end(bytes, at);
                    let token = &self.json[start..at];
                    let plain = &token[1..token.len() - 1];
                    if plain.contains('\\') {
                        // A lone surrogate has no form in UTF-8.
                        let owned = serde_json::from_str::<String>(token);
                        text(owned.as_deref().unwrap_or("\u{fffd}"), out);
                    } else {
                        text(plain, out);
                    }
                }
                b'}' | b']' | b',' | b':' | b' ' | b'\t' | b'\n' | b'\r' => {}
                _ => {
                    at = scan::scalar_end(bytes, at);
                    scalar(&self.json[start..at], out);
                }
            }
        }
    }
}

fn attachment<'a>(container: &Container<'_>, attachments: &'a [Bytes]) -> Option<&'a Bytes> {
    let [Some("true"), num] = container.values else { return None };
    num.and_then(index).and_then(|num| attachments.get(num))
}

fn scalar(token: &str, out: &mut Vec<u8>) {
    match token {
        "null" => out.push(0xC0),
        "false" => out.push(0xC2),
        "true" => out.push(0xC3),
        number => match (number.parse::<u64>(), number.parse::<i64>()) {
            (Ok(number), _) => unsigned(number, out),
            (_, Ok(number)) => signed(number, out),
            _ => {
                out.push(0xCB);
                // It is a JSON number, and Rust reads those.
                out.extend_from_slice(&number.parse::<f64>().unwrap_or(f64::NAN).to_be_bytes());
            }
        },
    }
}

fn unsigned(number: u64, out: &mut Vec<u8>) {
    match number {
        0..0x80 => out.push(number as u8),
        0x80..0x100 => out.extend_from_slice(&[0xCC, number as u8]),
        0x100..0x1_0000 => {
            out.push(0xCD);
            out.extend_from_slice(&(number as u16).to_be_bytes());
        }
        0x1_0000..0x1_0000_0000 => {
            out.push(0xCE);
            out.extend_from_slice(&(number as u32).to_be_bytes());
        }
        _ => {
            out.push(0xCF);
            out.extend_from_slice(&number.to_be_bytes());
        }
    }
}

fn signed(number: i64, out: &mut Vec<u8>) {
    match number {
        0.. => unsigned(number as u64, out),
        -0x20..0 => out.push(number as u8),
        -0x80..-0x20 => out.extend_from_slice(&[0xD0, number as u8]),
        -0x8000..-0x80 => {
            out.push(0xD1);
            out.extend_from_slice(&(number as i16).to_be_bytes());
        }
        -0x8000_0000..-0x8000 => {
            out.push(0xD2);
            out.extend_from_slice(&(number as i32).to_be_bytes());
        }
        _ => {
            out.push(0xD3);
            out.extend_from_slice(&number.to_be_bytes());
        }
    }
}

fn text(text: &str, out: &mut Vec<u8>) {
    head(&TEXT, text.len(), out);
    out.extend_from_slice(text.as_bytes());
}

/// How the length of a kind of value is written: in the first byte below a bound, else behind it.
struct Head {
    fixed: u8,
    below: usize,
    one: Option<u8>,
    two: u8,
    four: u8,
}

const TEXT: Head = Head { fixed: 0xA0, below: 0x20, one: Some(0xD9), two: 0xDA, four: 0xDB };
const BINARY: Head = Head { fixed: 0, below: 0, one: Some(0xC4), two: 0xC5, four: 0xC6 };
const ARRAY: Head = Head { fixed: 0x90, below: 0x10, one: None, two: 0xDC, four: 0xDD };
const MAP: Head = Head { fixed: 0x80, below: 0x10, one: None, two: 0xDE, four: 0xDF };

fn head(kind: &Head, len: usize, out: &mut Vec<u8>) {
    match (len, kind.one) {
        (len, _) if len < kind.below => out.push(kind.fixed | len as u8),
        (0..0x100, Some(one)) => out.extend_from_slice(&[one, len as u8]),
        (0..0x1_0000, _) => {
            out.push(kind.two);
            out.extend_from_slice(&(len as u16).to_be_bytes());
        }
        _ => {
            // No message is so long that its parts would not fit.
            out.push(kind.four);
            out.extend_from_slice(&u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes());
        }
    }
}
