//! Server-sent events (HTML Living Standard §9.2): writing fields, and what a client remembers.

use crate::native::Event;

/// How the stream's bytes are carried: inside a body that someone else frames, or as HTTP/1.1 chunks of their own
/// (RFC 9112 §7.1), so that one encoded event serves every connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Carriage {
    /// The bytes of the stream.
    Body,
    /// Each event is one chunk.
    Chunked,
}

/// The data of an event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// The payload alone, as in the seed (§4.2).
    Payload,
    /// The whole event object.
    Envelope,
}

/// A comment that keeps proxies from closing an idle stream (seed §4.2).
pub const KEEP_ALIVE: &[u8] = b":keep-alive\n\n";

/// Writes one event with its position as id; an event without a number has no id, so that a browser keeps the last
/// one that can be resumed from.
pub fn event(event: &Event<'_>, format: Format, carriage: Carriage) -> Vec<u8> {
    let id = (event.seq > 0).then(|| format!("{}:{}", event.epoch, event.seq));
    with_id(id.as_deref(), event, format, carriage)
}

/// Writes one event without an id, for streams that write their own.
pub fn event_without_id(event: &Event<'_>, format: Format) -> Vec<u8> {
    with_id(None, event, format, Carriage::Body)
}

fn with_id(id: Option<&str>, event: &Event<'_>, format: Format, carriage: Carriage) -> Vec<u8> {
    match format {
        Format::Payload => fields(id, event.event, event.payload, carriage),
        Format::Envelope => {
            let mut object = Vec::with_capacity(event.length());
            event.write_object(&mut object);
            fields(id, event.event, &object, carriage)
        }
    }
}

/// Writes one event from its fields.
///
/// Data may hold newlines: each line becomes a field of its own. A newline in an id or a name would forge fields
/// (CVE-2026-44214 and others), so what follows one is left out; names with control characters are refused at publish
/// and never come here.
pub fn fields(id: Option<&str>, name: &str, data: &[u8], carriage: Carriage) -> Vec<u8> {
    let mut text = Vec::with_capacity(data.len() + name.len() + 96);
    if let Some(id) = id {
        field(&mut text, b"id: ", one_line(id).as_bytes());
    }
    field(&mut text, b"event: ", one_line(name).as_bytes());
    let mut rest = data;
    loop {
        let end = rest.iter().position(|&byte| byte == b'\n' || byte == b'\r');
        let Some(end) = end else { break };
        field(&mut text, b"data: ", &rest[..end]);
        let crlf = rest[end] == b'\r' && rest.get(end + 1) == Some(&b'\n');
        rest = &rest[end + 1 + usize::from(crlf)..];
    }
    field(&mut text, b"data: ", rest);
    text.push(b'\n');
    carry(&text, carriage)
}

/// Carries bytes of a stream; no bytes are its end.
pub fn carry(text: &[u8], carriage: Carriage) -> Vec<u8> {
    match carriage {
        Carriage::Body => text.to_vec(),
        Carriage::Chunked => {
            let mut chunk = format!("{:x}\r\n", text.len()).into_bytes();
            chunk.reserve_exact(text.len() + 2);
            chunk.extend_from_slice(text);
            chunk.extend_from_slice(b"\r\n");
            chunk
        }
    }
}

fn field(text: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    text.extend_from_slice(name);
    text.extend_from_slice(value);
    text.push(b'\n');
}

fn one_line(text: &str) -> &str {
    text.split(['\n', '\r', '\0']).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_with_any_kind_of_newline_becomes_one_field_per_line() {
        let text = fields(Some("e:1"), "message", b"a\nb\r\nc\rd\n", Carriage::Body);
        assert_eq!(text, b"id: e:1\nevent: message\ndata: a\ndata: b\ndata: c\ndata: d\ndata: \n\n");
    }

    #[test]
    fn a_newline_in_an_id_or_a_name_forges_no_field() {
        let text = fields(Some("1\ndata: x"), "m\r\nevent: y", b"1", Carriage::Body);
        assert_eq!(text, b"id: 1\nevent: m\ndata: 1\n\n");
    }

    #[test]
    fn a_chunk_tells_its_length_in_hex() {
        assert_eq!(carry(b":keep-alive\n\n", Carriage::Chunked), b"d\r\n:keep-alive\n\n\r\n");
    }

    #[test]
    fn no_bytes_are_the_end_of_a_chunked_stream() {
        assert_eq!(carry(b"", Carriage::Chunked), b"0\r\n\r\n");
    }

    #[test]
    fn an_unnumbered_event_has_no_id() {
        let event_of = |seq| Event {
            room: "all",
            event: "message",
            payload: b"1",
            from: None,
            user: None,
            seq,
            epoch: "none",
            timestamp: 0,
        };
        assert_eq!(event(&event_of(0), Format::Payload, Carriage::Body), b"event: message\ndata: 1\n\n");
        assert_eq!(event(&event_of(7), Format::Payload, Carriage::Body), b"id: none:7\nevent: message\ndata: 1\n\n");
    }
}
