//! Server-sent events of what peers have published.

use denrei_proto::sse::{Carriage, fields};

/// The first line is the id (none where it is empty), the second the name, the rest the data.
pub fn run(data: &[u8]) {
    let mut parts = data.splitn(3, |&byte| byte == b'\n');
    let mut part = || parts.next().unwrap_or_default();
    let (id, name, data) = (String::from_utf8_lossy(part()), String::from_utf8_lossy(part()), part());
    let id = (!id.is_empty()).then_some(&*id);
    let text = fields(id, &name, data, Carriage::Body);
    holds(&text, id, &name, data);

    let chunk = fields(id, &name, data, Carriage::Chunked);
    let end = chunk.windows(2).position(|pair| pair == b"\r\n").expect("a chunk has a length");
    let len = std::str::from_utf8(&chunk[..end]).ok().and_then(|len| usize::from_str_radix(len, 16).ok());
    assert_eq!(len, Some(text.len()), "the length of the chunk");
    assert_eq!(chunk[end + 2..], [&text[..], b"\r\n"].concat());
}

/// A browser's parser (HTML Living Standard §9.2.6) sees one event, which is this one.
pub(crate) fn holds(text: &[u8], id: Option<&str>, name: &str, data: &[u8]) {
    let (mut got_id, mut got_name, mut got_data) = (None, Vec::new(), Vec::new());
    let mut events = 0;
    for line in lines(text) {
        if line.is_empty() {
            events += 1;
            continue;
        }
        assert_eq!(events, 0, "a line behind the end of the event");
        let colon = line.iter().position(|&byte| byte == b':').expect("every line is a field");
        let value = line[colon + 1..].strip_prefix(b" ").unwrap_or(&line[colon + 1..]);
        match &line[..colon] {
            b"id" => assert!(got_id.replace(value).is_none(), "two ids"),
            b"event" => got_name.push(value),
            b"data" => got_data.push(value),
            other => panic!("a field {other:?}"),
        }
    }
    assert_eq!(events, 1);
    let first = |text: &str| text.split(['\n', '\r', '\0']).next().unwrap_or_default().as_bytes().to_vec();
    assert_eq!(got_id.map(<[u8]>::to_vec), id.map(first));
    assert_eq!(got_name, [first(name)]);
    // Not a newline: behind a carriage return it would be part of that.
    assert_eq!(got_data, lines(&[data, b"\r"].concat()), "the lines of the data");
}

/// Lines that end with any of the three ends; what stands behind the last is none.
fn lines(mut text: &[u8]) -> Vec<&[u8]> {
    let mut lines = Vec::new();
    while let Some(end) = text.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
        let (line, behind) = text.split_at(end);
        lines.push(line);
        text = behind.strip_prefix(b"\r\n").unwrap_or(&behind[1..]);
    }
    assert!(text.is_empty(), "a line without an end");
    lines
}
