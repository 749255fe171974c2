//! Several packets in the body of one request or response.

use super::packet::{Invalid, MESSAGE, base64_len, write_base64};
use super::record::{Record, records};
use super::{Packet, Version, Wire};

/// What a POST carries, by its content type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body<'a> {
    /// Anything but `application/octet-stream`.
    Text(&'a [u8]),
    /// `application/octet-stream`, which is a payload in v3 only.
    Binary(&'a [u8]),
}

/// The packets of a payload from a client, one after another; the first error is the last item.
///
/// Time is linear in the body, and nothing is allocated except for base64.
///
/// ```
/// # use denrei_proto::engineio::{Body, Packet, Packets, Version};
/// let mut packets = Packets::new(Version::V4, Body::Text(b"4hello\x1ebAQID"), 100);
/// assert_eq!(packets.next(), Some(Ok(Packet::Text("hello"))));
/// assert_eq!(packets.next(), Some(Ok(Packet::Binary(vec![1, 2, 3].into()))));
/// assert_eq!(packets.next(), None);
/// ```
#[derive(Clone, Debug)]
pub struct Packets<'a> {
    rest: Rest<'a>,
    version: Version,
    left: usize,
    limit: usize,
}

#[derive(Clone, Copy, Debug)]
enum Rest<'a> {
    Text(&'a str),
    Binary(&'a [u8]),
    Wrong(Invalid),
    Done,
}

impl<'a> Packets<'a> {
    /// Begins to read a body of at most `limit` packets.
    pub fn new(version: Version, body: Body<'a>, limit: usize) -> Self {
        let rest = match (body, version) {
            (Body::Text(bytes), _) => simdutf8::basic::from_utf8(bytes).map_or(Rest::Wrong(Invalid::Utf8), Rest::Text),
            (Body::Binary(bytes), Version::V3) if !bytes.is_empty() => Rest::Binary(bytes),
            (Body::Binary(_), Version::V3) => Rest::Wrong(Invalid::Empty),
            (Body::Binary(_), Version::V4) => Rest::Wrong(Invalid::UnknownType),
        };
        // An empty payload is wrong in either version; `0:` is v3's payload without packets.
        let rest = if let Rest::Text("") = rest { Rest::Wrong(Invalid::Empty) } else { rest };
        Self { rest, version, left: limit, limit }
    }

    fn step(&mut self) -> Result<Option<Packet<'a>>, Invalid> {
        loop {
            if let Rest::Done = self.rest {
                return Ok(None);
            }
            self.left = self.left.checked_sub(1).ok_or(Invalid::TooManyPackets { limit: self.limit })?;
            let (packet, rest) = match (self.rest, self.version) {
                (Rest::Done, _) => return Ok(None),
                (Rest::Wrong(invalid), _) => return Err(invalid),
                (Rest::Text(text), Version::V4) => match text.split_once(SEPARATOR) {
                    Some((packet, rest)) => (Packet::decode_text(packet, Version::V4)?, Rest::Text(rest)),
                    None => (Packet::decode_text(text, Version::V4)?, Rest::Done),
                },
                (Rest::Text(text), Version::V3) => {
                    let (packet, rest) = split_text(text)?;
                    let rest = if rest.is_empty() { Rest::Done } else { Rest::Text(rest) };
                    if packet.is_empty() {
                        self.rest = rest;
                        continue;
                    }
                    (Packet::decode_text(packet, Version::V3)?, rest)
                }
                (Rest::Binary(bytes), _) => {
                    let (kind, packet, rest) = split_binary(bytes)?;
                    let packet = match kind {
                        Kind::Text => {
                            let text = simdutf8::basic::from_utf8(packet).map_err(|_| Invalid::Utf8)?;
                            Packet::decode_text(text, Version::V3)?
                        }
                        Kind::Binary => Packet::decode_binary(packet, Version::V3)?,
                    };
                    (packet, if rest.is_empty() { Rest::Done } else { Rest::Binary(rest) })
                }
            };
            self.rest = rest;
            return Ok(Some(packet));
        }
    }
}

impl<'a> Iterator for Packets<'a> {
    type Item = Result<Packet<'a>, Invalid>;

    fn next(&mut self) -> Option<Self::Item> {
        let item = self.step();
        if item.is_err() {
            self.rest = Rest::Done;
        }
        item.transpose()
    }
}

/// What stands between the packets of a v4 payload; the protocol forbids it inside them.
const SEPARATOR: char = '\x1e';

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Binary,
}

/// A length of so many digits is beyond any body.
const LONGEST_LENGTH: usize = 9;

/// Takes `length:packet` off the front of a v3 payload; lengths are in UTF-16 code units, which is what JavaScript
/// calls the length of a string.
fn split_text(text: &str) -> Result<(&str, &str), Invalid> {
    let digits = text.bytes().take(LONGEST_LENGTH + 1).take_while(u8::is_ascii_digit).count();
    if digits == 0 || digits > LONGEST_LENGTH || text.as_bytes().get(digits) != Some(&b':') {
        return Err(Invalid::Length);
    }
    let units: usize = text[..digits].parse().map_err(|_| Invalid::Length)?;
    let text = &text[digits + 1..];
    // Characters that are one byte long are one unit long.
    if text.as_bytes().get(..units).is_some_and(<[u8]>::is_ascii) {
        return Ok(text.split_at(units));
    }
    let mut seen = 0;
    for (at, character) in text.char_indices() {
        if seen >= units {
            return if seen == units { Ok(text.split_at(at)) } else { Err(Invalid::Length) };
        }
        seen += character.len_utf16();
    }
    if seen == units { Ok((text, "")) } else { Err(Invalid::Length) }
}

/// Takes `kind digits 0xFF packet` off the front of a v3 binary payload; here lengths are in bytes.
fn split_binary(bytes: &[u8]) -> Result<(Kind, &[u8], &[u8]), Invalid> {
    let (&kind, bytes) = bytes.split_first().ok_or(Invalid::Empty)?;
    let kind = match kind {
        0 => Kind::Text,
        1 => Kind::Binary,
        _ => return Err(Invalid::UnknownType),
    };
    let digits = bytes.iter().take(LONGEST_LENGTH + 1).take_while(|&&digit| digit < 10).count();
    if digits == 0 || digits > LONGEST_LENGTH || bytes.get(digits) != Some(&0xFF) {
        return Err(Invalid::Length);
    }
    let len = bytes[..digits].iter().fold(0, |len, &digit| len * 10 + usize::from(digit));
    let (packet, rest) = bytes[digits + 1..].split_at_checked(len).ok_or(Invalid::Length)?;
    Ok((kind, packet, rest))
}

/// The body that answers a poll.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload {
    /// The bytes.
    pub body: Vec<u8>,
    /// The value of the `Content-Type` header.
    pub content_type: &'static str,
}

/// Puts records into one body. Each item holds any number of [records](Record), as an outbox keeps them.
///
/// A payload without packets is an empty body in v4 and `0:` in v3; a poll is rather answered with a noop.
pub fn encode_payload<'a, I>(wire: Wire, chunks: I) -> Payload
where
    I: IntoIterator<Item = &'a [u8]>,
    I::IntoIter: Clone,
{
    let all = chunks.into_iter().flat_map(records);
    let size = all.clone().map(|record| base64_len(record.packet().len()) + MOST_AROUND).sum();
    let mut body = Vec::with_capacity(size);
    if wire == Wire::V3 && all.clone().any(Record::is_binary) {
        all.for_each(|record| write_v3_binary(record, &mut body));
        return Payload { body, content_type: "application/octet-stream" };
    }
    for (n, record) in all.enumerate() {
        match wire {
            Wire::V4 => {
                if n > 0 {
                    body.push(SEPARATOR as u8);
                }
                match record {
                    Record::Text(packet) => body.extend_from_slice(packet),
                    Record::Binary(packet) => write_base64(packet, Version::V4, &mut body),
                }
            }
            Wire::V3 | Wire::V3Base64 => write_v3_text(record, &mut body),
        }
    }
    if body.is_empty() && wire != Wire::V4 {
        body.extend_from_slice(b"0:");
    }
    Payload { body, content_type: "text/plain; charset=UTF-8" }
}

/// More than the bytes that any payload puts around a packet.
const MOST_AROUND: usize = 16;

fn write_v3_text(record: Record<'_>, body: &mut Vec<u8>) {
    let mut digits = itoa::Buffer::new();
    match record {
        Record::Text(packet) => {
            // Records are made from text.
            let units = std::str::from_utf8(packet).map_or(0, |text| text.encode_utf16().count());
            body.extend_from_slice(digits.format(units).as_bytes());
            body.push(b':');
            body.extend_from_slice(packet);
        }
        Record::Binary(packet) => {
            body.extend_from_slice(digits.format(2 + base64_len(packet.len())).as_bytes());
            body.push(b':');
            write_base64(packet, Version::V3, body);
        }
    }
}

fn write_v3_binary(record: Record<'_>, body: &mut Vec<u8>) {
    let (kind, len) = match record {
        Record::Text(packet) => (0, packet.len()),
        Record::Binary(packet) => (1, packet.len() + 1),
    };
    body.push(kind);
    body.extend(itoa::Buffer::new().format(len).bytes().map(|digit| digit - b'0'));
    body.push(0xFF);
    if record.is_binary() {
        body.push(MESSAGE);
    }
    body.extend_from_slice(record.packet());
}
